package main

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of the sets of literals: more of them cost the automaton more than
// they save.
const (
	maxLiterals = 64
	maxClass    = 12 // characters of a class that is spelled out
	minLiteral  = 2  // a single character occurs everywhere
)

// shape says how far a match reaches from any byte of it.
type shape struct {
	bytes int  // of all that is bounded, at most
	runs  int  // how many parts are not
	space bool // a part that is not bounded may hold white space or a quote
	line  bool // and a line end
}

func measure(re *syntax.Regexp) shape {
	var s shape
	add := func(o shape, times int) {
		s.bytes += o.bytes * times
		s.runs += o.runs * times
		s.space, s.line = s.space || o.space, s.line || o.line
	}
	switch re.Op {
	case syntax.OpLiteral:
		s.bytes = len(string(re.Rune))
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		s.bytes = 1
		if set := bytesOf(re); set[utf8.RuneSelf] {
			s.bytes = utf8.UTFMax
		}
	case syntax.OpCapture, syntax.OpConcat, syntax.OpQuest:
		for _, sub := range re.Sub {
			add(measure(sub), 1)
		}
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			o := measure(sub)
			s = shape{max(s.bytes, o.bytes), max(s.runs, o.runs), s.space || o.space, s.line || o.line}
		}
	case syntax.OpRepeat:
		if re.Max >= 0 {
			add(measure(re.Sub[0]), re.Max)
			break
		}
		add(measure(re.Sub[0]), re.Min)
		fallthrough
	case syntax.OpStar, syntax.OpPlus:
		s.runs++
		s.space = s.space || takes(re.Sub[0], " \t\n\"")
		s.line = s.line || takes(re.Sub[0], "\n")
	}
	return s
}

// bytesOf gives the bytes that matches consist of, in letters of any size.
// Beyond ASCII, k and s have another spelling each, which no service writes: it
// does not count.
func bytesOf(re *syntax.Regexp) (set [256]bool) {
	add := func(low, high rune) {
		for r := low; r <= min(high, unicode.MaxASCII); r++ {
			set[r] = true
		}
		for r := max(low, utf8.RuneSelf); r <= high; r++ {
			if r != '\u212a' && r != '\u017f' {
				for b := utf8.RuneSelf; b < 256; b++ {
					set[b] = true
				}
				return
			}
		}
	}
	switch re.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		add(0, unicode.MaxRune)
		set['\n'] = re.Op == syntax.OpAnyChar
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			add(r, r)
			if re.Flags&syntax.FoldCase != 0 {
				for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
					add(f, f)
				}
			}
		}
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			add(re.Rune[i], re.Rune[i+1])
		}
	default:
		for _, sub := range re.Sub {
			for b, in := range bytesOf(sub) {
				set[b] = set[b] || in
			}
		}
	}
	return set
}

// ranges writes a set down: the first and the last byte of each stretch.
func ranges(set [256]bool) string {
	var out []byte
	for b := 0; b < 256; b++ {
		if !set[b] {
			continue
		}
		first := b
		for b+1 < 256 && set[b+1] {
			b++
		}
		out = append(out, byte(first), byte(b))
	}
	return string(out)
}

// takes reports whether a match of re can hold one of the characters.
func takes(re *syntax.Regexp, chars string) bool {
	set := bytesOf(re)
	return slices.ContainsFunc([]byte(chars), func(c byte) bool { return set[c] })
}

// texts is what is known of the matches of an expression, in small letters:
// all of them, or texts of which each match holds at least one, and those of
// which each match begins with one.
type texts struct {
	all   []string // nil: too many
	need  []string // nil: none known
	begin []string // nil: none known
}

// begins is a set of which each match begins with one; nil: none is known.
func (t texts) begins() []string {
	if t.all != nil {
		return t.all
	}
	return t.begin
}

// least is the set of which each match holds one; nil: none is known.
func (t texts) least() []string {
	if t.all == nil || better(t.need, t.all) {
		return t.need
	}
	return t.all
}

func shortest(set []string) int {
	n := 1 << 20
	for _, s := range set {
		n = min(n, len(s))
	}
	return n
}

// better reports whether a wakes a rule less often than b.
func better(a, b []string) bool {
	if a == nil || b == nil {
		return a != nil
	}
	x, y := min(shortest(a), 8), min(shortest(b), 8)
	return x > y || x == y && len(a) < len(b)
}

func literals(re *syntax.Regexp) texts {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return texts{all: []string{""}}
	case syntax.OpLiteral:
		return texts{all: []string{strings.ToLower(string(re.Rune))}}
	case syntax.OpCharClass:
		var set []string
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				// Beyond ASCII there are other spellings of k and s alone.
				if text := strings.ToLower(string(r)); r < utf8.RuneSelf && !slices.Contains(set, text) {
					set = append(set, text)
				}
				if len(set) > maxClass || r >= utf8.RuneSelf && r != '\u212a' && r != '\u017f' {
					return texts{}
				}
			}
		}
		return texts{all: set}
	case syntax.OpCapture:
		return literals(re.Sub[0])
	case syntax.OpQuest:
		if t := literals(re.Sub[0]); t.all != nil {
			return texts{all: union(t.all, []string{""})}
		}
		return texts{}
	case syntax.OpPlus:
		return texts{need: literals(re.Sub[0]).least()}
	case syntax.OpRepeat:
		t := literals(re.Sub[0])
		switch {
		case re.Min == 0:
			return texts{}
		case re.Min == re.Max && t.all != nil:
			out := []string{""}
			for range re.Min {
				if out = product(out, t.all); out == nil {
					return texts{need: t.least()}
				}
			}
			return texts{all: out}
		}
		return texts{need: t.least()}
	case syntax.OpAlternate:
		all, need, begin := []string{}, []string{}, []string{}
		for _, sub := range re.Sub {
			t := literals(sub)
			if all != nil && t.all != nil {
				all = union(all, t.all)
			} else {
				all = nil
			}
			if l := t.least(); need != nil && l != nil {
				need = union(need, l)
			} else {
				need = nil
			}
			if b := t.begins(); begin != nil && b != nil {
				begin = union(begin, b)
			} else {
				begin = nil
			}
		}
		if len(all) > maxLiterals {
			all = nil
		}
		if len(need) > maxLiterals {
			need = nil
		}
		if len(begin) > maxLiterals {
			begin = nil
		}
		return texts{all, need, begin}
	case syntax.OpConcat:
		var best []string
		take := func(set []string) {
			if set != nil && shortest(set) > 0 && better(set, best) {
				best = set
			}
		}
		run, whole := []string{""}, true
		var begin []string
		for _, sub := range re.Sub {
			t := literals(sub)
			if next := product(run, t.all); next != nil {
				run = next
				continue
			}
			if whole { // all before was known
				begin = run
				if more := product(run, t.begins()); more != nil {
					begin = more
				}
			}
			whole = false
			take(run)
			take(t.least())
			take(product(run, t.begins()))
			run = []string{""}
			if t.all != nil {
				run = t.all
			}
		}
		if whole {
			return texts{all: run}
		}
		take(run)
		return texts{need: best, begin: begin}
	}
	return texts{}
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// product joins every text of a with every one of b; nil: one is unknown, or
// there are too many.
func product(a, b []string) []string {
	if a == nil || b == nil || len(a)*len(b) > maxLiterals {
		return nil
	}
	out := []string{}
	for _, x := range a {
		for _, y := range b {
			out = union(out, []string{x + y})
		}
	}
	return out
}

// core gives the texts of set without those that hold another of them; nil:
// one is too short to tell anything.
func core(set []string) []string {
	if set == nil || shortest(set) < minLiteral {
		return nil
	}
	var out []string
	for _, s := range set {
		if !slices.ContainsFunc(set, func(o string) bool { return o != s && strings.Contains(s, o) }) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

// stoppers end a token: what a solid part of a match cannot hold.
const stoppers = " \t\n\f\r\""

// part is one stretch of an expression, with nothing or with only parts that
// are solid in it.
type part struct {
	items []*syntax.Regexp
	solid bool
}

// parts cuts an expression where it may hold a stopper.
func parts(re *syntax.Regexp) []part {
	var items []*syntax.Regexp
	var flatten func(*syntax.Regexp)
	flatten = func(re *syntax.Regexp) {
		switch re.Op {
		case syntax.OpCapture:
			flatten(re.Sub[0])
		case syntax.OpConcat:
			for _, sub := range re.Sub {
				flatten(sub)
			}
		default:
			items = append(items, re)
		}
	}
	flatten(re)
	var out []part
	for _, item := range items {
		solid := !takes(item, stoppers)
		if n := len(out); n > 0 && out[n-1].solid && solid {
			out[n-1].items = append(out[n-1].items, item)
			continue
		}
		out = append(out, part{[]*syntax.Regexp{item}, solid})
	}
	return out
}

func (p part) join() *syntax.Regexp { return &syntax.Regexp{Op: syntax.OpConcat, Sub: p.items} }

// least is the fewest bytes of a match.
func least(re *syntax.Regexp) int {
	n := 0
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune)
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return 1
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			n += least(sub)
		}
	case syntax.OpPlus:
		return least(re.Sub[0])
	case syntax.OpRepeat:
		return re.Min * least(re.Sub[0])
	case syntax.OpAlternate:
		n = least(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			n = min(n, least(sub))
		}
	}
	return n
}

// facts is what the scanner has to know of an expression.
type facts struct {
	regex  string     // of an assignment without what stands before the name, which is costly to look for
	need   []string   // in small letters; every match holds one. Nil: none is known
	gate   [][]string // further ones: of each set one stands somewhere in the text
	before int        // most bytes of a match up to the end of the text of need; -1: not bounded
	shape  shape
	solid  int // fewest bytes of chars, without others between them, around the text of need, or of the longest such part
	chars  string
	reach  int // an operator stands within so many bytes behind the text of need; 0: that is not known
	value  int // and behind it at least so many of which consists the value
}

func analyse(regex string, keywords []string) (facts, error) {
	re, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		return facts{}, err
	}
	f := facts{shape: measure(re), before: -1}
	var prior shape
	bounded := true
	sets := [][]string{}
	chosen := -1
	for _, p := range parts(re) {
		joined := p.join()
		m := measure(joined)
		set := core(literals(joined).least())
		if set != nil && better(set, f.need) {
			f.need, chosen = set, len(sets)
			f.solid = 0
			if p.solid {
				f.solid, f.chars = least(joined), ranges(bytesOf(joined))
			}
			f.before = -1
			if bounded && m.runs == 0 {
				f.before = prior.bytes + m.bytes
			} else if bounded && len(p.items) == 1 {
				f.before = prior.bytes + m.bytes
			}
		}
		sets = append(sets, set)
		prior.bytes += m.bytes
		bounded = bounded && m.runs == 0
	}
	if f.need == nil {
		for _, p := range parts(re) {
			if joined := p.join(); p.solid && least(joined) > f.solid {
				f.solid, f.chars = least(joined), ranges(bytesOf(joined))
			}
		}
	}
	var words []string
	for _, k := range keywords {
		words = append(words, strings.ToLower(k))
	}
	for i, set := range append(sets, words) {
		if len(set) == 0 || i == chosen || shortest(set) <= minLiteral {
			continue
		}
		if set = core(set); !implied(f.need, set) && !slices.ContainsFunc(f.gate, func(g []string) bool { return implied(g, set) }) {
			f.gate = append(f.gate, set)
		}
	}
	f.regex = regex
	f.assignment(regex)
	return f, nil
}

// implied reports whether whoever holds one of have holds one of set.
func implied(have, set []string) bool {
	return have != nil && !slices.ContainsFunc(have, func(h string) bool {
		return !slices.ContainsFunc(set, func(s string) bool { return strings.Contains(h, s) })
	})
}

// What rules that look for an assignment have in common: what may stand before
// the name, what stands between name and value, and behind the value.
const (
	lead     = `(?i)[\w.-]{0,50}?`
	operator = `(?:[ \t\w.-]{0,20})[\s'"]{0,3}(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}`
	ending   = `(?:[\x60'"\s;]|\\[nr]|$)`
)

// assignment fills in what holds if need stands in the name of an assignment.
// Its name holds nothing that would end the search for the operator.
func (f *facts) assignment(regex string) {
	before, after, ok := strings.Cut(regex, operator)
	after, ends := strings.CutSuffix(after, ending)
	before, begins := strings.CutPrefix(before, lead)
	if !ok || !ends || !begins {
		return
	}
	name, err := syntax.Parse("(?i)"+before, syntax.Perl)
	if err != nil {
		return
	}
	value, err := syntax.Parse("(?i)"+after, syntax.Perl)
	if err != nil || takes(value, stoppers) {
		return
	}
	for c, in := range bytesOf(name) {
		if in && !regexp.MustCompile(`[\w.\-\s'"\x60]`).Match([]byte{byte(c)}) {
			return
		}
	}
	if n := measure(name); n.runs == 0 && slices.Equal(core(literals(name).least()), f.need) {
		f.reach, f.value, f.chars = n.bytes+20+3+1, least(value), ranges(bytesOf(value))
		f.before, f.regex = n.bytes, "(?i)"+before+operator+after+ending
	}
}
