package analyse

import (
	"cmp"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/automaton"
)

// Descriptions are exact: a pattern is named only if all of its classes are in
// the set; what is left over is told as one pattern without others.

// cover names a set of classes by patterns. every is the name of all
// texts. The answer is nil for all classes.
func cover(classes []automaton.Class, names []string, set []int, every string) []string {
	in := map[int]bool{}
	for _, i := range set {
		in[i] = true
	}
	if len(in) == len(classes) {
		return nil
	}
	type candidate struct {
		name    string
		pattern int
		classes []int
	}
	var list []candidate
	for p, name := range names {
		c := candidate{name: name, pattern: p}
		for i, class := range classes {
			if class.In(p) {
				c.classes = append(c.classes, i)
			}
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(x, y candidate) int { return cmp.Compare(len(y.classes), len(x.classes)) })
	left := map[int]bool{}
	for i := range in {
		left[i] = true
	}
	var out []string
	for _, c := range list {
		whole, adds := len(c.classes) > 0, false
		for _, i := range c.classes {
			whole = whole && in[i]
			adds = adds || left[i]
		}
		if !whole || !adds {
			continue
		}
		out = append(out, c.name)
		for _, i := range c.classes {
			delete(left, i)
		}
	}
	rest := make([]int, 0, len(left))
	for i := range left {
		rest = append(rest, i)
	}
	slices.Sort(rest)
	for _, i := range rest {
		// The narrowest pattern around the class, and what it loses of it.
		var around []string
		var narrow *candidate
		for k := len(list) - 1; k >= 0; k-- {
			c := &list[k]
			if !classes[i].In(c.pattern) {
				continue
			}
			if narrow == nil {
				narrow = c
				around = append(around, c.name)
				continue
			}
			if !subset(narrow.classes, c.classes) {
				around = append(around, c.name)
			}
		}
		text := every
		if narrow != nil {
			text = strings.Join(around, " that is also ")
		}
		var without []string
		for k := range list {
			c := &list[k]
			if classes[i].In(c.pattern) || narrow != nil && !meets(narrow.classes, c.classes) || len(c.classes) == 0 {
				continue
			}
			without = append(without, c.name)
		}
		if len(without) > 0 {
			text += " but not " + strings.Join(without, ", ")
		}
		out = append(out, text)
	}
	return out
}

func subset(a, b []int) bool {
	for _, i := range a {
		if !slices.Contains(b, i) {
			return false
		}
	}
	return true
}

func meets(a, b []int) bool {
	return slices.ContainsFunc(a, func(i int) bool { return slices.Contains(b, i) })
}

const encodedSlash = "paths with %2F"

// describePaths names a set of classes of paths. Where no endpoint lets an
// encoded slash through, patterns stand for the paths without one.
func (r *requests) describePaths(set []int) []string {
	names := make([]string, 0, len(r.paths)+1)
	for _, p := range r.paths {
		text, selector := strings.CutPrefix(p, selectorName)
		if bare, ok := strings.CutSuffix(text, "/**"); ok && selector {
			text = "{" + bare + "," + text + "}" // the same set as the path of a rule
		}
		text = strings.TrimPrefix(text, grantName)
		names = append(names, text)
	}
	if r.slash >= 0 {
		names = append(names, encodedSlash)
	}
	// Classes of paths that are too long do not occur.
	in, occurs := map[int]bool{}, map[int]bool{}
	for _, i := range set {
		in[i] = true
	}
	for _, q := range r.list {
		occurs[q.path] = true
	}
	if len(in) == len(occurs) {
		return nil
	}
	if r.slash < 0 || r.slashOpen {
		return dedupeTexts(cover(r.classes.List, names, set, "**"))
	}
	var plain []automaton.Class
	var some []int
	slashes, taken := 0, 0
	for i, class := range r.classes.List {
		switch {
		case !occurs[i]:
		case class.In(r.slash):
			slashes++
			if in[i] {
				taken++
			}
		default:
			if in[i] {
				some = append(some, len(plain))
			}
			plain = append(plain, class)
		}
	}
	if taken > 0 && taken < slashes {
		return dedupeTexts(cover(r.classes.List, names, set, "**"))
	}
	var out []string
	if len(some) > 0 {
		if out = dedupeTexts(cover(plain, names[:len(names)-1], some, "**")); out == nil {
			out = []string{"**"}
		}
	}
	if taken > 0 {
		out = append(out, encodedSlash)
	}
	if len(out) == 1 && out[0] == "**" {
		return nil
	}
	return out
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
	if len(set) == len(r.methods) {
		return nil
	}
	var names, others []string
	rest := false
	for i, m := range r.methods {
		if slices.Contains(set, i) {
			names = append(names, m.names...)
			rest = rest || m.rest
		} else {
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

func (r *requests) describeQuery(q *request) string {
	var list []string
	for i, v := range r.byPlace[[2]int{q.path, q.method}].keys {
		list = append(list, v.describe(q.query[i]))
	}
	return strings.Join(list, "; ")
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
		out = append(out, cover(w.classes.List, w.programs, plain, "any known program")...)
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
		names := cover(w.classes.List, w.programs, some, "any known program")
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
	names := cover(w.classes.List, w.programs, []int{class}, "any known program")
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
			out = append(out, "every name that is not named")
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
