package analyse

import (
	"fmt"
	"slices"

	"github.com/creel-run/creel/policy/automaton"
)

// values are the lists of values of one query key that some matchers tell
// apart. A rule looks at such a list in two ways only: do all values match, and
// does any match. Both are told for a list from what they are for its values
// one by one, so the lists that differ are found by putting values together
// until nothing new comes.
type values struct {
	key      string
	matchers []string
	sets     []*automaton.Automaton
	shows    []string
	list     []condense
}

// condense is what a list of values comes to, for each matcher.
type condense struct {
	present  bool
	all, any uint64   // by matcher
	example  []string // a short list of this kind
}

func (c condense) meets(matcher int, deny bool) bool {
	if !c.present || matcher < 0 {
		return false
	}
	if deny {
		return c.any>>matcher&1 != 0
	}
	return c.all>>matcher&1 != 0
}

const (
	maxMatchers = 60  // of one key, at one path and method
	maxLists    = 512 // kinds of lists of one key
)

func (a *analysis) valuesOf(key string, matchers []string) (*values, error) {
	cached := fmt.Sprintf("%q %q", key, matchers)
	if v := a.valuesBy[cached]; v != nil {
		return v, nil
	}
	if len(matchers) > maxMatchers {
		return nil, &TooManyError{"conditions on one query key", maxMatchers}
	}
	v := &values{key: key, matchers: matchers}
	for _, m := range matchers {
		set, err := automaton.Matcher(a.matchers[m].m)
		if err != nil {
			return nil, err
		}
		if err := a.spend(set.Work() / stepsOfAutomata); err != nil {
			return nil, err
		}
		v.sets = append(v.sets, set)
		v.shows = append(v.shows, a.matchers[m].show)
	}
	classes, err := a.classify(automaton.Values(), append(slices.Clone(v.sets), automaton.HoldsNUL()))
	if err != nil {
		return nil, fmt.Errorf("query values: %w", err)
	}
	var single []condense
	for _, c := range classes.List {
		single = append(single, v.one(c.Witness))
	}
	v.list = []condense{{}}
	type kind struct{ all, any uint64 }
	seen := map[kind]bool{}
	add := func(c condense) {
		if k := (kind{c.all, c.any}); !seen[k] {
			seen[k] = true
			v.list = append(v.list, c)
		}
	}
	for _, c := range single {
		add(c)
	}
	for i := 1; i < len(v.list); i++ {
		for _, c := range single {
			add(v.list[i].with(c))
		}
		if len(v.list) > maxLists {
			return nil, &TooManyError{"kinds of values of one query key", maxLists}
		}
	}
	a.valuesBy[cached] = v
	return v, nil
}

// one is a list of a single value. A value with NUL matches no allow rule and
// every deny rule (target.Matchers).
func (v *values) one(value string) condense {
	c := condense{present: true, example: []string{value}}
	nul := automaton.HoldsNUL().Match(value)
	for i, set := range v.sets {
		in := set.Match(value)
		if in && !nul {
			c.all |= 1 << i
		}
		if in || nul {
			c.any |= 1 << i
		}
	}
	return c
}

func (c condense) with(o condense) condense {
	return condense{present: true, all: c.all & o.all, any: c.any | o.any, example: append(slices.Clone(c.example), o.example...)}
}

// of is the kind of a list of values.
func (v *values) of(list []string) condense {
	var c condense
	for i, text := range list {
		if i == 0 {
			c = v.one(text)
		} else {
			c = c.with(v.one(text))
		}
	}
	return c
}

// describe says what of a list matters.
func (v *values) describe(c condense) string {
	if !c.present {
		return v.key + " is absent"
	}
	text := ""
	for i, show := range v.shows {
		how := "no value of " + v.key + " is " + show
		switch {
		case c.all>>i&1 != 0:
			how = "every value of " + v.key + " is " + show
		case c.any>>i&1 != 0:
			how = "some value of " + v.key + " is " + show
		}
		if text != "" {
			text += ", "
		}
		text += how
	}
	return text
}
