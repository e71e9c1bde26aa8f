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
