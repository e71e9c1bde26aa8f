package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/glob"
)

// pairs compares endpoints of the same hosts and ports with each other.
func (l *linter) pairs() {
	byPort := make(map[uint16][]site)
	for _, s := range l.sites {
		ports := slices.Clone(s.e.Ports)
		slices.Sort(ports)
		for _, p := range slices.Compact(ports) {
			byPort[p] = append(byPort[p], s)
		}
	}
	for _, s := range l.sites {
		if l.left <= 0 {
			return
		}
		var near []site // that may take the same connections, each once
		seen := make(map[int]bool)
		for _, p := range s.e.Ports {
			for _, o := range byPort[p] {
				if o.order != s.order && !seen[o.order] && l.pay(s.e.Host, o.e.Host) && hostsOverlap(s.e, o.e) {
					near = append(near, o)
					seen[o.order] = true
				}
			}
		}
		l.uninspected(s, near)
		l.shadowed(s, near)
		l.idleDenials(s, near)
	}
}

// uninspected: an endpoint without inspection beside an inspected one.
func (l *linter) uninspected(s site, near []site) {
	if !s.e.opaque() {
		return
	}
	for _, o := range near {
		if !o.e.inspects() {
			continue
		}
		text := fmt.Sprintf("%s on port %s is inspected by %s (line %d), and passes here as opaque bytes", hostText(o.e), portList(o.e.Ports), o.path, o.e.At.Line)
		switch {
		case programsWithin(o.n, s.n):
			text = fmt.Sprintf("%s on port %s is inspected by %s (line %d) for all programs of this rule: what this endpoint allows there is judged by that one", hostText(o.e), portList(o.e.Ports), o.path, o.e.At.Line)
		case sharesProgram(s.n, o.n):
			text += ": a program that both name is inspected, any other of this rule is not"
		default:
			text += ": the programs of this rule get around what that one allows and denies"
		}
		// Parse says less about the same pair.
		l.warns = slices.DeleteFunc(l.warns, func(w Warning) bool {
			return w.Path == s.path && strings.HasPrefix(w.Text, "overlaps "+o.path+" ") || w.Path == o.path && strings.HasPrefix(w.Text, "overlaps "+s.path+" ")
		})
		l.find(Uninspected, s.e.At, s.path, Weak, text, "give it protocol: "+string(o.e.Protocol)+" and rules of its own, or another host")
		return
	}
}

func hostText(e *Endpoint) string {
	if e.Host == "" {
		return "any host"
	}
	return show(e.Host)
}

// sharesProgram: some program is named by both, as far as the text shows.
func sharesProgram(a, b *Network) bool {
	return a.AnyBinary || b.AnyBinary || slices.ContainsFunc(a.Binaries, func(x Binary) bool {
		return slices.ContainsFunc(b.Binaries, func(y Binary) bool { return globsOverlap(x.Path, y.Path, '/') })
	})
}

// shadowed: another endpoint allows all that this one does, to all its programs.
func (l *linter) shadowed(s site, near []site) {
	for _, o := range near {
		// Of two that are the same the later one is too much.
		if !l.endpointWithin(o, s) || l.endpointWithin(s, o) && o.order > s.order {
			continue
		}
		l.find(Unused, s.e.At, s.path, NoOperation, fmt.Sprintf("%s (line %d) allows all that this endpoint does, to all its programs: it makes no difference", o.path, o.e.At.Line),
			"remove it, or narrow the other one")
		return
	}
}

// endpointWithin reports that outer surely allows all that inner does, and that
// removing inner would change nothing.
func (l *linter) endpointWithin(outer, inner site) bool {
	x, y := outer.e, inner.e
	switch {
	case !hostWithin(x, y), !portsWithin(x, y), !sameAllowed(x, y), x.TLS != y.TLS, x.Protocol != y.Protocol,
		x.Enforcement != y.Enforcement, y.AllowEncodedSlash && !x.AllowEncodedSlash, len(y.Deny) > 0,
		!programsWithin(outer.n, inner.n), !l.pay(x.Path, y.Path), !sameUnknown(*x, *y), !sameUnknownNetwork(*outer.n, *inner.n):
		return false
	case l.doc.Version == 1 && x.Host != "" && x.Pattern.Literal() != y.Pattern.Literal():
		return false // a host by name may be internal in version 1, one by pattern may not
	case y.opaque():
		return true
	case !y.inspects():
		return false
	case specificity(x.Path) != specificity(y.Path), !selectorWithin(x.Path, y.Path):
		return false
	}
	have := x.all()
	return !slices.ContainsFunc(y.all(), func(r RequestRule) bool {
		return !slices.ContainsFunc(have, func(o RequestRule) bool { return l.pay(o.Path, r.Path) && ruleWithin(&o, &r) })
	})
}

// idleDenials: deny rules for what no rule allows, which is denied without them.
func (l *linter) idleDenials(s site, near []site) {
	if !s.e.inspects() {
		return
	}
	for i := range s.e.Deny {
		deny := &s.e.Deny[i]
		if !plain(deny) {
			continue
		}
		takes := func(o site) bool {
			if o.e.Enforcement == Audit || !o.e.opaque() && !o.e.inspects() {
				return true // forwarded, or judged by what is not looked at here
			}
			return slices.ContainsFunc(o.e.all(), func(r RequestRule) bool {
				return !l.pay(deny.Path, r.Path) || methodsOverlap(deny.Method, r.Method) && pathsOverlap(deny.Path, r.Path)
			})
		}
		if !takes(s) && !slices.ContainsFunc(near, takes) {
			l.find(IdleDeny, deny.At, pathIndex(s.path+".deny_rules", i), NoOperation, "no rule allows what "+ruleText(*deny)+" denies: it is denied already",
				"remove it, or look whether the path or the method is what was meant")
		}
	}
}

func methodsOverlap(a, b string) bool {
	return a == "*" || b == "*" || a == b || a == "GET" && b == "HEAD" || a == "HEAD" && b == "GET"
}

// plain: the rule is about the method, path and query of a request alone.
func plain(r *RequestRule) bool { return reflect.DeepEqual(unknownOf(*r), RequestRule{}) }

func unknownOf(r RequestRule) RequestRule {
	r.Method, r.Path, r.Query, r.At = "", "", nil, Position{}
	return r
}

// ruleWithin: whatever inner matches, outer does. It says no where it cannot tell.
func ruleWithin(outer, inner *RequestRule) bool {
	switch {
	case !plain(outer) || !plain(inner), outer.Method == "" || outer.Path == "":
		return false
	case outer.Method != "*" && outer.Method != inner.Method && !(outer.Method == "GET" && inner.Method == "HEAD"):
		return false
	case len(outer.Query) > 0 && !reflect.DeepEqual(outer.Query, inner.Query):
		return false
	}
	return globWithin(outer.Path, inner.Path)
}

// selectorWithin is globWithin for the path of an endpoint.
func selectorWithin(outer, inner string) bool {
	return outer == inner || outer == "" || outer == "**" || inner != "" && globWithin(outer, inner)
}

// globWithin: every path that inner matches, outer does. Exact for a text without
// wildcards; of globs it knows those that end in /** or agree segment by segment.
func globWithin(outer, inner string) bool {
	if outer == "**" || outer == "/**" || outer == inner {
		return true
	}
	special := func(s string) bool { return strings.ContainsAny(s, `[]{}\`) }
	if !special(inner) && !strings.ContainsAny(inner, "*?") {
		g, err := glob.Compile(outer, '/')
		return err == nil && g.Match(inner)
	}
	if special(outer) || special(inner) {
		return false
	}
	x, y := strings.Split(outer, "/"), strings.Split(inner, "/")
	for i, seg := range x {
		switch {
		case seg == "**":
			// Everything below, of which there has to be something.
			return i == len(x)-1 && i < len(y)
		case i >= len(y) || strings.Contains(seg, "**") || strings.Contains(y[i], "**"):
			return false
		case seg != "*" && seg != y[i]:
			return false
		}
	}
	return len(x) == len(y)
}

// hostWithin: every host that inner takes, outer does.
func hostWithin(outer, inner *Endpoint) bool {
	switch {
	case outer.Host == "" || inner.Host == "":
		return outer.Host == inner.Host
	case inner.Pattern.Literal():
		return outer.Pattern.Match(inner.Pattern.Host())
	case outer.Pattern.Literal():
		return false
	}
	x, y := outer.Pattern.String(), inner.Pattern.String()
	below, deep := strings.CutPrefix(x, "**")
	return x == y || deep && !strings.Contains(below, "*") && strings.HasSuffix(y, below)
}

func portsWithin(outer, inner *Endpoint) bool {
	return !slices.ContainsFunc(inner.Ports, func(p uint16) bool { return !slices.Contains(outer.Ports, p) })
}

// programsWithin: a plain path stands also for what it leads to, so a glob is
// compared with globs alone.
func programsWithin(outer, inner *Network) bool {
	if outer.AnyBinary || inner.AnyBinary {
		return outer.AnyBinary
	}
	return !slices.ContainsFunc(inner.Binaries, func(b Binary) bool {
		return !slices.ContainsFunc(outer.Binaries, func(o Binary) bool {
			return (o.SHA256 == "" || o.SHA256 == b.SHA256) && (o.Path == b.Path || strings.Contains(o.Path, "*") && strings.Contains(b.Path, "*") && globWithin(o.Path, b.Path))
		})
	})
}

// sameUnknown compares what endpointWithin does not look at: words that come
// later to the language must not be taken for nothing.
func sameUnknown(x, y Endpoint) bool {
	for _, e := range []*Endpoint{&x, &y} {
		e.Host, e.Pattern, e.Ports, e.Path, e.Access, e.Allow, e.Deny, e.At = "", Endpoint{}.Pattern, nil, "", "", nil, nil, Position{}
		e.AllowedIPs, e.TLSWritten, e.AllowEncodedSlash = nil, false, false
		e.KeyAt = nil
	}
	return sameFields(x, y)
}

func sameUnknownNetwork(x, y Network) bool {
	for _, n := range []*Network{&x, &y} {
		n.Key, n.Name, n.Endpoints, n.AnyBinary, n.Binaries, n.At = "", "", nil, false, nil, Position{}
	}
	return sameFields(x, y)
}

// sameFields compares what a document says, and not where it says it.
func sameFields[T any](x, y T) bool {
	a, b := reflect.ValueOf(x), reflect.ValueOf(y)
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if !f.IsExported() || f.Type == reflect.TypeFor[Position]() || f.Type == reflect.TypeFor[map[string]Position]() {
			continue
		}
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			return false
		}
	}
	return true
}
