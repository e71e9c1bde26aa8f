package policy

import "github.com/creel-run/creel/netname"

// internal decodes internal_addresses: what version 1 grants to every host that
// is written out, version 2 grants where it is asked for.
func (d *decoder) internal(s section, e *Endpoint) {
	v, ok := s.get("internal_addresses")
	if !ok {
		return
	}
	e.InternalAddresses = d.boolean(v)
	switch {
	case !e.InternalAddresses:
	case e.AllowedIPs != nil:
		d.fault(v, Conflict, "internal_addresses with allowed_ips", "", "remove it: allowed_ips says which addresses there are")
	case !e.named():
		d.fault(v, Conflict, "internal_addresses without the name of one host", "", "it is about a name that is written out; use allowed_ips elsewhere")
	default:
		d.warn(v, Weak, "internal_addresses: "+show(e.Host)+" may resolve to any internal address", "write allowed_ips with those that it has")
	}
}

// models decodes whether model calls may go to the endpoint itself.
func (d *decoder) models(s section, e *Endpoint) {
	v, ok := s.get("models")
	if !ok {
		return
	}
	const want = "deny or allow"
	switch text, ok := d.text(v, want); {
	case !ok || text == "deny":
	case text != "allow":
		d.fault(v, BadValue, show(text), want, didYouMean(text, "deny", "allow"))
	default:
		e.Models = true
		d.find(DirectModel, d.at(v.n), v.path, Weak, "models: allow lets the agent use models at "+show(e.Host)+" with a key of its own, outside the inference route",
			"configure inference instead, unless that is meant")
	}
}

// ancestors decodes whether a caller's parents count.
func (d *decoder) ancestors(s section) bool {
	v, ok := s.get("ancestors")
	return ok && d.boolean(v)
}

// named: the endpoint has one host, by name.
func (e *Endpoint) named() bool {
	p := e.Pattern
	if e.Host != "" && p.String() == "" {
		var err error
		if p, err = netname.ParsePattern(e.Host); err != nil {
			return false
		}
	}
	return e.Host != "" && p.Literal() && !p.Host().IsAddr()
}
