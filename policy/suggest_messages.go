package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
)

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
	case j.hard == reasonNoRefs:
		return "# " + reasonNoRefs + ": say them to creel policy explain, with --ref refs/heads/NAME\n"
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
	var rules []string
	switch governing.Protocol {
	case JSONRPC, MCP:
		if c := e.refusedCall(selected, r); c != nil {
			rule, why := e.callRuleText(selected, r, c)
			if why != "" {
				return "# no lines are suggested: " + why + "\n"
			}
			rules = append(rules, rule)
		}
	case GraphQL, WebSocket:
		at, _, op, known := e.refusedOperation(r)
		switch {
		case governing.Protocol == WebSocket && e.queried(r, WebSocket) != "":
			return e.queried(r, WebSocket)
		case governing.Protocol == WebSocket && !(r.Text && selected.operations.messages):
			rules = append(rules, "method: "+scalar(strings.ToUpper(what.Method))+", path: "+scalar(literalGlob(r.Target.Path, false)))
		case at == nil:
		case known && len(op.Fields) == 0:
			return fmt.Sprintf("# no lines are suggested: the operation names no root fields, and a rule without fields takes every %s; list the fields of the query in graphql_persisted_queries of the endpoint at %s\n",
				op.Type, at.rule.At)
		case !known:
			return "# add the query to graphql_persisted_queries of the endpoint at " + at.rule.At.String() + ", with persisted_queries: allow_registered\n"
		default:
			selected = at
			rules = append(rules, operationRuleText(op))
		}
	case Git:
		if r.Git != nil {
			var why string
			if rules, why = e.gitRuleTexts(selected, r); why != "" {
				return "# no lines are suggested: " + why + "\n"
			}
		}
	case Package:
		if r.Package != nil {
			least, young := e.neighbours(selected, r)
			if young != nil {
				return fmt.Sprintf("# the rule at %s allows it as soon as it is known to be %s old; a rule without min_age that names this version would take it now\n",
					young.rule.At, DurationText(young.minAge))
			}
			if rule := packageRuleText(r.Package, least); rule != "" {
				rules = append(rules, rule)
			}
		}
	case GRPC:
		if r.GRPC != nil {
			rules = append(rules, grpcRuleText(r.GRPC))
		}
	case L4, TCP, SQL, REST:
	}
	if len(rules) == 0 {
		return "# no rule allows a request of this kind here: " + d.Reason + "\n"
	}
	instead := ""
	if selected.spec.Access != "" {
		instead = ", in place of its access: " + selected.spec.Access
	}
	text := fmt.Sprintf("# add to the rules of the endpoint at %s%s:\n", selected.rule.At, instead)
	for _, rule := range rules {
		text += "#   - allow: {" + rule + "}\n"
	}
	return text + e.closedLine(selected)
}

// operationRuleText is the rule that would allow an operation: its name, if it
// has one, and its root fields.
func operationRuleText(op *graphql.Operation) string {
	text := "operation_type: " + op.Type
	if op.Name != "" {
		text += ", operation_name: " + scalar(literalGlob(op.Name, false))
	}
	return text + ", fields: [" + literals(op.Fields) + "]"
}

// literals are the globs that match these texts alone, as items of a YAML list.
func literals(texts []string) string {
	items := make([]string, len(texts))
	for i, s := range texts {
		items[i] = scalar(literalGlob(s, false))
	}
	return strings.Join(items, ", ")
}

// gitRuleTexts are the rules that would allow what no rule allows of a request:
// one for the refs that only move on, one for those that are forced, one for
// those that are removed. Whether a push is forced, where nobody has looked, is
// left to the next denial. why: there are none.
func (e *Engine) gitRuleTexts(selected *endpoint, r *Request) (rules []string, why string) {
	g := r.Git
	head := "operation: " + gitOperation(g.Push) + ", repository: " + scalar(literalGlob(g.Repository, false))
	switch {
	case !g.Push:
		return []string{head}, ""
	case g.Discovery:
		return nil, fmt.Sprintf("which refs would be pushed is not known yet; write a rule of operation: push with the repository %s and its refs, like [refs/heads/NAME], into the endpoint at %s",
			show(g.Repository), selected.rule.At)
	}
	type way struct{ force, remove bool }
	refs, unproved := map[way][]string{}, false
	for _, u := range g.Updates {
		if u.Unproved {
			u.Forced, unproved = false, true
		}
		var j judgement
		if !e.gitPart(selected, r, &j, &u) {
			w := way{u.Forced, u.Delete}
			refs[w] = append(refs[w], u.Ref)
		}
	}
	for _, w := range []way{{}, {force: true}, {remove: true}, {force: true, remove: true}} {
		if len(refs[w]) == 0 {
			continue
		}
		text := head + ", refs: [" + literals(refs[w]) + "]"
		if w.force {
			text += ", force: true"
		}
		if w.remove {
			text += ", delete: true"
		}
		rules = append(rules, text)
	}
	if len(rules) == 0 && unproved {
		return nil, "the rules allow it if it leaves no commits behind, which could not be told; one with force: true takes it either way"
	}
	return rules, ""
}

// maxClause is the longest text of an argument that is suggested, in bytes: paths
// and addresses are shorter, and what is longer is no line for a policy.
const maxClause = 1024

// callRuleText is the rule that would allow a call. Where the rules about its
// tool, or else those about other tools, constrain arguments, it takes just the
// texts that the call gives them. why: there is no rule that takes no more.
func (e *Engine) callRuleText(selected *endpoint, r *Request, c *jsonrpc.Call) (rule, why string) {
	mcp, method := selected.spec.Protocol == MCP, c.Method
	if method == "" {
		return "", "the call has no method"
	}
	if strings.ContainsAny(method, globSigns) {
		if !mcp || !strings.HasPrefix(method, "tools/") {
			return "", "a rule for the method " + show(method) + " would be a glob, or none"
		}
		method = literalGlob(method, false)
	}
	rule = "method: " + scalar(method)
	if !mcp || c.Tool == "" {
		return rule, ""
	}
	if selected.spec.MCP.LooseToolNames && strings.ContainsAny(c.Tool, globSigns) {
		return "", "a rule for the tool " + show(c.Tool) + " would be a glob, which strict_tool_names: false does not take"
	}
	rule += ", tool: " + scalar(literalGlob(c.Tool, false))
	clauses, why := e.clauses(selected, r, c)
	if len(clauses) > 0 {
		rule += ", arguments: {" + strings.Join(clauses, ", ") + "}"
	}
	return rule, why
}

// clauses describe the arguments of a call that the rules beside it constrain.
func (e *Engine) clauses(selected *endpoint, r *Request, c *jsonrpc.Call) (list []string, why string) {
	var about, beside []*callRule
	e.same(selected, r, func(ep *endpoint) {
		for i := range ep.calls.allow {
			switch rule := &ep.calls.allow[i]; {
			case len(rule.arguments) == 0:
			case rule.takesTool(c):
				about = append(about, rule)
			default:
				beside = append(beside, rule)
			}
		}
	})
	rules := about
	if len(about) == 0 {
		rules = beside
	}
	var names []string
	for _, rule := range rules {
		for i := range rule.arguments {
			names = append(names, rule.arguments[i].name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if !c.Arguments.Given(name) {
			continue
		}
		text, ok := c.Arguments.Text(name)
		if !ok {
			return nil, "the argument " + show(name) + " is no text, or two that a server may take for one, which no rule can describe"
		}
		if why := indescribable(text); why != "" {
			return nil, "the argument " + show(name) + " " + why
		}
		list = append(list, scalar(name)+": "+scalar(literalGlob(text, false)))
	}
	whole := func(rule *callRule) bool {
		return !slices.ContainsFunc(rule.arguments, func(a argumentRule) bool { return !c.Arguments.Given(a.name) })
	}
	if len(about) > 0 && !slices.ContainsFunc(about, whole) {
		return nil, fmt.Sprintf("the rule at %s is about arguments of this tool that the call does not give, and a rule without them would take every call of it", about[0].rule.At)
	}
	return list, ""
}

// indescribable says why no clause takes just this text, or nothing.
func indescribable(text string) string {
	switch g, err := glob.Compile(literalGlob(text, false), '/'); {
	case text == "":
		return "is empty, which no rule can describe"
	case controls(text) && !climbs(text):
		return "has control characters, which no policy can hold"
	case climbs(text):
		return "leads elsewhere than it reads (., .., or a NUL), which no rule takes"
	case len(text) > maxClause:
		return fmt.Sprintf("is longer than %d bytes", maxClause)
	case err != nil || !g.Match(text):
		return "is a text that no rule can describe"
	}
	return ""
}
