package layers

import (
	"bytes"
	"iter"
	"slices"
	"unicode/utf8"
)

const (
	minRun    = 16 // characters of base64 that are decoded: 12 bytes
	minHex    = 24 // digits
	minBase32 = 26 // 16 bytes
	minPlain  = 8  // bytes in a row that can be read, of data that is taken for text
	minLine   = 32 // characters of a line of base64 that goes on in the next one
)

// six is the value of a character of base64, of either alphabet; -1: of none.
var six = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range 26 {
		t['A'+i], t['a'+i] = int8(i), int8(26+i)
	}
	for i := range 10 {
		t['0'+i] = int8(52 + i)
	}
	t['+'], t['/'], t['-'], t['_'] = 62, 63, 62, 63
	return t
}()

// five is the value of a character of base32, in small letters as well.
var five = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range 26 {
		t['A'+i], t['a'+i] = int8(i), int8(i)
	}
	for i := range 6 {
		t['2'+i] = int8(26 + i)
	}
	return t
}()

// run is a stretch of characters that may be an encoding.
type run struct {
	from, to int    // of the layer above, with padding
	chars    []byte // without padding and line ends
}

// decode fills the layer with the text, in which what is encoded is decoded;
// false: nothing is. left bounds what comes out of compressed data.
func (l *Layer) decode(text []byte, left *budget) (bool, error) {
	type other struct {
		run
		plain []byte
		kind
	}
	var others []other // come at the end, since they overlap
	done := 0          // up to here all is in l.Text
	for i := 0; i < len(text); {
		if six[text[i]] < 0 {
			i++
			continue
		}
		r := nextRun(text, i)
		i = r.to
		if len(r.chars) < minRun {
			continue
		}
		found := 0
		for plain, k := range r.readings() {
			if out, ok, err := inflated(plain, left); err != nil {
				return false, err
			} else if ok {
				plain, k = out, compressed
			}
			if err := left.take(len(plain)); err != nil {
				return false, err
			}
			if found++; found > 1 {
				others = append(others, other{r, plain, k})
				continue
			}
			if l.Text == nil {
				l.Text = make([]byte, 0, len(text))
			}
			l.copy(done, r.from)
			l.put(r.from, r.to, k, plain...)
			done = r.to
		}
	}
	if l.pieces == nil {
		return false, nil
	}
	l.copy(done, len(text))
	for _, o := range others {
		l.put(o.from, o.to, o.kind, '\n')
		l.put(o.from, o.to, o.kind, o.plain...)
	}
	return true, nil
}

// nextRun reads the longest run from i on, over line ends behind long lines.
func nextRun(text []byte, i int) run {
	r := run{from: i}
	line := i
	for {
		for i < len(text) && six[text[i]] >= 0 {
			i++
		}
		n := i
		if n < len(text) && text[n] == '\r' {
			n++
		}
		if i-line >= minLine && n+1 < len(text) && text[n] == '\n' && six[text[n+1]] >= 0 {
			r.chars = append(r.chars, text[line:i]...)
			i, line = n+1, n+1
			continue
		}
		break
	}
	if r.chars == nil {
		r.chars = text[line:i]
	} else {
		r.chars = append(r.chars, text[line:i]...)
	}
	padding := i
	for i < len(text) && text[i] == '=' && i-padding < 6 {
		i++
	}
	r.to = i
	return r
}

// readings gives what the run may stand for: texts that can be read in part at
// least, and compressed data. The first one is the likeliest.
func (r run) readings() iter.Seq2[[]byte, kind] {
	return func(yield func([]byte, kind) bool) {
		for c := range stretches(r.chars, &isHex, minHex) {
			for odd := range 2 {
				out := unhex(c[odd:])
				if !sensible(out) {
					continue
				}
				if !yield(out, hexa) || len(out)*2 == len(r.chars) && readable(out) {
					return
				}
			}
		}
		for _, set := range []*[256]bool{&isBase32Capital, &isBase32Small} {
			for c := range stretches(r.chars, set, minBase32) {
				for begin := range 8 {
					if out := unpack(c[begin:], &five, 5); sensible(out) && !yield(out, base32) {
						return
					}
				}
			}
		}
		if !slices.ContainsFunc(r.chars, func(b byte) bool { return 'A' <= b && b <= 'Z' }) {
			return // what stands for ASCII has capitals
		}
		for begin := range 4 {
			out := unpack(r.chars[begin:], &six, 6)
			if !sensible(out) {
				continue
			}
			if !yield(out, base64) || readable(out) {
				return
			}
		}
	}
}

// stretches gives the longest parts that consist of a set.
func stretches(text []byte, set *[256]bool, least int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for end := least; end <= len(text); {
			// A part that begins before has the last of these bytes in it.
			if !set[text[end-1]] {
				end += least
				continue
			}
			from, to := end-1, end
			for from > 0 && set[text[from-1]] {
				from--
			}
			for to < len(text) && set[text[to]] {
				to++
			}
			if to-from >= least && !yield(text[from:to]) {
				return
			}
			end = to + least
		}
	}
}

var isHex, isBase32Capital, isBase32Small = func() (h, c, s [256]bool) {
	for b := range 256 {
		h[b] = hexValue[b] >= 0
		c[b] = five[b] >= 0 && !('a' <= b && b <= 'z')
		s[b] = five[b] >= 0 && !('A' <= b && b <= 'Z')
	}
	return h, c, s
}()

func unhex(text []byte) []byte {
	out := make([]byte, len(text)/2)
	for i := range out {
		out[i] = byte(hexValue[text[2*i]])<<4 | byte(hexValue[text[2*i+1]])
	}
	return out
}

// unpack puts the values of characters together, so many bits of each.
func unpack(text []byte, values *[256]int8, bits int) []byte {
	out := make([]byte, 0, len(text)*bits/8)
	for ; bits == 6 && len(text) >= 4; text = text[4:] { // most of what there is
		v := uint32(values[text[0]])<<18 | uint32(values[text[1]])<<12 | uint32(values[text[2]])<<6 | uint32(values[text[3]])
		out = append(out, byte(v>>16), byte(v>>8), byte(v))
	}
	var held uint32
	n := 0
	for _, c := range text {
		held = held<<bits | uint32(values[c])
		if n += bits; n >= 8 {
			n -= 8
			out = append(out, byte(held>>n))
		}
	}
	return out
}

// longRow is how many characters in a row that can be read make data text:
// random data has so many once in a hundred megabytes.
const longRow = 20

// sensible reports whether data is compressed, or something in it is, or it has
// enough characters in a row that can be read, or is all text of other letters.
func sensible(data []byte) bool {
	return format(data) != none || bytes.Contains(data, gzipMark) || bytes.Contains(data, zipMark) || len(data) >= minPlain && utf8.Valid(data) || hasRow(data, min(longRow, max(minPlain, len(data)*3/4)))
}

// isPlain are the bytes that can be read. NUL bytes do not count at all, so that
// UTF-16 can be read, too.
var isPlain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c < 0x7f || c == '\n' || c == '\r' || c == '\t'
	}
	return t
}()

// hasRow reports whether n characters in a row can be read.
func hasRow(data []byte, n int) bool {
	for begin := 0; begin+n <= len(data); {
		// A row that begins before has this byte in it.
		if c := data[begin+n-1]; c != 0 && !isPlain[c] {
			begin += n
			continue
		}
		row, i := 0, begin
		for ; i < len(data) && row < n && (isPlain[data[i]] || data[i] == 0); i++ {
			if data[i] != 0 {
				row++
			}
		}
		if row == n {
			return true
		}
		begin = i + 1
	}
	return false
}

// readable reports whether all of it can be read.
func readable(data []byte) bool {
	for _, c := range data {
		if !isPlain[c] {
			return false
		}
	}
	return true
}
