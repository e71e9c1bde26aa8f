package secrets

import (
	"context"
	"errors"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/middleware/layers"
)

const (
	// wideReach is how far a match goes on, in bytes, whose expression has no
	// bound and may hold white space: a private key of 16,384 bits in PEM.
	wideReach = 16 << 10
	// maxRun is the longest part without bound of the others: a long token.
	maxRun = 8 << 10

	// maxWindow bounds the windows that are looked at in one step: those side by
	// side are one, up to so many bytes.
	maxWindow = 8 << 10

	// maxWork bounds the bytes of all windows of one text and its layers, maxFound
	// its findings. A byte that an expression looks at costs as much as cheap bytes
	// that are looked at for where a window ends.
	cheap    = 16
	maxWork  = 8 << 20
	maxFound = 1000

	// joinedLayers is how many layers are looked at for scattered secrets, and
	// maxScattered of how many pieces one of a rule has at most.
	joinedLayers = 3
	maxScattered = 4

	prefix = "secrets/"
)

var (
	errFound  = errors.New("found") // ends a search
	errWork   = errors.New("too much of it looks like secrets to look at all of it")
	errFounds = errors.New("too many secrets stand in it")
)

// Scanner finds secrets. The zero Scanner knows the rules alone.
type Scanner struct {
	known []*knownValues
}

// Find gives the secrets of a text, without those that a larger one covers. An
// error means that not all of it was looked at.
func (s *Scanner) Find(ctx context.Context, text []byte) ([]middleware.Finding, error) {
	if len(text) == 0 {
		return nil, nil
	}
	p := &pass{ctx: ctx, cat: theCatalogue(), known: s.known}
	for layer, err := range layers.Of(ctx, text) {
		if err != nil {
			return nil, err
		}
		p.layer = layer
		if err := p.whole(); err != nil {
			return nil, err
		}
		if layer.Depth < joinedLayers {
			for _, j := range layers.Join(layer.Text) {
				if err := p.scattered(j); err != nil {
					return nil, err
				}
			}
		}
	}
	return p.found, nil
}

// pass is one search.
type pass struct {
	ctx   context.Context
	cat   *catalogue
	known []*knownValues
	layer *layers.Layer

	seen    []bool // words of the catalogue, in this layer
	windows []window
	last    []int // by rule: its last window, counted from 1
	work    int
	found   []middleware.Finding
}

// window is a stretch of a layer in which a match of a rule may stand.
type window struct{ rule, from, to int }

// whole looks at one layer.
func (p *pass) whole() error {
	text := p.layer.Text
	p.seen = make([]bool, len(p.cat.length))
	p.last = make([]int, len(table))
	p.windows = p.windows[:0]
	err := p.cat.words.find(text, func(words []int, end int) error {
		for _, w := range words {
			p.seen[w] = true
			begin := end - p.cat.length[w]
			for _, i := range p.cat.wakes[w] {
				if n := p.last[i]; n > 0 && table[i].runs == 0 && table[i].reach == 0 && begin+table[i].bytes < p.windows[n-1].to {
					continue // in a window already
				}
				from, to, ok := p.around(i, text, begin, end)
				if ok && !p.layer.Copied(from, to) {
					p.add(i, from, to)
				}
				if p.work > maxWork {
					return errWork
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, i := range p.cat.loose {
		if p.cat.open(i, p.seen) {
			p.tokens(i)
		}
	}
	for _, w := range p.windows {
		if !p.cat.open(w.rule, p.seen) {
			continue
		}
		if err := p.match(w); err != nil {
			return err
		}
	}
	for _, k := range p.known {
		err := k.find(text, func(rule string, from, to int, whole bool) error {
			if p.layer.Copied(from, to) {
				return nil
			}
			return p.add1(rule, from, to, !whole)
		})
		if err != nil {
			return err
		}
	}
	return p.ctx.Err()
}

// around gives a stretch of the text in which all of a match stands that holds
// the word from begin to end, and a byte more on both sides, which word
// boundaries look at. ok is false if there can be no match.
func (p *pass) around(rule int, text []byte, begin, end int) (from, to int, ok bool) {
	r, in := &table[rule], p.cat.sets[rule]
	if r.reach > 0 {
		to, ok = r.assigned(in, text, end)
		p.work += max(to-end, 0) / cheap
		return max(end-r.before-1, 0), to, ok
	}
	if r.solid > end-begin {
		n := end - begin
		for i := end; i < len(text) && n < r.solid && in[text[i]]; i++ {
			n++
		}
		for i := begin - 1; i >= 0 && n < r.solid && in[text[i]]; i-- {
			n++
		}
		if n < r.solid {
			return 0, 0, false
		}
	}
	from, to = r.window(text, begin, end)
	if r.runs > 0 {
		p.work += (to - from) / cheap
	}
	return from, to, true
}

var (
	isOperator = [256]bool{'=': true, '>': true, ':': true, '|': true, '?': true, ',': true}
	isQuote    = [256]bool{'`': true, '\'': true, '"': true, ' ': true, '\t': true, '\n': true, '\f': true, '\r': true}
)

// maxBetween is how many characters stand between the first one of an operator
// and the value: three more of the operator, and five quotes and spaces.
const maxBetween = 3 + 5

// assigned reports whether an operator and a value of chars in may follow a
// name that ends at, or soon after, a place, and where the value ends at most.
func (r *rule) assigned(in *[256]bool, text []byte, end int) (to int, ok bool) {
	i, stop := end, min(end+r.reach, len(text))
	for i < stop && (isWord[text[i]] || isQuote[text[i]]) {
		i++
	}
	if i == stop || !isOperator[text[i]] {
		return 0, false
	}
	i++
	both := 0 // an equals sign may be of the operator or of the value
	for n := 0; n < maxBetween && i < len(text) && (isQuote[text[i]] || isOperator[text[i]]); n++ {
		if in[text[i]] {
			both++
		}
		i++
	}
	begin, figures := i, both > 0
	for i < len(text) && i-begin < maxRun && in[text[i]] {
		figures = figures || !isLetter[text[i]]
		i++
	}
	if i-begin+both < r.value || r.figures && !figures {
		return 0, false
	}
	return min(i+maxBetween, len(text)), true
}

// isLetter is what a value without figures consists of.
var isLetter = func() (t [256]bool) {
	for c := range t {
		t[c] = isWord[c] && (c < '0' || c > '9')
	}
	return t
}()

// window gives a stretch in which all of a match stands that holds the word,
// with a byte more on both sides, which word boundaries look at.
func (r *rule) window(text []byte, begin, end int) (from, to int) {
	from, to = end, begin
	switch {
	case r.before >= 0:
		from = end - r.before
	case r.wide:
		from = begin - wideReach
	default:
		for range r.runs + 1 {
			from -= r.bytes
			for n := 0; r.runs > 0 && n < maxRun && from > 0 && from < len(text) && !stopper[text[from]]; n++ {
				from--
			}
		}
	}
	if r.wide {
		to = begin + wideReach
	} else {
		for range r.runs + 1 {
			to += r.bytes
			for n := 0; r.runs > 0 && n < maxRun && to < len(text) && !stopper[text[to]]; n++ {
				to++
			}
		}
	}
	return max(from-1, 0), min(to+1, len(text))
}

func (p *pass) add(rule, from, to int) {
	if n := p.last[rule]; n > 0 {
		most := maxWindow
		if table[rule].wide {
			most += 2 * wideReach
		}
		if w := &p.windows[n-1]; from <= w.to && max(to, w.to)-min(from, w.from) <= most {
			w.from, w.to = min(w.from, from), max(w.to, to)
			return
		}
	}
	p.windows = append(p.windows, window{rule, from, to})
	p.last[rule] = len(p.windows)
}

// tokens adds every stretch of the rule's chars that is long enough for it.
func (p *pass) tokens(rule int) {
	text, r, in := p.layer.Text, &table[rule], p.cat.sets[rule]
	for i := 0; i < len(text); i++ {
		from := i
		for i < len(text) && in[text[i]] {
			i++
		}
		if i-from < r.solid {
			continue
		}
		if low, high := max(from-1, 0), min(i+r.bytes+1, len(text)); !p.layer.Copied(low, high) {
			p.add(rule, low, high)
		}
	}
}

// widen is by how much a window is widened when a match stands at its edge.
const widen = 256

// match looks for a rule in a window.
func (p *pass) match(w window) error {
	r, prog, text := &table[w.rule], p.cat.lazy[w.rule](), p.layer.Text
	for again := 0; ; again++ {
		if p.work += w.to - w.from; p.work > maxWork {
			return errWork
		}
		if err := p.ctx.Err(); err != nil {
			return err
		}
		all := prog.regex.FindAllSubmatchIndex(text[w.from:w.to], -1)
		if len(all) == 0 {
			return nil
		}
		// At the edge a boundary may be one of the window, and not of the text.
		atBegin := w.from > 0 && all[0][0] == 0
		atEnd := w.to < len(text) && all[len(all)-1][1] == w.to-w.from
		if (atBegin || atEnd) && again < 3 {
			if atBegin {
				w.from = max(w.from-widen, 0)
			}
			if atEnd {
				w.to = min(w.to+widen<<(4*again), len(text))
			}
			continue
		}
		for _, m := range all {
			if from, to, ok := r.secret(prog, text, w.from, m); ok {
				if err := p.add1(prefix+r.id, from, to, false); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// add1 adds what stands in the layer as a finding of the text.
func (p *pass) add1(rule string, from, to int, scattered bool) error {
	from, to, via := p.layer.Origin(from, to)
	return p.report(middleware.Finding{Rule: rule, From: from, To: to, Via: via, Scattered: scattered})
}

func (p *pass) report(f middleware.Finding) error {
	for _, have := range p.found {
		if have.Rule == f.Rule && have.From <= f.From && f.To <= have.To && have.Scattered == f.Scattered {
			return nil
		}
	}
	if len(p.found) == maxFound {
		return errFounds
	}
	p.found = append(p.found, f)
	return nil
}

// scattered looks for secrets that are made of several pieces.
func (p *pass) scattered(j *layers.Joined) error {
	add := func(rule string, from, to int) error {
		first, last := j.Origin(from), j.Origin(to-1)+1
		if last <= first { // a form lists its fields as it likes
			first, last = min(first, last), max(first, last)
		}
		low, high, via := p.layer.Origin(first, last)
		return p.report(middleware.Finding{Rule: rule, From: low, To: high, Via: append(via, "pieces"), Scattered: true})
	}
	type try struct{ rule, piece int }
	tried := map[try]bool{}
	err := p.cat.words.find(j.Text, func(words []int, end int) error {
		for _, w := range words {
			begin := end - p.cat.length[w]
			for _, i := range p.cat.wakes[w] {
				r := &table[i]
				if r.reach > 0 || r.wide || r.solid < minScattered || !p.cat.open(i, p.seen) {
					continue
				}
				if _, _, ok := p.around(i, j.Text, begin, end); !ok {
					continue
				}
				t := try{i, j.Piece(begin)}
				if tried[t] {
					continue
				}
				tried[t] = true
				if err := p.pieces(j, i, t.piece, add); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range p.known {
		err := k.find(j.Text, func(rule string, from, to int, _ bool) error {
			if j.Piece(from) == j.Piece(to-1) {
				return nil
			}
			return add(rule, from, to)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// minScattered is the shortest solid part of a rule that is looked for in pieces.
const minScattered = 16

// pieces looks for a rule in a piece and the ones behind it, with the ends of
// pieces as boundaries.
func (p *pass) pieces(j *layers.Joined, rule, piece int, add func(rule string, from, to int) error) error {
	r, prog := &table[rule], p.cat.lazy[rule]()
	for last := piece + 1; last < min(piece+maxScattered, j.Pieces()); last++ {
		from, to := j.Run(piece, last)
		if p.work += to - from; p.work > maxWork {
			return errWork
		}
		if err := p.ctx.Err(); err != nil {
			return err
		}
		text := j.Text[from:to]
		for _, m := range prog.regex.FindAllSubmatchIndex(text, -1) {
			low, high, ok := r.secret(prog, text, 0, m)
			if ok && j.Piece(from+low) != j.Piece(from+high-1) {
				return add(prefix+r.id, from+low, from+high)
			}
		}
	}
	return nil
}
