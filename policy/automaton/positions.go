package automaton

import (
	"encoding/binary"
	"slices"

	"github.com/creel-run/creel/policy/glob"
)

// positions is the position automaton of a pattern: one position for each byte
// or run, entered by reading a byte of its set; position 0 is the start.
type positions struct {
	sets   []glob.Set
	follow [][]int32
	accept []bool
}

func newPositions() *positions {
	return &positions{sets: make([]glob.Set, 1), follow: make([][]int32, 1), accept: make([]bool, 1)}
}

// add appends the positions of one sequence; ends become accepting.
func (p *positions) add(seq []glob.Node) {
	for _, end := range p.sequence(seq, []int32{0}) {
		p.accept[end] = true
	}
}

func (p *positions) sequence(seq []glob.Node, from []int32) []int32 {
	for _, n := range seq {
		switch n.Kind {
		case glob.Byte:
			from = []int32{p.enter(n.Set, from)}
		case glob.Run:
			at := p.enter(n.Set, from)
			p.follow[at] = append(p.follow[at], at)
			from = append(slices.Clone(from), at)
		case glob.Alt:
			var ends []int32
			for _, alt := range n.Alts {
				ends = append(ends, p.sequence(alt, from)...)
			}
			slices.Sort(ends)
			from = slices.Compact(ends)
		default:
			return nil // no such node: it matches nothing
		}
	}
	return from
}

func (p *positions) enter(set glob.Set, from []int32) int32 {
	at := int32(len(p.sets))
	p.sets = append(p.sets, set)
	p.follow = append(p.follow, nil)
	p.accept = append(p.accept, false)
	for _, f := range from {
		p.follow[f] = append(p.follow[f], at)
	}
	return at
}

// classes puts bytes that no set tells apart into one class.
func (p *positions) classes() (class [256]uint8, width int) {
	var distinct []glob.Set
	known := make(map[glob.Set]bool, 8)
	for _, s := range p.sets[1:] {
		if !known[s] {
			known[s] = true
			distinct = append(distinct, s)
		}
	}
	// Refine one class of all bytes by one set after the other.
	width = 1
	for _, s := range distinct {
		var inside [256]int16
		for i := range inside {
			inside[i] = -1
		}
		var outside [256]bool
		for c := range 256 {
			if !s.Has(byte(c)) {
				outside[class[c]] = true
			}
		}
		for c := range 256 {
			k := class[c]
			if !s.Has(byte(c)) || !outside[k] {
				continue // the class lies on one side
			}
			if inside[k] < 0 {
				inside[k] = int16(width)
				width++
			}
			class[c] = uint8(inside[k])
		}
	}
	return class, width
}

// determine is the subset construction.
func (p *positions) determine(what string) (*Automaton, error) {
	a := &Automaton{}
	a.class, a.width = p.classes()
	bytes := make([]byte, a.width) // one of each class
	for c := range 256 {
		bytes[a.class[c]] = byte(c)
	}
	index := map[string]int32{}
	var subsets [][]int32
	var key []byte
	find := func(subset []int32) int32 {
		key = key[:0]
		for _, s := range subset {
			key = binary.LittleEndian.AppendUint32(key, uint32(s))
		}
		if i, ok := index[string(key)]; ok {
			return i
		}
		i := int32(len(subsets))
		index[string(key)] = i
		subsets = append(subsets, slices.Clone(subset))
		accept := false
		for _, s := range subset {
			accept = accept || p.accept[s]
		}
		a.accept = append(a.accept, accept)
		return i
	}
	find([]int32{0})
	mark := make([]int32, len(p.sets))
	turn := int32(0)
	var subset []int32
	for state := 0; state < len(subsets); state++ {
		if len(subsets) > MaxStates || a.work > maxSteps/16 {
			return nil, &TooLargeError{what}
		}
		for _, c := range bytes {
			subset = subset[:0]
			turn++
			for _, from := range subsets[state] {
				a.work += 1 + len(p.follow[from])
				for _, to := range p.follow[from] {
					if mark[to] != turn && p.sets[to].Has(c) {
						mark[to] = turn
						subset = append(subset, to)
					}
				}
			}
			slices.Sort(subset)
			a.next = append(a.next, find(subset))
		}
	}
	return a, nil
}
