package glob

import (
	"math/bits"
	"strings"
)

// Glob is a compiled pattern: immutable, cheap to copy. The zero Glob matches
// nothing.
type Glob struct{ p *program }

// program is a pattern split into a literal head, a literal tail and the
// automaton of what lies between, because most patterns of policies are text
// with one wildcard.
type program struct {
	text       string
	nodes      []Node
	sep        byte
	head, tail string
	kind       middle
	auto       automaton
}

// middle says how the part between head and tail is matched.
type middle uint8

const (
	nothing    middle = iota // matches no text; the zero value
	empty                    // the pattern is the literal head
	component                // any run without separator
	everything               // any run
	simulate                 // the automaton
)

// Compile parses and compiles a pattern for a separator.
func Compile(pattern string, sep byte) (Glob, error) {
	nodes, err := parse(pattern, sep)
	if err != nil {
		return Glob{}, err
	}
	p := &program{text: pattern, nodes: nodes, sep: sep}
	rest := nodes
	p.head, rest = literalHead(rest)
	p.tail, rest = literalTail(rest)
	switch {
	case len(rest) == 0:
		p.kind = empty
	case len(rest) == 1 && rest[0].Kind == Run && rest[0].Set == anyByte():
		p.kind = everything
	case len(rest) == 1 && rest[0].Kind == Run && rest[0].Set == allBut(sep):
		p.kind = component
	default:
		p.kind = simulate
		p.auto = build(rest)
	}
	return Glob{p}, nil
}

// Match reports whether the whole text matches.
func (g Glob) Match(s string) bool {
	p := g.p
	if p == nil || len(s) < len(p.head)+len(p.tail) || !strings.HasPrefix(s, p.head) || !strings.HasSuffix(s, p.tail) {
		return false
	}
	s = s[len(p.head) : len(s)-len(p.tail)]
	switch p.kind {
	case empty:
		return s == ""
	case component:
		return strings.IndexByte(s, p.sep) < 0
	case everything:
		return true
	case simulate:
		return p.auto.match(s)
	case nothing:
	}
	return false
}

// Literal reports the only text that the pattern matches, if there is just one.
func (g Glob) Literal() (string, bool) {
	if g.p == nil || g.p.kind != empty {
		return "", false
	}
	return g.p.head + g.p.tail, true
}

func (g Glob) IsZero() bool { return g.p == nil }

// Dropped reports whether the pattern has an empty alternative beside others, as
// in `{a,}`, which takes nothing.
func Dropped(pattern string, sep byte) bool {
	p := &parser{text: pattern, sep: sep}
	_, err := p.sequence(0)
	return err == nil && p.dropped
}

// Nodes is the parsed pattern, for analysis. It must not be changed.
func (g Glob) Nodes() []Node {
	if g.p == nil {
		return nil
	}
	return g.p.nodes
}

func (g Glob) Separator() byte {
	if g.p == nil {
		return 0
	}
	return g.p.sep
}

// String is the pattern as it was written.
func (g Glob) String() string {
	if g.p == nil {
		return ""
	}
	return g.p.text
}

func literalHead(seq []Node) (string, []Node) {
	var head []byte
	for len(seq) > 0 && seq[0].Kind == Byte {
		b, ok := seq[0].Set.only()
		if !ok {
			break
		}
		head = append(head, b)
		seq = seq[1:]
	}
	return string(head), seq
}

func literalTail(seq []Node) (string, []Node) {
	var tail []byte
	for len(seq) > 0 && seq[len(seq)-1].Kind == Byte {
		b, ok := seq[len(seq)-1].Set.only()
		if !ok {
			break
		}
		tail = append(tail, b)
		seq = seq[:len(seq)-1]
	}
	for i, j := 0, len(tail)-1; i < j; i, j = i+1, j-1 {
		tail[i], tail[j] = tail[j], tail[i]
	}
	return string(tail), seq
}

// automaton is the position automaton (Glushkov) of a pattern: one state per
// Byte or Run, entered by reading a byte of its set, and state 0 for the start.
// It has no empty moves, so that one step is a union of follow sets and one
// mask: the cost of a text is its length times the states that are alive.
type automaton struct {
	words  int        // of 64 states each
	class  [256]uint8 // bytes that no set tells apart share a class
	masks  []uint64   // words per class: the states that can read it
	follow []uint64   // words per state: the states that can come next
	accept []uint64
}

// maxWords holds every pattern: a byte of pattern gives at most two states,
// and a start.
const maxWords = (2*MaxPattern)/64 + 1

type builder struct {
	sets   []Set
	follow [][]int
}

func build(seq []Node) automaton {
	b := &builder{sets: []Set{{}}, follow: [][]int{nil}}
	last := b.sequence(seq, []int{0})

	n := len(b.sets)
	a := automaton{words: (n + 63) / 64}
	a.follow = make([]uint64, n*a.words)
	a.accept = make([]uint64, a.words)
	for from, list := range b.follow {
		for _, to := range list {
			a.follow[from*a.words+to/64] |= 1 << (to % 64)
		}
	}
	for _, s := range last {
		a.accept[s/64] |= 1 << (s % 64)
	}
	a.classes(b.sets)
	return a
}

// classes gives every byte its class. There are at most 256 of them.
func (a *automaton) classes(sets []Set) {
	mask := make([]uint64, a.words)
next:
	for c := range 256 {
		clear(mask)
		for i, s := range sets {
			if s.Has(byte(c)) {
				mask[i/64] |= 1 << (i % 64)
			}
		}
		for k := 0; k*a.words < len(a.masks); k++ {
			if equal(a.masks[k*a.words:(k+1)*a.words], mask) {
				a.class[c] = uint8(k)
				continue next
			}
		}
		a.class[c] = uint8(len(a.masks) / a.words)
		a.masks = append(a.masks, mask...)
	}
}

func equal(a, b []uint64) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// sequence adds the states of a sequence that begins behind the states of from,
// and returns the states in which it may end.
func (b *builder) sequence(seq []Node, from []int) []int {
	for _, n := range seq {
		switch n.Kind {
		case Byte:
			from = []int{b.state(n.Set, from)}
		case Run:
			s := b.state(n.Set, from)
			b.follow[s] = append(b.follow[s], s)
			from = append(from[:len(from):len(from)], s)
		case Alt:
			var ends []int
			for _, alt := range n.Alts {
				ends = append(ends, b.sequence(alt, from)...)
			}
			from = unique(ends)
		}
	}
	return from
}

func (b *builder) state(set Set, from []int) int {
	s := len(b.sets)
	b.sets = append(b.sets, set)
	b.follow = append(b.follow, nil)
	for _, f := range from {
		b.follow[f] = append(b.follow[f], s)
	}
	return s
}

func unique(list []int) []int {
	seen := make(map[int]bool, len(list))
	out := list[:0]
	for _, v := range list {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

func (a *automaton) match(s string) bool {
	if a.words > 1 {
		return a.matchWide(s)
	}
	alive := uint64(1)
	for i := 0; i < len(s); i++ {
		var next uint64
		for w := alive; w != 0; w &= w - 1 {
			next |= a.follow[bits.TrailingZeros64(w)]
		}
		if alive = next & a.masks[a.class[s[i]]]; alive == 0 {
			return false
		}
	}
	return alive&a.accept[0] != 0
}

func (a *automaton) matchWide(s string) bool {
	var one, two [maxWords]uint64
	alive, next := one[:a.words], two[:a.words]
	alive[0] = 1
	for i := 0; i < len(s); i++ {
		clear(next)
		for j, w := range alive {
			for ; w != 0; w &= w - 1 {
				from := j*64 + bits.TrailingZeros64(w)
				for k, f := range a.follow[from*a.words : (from+1)*a.words] {
					next[k] |= f
				}
			}
		}
		var any uint64
		mask := a.masks[int(a.class[s[i]])*a.words:]
		for k := range next {
			next[k] &= mask[k]
			any |= next[k]
		}
		if any == 0 {
			return false
		}
		alive, next = next, alive
	}
	for k, w := range alive {
		if w&a.accept[k] != 0 {
			return true
		}
	}
	return false
}
