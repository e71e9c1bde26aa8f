package policy

// sqlRules decodes a sql endpoint. Its traffic passes as it is, so what its
// rules say is written down for later and limits nothing.
func (d *decoder) sqlRules(v value, s section, e *Endpoint) {
	d.endpointRules(v, s, e, ruleReader{
		presets: true,
		decode:  func(v value, _ bool) RequestRule { return d.sqlRule(v, e) },
		empty:   func(r RequestRule) bool { return r.Command == "" },
		example: "write - allow: {command: SELECT}",
	})
	switch at, written := s.get("enforcement"); {
	case e.Enforcement == Enforce && !written:
		d.fault(value{v.n, v.path + ".enforcement"}, Missing, "", "audit", "statements of sql are not read, so nothing can be enforced: write enforcement: audit")
	case e.Enforcement == Enforce:
		d.fault(at, Conflict, "enforcement: enforce with protocol: sql", "audit", "statements are not read, so nothing can be enforced")
	}
	if p, ok := s.given("path"); ok {
		d.warn(p, NoOperation, "path has no effect with protocol: sql", "remove it")
	}
	at := value{v.n, v.path}
	if p, ok := s.get("protocol"); ok {
		at = p
	}
	d.warn(at, Weak, "protocol: sql is not inspected: every statement passes, whatever the rules say", "name the server and the programs narrowly, and limit the user in the database")
}

func (d *decoder) sqlRule(v value, e *Endpoint) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	s, ok := d.ruleSection(v, e, "command")
	if !ok {
		return r
	}
	const want = `a command such as SELECT, or "*"`
	c, written := s.given("command")
	if !written {
		d.fault(value{v.n, pathKey(v.path, "command")}, Missing, "", want, "")
		return r
	}
	text, ok := d.text(c, want)
	if ok && text != "*" && !isVariable(text) {
		d.fault(c, BadValue, show(text), want, "")
		return r
	}
	r.Command = text
	return r
}
