package policy

import (
	"slices"
	"strings"

	"github.com/creel-run/creel/netname"
)

// Middleware is one entry of network_middlewares: a program that sees, and may
// change or refuse, what was allowed.
type Middleware struct {
	Key            string
	Name           string // for display; the key if not written
	Implementation string
	Order          int            // unique; lower ones come first
	Config         map[string]any // the implementation's own; nil: not written
	FailOpen       bool           // on_error: fail_open
	Include        []netname.Selector
	Exclude        []netname.Selector // goes before Include
	At             Position
}

// Takes reports whether the middleware is applied to traffic with a host.
func (m *Middleware) Takes(h netname.Host) bool {
	match := func(s netname.Selector) bool { return s.Match(h) }
	return slices.ContainsFunc(m.Include, match) && !slices.ContainsFunc(m.Exclude, match)
}

// mayTake reports whether the middleware can be applied to some host of an
// endpoint. It may see an overlap that is none and never misses one.
func (m *Middleware) mayTake(e *Endpoint) bool {
	if e.Host == "" {
		return true
	}
	if e.Pattern.Literal() {
		return m.Takes(e.Pattern.Host())
	}
	text := e.Pattern.String()
	for _, s := range m.Exclude {
		if s.String() == text {
			return false
		}
	}
	return slices.ContainsFunc(m.Include, func(s netname.Selector) bool {
		return labelsOverlap(strings.Split(s.String(), "."), strings.Split(text, "."))
	})
}

// labelsOverlap reports whether one name can match both lists of label globs,
// of which "**" stands for one label or more.
func labelsOverlap(a, b []string) bool {
	type state struct{ i, j int }
	todo, seen := []state{{0, 0}}, map[state]bool{}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if s.i == len(a) && s.j == len(b) {
			return true
		}
		if seen[s] || s.i == len(a) || s.j == len(b) {
			continue
		}
		seen[s] = true
		if x, y := a[s.i], b[s.j]; x != "**" && y != "**" && !globsOverlap(x, y, '.') {
			continue
		}
		todo = append(todo, state{s.i + 1, s.j + 1})
		if a[s.i] == "**" {
			todo = append(todo, state{s.i, s.j + 1})
		}
		if b[s.j] == "**" {
			todo = append(todo, state{s.i + 1, s.j})
		}
	}
	return false
}
