package automaton

import "sync"

// machine makes an automaton of a transition function with few states.
func machine[S comparable](start S, step func(S, byte) S, accept func(S) bool) *Automaton {
	a := &Automaton{width: 256}
	for c := range 256 {
		a.class[c] = uint8(c)
	}
	index := map[S]int32{start: 0}
	states := []S{start}
	for i := 0; i < len(states); i++ {
		a.accept = append(a.accept, accept(states[i]))
		for c := range 256 {
			to := step(states[i], byte(c))
			n, ok := index[to]
			if !ok {
				n = int32(len(states))
				index[to] = n
				states = append(states, to)
			}
			a.next = append(a.next, n)
		}
	}
	return a.mergeClasses().Minimal()
}

// dots are the first characters of a path segment, as far as "." and ".." need.
type dots uint8

const (
	none dots = iota
	one
	two
	other
)

func (d dots) add(c byte) dots {
	switch {
	case c != '.' || d == other || d == two:
		return other
	case d == none:
		return one
	}
	return two
}

func (d dots) hidden() bool { return d == one || d == two }

type pathState struct {
	phase uint8 // 0 before the first slash, 1 in a segment, 2 and 3 in an escape, 4 no path
	begun bool  // the segment has text
	dots  dots
	high  uint8 // the escape's first digit
}

// Paths are the canonical paths of requests as target.Parse gives them, encoded
// slashes included.
var Paths = sync.OnceValue(func() *Automaton {
	dead := pathState{phase: 4}
	return machine(pathState{}, func(s pathState, c byte) pathState {
		switch s.phase {
		case 0:
			if c == '/' {
				return pathState{phase: 1}
			}
		case 1:
			switch {
			case c == '/' && s.begun && !s.dots.hidden():
				return pathState{phase: 1}
			case c == '/':
			case c == '%':
				return pathState{phase: 2, begun: s.begun, dots: s.dots}
			case pathByte(c):
				return pathState{phase: 1, begun: true, dots: s.dots.add(c)}
			}
		case 2:
			if h, ok := upperHex(c); ok {
				return pathState{phase: 3, begun: s.begun, dots: s.dots, high: h}
			}
		case 3:
			low, ok := upperHex(c)
			b := s.high<<4 | low
			switch {
			case !ok || b < 0x20 || b == 0x7f || b == ';' || pathByte(b):
			case b == '/' || b == '\\':
				// Readers that decode once more see a segment end here.
				if !s.dots.hidden() {
					return pathState{phase: 1, begun: true}
				}
			default:
				return pathState{phase: 1, begun: true, dots: other}
			}
		}
		return dead
	}, func(s pathState) bool { return s.phase == 1 && !s.dots.hidden() })
})

// PlainPaths are those without an encoded slash.
var PlainPaths = sync.OnceValue(func() *Automaton {
	a, err := Minus(Paths(), EncodedSlash())
	if err != nil {
		return Nothing() // cannot be: the two have some tens of states
	}
	return a
})

// EncodedSlash are the paths that hold an encoded slash.
var EncodedSlash = sync.OnceValue(func() *Automaton {
	return machine(0, func(s int, c byte) int {
		switch {
		case s == 3:
			return 3
		case c == '%':
			return 1
		case s == 1 && c == '2':
			return 2
		case s == 2 && c == 'F':
			return 3
		}
		return 0
	}, func(s int) bool { return s == 3 })
})

// pathByte: what stands for itself in a canonical path (see target.isPathByte).
func pathByte(c byte) bool {
	switch c {
	case '-', '.', '_', '~', '!', '$', '&', '\'', '(', ')', '*', '+', ',', '=', ':', '@':
		return true
	}
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func upperHex(c byte) (uint8, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// label is what is known of the label that is read.
type label uint8

const (
	begins  label = iota
	zero          // "0"
	decimal       // digits
	hexa          // "0x" and hexadecimal digits: with the above, such a last label makes an address
	text
	hyphen // the label cannot end here
	noName
)

type hostState struct {
	label  label
	length uint8
}

func (l label) add(c byte) label {
	switch {
	case c == '-' && l == begins:
		return noName
	case c == '-':
		return hyphen
	case c >= '0' && c <= '9':
		switch l {
		case begins:
			if c == '0' {
				return zero
			}
			return decimal
		case zero, decimal:
			return decimal
		case hexa:
			return hexa
		}
		return text
	case c == 'x' && l == zero:
		return hexa
	case c >= 'a' && c <= 'f' && l == hexa:
		return hexa
	case c >= 'a' && c <= 'z' || c == '_':
		return text
	}
	return noName
}

// hostNames: longest is the bound of a label, or 0 to leave it out.
func hostNames(longest uint8) *Automaton {
	dead := hostState{label: noName}
	return machine(hostState{}, func(s hostState, c byte) hostState {
		if s.label == noName {
			return dead
		}
		if c == '.' {
			if s.label == begins || s.label == hyphen {
				return dead
			}
			return hostState{}
		}
		s.label = s.label.add(c)
		if s.label == noName {
			return dead
		}
		if longest > 0 {
			if s.length++; s.length > longest {
				return dead
			}
		}
		return s
	}, func(s hostState) bool { return s.label == text })
}

// HostNames are the canonical names of hosts, as far as they can be told
// without counting; addresses are none. HostNamesCounted are those whose labels
// have at most 63 bytes, too, in some hundreds of states.
var (
	HostNames        = sync.OnceValue(func() *Automaton { return hostNames(0) })
	HostNamesCounted = sync.OnceValue(func() *Automaton { return hostNames(63) })
)

type programState struct {
	phase uint8 // 0 before the first slash, 1 in a component, 2 no path
	begun bool
	dots  dots
}

// Programs are the clean absolute paths of executables.
var Programs = sync.OnceValue(func() *Automaton {
	dead := programState{phase: 2}
	return machine(programState{}, func(s programState, c byte) programState {
		switch {
		case c == 0 || s.phase == 2:
		case s.phase == 0 && c == '/':
			return programState{phase: 1}
		case s.phase == 0:
		case c == '/' && s.begun && !s.dots.hidden():
			return programState{phase: 1}
		case c == '/':
		default:
			return programState{phase: 1, begun: true, dots: s.dots.add(c)}
		}
		return dead
	}, func(s programState) bool { return s.phase == 1 && s.begun && !s.dots.hidden() })
})

// Values are decoded query values: UTF-8 (RFC 3629 §4).
var Values = sync.OnceValue(func() *Automaton {
	type state struct{ left, low, high uint8 }
	dead := state{left: 9}
	return machine(state{}, func(s state, c byte) state {
		switch {
		case s.left == 9:
		case s.left > 0:
			if c >= s.low && c <= s.high {
				if s.left == 1 {
					return state{}
				}
				return state{s.left - 1, 0x80, 0xBF}
			}
		case c < 0x80:
			return state{}
		case c >= 0xC2 && c <= 0xDF:
			return state{1, 0x80, 0xBF}
		case c == 0xE0:
			return state{2, 0xA0, 0xBF}
		case c == 0xED:
			return state{2, 0x80, 0x9F}
		case c >= 0xE1 && c <= 0xEF:
			return state{2, 0x80, 0xBF}
		case c == 0xF0:
			return state{3, 0x90, 0xBF}
		case c >= 0xF1 && c <= 0xF3:
			return state{3, 0x80, 0xBF}
		case c == 0xF4:
			return state{3, 0x80, 0x8F}
		}
		return dead
	}, func(s state) bool { return s.left == 0 })
})

// HoldsNUL are the texts with a NUL byte.
var HoldsNUL = sync.OnceValue(func() *Automaton {
	return machine(false, func(s bool, c byte) bool { return s || c == 0 }, func(s bool) bool { return s })
})
