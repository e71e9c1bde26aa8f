package automaton

import (
	"encoding/binary"
	"math/bits"
)

// Classes are all combinations of some sets that texts have.
type Classes struct {
	List  []Class // in the order of their witnesses, the shortest first
	class [256]uint8
	width int
	next  []int32
	of    []int32 // the class of a text that ends in a state; -1: none
	work  int
}

// Class is one combination: the texts that are in exactly these sets.
type Class struct {
	sets    []uint64
	Witness string // a shortest text of the class
}

// In reports whether the texts of the class are in set i.
func (c Class) In(i int) bool { return c.sets[i/64]>>(i%64)&1 != 0 }

// None reports whether the texts of the class are in no set at all.
func (c Class) None() bool {
	for _, w := range c.sets {
		if w != 0 {
			return false
		}
	}
	return true
}

// Count is the number of sets that the texts of the class are in.
func (c Class) Count() int {
	n := 0
	for _, w := range c.sets {
		n += bits.OnesCount64(w)
	}
	return n
}

// Work is what the construction took, in steps of some nanoseconds.
func (c *Classes) Work() int { return c.work }

// Of is the index of the class of a text, or false for a text that is not
// within what was classified.
func (c *Classes) Of(s string) (int, bool) {
	state := 0
	for i := 0; i < len(s); i++ {
		state = int(c.next[state*c.width+int(c.class[s[i]])])
	}
	i := c.of[state]
	return int(i), i >= 0
}

// Classify lists the combinations of sets that texts of within have. A nil
// within stands for all texts.
func Classify(within *Automaton, sets []*Automaton) (*Classes, error) {
	if within == nil {
		within = Everything()
	}
	parts := make([]*Automaton, 0, len(sets)+1)
	parts = append(parts, within.whole())
	for _, s := range sets {
		parts = append(parts, s.whole())
	}
	c := &Classes{}
	c.class, c.width = jointClasses(parts)
	order := readable(&c.class, c.width)

	b := newProduct(parts, c)
	if b.small == nil {
		return c, b.sparse(order)
	}
	b.state(-1, 0)
	// Breadth first, so that the first state of a class has a shortest text.
	n := len(parts)
	for state := 0; state < len(c.of); state++ {
		if c.work += c.width * n; state > MaxStates || c.work > maxSteps || len(b.tuples) > maxTuples {
			return nil, &TooLargeError{"patterns that overlap"}
		}
		at := len(c.next)
		c.next = append(c.next, make([]int32, c.width)...)
		if !b.live[b.tuples[state*n]] {
			for k := range c.width {
				c.next[at+k] = int32(state) // nothing comes of it
			}
			continue
		}
		to := int32(-1)
		for _, ch := range order {
			from := b.tuples[state*n : state*n+n]
			same := to >= 0 // most bytes lead where the one before led
			for i, p := range parts {
				if next := p.step(from[i], ch); next != b.tuple[i] {
					b.tuple[i] = next
					same = false
				}
			}
			if !same {
				to = b.state(int32(state), ch)
			}
			c.next[at+int(c.class[ch])] = to
		}
	}
	return c, nil
}

// product numbers the combinations of states of some automata.
type product struct {
	parts   []*Automaton
	out     *Classes
	tuple   []int32 // the one to look up
	tuples  []int32 // of all states, one after the other
	parent  []int32
	by      []byte
	live    []bool           // states of parts[0] from which a text can still come within
	small   map[uint64]int32 // nil where the combinations do not fit 64 bits
	classes map[string]int32
	key     []byte
}

func newProduct(parts []*Automaton, out *Classes) *product {
	b := &product{parts: parts, out: out, tuple: make([]int32, len(parts)), live: parts[0].live(), classes: map[string]int32{}}
	width := 0
	for _, p := range parts {
		width += bits.Len(uint(p.states()))
	}
	if width <= 64 {
		b.small = make(map[uint64]int32, 64)
	}
	return b
}

// find is the number of the combination b.tuple, which becomes next if it is new.
func (b *product) find(next int32) int32 {
	key := uint64(0)
	for i, s := range b.tuple {
		key = key<<bits.Len(uint(b.parts[i].states())) | uint64(s)
	}
	if i, ok := b.small[key]; ok {
		return i
	}
	b.small[key] = next
	return next
}

// state is the number of the product state b.tuple, which was reached from a
// parent by a byte.
func (b *product) state(parent int32, by byte) int32 {
	if !b.live[b.tuple[0]] {
		clear(b.tuple[1:]) // whatever the rest says, no text comes of it
	}
	next := int32(len(b.out.of))
	if i := b.find(next); i != next {
		return i
	}
	b.tuples = append(b.tuples, b.tuple...)
	if !b.parts[0].accept[b.tuple[0]] {
		b.add(parent, by, nil)
		return next
	}
	sets := make([]uint64, (len(b.parts)+62)/64)
	for i, p := range b.parts[1:] {
		if p.accept[b.tuple[i+1]] {
			sets[i/64] |= 1 << (i % 64)
		}
	}
	b.add(parent, by, sets)
	return next
}

// add numbers a new state. sets are those that a text which ends in it is in;
// nil: it is not within what is classified.
func (b *product) add(parent int32, by byte, sets []uint64) {
	b.parent = append(b.parent, parent)
	b.by = append(b.by, by)
	class := int32(-1)
	if sets != nil {
		class = b.classOf(int32(len(b.out.of)), sets)
	}
	b.out.of = append(b.out.of, class)
}

func (b *product) classOf(state int32, sets []uint64) int32 {
	b.key = b.key[:0]
	for _, w := range sets {
		b.key = binary.LittleEndian.AppendUint64(b.key, w)
	}
	if k, ok := b.classes[string(b.key)]; ok {
		return k
	}
	k := int32(len(b.out.List))
	b.classes[string(b.key)] = k
	var text []byte
	for s := state; s > 0; s = b.parent[s] {
		text = append(text, b.by[s])
	}
	reverse(text)
	b.out.List = append(b.out.List, Class{sets: sets, Witness: string(text)})
	return k
}

// jointClasses puts bytes that no part tells apart into one class.
func jointClasses(parts []*Automaton) (class [256]uint8, width int) {
	width = 1
	var known [256]struct{ from, own uint8 }
	for _, p := range parts {
		if p.width == 1 {
			continue
		}
		n := 0
	next:
		for c := range 256 {
			from, own := class[c], p.class[c]
			for i := n - 1; i >= 0; i-- {
				if known[i].from == from && known[i].own == own {
					class[c] = uint8(i)
					continue next
				}
			}
			known[n].from, known[n].own = from, own
			class[c] = uint8(n)
			n++
		}
		width = n
	}
	return class, width
}

// live are the states from which some text is accepted.
func (a *Automaton) live() []bool {
	n := a.states()
	back := make([][]int32, n)
	for s := range n {
		for k := range a.width {
			t := a.next[s*a.width+k]
			back[t] = append(back[t], int32(s))
		}
	}
	live := make([]bool, n)
	var queue []int32
	for s, in := range a.accept {
		if in {
			live[s] = true
			queue = append(queue, int32(s))
		}
	}
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, f := range back[s] {
			if !live[f] {
				live[f] = true
				queue = append(queue, f)
			}
		}
	}
	return live
}
