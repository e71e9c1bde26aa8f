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

// suggestMessage says which rule, added to the endpoint that governs, would
// allow a message. It is a comment: the endpoint stands in the document
// already, and a second one for its path would have to agree with it.
func (e *Engine) suggestMessage(governing *Endpoint, r *Request) string {
	selected := e.endpointOf(governing, r)
	if selected == nil {
		return "# nothing to allow: no endpoint takes this request\n"
	}
	d := e.Request(*r)
	var j judgement
	what := *r
	if r.Text {
		what.Method = MethodText
	}
	e.judgeMessage(selected, &what, &j)
	switch {
	case j.hard != "":
		return "# no policy can allow this: " + j.hard + "\n"
	case d.Rule.Policy != "" && (d.Verdict != Allow || j.deny != nil):
		return fmt.Sprintf("# the deny rule at %s wins over every allow rule: remove or narrow it\n", d.Rule.At)
	}
	if selected.spec.Withdrawn { // what a layer below says in its place is what counts
		e.same(selected, r, func(ep *endpoint) {
			if selected.spec.Withdrawn && !ep.spec.Withdrawn && ep.net.spec.Key == selected.net.spec.Key {
				selected = ep
			}
		})
	}
	rule := ""
	switch governing.Protocol {
	case JSONRPC, MCP:
		if c := e.refusedCall(selected, r); c != nil {
			rule = "method: " + scalar(c.Method)
			if c.Tool != "" {
				rule += ", tool: " + scalar(literalGlob(c.Tool, false))
			}
		}
	case GraphQL, WebSocket:
		at, _, op, known := e.refusedOperation(r)
		switch {
		case governing.Protocol == WebSocket && !(r.Text && selected.operations.messages):
			rule = "method: " + scalar(strings.ToUpper(what.Method)) + ", path: " + scalar(literalGlob(r.Target.Path, false))
		case at == nil:
		case !known:
			return "# add the query to graphql_persisted_queries of the endpoint at " + at.rule.At.String() + ", with persisted_queries: allow_registered\n"
		default:
			selected = at
			rule = "operation_type: " + op.Type
			if len(op.Fields) > 0 {
				names := make([]string, len(op.Fields))
				for i, f := range op.Fields {
					names[i] = scalar(literalGlob(f, false))
				}
				rule += ", fields: [" + strings.Join(names, ", ") + "]"
			}
		}
	case Git:
		if r.Git != nil {
			rule = gitRuleText(r.Git)
		}
	case Package:
		if r.Package != nil {
			least, young := e.neighbours(selected, r)
			if young != nil {
				return fmt.Sprintf("# the rule at %s allows it as soon as it is known to be %s old; a rule without min_age that names this version would take it now\n",
					young.rule.At, DurationText(young.minAge))
			}
			rule = packageRuleText(r.Package, least)
		}
	case GRPC:
		if r.GRPC != nil {
			rule = grpcRuleText(r.GRPC)
		}
	case L4, TCP, SQL, REST:
	}
	if rule == "" {
		return "# no rule allows a request of this kind here: " + d.Reason + "\n"
	}
	instead := ""
	if selected.spec.Access != "" {
		instead = ", in place of its access: " + selected.spec.Access
	}
	return fmt.Sprintf("# add to the rules of the endpoint at %s%s:\n#   - allow: {%s}\n", selected.rule.At, instead, rule) + e.closedLine(selected)
}
