package layers

import "slices"

// maxPiece is the longest text that may be a piece of something: a longer one
// is found by what it holds itself.
const maxPiece = 512

// Joined is the short texts of one kind in a document, one behind the other:
// texts in quotes, as those of JSON and source code, but no keys; values of a
// form; lines that hold one word.
type Joined struct {
	Text   []byte
	starts []int // of the pieces, in Text
	from   []int // and where they stand
}

// inPiece are the characters of which pieces consist.
var inPiece = func() (t [256]bool) {
	for c := range t {
		t[c] = six[c] >= 0 || c == '=' || c == '.' || c == '~' || c == ':' || c == '@' || c == '%' || c == '!' || c == '$' || c == '*'
	}
	return t
}()

// Join gives the pieces of a text, of each kind of which there are several.
func Join(text []byte) []*Joined {
	var quoted, fields, lines Joined
	for i := 0; i < len(text); {
		if !inPiece[text[i]] {
			i++
			continue
		}
		from := i
		for i < len(text) && inPiece[text[i]] {
			i++
		}
		before, after := byte('\n'), byte('\n')
		if from > 0 {
			before = text[from-1]
		}
		if i < len(text) {
			after = text[i]
		}
		switch {
		case (before == '"' || before == '\'' || before == '`') && after == before:
			if !isKey(text[i+1:]) && (i-from > 1 || text[from] != ':') { // which stands between texts
				quoted.add(text, from, i)
			}
		case after == '&' || before == '&':
			fields.add(text, from+slices.Index(text[from:i], '=')+1, i)
		case before == '\n' && (after == '\r' || after == '\n'):
			if i-from < 2 || text[from] != '-' || text[from+1] != '-' { // which stands between parts
				lines.add(text, from, i)
			}
		}
	}
	return slices.DeleteFunc([]*Joined{&quoted, &fields, &lines}, func(j *Joined) bool { return len(j.starts) < 2 })
}

func (j *Joined) add(text []byte, from, to int) {
	if from < to && to-from <= maxPiece {
		j.starts = append(j.starts, len(j.Text))
		j.from = append(j.from, from)
		j.Text = append(j.Text, text[from:to]...)
	}
}

// isKey reports whether a colon is what comes next.
func isKey(text []byte) bool {
	for _, c := range text {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == ':'
		}
	}
	return false
}

// Piece is the index of the piece that byte i of Text stands in.
func (j *Joined) Piece(i int) int {
	n, exact := slices.BinarySearch(j.starts, i)
	if exact {
		return n
	}
	return n - 1
}

// Run gives where the pieces from first to last stand in Text, as far as there
// are any.
func (j *Joined) Run(first, last int) (from, to int) {
	to = len(j.Text)
	if last+1 < len(j.starts) {
		to = j.starts[last+1]
	}
	return j.starts[first], to
}

// Pieces is how many there are.
func (j *Joined) Pieces() int { return len(j.starts) }

// Origin is where byte i of Text stands in the text.
func (j *Joined) Origin(i int) int {
	n := j.Piece(i)
	return j.from[n] + i - j.starts[n]
}
