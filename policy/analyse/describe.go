package analyse

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/automaton"
)

const encodedSlash = "paths with %2F"

// describePaths names a set of classes of paths. Where no endpoint lets an
// encoded slash through, patterns stand for the paths without one.
func (r *requests) describePaths(set []int) []string {
	if r.all == nil {
		r.coverPaths()
	}
	var some []int
	slashes := 0
	seen := map[int]bool{}
	for _, i := range set {
		switch {
		case seen[i]:
		case r.plain != nil && r.classes.List[i].In(r.slash):
			slashes++
		default:
			some = append(some, r.place[i])
		}
		seen[i] = true
	}
	if len(seen) == r.occur {
		return nil
	}
	if r.plain == nil || slashes > 0 && slashes < r.slashes {
		return dedupeTexts(r.all.names(set))
	}
	var out []string
	if len(some) > 0 {
		if out = dedupeTexts(r.plain.names(some)); out == nil {
			out = []string{"**"}
		}
	}
	if slashes > 0 {
		out = append(out, encodedSlash)
	}
	if len(out) == 1 && out[0] == "**" {
		return nil
	}
	return out
}

// coverPaths prepares the names of sets of paths.
func (r *requests) coverPaths() {
	names := make([]string, 0, len(r.paths)+1)
	for _, p := range r.paths {
		text, selector := strings.CutPrefix(p, selectorName)
		if bare, ok := strings.CutSuffix(text, "/**"); ok && selector {
			text = "{" + bare + "," + text + "}" // the same set as the path of a rule
		}
		for _, prefix := range []string{grantName, gitName, grpcName, registryName} {
			text = strings.TrimPrefix(text, prefix)
		}
		names = append(names, text)
	}
	// Classes of paths that are too long do not occur.
	occurs := map[int]bool{}
	for _, q := range r.list {
		occurs[q.path] = true
	}
	r.occur = len(occurs)
	r.place = make([]int, len(r.classes.List))
	var plain []automaton.Class
	for i, class := range r.classes.List {
		switch {
		case !occurs[i]:
		case r.slash >= 0 && class.In(r.slash):
			r.slashes++
		default:
			r.place[i] = len(plain)
			plain = append(plain, class)
		}
	}
	if r.slash >= 0 && !r.slashOpen {
		r.plain = newCoverage(plain, names, "**")
	}
	if r.slash >= 0 {
		names = append(names, encodedSlash)
	}
	r.all = newCoverage(r.classes.List, names, "**")
}

func dedupeTexts(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (r *requests) describeMethods(set []int) []string {
	set = sorted(set)
	set = slices.Compact(set)
	text := func(i int) bool { return r.reads && slices.Contains(r.methods[i].names, textMethod) }
	if len(set) == 1 && text(set[0]) {
		return []string{textMethod}
	}
	all := len(r.methods)
	if r.reads {
		all-- // text messages are told by themselves
	}
	if len(set) == all {
		return nil
	}
	var names, others []string
	rest := false
	for i, m := range r.methods {
		if slices.Contains(set, i) {
			names = append(names, m.names...)
			rest = rest || m.rest
		} else if !text(i) {
			others = append(others, m.names...)
		}
	}
	slices.Sort(names)
	slices.Sort(others)
	if rest {
		return []string{"every method but " + strings.Join(others, ", ")}
	}
	return names
}

// describe names a set of messages: of operations with their fields only the
// largest sets that are let through, or the smallest that are not any more.
func (k *kinds) describe(list []*message, smallest bool) []string {
	type product struct {
		key  string
		m    *message
		ages string
		sets [][]int
	}
	// A package's ages are told together.
	whole := func(m *message) string {
		key := m.head()
		for _, one := range m.parts {
			key += fmt.Sprintf(" %p %d", one.of, one.class)
		}
		return key
	}
	ages := map[string][]string{}
	for _, m := range list {
		if m.form == packaged && m.name != "" && !slices.Contains(ages[whole(m)], m.name) {
			ages[whole(m)] = append(ages[whole(m)], m.name)
		}
	}
	var all []*product
	for _, m := range list {
		covered := slices.ContainsFunc(list, func(o *message) bool {
			if m.form != operation || o.form != operation || o == m || o.kind != m.kind || o.name != m.name || len(o.atoms) == len(m.atoms) {
				return false
			}
			small, large := m, o
			if smallest {
				small, large = o, m
			}
			return !slices.ContainsFunc(small.atoms, func(i int) bool { return !slices.Contains(large.atoms, i) })
		})
		if covered {
			continue
		}
		p := &product{key: m.head() + fmt.Sprint(m.atoms), m: m}
		if list := ages[whole(m)]; m.form == packaged && m.name != "" && len(list) < k.ages {
			p.ages = strings.Join(list, " or ")
			p.key += p.ages
		}
		for _, one := range m.parts {
			p.key += fmt.Sprintf(" %p", one.of)
			p.sets = append(p.sets, []int{one.class})
		}
		all = append(all, p)
	}
	for i := range mostParts(list) {
		byKey := map[string]*product{}
		var next []*product
		for _, p := range all {
			key := p.key
			for n, set := range p.sets {
				if n != i {
					key += fmt.Sprint(sorted(set))
				}
			}
			if first := byKey[key]; first != nil && i < len(p.sets) {
				first.sets[i] = append(first.sets[i], p.sets[i]...)
				continue
			}
			byKey[key] = p
			next = append(next, p)
		}
		all = next
	}
	var out []string
	for _, p := range all {
		text := p.m.head()
		for i, one := range p.m.parts {
			names := one.of.cover.names(p.sets[i])
			if names == nil {
				if one.label != "" && !strings.HasPrefix(one.label, alsoIs) {
					continue
				}
				names = []string{one.of.cover.every}
			}
			if one.label != "" {
				text += " " + one.label
			}
			text += " " + strings.Join(names, ", ")
		}
		if p.m.form == operation {
			if names := k.rootFields.cover.names(p.m.atoms); names != nil {
				text += " with root fields " + strings.Join(names, ", ")
			}
		}
		if p.ages != "" {
			text += " " + p.ages
		}
		out = append(out, text)
	}
	return dedupeTexts(out)
}

func mostParts(list []*message) int {
	n := 0
	for _, m := range list {
		n = max(n, len(m.parts))
	}
	return n
}

// head says in words what kind of message it is.
func (m *message) head() string {
	switch m.form {
	case operation:
		return m.kind
	case stored:
		return "stored operation " + m.key
	case call:
		if m.tool != "" {
			return "call of tool"
		}
		return "call of"
	case answer:
		return "responses to the server"
	case stream:
		return "the server's stream"
	case ending:
		return "the end of a session"
	case fetch:
		if m.discovery {
			return "question before a fetch"
		}
		return "fetch"
	case push:
		switch {
		case m.discovery:
			return "question before a push"
		case m.delete:
			return "deletion of"
		case m.forced:
			return "forced push of"
		}
		return "push of"
	case called:
		return "gRPC call"
	case packaged:
		return m.kind + packageOf(m)
	case unread:
	}
	return "what cannot be read"
}

func packageOf(m *message) string {
	if len(m.parts) > 0 && m.parts[0].label == "" {
		return " of"
	}
	return ""
}

func (r *requests) describeQuery(q *request) string {
	var list []string
	for i, v := range r.byPlace[[2]int{q.path, q.method}].keys {
		list = append(list, v.describe(q.query[i]))
	}
	return strings.Join(list, "; ")
}

func (w *callers) cover() *coverage {
	if w.coverage == nil {
		w.coverage = newCoverage(w.classes.List, w.programs, "any known program")
	}
	return w.coverage
}

// describe names sets of callers.
func (w *callers) describe(set []int) []string {
	var out []string
	unknown := false
	bySum := map[string][]int{}
	var combined []string
	for _, i := range set {
		c := &w.list[i]
		switch {
		case !c.known:
			unknown = true
		case len(c.members) == 0:
			text := w.program(c.program)
			if c.sha256 != "" {
				text += " with sha256 " + c.sha256
			}
			for _, a := range c.ancestors {
				text += " started by " + w.program(a)
			}
			combined = append(combined, text)
		}
		for _, m := range c.members {
			bySum[m.sha256] = append(bySum[m.sha256], m.program)
		}
	}
	// Programs whose content does not matter, then those of one content.
	var plain []int
	for i := range w.classes.List {
		every := true
		for _, sum := range w.digests {
			every = every && slices.Contains(bySum[sum], i)
		}
		if every {
			plain = append(plain, i)
		}
	}
	if len(plain) == len(w.classes.List) {
		if unknown {
			return []string{"any program"}
		}
		out = append(out, "any known program")
	} else {
		out = append(out, w.cover().names(plain)...)
	}
	for _, sum := range w.digests {
		var some []int
		for _, i := range bySum[sum] {
			if !slices.Contains(plain, i) {
				some = append(some, i)
			}
		}
		if len(some) == 0 {
			continue
		}
		names := w.cover().names(some)
		if names == nil {
			names = []string{"any known program"}
		}
		for _, n := range names {
			if sum == "" {
				out = append(out, n+" with a sha256 other than "+strings.Join(w.digests[1:], ", "))
			} else {
				out = append(out, n+" with sha256 "+sum)
			}
		}
	}
	out = append(out, combined...)
	if unknown {
		out = append(out, "a program that is not known")
	}
	return out
}

func (w *callers) program(class int) string {
	names := w.cover().names([]int{class})
	if names == nil {
		return "any program"
	}
	return names[0]
}

// describeHosts names a set of host classes.
func (a *analysis) describeHosts(set []*hostClass) []string {
	in := map[*hostClass]bool{}
	for _, c := range set {
		in[c] = true
	}
	if a.patternClasses == nil {
		a.patternClasses = map[string][]*hostClass{}
		for i := range a.hostMap.classes {
			c := &a.hostMap.classes[i]
			for _, p := range c.inside {
				a.patternClasses[p] = append(a.patternClasses[p], c)
			}
		}
	}
	var patterns []string
	for _, c := range set {
		for _, p := range c.inside {
			if !slices.Contains(patterns, p) {
				patterns = append(patterns, p)
			}
		}
	}
	slices.SortStableFunc(patterns, func(x, y string) int {
		return cmp.Compare(len(a.patternClasses[y]), len(a.patternClasses[x]))
	})
	var out []string
	done := map[*hostClass]bool{}
	for _, p := range patterns {
		whole, adds := true, false
		for _, c := range a.patternClasses[p] {
			whole = whole && in[c]
			adds = adds || !done[c]
		}
		if whole && adds {
			out = append(out, p)
			for _, c := range a.patternClasses[p] {
				done[c] = true
			}
		}
	}
	for _, c := range set {
		switch {
		case done[c]:
		case c.literal:
			out = append(out, c.witness.String())
		case len(c.inside) > 0:
			out = append(out, a.describeHost(c))
		case c.witness.IsAddr():
			out = append(out, "every address that is not named")
		default:
			text := "every name that is not named"
			if slices.ContainsFunc(a.sides, func(s *side) bool { return len(s.guards) > 0 }) {
				text += ", and is not of a model service"
			}
			out = append(out, text)
		}
	}
	return out
}

// describeHost is one pattern without the others that lie in it.
func (a *analysis) describeHost(c *hostClass) string {
	narrow := c.inside[0]
	for _, p := range c.inside {
		if len(a.patternClasses[p]) < len(a.patternClasses[narrow]) {
			narrow = p
		}
	}
	text := narrow
	for _, p := range c.inside {
		for _, o := range a.patternClasses[narrow] {
			if !slices.Contains(a.patternClasses[p], o) {
				text += " that is also " + p
				break
			}
		}
	}
	var without []string
	for _, o := range a.patternClasses[narrow] {
		if o.literal {
			without = append(without, o.witness.String())
			continue
		}
		for _, p := range o.inside {
			if !slices.Contains(c.inside, p) && !slices.Contains(without, p) {
				without = append(without, p)
			}
		}
	}
	if len(without) > 0 {
		text += " but not " + strings.Join(without, ", ")
	}
	return text
}
