package automaton

import (
	"encoding/binary"
	"slices"
)

// member is a part of a product and its state.
type member struct{ part, state int32 }

// sparse builds the product of many parts. A state of it holds only the parts
// from which a text can still come: of a thousand paths that begin alike, few
// are left a few bytes later.
func (b *product) sparse(order []byte) error {
	c := b.out
	live := make([][]bool, len(b.parts))
	start := make([]member, 0, len(b.parts))
	for i, p := range b.parts {
		live[i] = p.live()
		c.work += p.states() * p.width
		if live[i][0] {
			start = append(start, member{int32(i), 0})
		}
	}
	index := map[string]int32{}
	var members []member // of all states, one after the other
	var ends []int       // of the state's in members
	find := func(list []member, parent int32, by byte) int32 {
		if len(list) > 0 && list[0].part != 0 {
			list = list[:0] // nothing within comes of it
		}
		b.key = b.key[:0]
		for _, m := range list {
			b.key = binary.AppendUvarint(b.key, uint64(m.part))
			b.key = binary.AppendUvarint(b.key, uint64(m.state))
		}
		if i, ok := index[string(b.key)]; ok {
			return i
		}
		i := int32(len(ends))
		index[string(b.key)] = i
		members = append(members, list...)
		ends = append(ends, len(members))
		b.add(parent, by, b.accepted(list))
		return i
	}
	find(start, -1, 0)
	var list, last []member
	for state := 0; state < len(ends); state++ {
		from := 0
		if state > 0 {
			from = ends[state-1]
		}
		here := members[from:ends[state]]
		if c.work += c.width * (1 + len(here)); state > MaxStates || c.work > maxSteps || len(members) > maxTuples {
			return &TooLargeError{"patterns that overlap"}
		}
		at := len(c.next)
		c.next = append(c.next, make([]int32, c.width)...)
		to := int32(-1)
		for _, ch := range order {
			list = list[:0]
			for _, m := range here {
				if next := b.parts[m.part].step(m.state, ch); live[m.part][next] {
					list = append(list, member{m.part, next})
				}
			}
			if to < 0 || !slices.Equal(list, last) {
				to = find(list, int32(state), ch)
				last = append(last[:0], list...)
			}
			c.next[at+int(c.class[ch])] = to
		}
	}
	return nil
}

// accepted are the sets that a text which ends here is in; nil: it is not
// within what is classified.
func (b *product) accepted(list []member) []uint64 {
	if len(list) == 0 || !b.parts[0].accept[list[0].state] {
		return nil
	}
	sets := make([]uint64, (len(b.parts)+62)/64)
	for _, m := range list[1:] {
		if i := m.part - 1; b.parts[m.part].accept[m.state] {
			sets[i/64] |= 1 << (i % 64)
		}
	}
	return sets
}
