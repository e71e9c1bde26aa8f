package analyse

import (
	"github.com/creel-run/creel/netname"
)

// Grant is what one policy does with a connection or request.
type Grant uint8

const (
	Denied  Grant = iota
	Audited       // let through although no rule allows it, because enforcement is audit
	Allowed
)

func (g Grant) String() string {
	switch g {
	case Allowed:
		return "allow"
	case Audited:
		return "audit"
	case Denied:
	}
	return "deny"
}

// MarshalText makes JSON show the word and not the number.
func (g Grant) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// state is what the endpoints that take a caller say together, as the engine
// gathers it.
type state struct {
	hit     bool // some endpoint takes the connection
	inspect bool
	wire    bool // some endpoint does not skip TLS
	slash   bool // an encoded slash is let through
	rank    int  // of dest
	dest    netname.Destination

	selected bool // some endpoint governs the request's path
	specific int  // of the one that governs
	enforce  bool
	permits  bool // an encoded slash
	allow    bool
	deny     bool
}

// view is one side of a cell as one set of callers meets it. It keeps what
// requests of one path have in common: they come one after the other.
type view struct {
	c    *cell
	side int
	who  *caller
	base state // of the connection
	path int   // class of paths that at is for; -1: none yet
	at   state
	open []*endpoint // the inspected ones that take the caller
}

// view gathers what one side's endpoints say of a caller's connection.
func (c *cell) view(side int, who *caller) view {
	v := view{c: c, side: side, who: who, path: -1}
	for i, ep := range c.sides[side] {
		if who.taken.has(c.groups[side][i]) {
			v.base.connection(ep)
			if ep.inspect {
				v.open = append(v.open, ep)
			}
		}
	}
	return v
}

// request adds what they say of a request.
func (v *view) request(q *request) state {
	if v.path != q.path {
		v.path, v.at = q.path, v.base
		for _, ep := range v.open {
			if v.c.requests.selects(ep, q.path) {
				v.at.govern(ep)
			}
		}
	}
	s := v.at
	for i := range v.c.requests.rules[q.path] {
		one := &v.c.requests.rules[q.path][i]
		if one.side != v.side || !v.who.taken.has(one.group) || one.deny && s.deny || !one.deny && s.allow {
			continue
		}
		if v.c.requests.holds(one.rule, q, one.deny) {
			if one.deny {
				s.deny = true
			} else {
				s.allow = true
			}
		}
	}
	return s
}

// govern: the most specific selector governs, of equals the one that enforces,
// and then the one that permits no encoded slash.
func (s *state) govern(ep *endpoint) {
	if !s.selected || s.governedBy(ep) {
		s.selected, s.specific, s.enforce, s.permits = true, ep.specific, ep.enforce, ep.slash
	}
}

func (s *state) governedBy(ep *endpoint) bool {
	if ep.specific != s.specific {
		return ep.specific > s.specific
	}
	if ep.enforce != s.enforce {
		return ep.enforce
	}
	return s.permits && !ep.slash
}

func (s *state) connection(ep *endpoint) {
	s.hit = true
	s.inspect = s.inspect || ep.inspect
	s.wire = s.wire || !ep.tlsSkip
	s.slash = s.slash || ep.inspect && ep.slash
	rank := 0
	switch ep.dest.Mode {
	case netname.AllowedIPs:
		rank = 3
	case netname.LiteralIP:
		rank = 2
	case netname.DeclaredHost:
		rank = 1
	case netname.DefaultMode:
	}
	if rank > s.rank {
		s.rank, s.dest = rank, ep.dest
	}
}

// Traffic is what goes over a connection, from the least to the most.
type Traffic uint8

const (
	_          Traffic = iota
	Connection         // that it is opened at all
	HTTP               // a request
	Bytes              // anything: nothing looks inside
	Opaque             // TLS whose server name is not looked at, either
)

func (t Traffic) String() string {
	switch t {
	case Connection:
		return "connection"
	case HTTP:
		return "http"
	case Bytes:
		return "any bytes"
	case Opaque:
		return "opaque bytes"
	}
	return "invalid"
}

func (t Traffic) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// grant is the verdict on some traffic; HTTP wants the state of a request.
func (s *state) grant(t Traffic, encodedSlash bool) Grant {
	allowed := false
	switch t {
	case Connection:
		allowed = s.hit
	case Bytes:
		allowed = s.hit && !s.inspect
	case Opaque:
		allowed = s.hit && !s.inspect && !s.wire
	case HTTP:
		return s.request(encodedSlash)
	}
	if allowed {
		return Allowed
	}
	return Denied
}

func (s *state) request(encodedSlash bool) Grant {
	switch {
	case !s.hit:
		return Denied
	case !s.inspect:
		return Allowed
	case !s.selected, encodedSlash && !s.permits:
		return Denied
	case s.allow && !s.deny:
		return Allowed
	case s.enforce:
		return Denied
	}
	return Audited
}
