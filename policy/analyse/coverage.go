package analyse

import (
	"cmp"
	"slices"
	"strings"

	"github.com/creel-run/creel/policy/automaton"
)

// coverage names sets of classes by patterns. The names are exact: a pattern is
// named only if all of its classes are in the set; what is left over is told as
// one pattern without others.
type coverage struct {
	classes []automaton.Class
	every   string       // the name of all texts
	list    []namedClass // the widest first
}

type namedClass struct {
	name    string
	pattern int
	classes []int
}

// newCoverage takes the names of the sets that the classes are of.
func newCoverage(classes []automaton.Class, names []string, every string) *coverage {
	v := &coverage{classes: classes, every: every}
	for p, name := range names {
		c := namedClass{name: name, pattern: p}
		for i, class := range classes {
			if class.In(p) {
				c.classes = append(c.classes, i)
			}
		}
		if len(c.classes) > 0 {
			v.list = append(v.list, c)
		}
	}
	slices.SortStableFunc(v.list, func(x, y namedClass) int { return cmp.Compare(len(y.classes), len(x.classes)) })
	return v
}

// names of a set of classes; nil for all of them.
func (v *coverage) names(set []int) []string {
	in := make([]bool, len(v.classes))
	left := 0
	for _, i := range set {
		if !in[i] {
			in[i] = true
			left++
		}
	}
	if left == len(v.classes) {
		return nil
	}
	told := make([]bool, len(v.classes))
	var out []string
	for k := range v.list {
		c := &v.list[k]
		if left == 0 {
			break
		}
		adds := false
		if len(c.classes) > len(set) || slices.ContainsFunc(c.classes, func(i int) bool {
			adds = adds || !told[i]
			return !in[i]
		}) || !adds {
			continue
		}
		out = append(out, c.name)
		for _, i := range c.classes {
			if !told[i] {
				told[i] = true
				left--
			}
		}
	}
	for i := range in {
		if in[i] && !told[i] {
			out = append(out, v.rest(i))
		}
	}
	return out
}

// rest names one class: the narrowest pattern around it, and those that take the other
// classes off it.
func (v *coverage) rest(index int) string {
	class := v.classes[index]
	off := make([]int, 0, len(v.classes)) // the other classes of what is named
	for i := range v.classes {
		if i != index {
			off = append(off, i)
		}
	}
	keep := func(pattern int, inside bool) []int {
		return slices.DeleteFunc(slices.Clone(off), func(i int) bool { return v.classes[i].In(pattern) != inside })
	}
	var around []string
	var narrow *namedClass
	for k := len(v.list) - 1; k >= 0; k-- {
		c := &v.list[k]
		if !class.In(c.pattern) {
			continue
		}
		if narrow == nil {
			narrow = c
		} else if !slices.ContainsFunc(narrow.classes, func(i int) bool { return !v.classes[i].In(c.pattern) }) {
			continue // all of the narrow one lies in it
		}
		around, off = append(around, c.name), keep(c.pattern, true)
	}
	text := v.every
	if narrow != nil {
		text = strings.Join(around, " that is also ")
	}
	var without []string
	for k := range v.list {
		c := &v.list[k]
		if class.In(c.pattern) {
			continue
		}
		if left := keep(c.pattern, false); len(left) < len(off) {
			without, off = append(without, c.name), left
		}
	}
	if len(without) > 0 {
		text += " but not " + strings.Join(without, ", ")
	}
	return text
}
