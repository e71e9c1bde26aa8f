package analyse

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/glob"
)

// hostClass is a set of hosts that no pattern of the sides tells apart: one
// host that is named, the names below some patterns that are not named, or
// everything else.
type hostClass struct {
	witness   netname.Host
	literal   bool
	rest      bool     // of the names or addresses that nothing names
	inside    []string // patterns that cover the class
	endpoints []*endpoint
}

// hostMap finds the class of a host.
type hostMap struct {
	literal   map[netname.Host]int
	families  []*family
	names     int // the class of all other names; -1: there is none
	addresses int // of all other addresses
	classes   []hostClass
}

// family are patterns over names of which one may cover names of another.
// Patterns of two families share no name: neither's literal end is the end of
// the other's.
type family struct {
	suffix   string
	patterns []string
	literals []string // named hosts that the patterns cover
	classes  *automaton.Classes
	index    []int // by class of the automaton: the hostClass; -1: none
}

// literalSuffix is the part of a pattern behind its last label with a star.
func literalSuffix(pattern string) string {
	_, suffix, _ := strings.Cut(pattern[strings.LastIndexByte(pattern, '*')+1:], ".")
	return suffix
}

// endsIn reports whether name is suffix or ends in a dot and suffix.
func endsIn(name, suffix string) bool {
	return suffix == "" || name == suffix || strings.HasSuffix(name, "."+suffix)
}

func (a *analysis) hosts(sides []*side) (*hostMap, error) {
	h := &hostMap{literal: map[netname.Host]int{}, names: -1}
	byPattern := map[string][]*endpoint{}
	byLiteral := map[netname.Host][]*endpoint{}
	var every []*endpoint
	for _, s := range sides {
		for _, ep := range slices.Concat(s.endpoints, s.guards) {
			switch {
			case ep.host.every:
				every = append(every, ep)
			case ep.host.literal.IsZero():
				byPattern[ep.host.text] = append(byPattern[ep.host.text], ep)
			default:
				byLiteral[ep.host.literal] = append(byLiteral[ep.host.literal], ep)
			}
		}
	}
	h.families = families(byPattern)
	literals := make([]netname.Host, 0, len(byLiteral))
	for l := range byLiteral {
		literals = append(literals, l)
	}
	slices.SortFunc(literals, func(x, y netname.Host) int { return cmp.Compare(x.String(), y.String()) })
	globs := map[string]glob.Glob{}
	for p := range byPattern {
		g, err := glob.Compile(p, '.')
		if err != nil {
			return nil, err
		}
		globs[p] = g
	}
	for _, l := range literals {
		if l.IsAddr() && netname.Synthetic(l.Addr()) {
			continue // never allowed, whatever a document says
		}
		c := hostClass{witness: l, literal: true, endpoints: slices.Clone(byLiteral[l])}
		if !l.IsAddr() {
			for _, f := range h.families {
				if !endsIn(l.String(), f.suffix) {
					continue
				}
				for _, p := range f.patterns {
					if globs[p].Match(l.String()) {
						c.inside = append(c.inside, p)
						c.endpoints = append(c.endpoints, byPattern[p]...)
					}
				}
				if len(c.inside) > 0 || f.suffix == "" {
					f.literals = append(f.literals, l.String())
				}
			}
		}
		c.endpoints = append(c.endpoints, every...)
		h.literal[l] = len(h.classes)
		h.classes = append(h.classes, c)
	}
	rootless := true
	for _, f := range h.families {
		rootless = rootless && f.suffix != ""
		if err := h.classify(a, f, byPattern, every); err != nil {
			return nil, err
		}
	}
	if rootless {
		// A pattern that ends in text has a dot in all its names.
		name := "elsewhere"
		for i := 0; ; i++ {
			w, err := netname.ParseHost(name)
			if err != nil {
				return nil, err
			}
			if _, named := h.literal[w]; !named {
				h.names = len(h.classes)
				h.classes = append(h.classes, hostClass{witness: w, rest: true, endpoints: slices.Clone(every)})
				break
			}
			name = "elsewhere" + strconv.Itoa(i)
		}
	}
	addr := netip.MustParseAddr("198.51.100.1")
	for {
		if _, named := h.literal[netname.HostFromAddr(addr)]; !named {
			break
		}
		addr = addr.Next()
	}
	h.addresses = len(h.classes)
	h.classes = append(h.classes, hostClass{witness: netname.HostFromAddr(addr), rest: true, endpoints: slices.Clone(every)})
	return h, nil
}

// families sorts patterns by what their names end in.
func families(byPattern map[string][]*endpoint) []*family {
	var list []string
	for p := range byPattern {
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y string) int {
		return cmp.Or(cmp.Compare(len(literalSuffix(x)), len(literalSuffix(y))), cmp.Compare(x, y))
	})
	bySuffix := map[string]*family{}
	var out []*family
next:
	for _, p := range list {
		suffix := literalSuffix(p)
		for rest := suffix; ; _, rest, _ = strings.Cut(rest, ".") {
			if f := bySuffix[rest]; f != nil {
				f.patterns = append(f.patterns, p)
				continue next
			}
			if rest == "" {
				break
			}
		}
		f := &family{suffix: suffix, patterns: []string{p}}
		bySuffix[suffix] = f
		out = append(out, f)
	}
	return out
}

// classify lists the names that a family's patterns cover and nobody names.
func (h *hostMap) classify(a *analysis, f *family, byPattern map[string][]*endpoint, every []*endpoint) error {
	sets := make([]*automaton.Automaton, 0, len(f.patterns)+1)
	for _, p := range f.patterns {
		g, err := glob.Compile(p, '.')
		if err != nil {
			return err
		}
		set, err := automaton.Glob(g)
		if err != nil {
			return err
		}
		if err := a.spend(set.Work() / stepsOfAutomata); err != nil {
			return err
		}
		sets = append(sets, set)
	}
	named, err := automaton.Texts(f.literals...)
	if err != nil {
		return err
	}
	sets = append(sets, named)
	within := automaton.HostNames()
	for {
		if f.classes, err = a.classify(within, sets); err != nil {
			return fmt.Errorf("host patterns that end in %q: %w", f.suffix, err)
		}
		counted := true
		f.index = make([]int, len(f.classes.List))
		var found []hostClass
		for i, c := range f.classes.List {
			f.index[i] = -1
			if c.In(len(f.patterns)) || c.None() && f.suffix != "" {
				continue // named hosts have classes of their own
			}
			w, err := netname.ParseHost(c.Witness)
			if err != nil {
				// Too long a label: count them. Too long a name: shorter ones do not exist.
				counted = len(c.Witness) > maxName
				if !counted && within != automaton.HostNamesCounted() {
					break
				}
				counted = true
				continue
			}
			one := hostClass{witness: w, rest: c.None()}
			for k, p := range f.patterns {
				if c.In(k) {
					one.inside = append(one.inside, p)
					one.endpoints = append(one.endpoints, byPattern[p]...)
				}
			}
			one.endpoints = append(one.endpoints, every...)
			f.index[i] = len(h.classes) + len(found)
			if one.rest {
				h.names = f.index[i]
			}
			found = append(found, one)
		}
		if counted {
			h.classes = append(h.classes, found...)
			return nil
		}
		within = automaton.HostNamesCounted()
	}
}

// maxName is the bound of a name (RFC 1035 §2.3.4, as netname has it).
const maxName = 253

// of is the class of a host; false: no connection to it is ever allowed.
func (h *hostMap) of(host netname.Host) (*hostClass, bool) {
	if i, ok := h.literal[host]; ok {
		return &h.classes[i], true
	}
	if host.IsAddr() {
		if netname.Synthetic(host.Addr()) {
			return nil, false
		}
		return &h.classes[h.addresses], true
	}
	for _, f := range h.families {
		if !endsIn(host.String(), f.suffix) {
			continue
		}
		if i, ok := f.classes.Of(host.String()); ok && f.index[i] >= 0 {
			return &h.classes[f.index[i]], true
		}
	}
	if h.names < 0 {
		return nil, false
	}
	return &h.classes[h.names], true
}
