package analyse

import (
	"errors"
	"slices"
	"sync"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// A run refuses connections to model hosts that nobody would look into, though a
// rule allows them (policy.Document.GuardedHosts). The engine says nothing of it, so
// it is done here, for the analysis and for its witnesses. Where a credential is bound to
// such a host, which no policy says, the run looks into its connections and lets
// requests through that carry it. That is traffic of a kind of its own (Bound).

func guardsOf(doc *policy.Document) ([]hostPattern, error) {
	var list []hostPattern
	for _, text := range doc.GuardedHosts() {
		if h, err := netname.ParseHost(text); err == nil {
			list = append(list, hostPattern{literal: h})
			continue
		}
		p, err := netname.ParsePattern(text)
		if err != nil {
			return nil, err
		}
		list = append(list, hostPattern{text: p.String(), pattern: p})
	}
	return list, nil
}

// matches reports whether a guard is about a host.
func (p hostPattern) matches(h netname.Host) bool {
	return p.literal == h || p.text != "" && p.pattern.Match(h)
}

// guard gives the side stand-ins for the guarded hosts, so that they are classes
// of their own; literal ones only where rules about uninspected connections are.
func (s *side) guard(list []hostPattern) {
	for _, g := range list {
		if slices.ContainsFunc(s.endpoints, func(ep *endpoint) bool {
			return !ep.inspect && (g.text != "" || ep.host.every || ep.host.literal == g.literal || ep.host.text != "" && ep.host.pattern.Match(g.literal))
		}) {
			s.guards = append(s.guards, &endpoint{host: g, ports: []uint16{}, guard: true})
		}
	}
}

// guarded says for which sides of a cell the hosts of the class are guarded, and
// somebody could reach them uninspected.
func (h *hostClass) guarded(sides [][]*endpoint) []bool {
	list := make([]bool, len(sides))
	for _, ep := range h.endpoints {
		if ep.guard && slices.ContainsFunc(sides[ep.side], func(ep *endpoint) bool { return !ep.inspect }) {
			list[ep.side] = true
		}
	}
	return list
}

// run is a policy as a run enforces it.
type run struct {
	engine *policy.Engine
	guards []hostPattern
}

// newRun leaves out dns, which is compared as a setting: addresses are compared by
// what rules say of them.
func newRun(doc *policy.Document) (*run, error) {
	plain := *doc
	plain.DNS = policy.DNS{}
	e, err := policy.Compile(&plain)
	if err != nil {
		return nil, err
	}
	guards, err := guardsOf(doc)
	return &run{e, guards}, err
}

// newRuns compiles documents beside the analysis, which takes as long. The function waits
// for them; who called newRuns has to call it, too.
func newRuns(docs ...*policy.Document) func() ([]*run, error) {
	var all sync.WaitGroup
	list, errs := make([]*run, len(docs)), make([]error, len(docs))
	for i, doc := range docs {
		all.Go(func() { list[i], errs[i] = newRun(doc) })
	}
	return func() ([]*run, error) {
		all.Wait()
		return list, errors.Join(errs...)
	}
}

// judge is Judge, with what the run refuses beside the engine.
func (r *run) judge(w Witness) (Grant, error) {
	c, err := w.connection()
	if err != nil {
		return Denied, err
	}
	d := r.engine.Connect(c)
	guarded := !d.Inspect && slices.ContainsFunc(r.guards, func(g hostPattern) bool { return g.matches(c.Host) })
	switch {
	case w.Traffic == Bound && guarded && d.Verdict == policy.Allow && !d.SkipTLS:
		return Allowed, nil
	case w.Traffic == Bound || guarded:
		return Denied, nil
	}
	return Judge(r.engine, w)
}

// bound is what compares the Bound traffic of two sides: only where a guard acts on
// one of them. What lets any bytes or every request through lets it through as well.
func (c *cell) bound(left, right *view) (was, is Grant) {
	if left.base.bound == right.base.bound {
		return Denied, Denied
	}
	grant := func(v *view) Grant {
		switch {
		case v.base.bound, v.base.grant(Bytes, false) == Allowed:
			return Allowed
		case !v.base.inspect || !v.base.hit:
			return Denied
		}
		for i := range c.requests.list {
			// An encoded slash is refused where no endpoint of the policy looks at requests.
			if q := &c.requests.list[i]; !c.requests.hasSlash(q.path) && v.grant(q) == Denied {
				return Denied
			}
		}
		return Allowed
	}
	return grant(left), grant(right)
}
