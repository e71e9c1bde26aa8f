package analyse

import (
	"slices"

	"github.com/creel-run/creel/policy"
)

// Set is the set of all requests that one policy lets through: a union of
// products of hosts, ports, callers, methods, paths and queries.
type Set struct{ a *analysis }

// Reachable is the set of a document.
func Reachable(doc *policy.Document) (*Set, error) {
	a := newAnalysis()
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

// Request is the grant of a request whose target is canonical.
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
	method := q.method(r.Method)
	if !ok || method < 0 || r.Method == "" {
		return Denied
	}
	g := q.byPlace[[2]int{path, method}]
	n, step := 0, 1
	for _, v := range g.keys {
		i, ok := v.find(v.of(r.Target.Query[v.key]))
		if !ok {
			return Denied
		}
		n += i * step
		step *= len(v.list)
	}
	one := &q.list[g.first+n]
	st := v.request(one)
	return st.grant(HTTP, q.hasSlash(path))
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
	cell := s.a.byKey[cellKey(s.a.sorted(eps))]
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
