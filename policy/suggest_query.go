package policy

import (
	"fmt"
	"slices"
	"strings"
)

// queried says why no lines are suggested for a request that rules take but for its
// query: without a query they would undo what those ask for, and its values, which
// may be secret, no message repeats. "": there is no such rule.
func (e *Engine) queried(r *Request, protocol Protocol) string {
	if e == nil || r.Method == "" && !r.Text {
		return ""
	}
	method := strings.ToUpper(r.Method)
	if r.Text {
		method = MethodText
	}
	var first *requestRule
	var keys []string
	who := caller{c: &r.Connection}
	e.each(r.Host, r.Port, func(ep *endpoint) {
		if ep.spec.Protocol != protocol || !who.matches(ep.net) || !ep.takesPath(r.Target.Path) {
			return
		}
		for i := range ep.allow {
			rule := &ep.allow[i]
			if len(rule.spec.Query) == 0 || !rule.takesMethod(method) || !rule.takesPath(r.Target.Path) {
				continue
			}
			if first == nil {
				first = rule
			}
			for _, q := range rule.spec.Query {
				keys = append(keys, scalar(q.Key)+": …")
			}
		}
	})
	if first == nil {
		return ""
	}
	slices.Sort(keys)
	return fmt.Sprintf("# no lines are suggested: the rule at %s takes some queries alone here, and a rule without a query would take all; write one beside it with the values that may pass, like - allow: {method: %s, path: %s, query: {%s}}\n",
		first.rule.At, scalar(method), scalar(LiteralPath(r.Target.Path)), strings.Join(slices.Compact(keys), ", "))
}

// controls: what a text of a policy may not have.
func controls(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}
