package automaton

import "encoding/binary"

// Minimal is the automaton of the same set with the fewest states. All states
// of the receiver have to be reachable, as those of this package's
// constructions are.
func (a *Automaton) Minimal() *Automaton {
	a = a.whole()
	n := a.states()
	// Moore: states are told apart by acceptance, then by where they lead.
	block := make([]int32, n)
	blocks := 1
	for i, in := range a.accept {
		if in != a.accept[0] {
			block[i] = 1
			blocks = 2
		}
	}
	refined := make([]int32, n)
	key := make([]byte, 0, 4*(a.width+1))
	for {
		// A block is refined by the blocks of its successors.
		ids := make(map[string]int32, blocks)
		for s := range n {
			key = binary.NativeEndian.AppendUint32(key[:0], uint32(block[s])) //nolint:gosec // any number that is its own
			for _, to := range a.next[s*a.width : (s+1)*a.width] {
				key = binary.NativeEndian.AppendUint32(key, uint32(block[to])) //nolint:gosec // the same
			}
			id, ok := ids[string(key)]
			if !ok {
				id = int32(len(ids)) //nolint:gosec // at most as many as states
				ids[string(key)] = id
			}
			refined[s] = id
		}
		if len(ids) == blocks {
			break
		}
		block, refined, blocks = refined, block, len(ids)
	}
	// Number the blocks in the order of their first state, so that 0 is the start.
	number := make([]int32, blocks)
	for i := range number {
		number[i] = -1
	}
	out := &Automaton{class: a.class, width: a.width}
	var first []int
	for s := range n {
		if number[block[s]] < 0 {
			number[block[s]] = int32(len(first))
			first = append(first, s)
		}
	}
	out.accept = make([]bool, len(first))
	out.next = make([]int32, len(first)*a.width)
	for i, s := range first {
		out.accept[i] = a.accept[s]
		for k := range a.width {
			out.next[i*a.width+k] = number[block[a.next[s*a.width+k]]]
		}
	}
	return out.mergeClasses()
}

// mergeClasses joins classes of bytes that no state tells apart.
func (a *Automaton) mergeClasses() *Automaton {
	n := a.states()
	to := make([]uint8, a.width)
	var kept []int
next:
	for k := range a.width {
		for i, j := range kept {
			same := true
			for s := 0; s < n && same; s++ {
				same = a.next[s*a.width+k] == a.next[s*a.width+j]
			}
			if same {
				to[k] = uint8(i)
				continue next
			}
		}
		to[k] = uint8(len(kept))
		kept = append(kept, k)
	}
	if len(kept) == a.width {
		return a
	}
	out := &Automaton{width: len(kept), accept: a.accept, next: make([]int32, n*len(kept))}
	for c := range 256 {
		out.class[c] = to[a.class[c]]
	}
	for s := range n {
		for i, k := range kept {
			out.next[s*len(kept)+i] = a.next[s*a.width+k]
		}
	}
	return out
}
