package automaton

import "sync"

// The same name may be written in several ways in the paths of a registry
// (policy/registry). These are the sets of what is written for the names of a set.

// spelled are the texts within some set that are read as a text of a class. read
// gives, of a byte in a state, the next state and what is read by then; whole says of
// the last state whether the text may end there.
func spelled[S comparable](c *Classes, within *Automaton, start S, read func(S, byte) (S, string), whole func(S) bool) (*Classes, error) {
	within = within.whole()
	if len(c.of) > MaxStates/4 {
		return nil, &TooLargeError{"the spellings of names"}
	}
	type state struct {
		spelling     S
		text, within int32
	}
	table := &Automaton{width: 256}
	for b := range 256 {
		table.class[b] = uint8(b)
	}
	out := &Classes{List: c.List}
	index := map[state]int32{{spelling: start}: 0}
	states := []state{{spelling: start}}
	for i := 0; i < len(states); i++ {
		s := states[i]
		of := int32(-1)
		if whole(s.spelling) && within.accept[s.within] {
			of = c.of[s.text]
		}
		out.of = append(out.of, of)
		table.accept = append(table.accept, false)
		for b := range 256 {
			to := s
			var text string
			to.spelling, text = read(s.spelling, byte(b))
			to.text, to.within = c.walk(s.text, text), within.step(s.within, byte(b))
			n, ok := index[to]
			if !ok {
				n = int32(len(states))
				index[to] = n
				states = append(states, to)
			}
			table.next = append(table.next, n)
		}
	}
	table = table.mergeClasses()
	out.class, out.width, out.next, out.work = table.class, table.width, table.next, len(states)*256
	return out, nil
}

// Texts are those of any class.
func (c *Classes) Texts() *Automaton {
	return c.where(func(of int32) bool { return of >= 0 }).Minimal()
}

// Written are the texts of classes that are within some set; NUL is a mark in them that
// is not read (Chain).
func Written(c *Classes, within *Automaton) (*Classes, error) {
	return spelled(c, within, false, func(_ bool, b byte) (bool, string) { return false, unmarked(b) }, func(bool) bool { return true })
}

func unmarked(b byte) string {
	if b == 0 {
		return ""
	}
	return string([]byte{b})
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c - 'A' + 'a'
	}
	return c
}

// PyPISpelled are the spellings of names of PyPI: letters in either case, and runs of
// hyphens, underscores and dots for a hyphen; at the ends they are nothing (PEP 503).
func PyPISpelled(c *Classes, within *Automaton) (*Classes, error) {
	type state struct{ begun, run bool }
	in, err := And(within, names(either(letterOrDigit, oneOf("_")), either(letterOrDigit, oneOf("-_.")), 0, false))
	if err != nil {
		return nil, err
	}
	return spelled(c, in, state{}, func(s state, c byte) (state, string) {
		switch {
		case oneOf("-_.")(c):
			return state{s.begun, true}, ""
		case s.begun && s.run:
			return state{begun: true}, string([]byte{'-', lower(c)})
		}
		return state{begun: true}, string([]byte{lower(c)})
	}, func(state) bool { return true })
}

// CratesSpelled are the spellings of names of crates: letters in either case, and
// hyphens and underscores for each other. No name begins with a hyphen.
func CratesSpelled(c *Classes, within *Automaton) (*Classes, error) {
	in, err := Minus(within, crateNone())
	if err != nil {
		return nil, err
	}
	return spelled(c, in, false, func(_ bool, b byte) (bool, string) {
		if b == '_' {
			b = '-'
		}
		return false, unmarked(lower(b))
	}, func(bool) bool { return true })
}

// crateNone are the texts that begin with a hyphen.
var crateNone = sync.OnceValue(func() *Automaton {
	return words(oneOf("-"), func(byte) bool { return true })
})

// GoSpelled are the escaped paths and versions of Go modules: an upper case letter is
// an exclamation mark and the small one (go.dev/ref/mod, GOPROXY protocol).
func GoSpelled(c *Classes, within *Automaton) (*Classes, error) {
	type state struct{ mark, bad bool }
	return spelled(c, within, state{}, func(s state, c byte) (state, string) {
		small := c >= 'a' && c <= 'z'
		switch {
		case s.bad, s.mark && !small, c >= 'A' && c <= 'Z':
			return state{bad: true}, ""
		case s.mark:
			return state{}, string([]byte{c - 'a' + 'A'})
		case c == '!':
			return state{mark: true}, ""
		}
		return state{}, string([]byte{c})
	}, func(s state) bool { return !s.mark && !s.bad })
}

// NPMSpelled are names of npm as paths have them: the slash of a scoped name may be
// encoded.
func NPMSpelled(c *Classes, within *Automaton) (*Classes, error) {
	type state struct {
		escape int // bytes of "%2F" that are read
		bad    bool
	}
	const slash = "%2F"
	return spelled(c, within, state{}, func(s state, c byte) (state, string) {
		switch {
		case c == 0 && s.escape == 0:
			return s, ""
		case s.bad, s.escape > 0 && c != slash[s.escape]:
			return state{bad: true}, ""
		case c != slash[s.escape]:
			return state{}, string([]byte{c})
		case s.escape == len(slash)-1:
			return state{}, "/"
		}
		return state{escape: s.escape + 1}, ""
	}, func(s state) bool { return s.escape == 0 && !s.bad })
}

// FoldersWithout are the beginnings of paths, whole segments with the slash before
// each, or nothing, in which no segment is one of some names.
func FoldersWithout(names ...string) (*Automaton, error) {
	with, err := Texts(names...)
	if err != nil {
		return nil, err
	}
	type state struct {
		phase uint8 // 0 before a slash, 1 in a segment, 2 none
		text  int32 // of the segment
	}
	return machine(state{}, func(s state, c byte) state {
		switch {
		case s.phase == 2, s.phase == 0 && c != '/':
			return state{phase: 2}
		case s.phase == 0:
			return state{phase: 1}
		case c == '/' && with.accept[s.text]:
			return state{phase: 2}
		case c == '/':
			return state{phase: 1}
		}
		return state{1, with.step(s.text, c)}
	}, func(s state) bool { return s.phase == 0 || s.phase == 1 && !with.accept[s.text] }), nil
}

// OnlyOf are the texts of nothing but some bytes, Without those that hold none of
// them; the empty text is one.
func OnlyOf(bytes string) *Automaton {
	in := oneOf(bytes)
	return machine(true, func(s bool, c byte) bool { return s && in(c) }, func(s bool) bool { return s })
}

func Without(bytes string) *Automaton {
	in := oneOf(bytes)
	return machine(true, func(s bool, c byte) bool { return s && !in(c) }, func(s bool) bool { return s })
}
