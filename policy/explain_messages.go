package policy

import (
	"fmt"
	"strings"

	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
)

// nearestMessage looks for the allow rule that misses a message least. Of
// several operations or calls it explains the first that is not allowed.
func (x *Explanation) nearestMessage(e *Engine, governing *Endpoint, r *Request) {
	best := -1
	offer := func(score int, at Rule, misses ...Miss) {
		if score > best {
			best = score
			x.Nearest, x.Misses = &at, misses
		}
	}
	selected := e.endpointOf(governing, r)
	if selected == nil {
		return
	}
	same := func(f func(*endpoint)) {
		e.same(selected, r, func(ep *endpoint) {
			if !ep.spec.Withdrawn {
				f(ep)
			}
		})
	}
	switch {
	case !selected.grants(r):
		offer(0, selected.rule, Miss{"endpoint path", r.Target.Path, selected.spec.Path})
	case selected.spec.Protocol == JSONRPC || selected.spec.Protocol == MCP:
		call := e.refusedCall(selected, r)
		if call == nil {
			return
		}
		same(func(ep *endpoint) {
			if len(ep.calls.allow) == 0 && !ep.calls.profile {
				offer(0, ep.rule, Miss{"method", call.Method, "nothing: the endpoint allows no call"})
			}
			for i := range ep.calls.allow {
				rule := &ep.calls.allow[i]
				score, misses := rule.misses(call)
				offer(score, rule.rule, misses...)
			}
		})
	case selected.spec.Protocol == Git:
		if r.Git == nil {
			return
		}
		same(func(ep *endpoint) {
			for i := range ep.git.allow {
				rule := &ep.git.allow[i]
				score, misses := rule.misses(r.Git)
				offer(score, rule.rule, misses...)
			}
		})
	case selected.spec.Protocol == Package:
		if r.Package == nil {
			return
		}
		same(func(ep *endpoint) {
			for i := range ep.packages.allow {
				rule := &ep.packages.allow[i]
				score, misses := rule.misses(r.Package, r.Now)
				offer(score, rule.rule, misses...)
			}
		})
	case selected.spec.Protocol == GRPC:
		if r.GRPC == nil {
			return
		}
		e.same(selected, r, func(ep *endpoint) {
			for i := range ep.grpc.allow {
				rule := &ep.grpc.allow[i]
				score, misses := rule.misses(r.GRPC)
				offer(score, rule.rule, misses...)
			}
		})
	case selected.spec.Protocol == GraphQL || selected.operations.messages && r.Text:
		ep, asked, op, known := e.refusedOperation(r)
		if ep == nil {
			return
		}
		if !known {
			offer(0, ep.rule, Miss{"persisted query", firstOf(asked.Hash, asked.ID), ep.wantPersisted()})
			return
		}
		if len(ep.operations.allow) == 0 {
			offer(0, ep.rule, Miss{"operation type", op.Type, "nothing: the endpoint allows no operation"})
		}
		for i := range ep.operations.allow {
			rule := &ep.operations.allow[i]
			score, misses := rule.misses(op)
			offer(score, rule.rule, misses...)
		}
	default:
		what := *r
		if r.Text {
			what.Method = MethodText
		}
		x.nearestHTTP(e, governing, &what)
	}
}

// endpointOf finds the compiled form of a document's endpoint.
func (e *Engine) endpointOf(spec *Endpoint, r *Request) *endpoint {
	var found *endpoint
	e.each(r.Host, r.Port, func(ep *endpoint) {
		if ep.spec == spec {
			found = ep
		}
	})
	return found
}

func (e *Engine) refusedCall(selected *endpoint, r *Request) *jsonrpc.Call {
	if r.RPC == nil {
		return nil
	}
	for i := range r.RPC.Calls {
		var j judgement
		if !e.judgeCall(selected, r, &r.RPC.Calls[i], &j) {
			return &r.RPC.Calls[i]
		}
	}
	return nil
}

// refusedOperation finds the first operation that an endpoint does not allow,
// as it was asked for and as it is known there.
func (e *Engine) refusedOperation(r *Request) (at *endpoint, asked, op *graphql.Operation, known bool) {
	if r.GraphQL == nil {
		return nil, nil, nil, false
	}
	e.taking(r, func(ep *endpoint) {
		if !ep.ofOperations() || !ep.grants(r) {
			return
		}
		for i := range r.GraphQL.Operations {
			for _, stored := range []bool{false, true} {
				runs, found, does := ep.operations.resolve(&r.GraphQL.Operations[i], stored)
				if at == nil && does && (!found || ep.operations.allowing(runs) == nil) {
					at, asked, op, known = ep, &r.GraphQL.Operations[i], runs, found
				}
			}
		}
	})
	return at, asked, op, known
}

func (ep *endpoint) wantPersisted() string {
	switch {
	case !ep.spec.GraphQL.AllowRegistered:
		return "none: persisted_queries is deny"
	case len(ep.operations.registry) == 0:
		return "none: graphql_persisted_queries is empty"
	}
	return fmt.Sprintf("one of the %d in graphql_persisted_queries", len(ep.operations.registry))
}

func (rule *callRule) misses(c *jsonrpc.Call) (score int, misses []Miss) {
	if rule.takesMethod(c.Method) {
		score += 2
	} else {
		misses = append(misses, Miss{"method", c.Method, firstOf(rule.spec.Method, toolsCall)})
	}
	if !rule.tooled || rule.tools.Match(c.Tool) {
		score++
		misses = append(misses, rule.argumentMisses(c)...)
	} else {
		misses = append(misses, Miss{"tool", firstOf(c.Tool, "none"), firstOf(strings.Join(rule.spec.Tools, ", "), "nothing")})
	}
	return score, misses
}

func (rule *callRule) argumentMisses(c *jsonrpc.Call) (misses []Miss) {
	if c.Arguments.Open() {
		return nil
	}
	for i := range rule.arguments {
		a := &rule.arguments[i]
		text, ok := c.Arguments.Text(a.name)
		switch {
		case !ok:
			text = "none, or not text"
		case a.takes(text):
			continue
		}
		misses = append(misses, Miss{"argument " + a.name, text, strings.Join(rule.spec.Arguments[i].Any, ", ")})
	}
	return misses
}

func (rule *operationRule) misses(op *graphql.Operation) (score int, misses []Miss) {
	if rule.kind == "*" || rule.kind == op.Type {
		score += 4
	} else {
		misses = append(misses, Miss{"operation type", op.Type, rule.kind})
	}
	if !rule.named || rule.name.Match(op.Name) {
		score += 2
	} else {
		misses = append(misses, Miss{"operation name", firstOf(op.Name, "none"), rule.spec.OperationName})
	}
	want := strings.Join(rule.spec.Fields, ", ")
	switch {
	case len(rule.fields) == 0:
		score++
	case len(op.Fields) == 0:
		misses = append(misses, Miss{"field", "none", want})
	default:
		before := len(misses)
		for _, f := range op.Fields {
			if !rule.takesField(f) {
				misses = append(misses, Miss{"field", f, want})
			}
		}
		if len(misses) == before {
			score++
		}
	}
	return score, misses
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
