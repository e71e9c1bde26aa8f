package secrets

import "slices"

// automaton finds texts of a set in one pass (Aho and Corasick), with one step
// per byte whatever the set.
type automaton struct {
	class   [256]uint8 // of bytes; 0: stands in none of the texts
	shift   uint       // of a state, to its row
	next    []uint16   // by row and class
	outFrom uint16     // states from here on have an output
	out     [][]int    // of those states: the texts that end there, by index
}

// maxStates is what a uint16 holds; the rules have some 2,500.
const maxStates = 1 << 16

// newAutomaton knows texts, none of them empty. With fold, letters of any size
// are the same; texts have small ones then. ok is false if there are too many.
func newAutomaton(texts []string, fold bool) (a *automaton, ok bool) {
	a = &automaton{}
	classes := 1
	for _, t := range texts {
		for _, c := range []byte(t) {
			if a.class[c] == 0 {
				if classes == 256 {
					return nil, false
				}
				a.class[c] = uint8(classes)
				classes++
			}
		}
	}
	if fold {
		for c := 'A'; c <= 'Z'; c++ {
			a.class[c] = a.class[c-'A'+'a']
		}
	}
	for 1<<a.shift < classes {
		a.shift++
	}
	row := func(state int) int { return state << a.shift }

	// The tree of the texts. 0 is its root, and no child.
	next := make([]int, row(1))
	out := [][]int{nil}
	for i, t := range texts {
		s := 0
		for _, c := range []byte(t) {
			at := row(s) + int(a.class[c])
			if next[at] == 0 {
				next[at] = len(out)
				out = append(out, nil)
				next = append(next, make([]int, row(1))...)
			}
			s = next[at]
		}
		out[s] = append(out[s], i)
	}
	if len(out) > maxStates {
		return nil, false
	}

	// Where there is no child it goes on as from the longest suffix that is in
	// the tree. Breadth first: a suffix is shorter than what it is one of.
	suffix := make([]int, len(out))
	var todo []int
	for c := 1; c < classes; c++ {
		if s := next[c]; s != 0 {
			todo = append(todo, s)
		}
	}
	for len(todo) > 0 {
		s := todo[0]
		todo = todo[1:]
		out[s] = append(out[s], out[suffix[s]]...)
		for c := range classes {
			at, other := row(s)+c, next[row(suffix[s])+c]
			if child := next[at]; child != 0 {
				suffix[child] = other
				todo = append(todo, child)
			} else {
				next[at] = other
			}
		}
	}

	// Those with an output get the highest numbers, so that one comparison tells.
	order := make([]int, len(out))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return min(len(out[x]), 1) - min(len(out[y]), 1) })
	number := make([]uint16, len(out))
	a.outFrom = uint16(min(len(out), maxStates-1))
	for n, s := range order {
		number[s] = uint16(n)
		if len(out[s]) > 0 {
			if a.out == nil {
				a.outFrom = uint16(n)
			}
			a.out = append(a.out, out[s])
		}
	}
	a.next = make([]uint16, len(next))
	for n, s := range order {
		for c := range 1 << a.shift {
			a.next[row(n)+c] = number[next[row(s)+c]]
		}
	}
	return a, true
}

// find calls each for every text that ends somewhere: end is the index behind
// it. each may stop it by an error.
func (a *automaton) find(text []byte, each func(texts []int, end int) error) error {
	var s uint16
	for i, c := range text {
		s = a.next[int(s)<<a.shift|int(a.class[c])]
		if s >= a.outFrom {
			if err := each(a.out[s-a.outFrom], i+1); err != nil {
				return err
			}
		}
	}
	return nil
}
