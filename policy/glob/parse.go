package glob

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	// MaxPattern bounds a pattern in bytes. The automaton has about as many
	// states, and its follow sets grow with the square (128 KiB at the bound).
	MaxPattern = 1024
	// maxDepth bounds the nesting of alternatives, and so the recursion.
	maxDepth = 16
)

// Kind is the sort of a Node. The zero Kind is invalid and matches nothing.
type Kind uint8

const (
	_    Kind = iota
	Byte      // one byte, of Set
	Run       // any run of bytes of Set, possibly empty
	Alt       // one of Alts
)

// Node is one step of a parsed glob; a sequence of them is matched in order.
type Node struct {
	Kind Kind
	Set  Set      // of Byte and Run
	Alts [][]Node // of Alt
}

// Set is a set of bytes.
type Set [4]uint64

func (s *Set) add(b byte)           { s[b>>6] |= 1 << (b & 63) }
func (s *Set) remove(b byte)        { s[b>>6] &^= 1 << (b & 63) }
func (s Set) Has(b byte) bool       { return s[b>>6]&(1<<(b&63)) != 0 }
func (s Set) complement() Set       { return Set{^s[0], ^s[1], ^s[2], ^s[3]} }
func single(b byte) Set             { var s Set; s.add(b); return s }
func anyByte() Set                  { return Set{}.complement() }
func allBut(b byte) Set             { s := anyByte(); s.remove(b); return s }
func literal(b byte) Node           { return Node{Kind: Byte, Set: single(b)} }
func alternatives(a ...[]Node) Node { return Node{Kind: Alt, Alts: a} }

// only reports the byte of a set of one.
func (s Set) only() (byte, bool) {
	for b := range 256 {
		if s.Has(byte(b)) {
			return byte(b), s == single(byte(b))
		}
	}
	return 0, false
}

// SyntaxError says where a pattern is malformed.
type SyntaxError struct {
	Pattern string
	Offset  int // in bytes, from 0
	Reason  string
}

func (e *SyntaxError) Error() string {
	p := e.Pattern
	if len(p) > 128 {
		p = p[:128] + "…"
	}
	return fmt.Sprintf("parse glob %q: %s at byte %d", p, e.Reason, e.Offset)
}

type parser struct {
	text  string
	sep   byte
	pos   int
	start int // of the construct that is read, for errors
	// dropped: an empty alternative was left out.
	dropped bool
}

// parse reads a whole pattern.
func parse(pattern string, sep byte) ([]Node, error) {
	p := &parser{text: pattern, sep: sep}
	switch {
	case len(pattern) > MaxPattern:
		return nil, p.fail(fmt.Sprintf("longer than %d bytes", MaxPattern))
	case !utf8.ValidString(pattern):
		return nil, p.fail("not UTF-8")
	case strings.IndexByte(pattern, 0) >= 0:
		return nil, p.fail("NUL byte")
	}
	return p.sequence(0)
}

func (p *parser) fail(reason string) error {
	return &SyntaxError{Pattern: p.text, Offset: p.start, Reason: reason}
}

// sequence reads up to the end, or inside alternatives up to `,` or `}`.
func (p *parser) sequence(depth int) ([]Node, error) {
	seq := []Node{}
	for p.pos < len(p.text) {
		p.start = p.pos
		c := p.text[p.pos]
		switch c {
		case '*':
			seq = p.stars(seq, depth)
			continue
		case '?':
			seq = append(seq, Node{Kind: Byte, Set: allBut(p.sep)})
		case '[':
			n, err := p.class()
			if err != nil {
				return nil, err
			}
			seq = append(seq, n)
			continue
		case '{':
			n, err := p.alternatives(depth)
			if err != nil {
				return nil, err
			}
			seq = append(seq, n)
			continue
		case ',', '}':
			if depth > 0 {
				return seq, nil
			}
			if c == '}' {
				return nil, p.fail("} without {")
			}
			seq = append(seq, literal(c))
		case '\\':
			if p.pos++; p.pos == len(p.text) {
				return nil, p.fail("backslash at the end")
			}
			seq = append(seq, literal(p.text[p.pos]))
		default:
			seq = append(seq, literal(c))
		}
		p.pos++
	}
	return seq, nil
}

// stars reads a run of stars. Exactly two that are a whole component cross
// separators; anything else is a run inside one component.
func (p *parser) stars(seq []Node, depth int) []Node {
	n := 0
	for p.pos+n < len(p.text) && p.text[p.pos+n] == '*' {
		n++
	}
	before, after := byte(0), byte(0)
	if p.pos > 0 {
		before = p.text[p.pos-1]
	}
	p.pos += n
	end := p.pos == len(p.text)
	if !end {
		after = p.text[p.pos]
	}
	first := len(seq) == 0
	closes := end || depth > 0 && (after == ',' || after == '}')
	sepAfter := !end && after == p.sep
	switch {
	case n == 2 && first && (end && depth == 0 || sepAfter):
		return p.leading(depth, end)
	case n == 2 && !first && before == p.sep && isSep(seq[len(seq)-1], p.sep) && (closes || sepAfter):
		return p.inner(seq, depth, closes)
	case len(seq) > 0 && seq[len(seq)-1].Kind == Run && !seq[len(seq)-1].Set.Has(p.sep):
		return seq // a second run of the same set adds nothing
	}
	return append(seq, Node{Kind: Run, Set: allBut(p.sep)})
}

func isSep(n Node, sep byte) bool { return n.Kind == Byte && n.Set == single(sep) }

// leading is `**` at the start of a sequence. With "/" the slash behind it
// belongs to it, and a pattern of nothing else is everything.
func (p *parser) leading(depth int, end bool) []Node {
	all := Node{Kind: Run, Set: anyByte()}
	if end || p.sep != '/' {
		return []Node{all}
	}
	p.repeated(depth)
	if p.pos == len(p.text) && depth == 0 {
		return []Node{all}
	}
	return []Node{alternatives([]Node{}, []Node{all, literal('/')})}
}

// inner is `**` behind a separator. With "/" both slashes belong to it.
func (p *parser) inner(seq []Node, depth int, closes bool) []Node {
	all := Node{Kind: Run, Set: anyByte()}
	if closes || p.sep != '/' || p.repeated(depth) {
		return append(seq, all)
	}
	return append(seq, alternatives([]Node{}, []Node{all, literal('/')}))
}

// repeated reads the slash behind `**`, and further `**` components, which add
// nothing. It reports whether the last of them closes the sequence.
func (p *parser) repeated(depth int) bool {
	p.pos++
	for strings.HasPrefix(p.text[p.pos:], "**/") {
		p.pos += 3
	}
	rest, ok := strings.CutPrefix(p.text[p.pos:], "**")
	if ok && (rest == "" || depth > 0 && (rest[0] == ',' || rest[0] == '}')) {
		p.pos += 2
		return true
	}
	return false
}

// alternatives reads `{…}`. An empty alternative among others is dropped.
func (p *parser) alternatives(depth int) (Node, error) {
	open := p.pos
	if depth == maxDepth {
		return Node{}, p.fail(fmt.Sprintf("alternatives nested deeper than %d", maxDepth))
	}
	n := Node{Kind: Alt}
	empty := false
	for {
		p.pos++ // { or ,
		seq, err := p.sequence(depth + 1)
		if err != nil {
			return Node{}, err
		}
		if len(seq) > 0 {
			n.Alts = append(n.Alts, seq)
		} else {
			empty = true
		}
		if p.pos == len(p.text) {
			p.start = open
			return Node{}, p.fail("unclosed {")
		}
		if p.text[p.pos] == '}' {
			p.pos++
			break
		}
	}
	if len(n.Alts) == 0 {
		n.Alts = [][]Node{{}}
	} else if empty {
		p.dropped = true
	}
	return n, nil
}

// class reads `[…]`: a `]` or `-` in first place and a `-` in last place are
// themselves, and a backslash is an ordinary byte.
func (p *parser) class() (Node, error) {
	p.pos++
	var set Set
	negated := false
	if p.pos < len(p.text) && (p.text[p.pos] == '!' || p.text[p.pos] == '^') {
		negated = true
		p.pos++
	}
	var last byte
	inRange := false
	for first := true; ; first = false {
		if p.pos >= len(p.text) {
			return Node{}, p.fail("unclosed [")
		}
		c := p.text[p.pos]
		p.pos++
		switch {
		case c >= utf8.RuneSelf:
			return Node{}, p.fail("a class holds ASCII only")
		case c == ']' && !first:
			if inRange {
				set.add('-')
			}
			if negated {
				set = set.complement()
			}
			if p.sep != '/' {
				set.remove(p.sep)
			}
			return Node{Kind: Byte, Set: set}, nil
		case c == '-' && !first && !inRange:
			inRange = true
		case inRange:
			if c < last {
				return Node{}, p.fail("range runs backwards")
			}
			for b := int(last); b <= int(c); b++ {
				set.add(byte(b))
			}
			last, inRange = c, false
		default:
			set.add(c)
			last = c
		}
	}
}
