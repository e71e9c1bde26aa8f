package policy

const grpcExample = `write - allow: {service: acme.v1.Greeter, method: SayHello}`

// What a star does not cross: the dots of a service, and nothing in a method.
const (
	serviceSep = '.'
	methodSep  = '/'
)

// grpcRules decodes rules and deny_rules of a grpc endpoint.
func (d *decoder) grpcRules(v value, s section, e *Endpoint) {
	d.endpointRules(v, s, e, ruleReader{
		decode:  func(v value, deny bool) RequestRule { return d.grpcRule(v, e, deny) },
		empty:   func(r RequestRule) bool { return r.Service == "" || r.Method == "" },
		example: grpcExample,
	})
}

// grpcRule: an allow rule says which methods it is about, if only "*"; a deny rule
// without a method denies the whole service.
func (d *decoder) grpcRule(v value, e *Endpoint, deny bool) RequestRule {
	r := RequestRule{At: d.at(v.n)}
	s, ok := d.ruleSection(v, e, "service", "method")
	if !ok {
		return r
	}
	if p, ok := s.given("service"); ok {
		if text, ok := d.text(p, "a glob over services, like acme.v1.Greeter"); ok && !d.globFault(p, text, serviceSep) {
			r.Service = text
		}
	} else {
		d.fault(value{v.n, pathKey(v.path, "service")}, Missing, "", "a glob over services, like acme.v1.Greeter", `"**" is every service`)
	}
	switch p, ok := s.given("method"); {
	case ok:
		if text, ok := d.text(p, "a glob over methods, like SayHello"); ok && !d.globFault(p, text, methodSep) {
			r.Method = text
		}
	case deny:
		r.Method = "*"
	default:
		d.fault(value{v.n, pathKey(v.path, "method")}, Missing, "", "a glob over methods, like SayHello", `"*" is every method`)
	}
	return r
}
