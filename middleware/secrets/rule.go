package secrets

import (
	"bytes"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// rule is one of table, which rules_gen.go has. What stands there besides the
// expression follows from it; need and gate have small letters.
type rule struct {
	id      string
	regex   string
	entropy float64    // a secret has more bits per byte; 0: that is not looked at
	group   int        // of the secret in a match; 0: the first one that has bytes
	need    []string   // every match holds one; nil: none is known
	gate    [][]string // of each set one stands somewhere in the text
	before  int        // most bytes of a match up to the end of need; -1: not bounded
	bytes   int        // most bytes of all parts of a match that are bounded
	runs    int        // most parts that are not
	wide    bool       // those may hold stoppers
	solid   int        // fewest bytes of chars in a row around need, or of the longest such part
	chars   string     // first and last byte of each stretch
	reach   int        // so many bytes behind need at most stands an operator; 0: that is not known
	value   int        // and behind it at least so many bytes, of chars
	figures bool       // the value has more than letters, "_", "." and "-", by an exception
	allows  []allow
}

// allow is an exception: what it holds for is no secret.
type allow struct {
	of      subject
	regexes []string
	words   string // one per line, in small letters: one of them stands in the secret
}

// subject is what the expressions of an allow look at.
type subject uint8

const (
	theSecret subject = iota
	theMatch
	theLine
)

// stopper is what a part of a match without bound does not hold, unless wide.
var stopper = [256]bool{' ': true, '\t': true, '\n': true, '\f': true, '\r': true, '"': true}

// program is what a rule compiles to when a text wakes it.
type program struct {
	regex  *regexp.Regexp
	allows []exception
}

type exception struct {
	of      subject
	regexes []*regexp.Regexp
	words   *automaton // nil: none
}

func (r *rule) compile() *program {
	return &program{regexp.MustCompile(r.regex), compileAllows(r.allows)}
}

func compileAllows(list []allow) []exception {
	var out []exception
	for _, a := range list {
		e := exception{of: a.of}
		for _, r := range a.regexes {
			e.regexes = append(e.regexes, regexp.MustCompile(r))
		}
		if a.words != "" {
			e.words, _ = newAutomaton(strings.Split(a.words, "\n"), true) // of a table that a test builds
		}
		out = append(out, e)
	}
	return out
}

// goChecksum: a module of a go.sum may be called token, and its checksum looks like one.
var goChecksum = allow{of: theMatch, regexes: []string{`[ \t]v[0-9][\w.+-]*(?:/go\.mod)?[ \t]h1:[A-Za-z0-9+/]{43}=`}}

var commonExceptions = sync.OnceValue(func() []exception { return compileAllows(append(slices.Clip(commonAllows), goChecksum)) })

// set is the bytes of chars.
func (r *rule) set() *[256]bool {
	var set [256]bool
	for i := 0; i+1 < len(r.chars); i += 2 {
		for b := int(r.chars[i]); b <= int(r.chars[i+1]); b++ {
			set[b] = true
		}
	}
	return &set
}

// maxLead is how far an exception looks back from a match of an assignment, for
// the begin of its name.
const maxLead = 50

// lead is how many characters of a name stand before a place.
func lead(text []byte, at int) int {
	n := 0
	for n < maxLead && n < at && isWord[text[at-n-1]] {
		n++
	}
	return n
}

var isWord = func() (t [256]bool) {
	for c := range t {
		t[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c == '.' || c == '-'
	}
	return t
}()

// maxLine bounds a line that an exception looks at, to both sides.
const maxLine = 1 << 10

// secret gives where the secret of a match stands in the text; ok is false if
// it is none. m is of the expression, in the text from at on.
func (r *rule) secret(p *program, text []byte, at int, m []int) (from, to int, ok bool) {
	from, to = at+m[0], at+m[1]
	if r.group > 0 && 2*r.group+1 < len(m) {
		if m[2*r.group] < 0 {
			return 0, 0, false
		}
		from, to = at+m[2*r.group], at+m[2*r.group+1]
	} else {
		for g := 2; g+1 < len(m); g += 2 {
			if m[g] < m[g+1] {
				from, to = at+m[g], at+m[g+1]
				break
			}
		}
	}
	if from >= to || r.entropy > 0 && entropy(text[from:to]) <= r.entropy {
		return 0, 0, false
	}
	match := text[at+m[0] : at+m[1]]
	if r.reach > 0 {
		match = text[at+m[0]-lead(text, at+m[0]) : at+m[1]]
	}
	line := func() []byte {
		low, high := max(at+m[0]-maxLine, 0), min(at+m[1]+maxLine, len(text))
		begin, end := low, high
		if n := bytes.LastIndexByte(text[low:at+m[0]], '\n'); n >= 0 {
			begin = low + n + 1
		}
		if n := bytes.IndexByte(text[at+m[1]:high], '\n'); n >= 0 {
			end = at + m[1] + n
		}
		return text[begin:end]
	}
	for _, list := range [][]exception{commonExceptions(), p.allows} {
		for i := range list {
			if list[i].holds(text[from:to], match, line) {
				return 0, 0, false
			}
		}
	}
	return from, to, true
}

func (e *exception) holds(secret, match []byte, line func() []byte) bool {
	of := secret
	switch e.of {
	case theMatch:
		of = match
	case theLine:
		of = line()
	}
	for _, r := range e.regexes {
		if r.Match(of) {
			return true
		}
	}
	return e.words != nil && e.words.find(secret, func([]int, int) error { return errFound }) != nil
}

// entropy is Shannon's, in bits per byte.
func entropy(text []byte) float64 {
	var count [256]int
	for _, c := range text {
		count[c]++
	}
	sum := 0.0
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(text))
			sum -= p * math.Log2(p)
		}
	}
	return sum
}
