package analyse

import (
	"strings"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/grpc"
)

// serviceRules are the rules of an endpoint about services of gRPC.
type serviceRules struct{ allow, deny []serviceRule }

type serviceRule struct{ service, method *pattern }

func (a *analysis) lowerServices(spec *policy.Endpoint) (*serviceRules, error) {
	s := &serviceRules{}
	for _, list := range []struct {
		from []policy.RequestRule
		to   *[]serviceRule
	}{{spec.Allow, &s.allow}, {spec.Deny, &s.deny}} {
		for _, r := range list.from {
			var one serviceRule
			var err error
			if one.service, err = a.pattern(r.Service, '.'); err != nil {
				return nil, err
			}
			if one.method, err = a.pattern(r.Method, '/'); err != nil {
				return nil, err
			}
			*list.to = append(*list.to, one)
		}
	}
	return s, nil
}

// paths adds the paths of all calls and those of each rule, so that all calls of
// a class of paths are treated alike.
func (s *serviceRules) paths(add func(name string, set func() (*automaton.Automaton, error)) error) error {
	if err := add(grpcName+"/**", func() (*automaton.Automaton, error) { return automaton.GRPCPaths(), nil }); err != nil {
		return err
	}
	for _, list := range [][]serviceRule{s.allow, s.deny} {
		for _, r := range list {
			if err := add(grpcName+"/"+r.service.text+"/"+r.method.text, func() (*automaton.Automaton, error) {
				return automaton.GRPCMethods(r.service.glob, r.method.glob)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// calledAt is the call that a path stands for; it has no query.
func calledAt(method, path string) *message {
	g, err := grpc.Parse(method, path, false)
	if err != nil {
		return nil
	}
	return &message{form: called, service: g.Service, method: g.Method, query: map[string][]string{}}
}

func (r *serviceRule) takes(m *message) bool {
	return r.service.match(m.service) && r.method.match(m.method)
}

// services: a call needs a rule, and no deny rule.
func (v *view) services(h *holding, j *verdict) {
	if !h.holdsOnly(called) || !strings.EqualFold(h.verb, "POST") {
		j.hard = true
		return
	}
	for _, m := range h.members {
		for _, ep := range v.taking {
			if ep.messages == nil || ep.messages.services == nil {
				continue
			}
			s := ep.messages.services
			for i := range s.deny {
				j.deny = j.deny || s.deny[i].takes(m)
			}
			for i := range s.allow {
				if ep.grants && s.allow[i].takes(m) {
					j.offers(ep.endpoint)
					break
				}
			}
		}
		j.refused = !j.settle() || j.refused
	}
}
