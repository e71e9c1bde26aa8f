package policy

import (
	"strings"

	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/grpc"
)

// grpcRules are the rules of a grpc endpoint.
type grpcRules struct{ allow, deny []grpcRule }

type grpcRule struct {
	cited
	service glob.Glob
	method  glob.Glob
}

const (
	reasonNoGRPC    = "the request is no gRPC call: POST of application/grpc to /SERVICE/METHOD by HTTP/2"
	reasonGRPC      = "no rule of the network policies allows this gRPC method"
	reasonGRPCAudit = "no rule allows this gRPC method; enforcement is audit, so it is forwarded"
)

func (c *compiler) grpc(ep *endpoint) (g grpcRules, err error) {
	if g.allow, err = c.grpcRules(ep.spec.Allow, ep, "allows"); err == nil {
		g.deny, err = c.grpcRules(ep.spec.Deny, ep, "denies")
	}
	return g, err
}

func (c *compiler) grpcRules(specs []RequestRule, ep *endpoint, verb string) ([]grpcRule, error) {
	var list []grpcRule
	for _, s := range specs {
		r := grpcRule{cited: cite(s, ep, verb, "the gRPC method "+show(s.Service+"/"+s.Method))}
		var err error
		if r.service, err = glob.Compile(s.Service, serviceSep); err != nil {
			return nil, err
		}
		if r.method, err = glob.Compile(s.Method, methodSep); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

func (rule *grpcRule) takes(g *grpc.Request) bool {
	return rule.service.Match(g.Service) && rule.method.Match(g.Method)
}

func (e *Engine) judgeGRPC(selected *endpoint, r *Request, j *judgement) {
	j.none, j.noneAudit = reasonGRPC, reasonGRPCAudit
	g := r.GRPC
	if g == nil || g.Service == "" || g.Method == "" || !strings.EqualFold(r.Method, "POST") {
		j.hard = reasonNoGRPC
		return
	}
	e.same(selected, r, func(ep *endpoint) {
		for i := range ep.grpc.deny {
			if rule := &ep.grpc.deny[i]; rule.takes(g) {
				j.denies(&rule.cited, ep)
				break
			}
		}
		for i := range ep.grpc.allow {
			if rule := &ep.grpc.allow[i]; ep.grants(r) && rule.takes(g) {
				j.offers(&rule.cited, ep, r)
				break
			}
		}
	})
	j.settle()
}

// misses says what of a gRPC rule does not hold for a call.
func (rule *grpcRule) misses(g *grpc.Request) (score int, misses []Miss) {
	if rule.service.Match(g.Service) {
		score += 2
	} else {
		misses = append(misses, Miss{"service", g.Service, rule.spec.Service})
	}
	if rule.method.Match(g.Method) {
		score++
	} else {
		misses = append(misses, Miss{"method", g.Method, rule.spec.Method})
	}
	return score, misses
}

// grpcRuleText is the rule that would allow a call.
func grpcRuleText(g *grpc.Request) string {
	return "service: " + scalar(literalGlob(g.Service, false)) + ", method: " + scalar(literalGlob(g.Method, false))
}
