package analyse

import (
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
)

// Set is the set of all requests that one policy lets through: a union of
// products of hosts, ports, callers, methods, paths and queries.
type Set struct{ a *analysis }

// Reachable is the set of a document at a time.
func Reachable(doc *policy.Document, at time.Time) (*Set, error) {
	a := newAnalysis(at)
	s, err := a.lower(doc)
	if err != nil {
		return nil, err
	}
	a.sides = []*side{s}
	if err := a.partition(); err != nil {
		return nil, err
	}
	for _, c := range a.cells {
		if err := a.prepare(c); err != nil {
			return nil, err
		}
	}
	return &Set{a}, nil
}

// Unknown are the parts of the document that the set leaves out.
func (s *Set) Unknown() []Unknown {
	list := slices.Clone(s.a.sides[0].unknown)
	for _, ep := range s.a.sides[0].endpoints {
		list = append(list, ep.unknown...)
	}
	return dedupe(list)
}

func dedupe(list []Unknown) []Unknown {
	var out []Unknown
	for _, u := range list {
		if !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	return out
}

// Connect is the grant of a connection: of its being opened, of anything that
// is sent over it, and of TLS to any name.
func (s *Set) Connect(c policy.Connection, t Traffic) Grant {
	cell, who := s.place(c)
	if cell == nil {
		return Denied
	}
	v := cell.view(0, who)
	return v.base.grant(t, false)
}

// Request is the grant of a request whose target is canonical, and whose
// messages are as their reader gives them. A member that the set does not list
// is denied.
func (s *Set) Request(r policy.Request) Grant {
	cell, who := s.place(r.Connection)
	if cell == nil {
		return Denied
	}
	v := cell.view(0, who)
	if !v.base.hit || !v.base.inspect {
		return v.base.grant(Bytes, false)
	}
	q := cell.requests
	path, ok := q.classes.Of(r.Target.Path)
	verb := r.Method
	if r.Text {
		verb = textMethod
	} else if strings.EqualFold(verb, textMethod) {
		return Denied // it is no method of HTTP
	}
	method := q.method(verb)
	if !ok || method < 0 || verb == "" {
		return Denied
	}
	g := q.byPlace[[2]int{path, method}]
	one := &request{path: path, method: method, query: g.queryOf(r.Target.Query)}
	if !q.reads {
		return v.grant(one)
	}
	h := &holding{request: one, verb: verb, text: r.Text}
	v.enter(path)
	if v.at.governs != nil {
		h.members = membersOf(&r, v.at.governs)
	}
	for _, m := range h.members {
		if !v.lists(&g, h, m) {
			return Denied
		}
	}
	return v.messages(h)
}

// lists reports whether one of the kinds of messages of a place is treated as a
// message is, by every endpoint that takes the path.
func (v *view) lists(g *requestGroup, h *holding, m *message) bool {
	alone := *h
	alone.members = []*message{m}
	want := v.messages(&alone)
	for _, one := range g.messages {
		if one == nil || one.form != m.form {
			continue
		}
		alone.members = []*message{one}
		if v.messages(&alone) == want {
			return true
		}
	}
	return false
}

// membersOf are the members of what was read for an endpoint that governs.
func membersOf(r *policy.Request, by *endpoint) []*message {
	var list []*message
	switch by.protocol {
	case policy.GraphQL, policy.WebSocket:
		if r.GraphQL == nil || by.protocol == policy.WebSocket && !(r.Text && by.messages.operations.overSockets) {
			return nil
		}
		for _, o := range r.GraphQL.Operations {
			if o.Type != "" {
				list = append(list, &message{form: operation, kind: o.Type, name: o.Name, fields: o.Fields})
			}
			if o.Stored() {
				list = append(list, &message{form: stored, key: storedKey(o)})
			}
		}
	case policy.JSONRPC, policy.MCP:
		if r.RPC == nil {
			return nil
		}
		if r.RPC.ReceiveStream {
			if len(r.RPC.Calls) > 0 || r.RPC.Response || r.RPC.Batch {
				return nil
			}
			return []*message{{form: stream}}
		}
		if r.RPC.EndSession {
			if len(r.RPC.Calls) > 0 || r.RPC.Response || r.RPC.Batch {
				return nil
			}
			return []*message{{form: ending}}
		}
		for _, c := range r.RPC.Calls {
			list = append(list, &message{form: call, method: c.Method, tool: c.Tool, arguments: c.Arguments})
		}
		if r.RPC.Response {
			list = append(list, &message{form: answer})
		}
	case policy.Git:
		g := r.Git
		if g == nil || g.Repository == "" || !g.Push && len(g.Updates) > 0 {
			return nil
		}
		m := message{form: fetch, repository: g.Repository, discovery: g.Discovery}
		if g.Push {
			m.form = push
		}
		if !g.Push || g.Discovery {
			return []*message{&m}
		}
		for _, u := range g.Updates {
			one := m
			one.ref, one.forced, one.delete = u.Ref, u.Forced, u.Delete
			list = append(list, &one)
		}
	case policy.GRPC:
		if g := r.GRPC; g != nil && g.Service != "" && g.Method != "" {
			list = append(list, &message{form: called, service: g.Service, method: g.Method})
		}
	case policy.Package:
		if p := r.Package; p != nil {
			m := message{form: packaged, asks: p, ageKnown: !p.Published.IsZero() && !r.Now.IsZero()}
			if m.ageKnown {
				m.age = r.Now.Sub(p.Published)
			}
			list = append(list, &m)
		}
	}
	return list
}

// storedKey is what a stored operation is known by; a query that names two is
// known by none.
func storedKey(o graphql.Operation) string {
	if o.Type == "" && o.Hash != "" {
		if o.ID != "" && o.ID != o.Hash {
			return ""
		}
		return o.Hash
	}
	return o.ID
}

// place is the cell of a connection, and its set of callers.
func (s *Set) place(c policy.Connection) (*cell, *caller) {
	if c.Port == 0 {
		return nil, nil
	}
	class, ok := s.a.hostMap.of(c.Host)
	if !ok || c.Host.IsZero() {
		return nil, nil
	}
	var eps []*endpoint
	for _, ep := range class.endpoints {
		if slices.Contains(ep.ports, c.Port) {
			eps = append(eps, ep)
		}
	}
	sides := s.a.sorted(eps)
	cell := s.a.byKey[cellKey(sides, class.guarded(sides))]
	if cell == nil {
		return nil, nil
	}
	return cell, cell.who.of(c)
}

// of is the set of callers that a connection's caller is in.
func (w *callers) of(c policy.Connection) *caller {
	if !c.KnownCaller || c.Binary == "" {
		return &w.list[0]
	}
	taken := w.unknownCaller()
	sum := ""
	if slices.Contains(w.digests, c.SHA256) {
		sum = c.SHA256
	}
	if i, ok := w.classes.Of(c.Binary); ok {
		direct, _ := w.taken(w.classes.List[i], sum)
		taken = taken.or(direct)
	}
	for _, a := range c.Ancestors {
		if i, ok := w.classes.Of(a); ok {
			_, above := w.taken(w.classes.List[i], sum)
			taken = taken.or(above)
		}
	}
	if i, ok := w.byTaken[taken]; ok {
		return &w.list[i]
	}
	return &caller{taken: taken, known: true}
}
