package automaton

import (
	"slices"
	"sync"

	"github.com/creel-run/creel/policy/glob"
)

// The texts that the readers of messages give (policy/graphql, policy/jsonrpc,
// policy/git, policy/registry), without their bounds in length.

// Framed is the set of texts that a glob matches, each between a text before it
// and one behind it.
func Framed(before string, g glob.Glob, after string) (*Automaton, error) {
	p := newPositions()
	if !g.IsZero() {
		p.add(append(append(literal(before), g.Nodes()...), literal(after)...))
	}
	return p.determine("the glob " + clip(g.String()))
}

// words makes an automaton of the texts of one byte or more, first of one kind
// and then of another.
func words(first, later func(c byte) bool) *Automaton {
	return machine(0, func(s int, c byte) int {
		if s == 0 && first(c) || s == 1 && later(c) {
			return 1
		}
		return 2
	}, func(s int) bool { return s == 1 })
}

func lowerOrDigit(c byte) bool  { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func letterOrDigit(c byte) bool { return lowerOrDigit(c) || c >= 'A' && c <= 'Z' }
func nameByte(c byte) bool      { return letterOrDigit(c) || c == '_' }
func either(f ...func(byte) bool) func(byte) bool {
	return func(c byte) bool {
		for _, one := range f {
			if one(c) {
				return true
			}
		}
		return false
	}
}

func oneOf(text string) func(byte) bool {
	return func(c byte) bool {
		for i := range len(text) {
			if text[i] == c {
				return true
			}
		}
		return false
	}
}

// GraphQLNames are names of fields and operations (GraphQL §2.1.9).
var GraphQLNames = sync.OnceValue(func() *Automaton {
	return words(func(c byte) bool { return nameByte(c) && (c < '0' || c > '9') }, nameByte)
})

// Words are texts in UTF-8 without control characters, and not empty: methods of
// JSON-RPC, and tools of MCP where their names are not strict.
var Words = sync.OnceValue(func() *Automaton {
	type state struct {
		latin bool // the first of the two bytes of U+0080 to U+00BF
		bad   bool
		begun bool
	}
	plain := machine(state{}, func(s state, c byte) state {
		if s.bad || c < 0x20 || c == 0x7f || s.latin && c < 0xA0 {
			return state{bad: true}
		}
		return state{latin: c == 0xC2, begun: true}
	}, func(s state) bool { return s.begun && !s.bad })
	a, err := And(Values(), plain)
	if err != nil {
		return Nothing() // cannot be: the two have some tens of states
	}
	return a
})

// ToolNames are the strict names of tools.
var ToolNames = sync.OnceValue(func() *Automaton {
	c := either(nameByte, oneOf("-."))
	return words(c, c)
})

// GitRefs are the refs that a push may name (git-check-ref-format(1)).
var GitRefs = sync.OnceValue(func() *Automaton {
	const lock = ".lock"
	type state struct {
		prefix uint8 // of "refs/", read so far
		begun  bool  // the component has text
		last   byte  // '.' or '@', or 0
		lock   uint8 // of ".lock", read at the end
		bad    bool
	}
	const prefix = "refs/"
	plain := machine(state{}, func(s state, c byte) state {
		dead := state{bad: true}
		switch {
		case s.bad, c <= ' ', c == 0x7f, oneOf(`~^:?*[\`)(c):
			return dead
		case int(s.prefix) < len(prefix):
			if c != prefix[s.prefix] {
				return dead
			}
			return state{prefix: s.prefix + 1}
		case c == '/':
			if !s.begun || int(s.lock) == len(lock) {
				return dead
			}
			return state{prefix: s.prefix}
		case c == '.' && (!s.begun || s.last == '.'), c == '{' && s.last == '@':
			return dead
		}
		to := state{prefix: s.prefix, begun: true}
		if c == '.' || c == '@' {
			to.last = c
		}
		switch {
		case int(s.lock) < len(lock) && c == lock[s.lock]:
			to.lock = s.lock + 1
		case c == lock[0]:
			to.lock = 1
		}
		return to
	}, func(s state) bool {
		return !s.bad && int(s.prefix) == len(prefix) && s.begun && s.last != '.' && int(s.lock) != len(lock)
	})
	// The replacement character is what malformed bytes are read as.
	replacement := machine(0, func(s int, c byte) int {
		switch {
		case s == 3:
			return 3
		case c == 0xEF:
			return 1
		case s == 1 && c == 0xBF:
			return 2
		case s == 2 && c == 0xBD:
			return 3
		}
		return 0
	}, func(s int) bool { return s == 3 })
	a, err := And(Values(), plain)
	if err == nil {
		a, err = Minus(a, replacement)
	}
	if err != nil {
		return Nothing()
	}
	return a
})

// names are names of packages: parts between slashes, no two dots in a row.
func names(first, later func(byte) bool, slashes int, scope bool) *Automaton {
	type state struct {
		phase   uint8 // 0 at the start of a part, 1 in one, 2 no name
		scoped  bool  // begins with "@"
		slashes int
		dot     bool
		single  bool // the part is one dot so far
		started bool
	}
	dead := state{phase: 2}
	return machine(state{}, func(s state, c byte) state {
		switch {
		case s.phase == 2:
			return dead
		case scope && !s.started && c == '@':
			return state{scoped: true, started: true}
		case s.phase == 0:
			if !first(c) && !(slashes > 1 && s.slashes > 0 && later(c)) {
				return dead
			}
			return state{phase: 1, scoped: s.scoped, slashes: s.slashes, started: true, dot: c == '.', single: c == '.'}
		case c == '/':
			if scope && (!s.scoped || s.slashes > 0) || slashes == 0 || s.single {
				return dead
			}
			return state{scoped: s.scoped, slashes: 1, started: true}
		case c == '.' && s.dot, !later(c):
			return dead
		}
		return state{phase: 1, scoped: s.scoped, slashes: s.slashes, started: true, dot: c == '.'}
	}, func(s state) bool { return s.phase == 1 && !s.single && (!s.scoped || s.slashes == 1) })
}

// The names of packages, as their registries compare them.
var (
	NPMNames = sync.OnceValue(func() *Automaton {
		first := either(lowerOrDigit, oneOf("_"))
		return names(first, either(first, oneOf("-.")), 1, true)
	})
	PyPINames = sync.OnceValue(func() *Automaton {
		return machine(0, func(s int, c byte) int { // 0 at the start, 1 in a word, 2 behind a hyphen
			switch {
			case s != 3 && lowerOrDigit(c):
				return 1
			case s == 1 && c == '-':
				return 2
			}
			return 3
		}, func(s int) bool { return s == 0 || s == 1 })
	})
	GoModules = sync.OnceValue(func() *Automaton {
		return names(nameByte, either(nameByte, oneOf("-.~+")), 2, false)
	})
	Crates = sync.OnceValue(func() *Automaton {
		c := either(lowerOrDigit, oneOf("-"))
		return words(c, c)
	})
	DebianNames = sync.OnceValue(func() *Automaton {
		return names(letterOrDigit, either(letterOrDigit, oneOf("-+.")), 0, false)
	})
)

// PackageVersions are versions without some characters that a way of writing
// them has for itself.
func PackageVersions(without string) *Automaton {
	in := either(letterOrDigit, oneOf(".+-~!:_"))
	c := func(c byte) bool { return in(c) && !oneOf(without)(c) }
	type state struct {
		dots uint8 // 3: it is more than dots
		bad  bool
	}
	return machine(state{}, func(s state, b byte) state {
		switch {
		case s.bad || !c(b):
			return state{bad: true}
		case b == '.' && s.dots < 3:
			return state{dots: s.dots + 1}
		}
		return state{dots: 3}
	}, func(s state) bool { return !s.bad && s.dots > 2 })
}

// GRPCPaths are the paths of gRPC: /SERVICE/METHOD, both of identifiers, those of a
// service parted by dots.
var GRPCPaths = sync.OnceValue(func() *Automaton {
	type state struct {
		part  uint8 // 0 before the first slash, 1 in the service, 2 in the method, 3 no path
		begun bool  // the identifier has text
	}
	return machine(state{}, func(s state, c byte) state {
		switch {
		case s.part == 0 && c == '/', s.part == 1 && s.begun && c == '/':
			return state{part: s.part + 1}
		case s.part == 1 && s.begun && c == '.':
			return state{part: 1}
		case (s.part == 1 || s.part == 2) && nameByte(c) && (s.begun || c < '0' || c > '9'):
			return state{s.part, true}
		}
		return state{part: 3}
	}, func(s state) bool { return s.part == 2 && s.begun })
})

// GRPCMethods are the paths of the methods of services that two globs match.
func GRPCMethods(service, method glob.Glob) (*Automaton, error) {
	p := newPositions()
	if !service.IsZero() && !method.IsZero() {
		p.add(slices.Concat(literal("/"), service.Nodes(), literal("/"), method.Nodes()))
	}
	all, err := p.determine("the globs " + clip(service.String()+"/"+method.String()))
	if err != nil {
		return nil, err
	}
	return And(all, GRPCPaths())
}
