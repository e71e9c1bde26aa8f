package secrets

import (
	"slices"
	"sync"
)

// catalogue is the rules, ready to be looked for.
type catalogue struct {
	words  *automaton // of all needs and gates, in small letters
	length []int      // of each word
	wakes  [][]int    // by word: rules that need it
	gates  [][][]int  // by rule: sets of words
	loose  []int      // rules without a need
	lazy   []func() *program
	sets   []*[256]bool // by rule: its chars
}

var theCatalogue = sync.OnceValue(func() *catalogue { return newCatalogue(table[:]) })

func newCatalogue(rules []rule) *catalogue {
	c := &catalogue{}
	index := map[string]int{}
	var words []string
	chars := map[string]*[256]bool{}
	number := func(w string) int {
		n, ok := index[w]
		if !ok {
			n = len(words)
			index[w] = n
			words = append(words, w)
			c.length, c.wakes = append(c.length, len(w)), append(c.wakes, nil)
		}
		return n
	}
	for i := range rules {
		r := &rules[i]
		for _, w := range r.need {
			n := number(w)
			c.wakes[n] = append(c.wakes[n], i)
		}
		if r.need == nil {
			c.loose = append(c.loose, i)
		}
		var sets [][]int
		for _, set := range r.gate {
			var s []int
			for _, w := range set {
				s = append(s, number(w))
			}
			sets = append(sets, s)
		}
		c.gates = append(c.gates, sets)
		c.lazy = append(c.lazy, sync.OnceValue(r.compile))
		if chars[r.chars] == nil {
			chars[r.chars] = r.set()
		}
		c.sets = append(c.sets, chars[r.chars])
	}
	var ok bool
	if c.words, ok = newAutomaton(words, true); !ok {
		panic("more rules than the automaton holds") // a table that a test builds
	}
	return c
}

// open reports whether words of all gates of a rule were seen.
func (c *catalogue) open(rule int, seen []bool) bool {
	for _, set := range c.gates[rule] {
		if !slices.ContainsFunc(set, func(w int) bool { return seen[w] }) {
			return false
		}
	}
	return true
}
