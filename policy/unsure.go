package policy

import "cmp"

// Unsure says what of a call could change its verdict if it was known, or "":
// nothing could. It is for calls out of a record that keeps less than was known
// when they were made: an audit log has neither the query of a request nor the
// parents of a program nor its digest, and no body. r.Target.Query and what is empty in
// r.Connection count as not known. Without a method the connection is judged.
func (e *Engine) Unsure(r Request) string {
	if e == nil || r.Host.IsZero() {
		return ""
	}
	d := e.Connect(r.Connection).Decision
	if r.Method != "" {
		d = e.Request(r)
	}
	passes := d.Verdict == Allow && !d.Audited
	who := caller{c: &r.Connection}
	why := ""
	e.each(r.Host, r.Port, func(ep *endpoint) {
		var missing string
		if !who.matches(ep.net) {
			if missing = ep.net.unknown(&r.Connection); missing == "" {
				return
			}
		}
		switch {
		case why != "":
		case ep.readsBodies() && r.Method != "" && ep.takesPath(r.Target.Path):
			why = "the body of the request"
		case ep.decides(&r, passes, missing != ""):
			why = cmp.Or(missing, "the query of the request")
		}
	})
	return why
}

// readsBodies: it judges more of a request than its method, path and query.
func (ep *endpoint) readsBodies() bool { return ep.inspect && ep.spec.Protocol != REST }

// unknown is what of a caller that n does not take might make n take it.
func (n *network) unknown(c *Connection) string {
	switch {
	case !c.KnownCaller || c.Binary == "":
		return ""
	case n.ancestors && len(c.Ancestors) == 0 && len(n.exact)+len(n.globs) > 0:
		return "the parents of the program"
	case c.SHA256 == "":
		for _, of := range n.digests {
			if of.takesPath(c.Binary) {
				return "the digest of the program"
			}
		}
	}
	return ""
}

// decides reports whether an endpoint might turn a verdict: as a whole, because
// its caller is not told, or by a rule that looks at the query.
func (ep *endpoint) decides(r *Request, passes, whole bool) bool {
	if whole && (!passes || r.Method == "") {
		return !passes
	}
	if !ep.inspect || r.Method == "" || !ep.takesPath(r.Target.Path) {
		return false
	}
	rules := ep.deny
	if !passes {
		rules = append(rules[:len(rules):len(rules)], ep.allow...)
	}
	for i := range rules {
		rule := &rules[i]
		if (whole || len(rule.spec.Query) > 0) && rule.takesMethod(r.Method) && rule.takesPath(r.Target.Path) {
			return true
		}
	}
	return false
}
