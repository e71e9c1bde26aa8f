package analyse

import (
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
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
	bound   bool // refused by the guard, unless a credential is bound to the host
	rank    int  // of dest
	dest    netname.Destination

	governs *endpoint // the request's path; nil: none does
	allow   bool
	deny    bool
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

	taking []taking // of open, those that take the path; where messages are read
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
	if c.guarded[side] && !v.base.inspect {
		v.base.bound = v.base.hit && v.base.wire
		v.base.hit = false
	}
	return v
}

// enter gathers what they say of all requests of a path.
func (v *view) enter(path int) {
	if v.path == path {
		return
	}
	r := v.c.requests
	v.path, v.at, v.taking = path, v.base, v.taking[:0]
	for _, ep := range v.open {
		if !r.selects(ep, path) {
			continue
		}
		v.at.govern(ep)
		if r.reads {
			v.taking = append(v.taking, taking{ep, r.grants(ep, path)})
		}
	}
}

// grant is the verdict on a request.
func (v *view) grant(q *request) Grant {
	r := v.c.requests
	if !r.reads {
		s := v.request(q)
		return s.request(r.hasSlash(q.path))
	}
	h := holding{request: q, verb: r.methods[q.method].example(r.methods)}
	h.text = h.verb == textMethod
	if q.message != nil && q.message.form != unread {
		h.members = []*message{q.message}
	}
	return v.messages(&h)
}

// request adds what they say of a request where no messages are read.
func (v *view) request(q *request) state {
	v.enter(q.path)
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

// govern: the most specific selector governs, of equals the strictest, then the one
// that permits no encoded slash, and then the first. What has ended as audit forwards
// nothing, and still says how requests are read.
func (s *state) govern(ep *endpoint) {
	if s.governs == nil || ep.goesBefore(s.governs) {
		s.governs = ep
	}
}

func (ep *endpoint) goesBefore(o *endpoint) bool {
	if ep.specific != o.specific {
		return ep.specific > o.specific
	}
	if a, b := ep.lenient(), o.lenient(); a != b {
		return a < b
	}
	if ep.slash != o.slash {
		return o.slash
	}
	return ep.order < o.order
}

// lenient orders what becomes of what no rule allows, the strictest first.
func (ep *endpoint) lenient() int {
	switch ep.enforce {
	case policy.Enforce:
		return 0
	case policy.AskFirst:
		return 1
	case policy.Audit:
		if !ep.lapsed {
			return 2
		}
	}
	return 3
}

// forwards: what no rule allows is let through and recorded.
func (ep *endpoint) forwards() bool { return ep.enforce == policy.Audit && !ep.lapsed }

// connection adds what an endpoint says of connections: what has lapsed opens
// none, and what it wants to be looked at is looked at all the same.
func (s *state) connection(ep *endpoint) {
	s.inspect = s.inspect || ep.inspect
	s.wire = s.wire || !ep.tlsSkip
	if ep.lapsed {
		return
	}
	s.hit = true
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
	Bound              // any request that carries a credential which is bound to the host, if one is
	HTTP               // a request
	Bytes              // anything: nothing looks inside
	Opaque             // TLS whose server name is not looked at, either
)

func (t Traffic) String() string {
	switch t {
	case Connection:
		return "connection"
	case Bound:
		return "http with a bound credential"
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
	case Bound:
		allowed = s.bound
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
	case s.governs == nil, encodedSlash && !s.governs.slash:
		return Denied
	case s.allow && !s.deny:
		return Allowed
	case s.governs.forwards():
		return Audited
	}
	return Denied
}
