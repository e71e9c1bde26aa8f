package automaton

import (
	"encoding/binary"
	"slices"
)

// Concat is the set of texts that are one text of each part, one after the other;
// of no parts it is the empty text alone.
func Concat(parts ...*Automaton) (*Automaton, error) {
	if len(parts) == 0 {
		return Texts("")
	}
	parts = slices.Clone(parts)
	live := make([][]bool, len(parts))
	for i, p := range parts {
		parts[i] = p.whole()
		live[i] = parts[i].live()
	}
	a := &Automaton{}
	a.class, a.width = jointClasses(parts)
	order := readable(&a.class, a.width)

	// A state is the set of the parts' states that a text may have led to.
	index := map[string]int32{}
	var subsets [][]member
	find := func(list []member) int32 {
		// Where a part may end, the next one may begin.
		for i := 0; i < len(list); i++ {
			m := list[i]
			if next := m.part + 1; int(next) < len(parts) && parts[m.part].accept[m.state] && live[next][0] && !slices.Contains(list, member{next, 0}) {
				list = append(list, member{next, 0})
			}
		}
		slices.SortFunc(list, func(x, y member) int { return int(x.part-y.part)<<20 + int(x.state-y.state) })
		list = slices.Compact(list)
		var key []byte
		accept := false
		for _, m := range list {
			key = binary.AppendUvarint(key, uint64(m.part))
			key = binary.AppendUvarint(key, uint64(m.state))
			accept = accept || int(m.part) == len(parts)-1 && parts[m.part].accept[m.state]
		}
		if i, ok := index[string(key)]; ok {
			return i
		}
		i := int32(len(subsets))
		index[string(key)] = i
		subsets = append(subsets, slices.Clone(list))
		a.accept = append(a.accept, accept)
		return i
	}
	var list []member
	if live[0][0] {
		list = append(list, member{0, 0})
	}
	find(list)
	for state := 0; state < len(subsets); state++ {
		at := len(a.next)
		a.next = append(a.next, make([]int32, a.width)...)
		for _, ch := range order {
			list = list[:0]
			for _, m := range subsets[state] {
				if next := parts[m.part].step(m.state, ch); live[m.part][next] {
					list = append(list, member{m.part, next})
				}
			}
			a.next[at+int(a.class[ch])] = find(list)
		}
		if a.work += a.width * (1 + len(subsets[state])); state > MaxStates || a.work > maxSteps/16 {
			return nil, &TooLargeError{"texts behind each other"}
		}
	}
	out := a.Minimal()
	out.work = a.work
	return out, nil
}
