package automaton

import "slices"

// Chain is a form of texts: one text of each part, one after the other, of which it
// is told in which class of its part it is.
//
// In a chain with Twice some of the text stands twice: the parts hold it once, between
// a first and a second NUL, and in the text it stands where the first one is, then
// Between, and then again. Such texts are no regular set, and yet it can be told which
// of some regular sets they are in. NUL itself is in no text.
type Chain struct {
	Parts   []*Classes
	Twice   bool
	Between string
	// Cut, if it is not 0: the first time a slash stands behind every so many bytes of
	// what stands twice, whose length is a multiple of it.
	Cut int
}

// Chained is one combination: a text of a chain is in a class, and its parts are in
// classes of their own.
type Chained struct {
	Class int
	Parts []int
	Text  string
}

// Chained lists the combinations that texts of a chain have, each with one. work is
// what it took, in steps of some nanoseconds.
//
// What stands twice is read in both places at once: the state of c between them is
// guessed, and the first reading must come to what was guessed.
func (c *Classes) Chained(ch Chain) (list []Chained, work int, err error) {
	w := &chaining{c: c, Chain: ch, live: c.live(), reads: map[reading][]reading{}, labels: map[[2]int32]int32{}, listed: [][]int{nil}, seen: map[place]bool{}, found: map[[2]int32]bool{}}
	all := []*Automaton{{class: c.class, width: c.width}}
	for _, p := range ch.Parts {
		w.parts = append(w.parts, p.live())
		all = append(all, &Automaton{class: p.class, width: p.width})
	}
	class, width := jointClasses(all)
	for _, b := range readable(&class, width) {
		if b != 0 {
			w.order = append(w.order, b)
		}
	}
	if ch.Twice {
		for _, guess := range w.first() {
			w.second(guess)
		}
	} else {
		w.after(place{}, "")
	}
	if w.over {
		return nil, w.work, &TooLargeError{"names in paths"}
	}
	return w.out, w.work, nil
}

type chaining struct {
	c *Classes
	Chain
	live   []bool   // states of c from which a text can still come
	parts  [][]bool // those of the parts
	order  []byte
	starts []start
	reads  map[reading][]reading // what stands twice, the first time: where each reading came from
	labels map[[2]int32]int32    // numbers of classes of parts: of those before, and one more
	listed [][]int               // by number
	seen   map[place]bool
	found  map[[2]int32]bool
	out    []Chained
	work   int
	over   bool
}

// part is how far a chain is read: the state of one of its parts, and the number of the
// classes of those before it.
type part struct{ index, state, label int32 }

// place is how far a text is read, by c and by the chain.
type place struct {
	state int32
	part
}

// reading is how far what stands twice is read the first time, with the bytes since
// the last slash.
type reading struct {
	place
	since int
}

type start struct {
	reading
	before string
}

// link is a byte that was read, and what was read before it.
type link struct {
	before *link
	byte   byte
}

func (l *link) text() string {
	var list []byte
	for ; l != nil; l = l.before {
		list = append(list, l.byte)
	}
	slices.Reverse(list)
	return string(list)
}

func (w *chaining) spend(steps int) bool {
	w.work += steps
	w.over = w.over || w.work > maxSteps/4
	return !w.over
}

func (c *Classes) step(state int32, b byte) int32 {
	return c.next[int(state)*c.width+int(c.class[b])]
}

func (c *Classes) walk(state int32, text string) int32 {
	for i := range len(text) {
		state = c.step(state, text[i])
	}
	return state
}

// read reads a byte of a part; false: no text comes of it.
func (w *chaining) read(p part, b byte) (part, bool) {
	if w.ended(p) {
		return p, false
	}
	p.state = w.Parts[p.index].step(p.state, b)
	return p, w.parts[p.index][p.state]
}

// end ends a part, if it may end.
func (w *chaining) end(p part) (part, bool) {
	if w.ended(p) {
		return p, false
	}
	class := w.Parts[p.index].of[p.state]
	if class < 0 {
		return p, false
	}
	key := [2]int32{p.label, class}
	label, known := w.labels[key]
	if !known {
		label = int32(len(w.listed))
		w.labels[key], w.listed = label, append(w.listed, append(slices.Clone(w.listed[p.label]), int(class)))
	}
	p = part{p.index + 1, 0, label}
	return p, w.ended(p) || w.parts[p.index][0]
}

func (w *chaining) ended(p part) bool { return int(p.index) == len(w.Parts) }

// first finds the places where what stands twice begins, and the states of c between.
func (w *chaining) first() (guesses []int32) {
	type node struct {
		place
		last *link
	}
	var begun []reading
	seen := map[place]bool{{}: true}
	for queue := []node{{}}; len(queue) > 0 && w.spend(len(w.order)); queue = queue[1:] {
		n := queue[0]
		add := func(to place, last *link) {
			if !seen[to] {
				seen[to] = true
				queue = append(queue, node{to, last})
			}
		}
		if p, ok := w.read(n.part, 0); ok {
			from := reading{place: place{n.state, p}}
			if _, known := w.reads[from]; !known {
				w.reads[from] = nil
				w.starts = append(w.starts, start{from, n.last.text()})
				begun = append(begun, from)
			}
		}
		if p, ok := w.end(n.part); ok {
			add(place{n.state, p}, n.last)
		}
		for _, b := range w.order {
			if p, ok := w.read(n.part, b); ok {
				if s := w.c.step(n.state, b); w.live[s] {
					add(place{s, p}, &link{n.last, b})
				}
			}
		}
	}
	for queue := begun; len(queue) > 0 && w.spend(len(w.order)); queue = queue[1:] {
		n := queue[0]
		if g, _, ends := w.between(n); ends && !slices.Contains(guesses, g) {
			guesses = append(guesses, g)
		}
		w.each(n, func(to reading, _ byte) {
			from, known := w.reads[to]
			if w.reads[to] = append(from, n); !known {
				queue = append(queue, to)
			}
		})
	}
	return guesses
}

// each calls f for where a reading of what stands twice may go on. A byte of 0 is the
// end of a part.
func (w *chaining) each(n reading, f func(to reading, b byte)) {
	if p, ok := w.end(n.part); ok {
		f(reading{place{n.state, p}, n.since}, 0)
	}
	for _, b := range w.order {
		p, ok := w.read(n.part, b)
		if !ok {
			continue
		}
		to := reading{place{w.c.step(n.state, b), p}, n.since}
		if w.Cut > 0 {
			if to.since++; to.since == w.Cut {
				to.since, to.state = 0, w.c.step(to.state, '/')
			}
		}
		if w.live[to.state] {
			f(to, b)
		}
	}
}

// between is the state of c behind a first reading that may end, and the place in the
// chain.
func (w *chaining) between(n reading) (int32, part, bool) {
	p, ok := w.read(n.part, 0)
	return w.c.walk(n.state, w.Between), p, ok && n.since == 0
}

// second reads what stands twice in both places, and what follows.
func (w *chaining) second(guess int32) {
	// Only what can come to the guess is read.
	leads := map[reading]bool{}
	var queue []reading
	for n := range w.reads {
		if g, _, ends := w.between(n); ends && g == guess {
			leads[n] = true
			queue = append(queue, n)
		}
	}
	for ; len(queue) > 0 && w.spend(1); queue = queue[1:] {
		for _, from := range w.reads[queue[0]] {
			if !leads[from] {
				leads[from] = true
				queue = append(queue, from)
			}
		}
	}
	type at struct {
		reading
		again int32
	}
	type node struct {
		at
		before string
		last   *link // of what stands twice
	}
	seen := map[at]bool{}
	var nodes []node
	for _, s := range w.starts {
		if leads[s.reading] {
			nodes = append(nodes, node{at{s.reading, guess}, s.before, nil})
		}
	}
	for ; len(nodes) > 0 && w.spend(len(w.order)); nodes = nodes[1:] {
		n := nodes[0]
		if g, p, ends := w.between(n.reading); ends && g == guess {
			twice := n.last.text()
			w.after(place{n.again, p}, n.before+w.cut(twice)+w.Between+twice)
		}
		w.each(n.reading, func(to reading, b byte) {
			one := node{at{to, n.again}, n.before, n.last}
			if b != 0 {
				one.again, one.last = w.c.step(n.again, b), &link{n.last, b}
			}
			if leads[to] && w.live[one.again] && !seen[one.at] {
				seen[one.at] = true
				nodes = append(nodes, one)
			}
		})
	}
}

// after reads what follows a text.
func (w *chaining) after(from place, text string) {
	type node struct {
		place
		last *link
	}
	var queue []node
	add := func(to place, last *link) {
		if !w.seen[to] {
			w.seen[to] = true
			queue = append(queue, node{to, last})
		}
	}
	add(from, nil)
	for ; len(queue) > 0 && w.spend(len(w.order)); queue = queue[1:] {
		n := queue[0]
		if class := w.c.of[n.state]; w.ended(n.part) && class >= 0 {
			if key := [2]int32{class, n.label}; !w.found[key] {
				w.found[key] = true
				w.out = append(w.out, Chained{int(class), w.listed[n.label], text + n.last.text()})
			}
		}
		if p, ok := w.end(n.part); ok {
			add(place{n.state, p}, n.last)
		}
		for _, b := range w.order {
			if p, ok := w.read(n.part, b); ok {
				if s := w.c.step(n.state, b); w.live[s] {
					add(place{s, p}, &link{n.last, b})
				}
			}
		}
	}
}

// cut is what stands twice as it is written the first time.
func (w *chaining) cut(text string) string {
	if w.Cut == 0 {
		return text
	}
	var list []byte
	for i := range len(text) {
		if list = append(list, text[i]); (i+1)%w.Cut == 0 {
			list = append(list, '/')
		}
	}
	return string(list)
}

// Set is the set of the texts of a class.
func (c *Classes) Set(class int) *Automaton {
	return c.where(func(of int32) bool { return int(of) == class }).Minimal()
}

// where are the texts of some classes; -1 is the class of those that are in none.
func (c *Classes) where(in func(class int32) bool) *Automaton {
	a := &Automaton{class: c.class, width: c.width, next: c.next, accept: make([]bool, len(c.of))}
	for state, of := range c.of {
		a.accept[state] = in(of)
	}
	return a
}

func (c *Classes) live() []bool { return c.where(func(of int32) bool { return of >= 0 }).live() }
