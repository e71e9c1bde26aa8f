package layers

import (
	"unicode/utf16"
	"unicode/utf8"
)

// special are the bytes at which an escape or an invisible character may begin.
var special = func() (t [256]bool) {
	for _, c := range []byte{'\\', '%', '&', 0, 0xc2, 0xe2, 0xef} {
		t[c] = true
	}
	return t
}()

// unescape fills the layer with the text without escapes; false: it has none.
func (l *Layer) unescape(text []byte) bool {
	done := 0 // up to here all is in l.Text
	for i := 0; i < len(text); {
		if !special[text[i]] {
			i++
			continue
		}
		char, n := oneEscape(text[i:])
		if n == 0 {
			for i++; i < len(text) && text[i-1] == '\\' && text[i] == '\\'; i++ { // they were all looked at
			}
			continue
		}
		if l.Text == nil {
			l.Text = make([]byte, 0, len(text))
			l.pieces = make([]piece, 0, 16+len(text)/32)
		}
		l.copy(done, i)
		switch {
		case char == nothing:
			l.put(i, i+n, escape)
		case char&asByte != 0:
			l.put(i, i+n, escape, byte(char))
		default:
			var buf [utf8.UTFMax]byte
			l.put(i, i+n, escape, buf[:utf8.EncodeRune(buf[:], char)]...)
		}
		i += n
		done = i
	}
	if l.pieces == nil {
		return false
	}
	l.copy(done, len(text))
	return true
}

// nothing is the character of what is left out.
const nothing = -1

// asByte marks a character that is one byte and no code point.
const asByte = 1 << 24

// oneEscape reads an escape at the begin of text, of n bytes; 0: there is none.
func oneEscape(text []byte) (char rune, n int) {
	switch text[0] {
	case '\\':
		return backslash(text)
	case '%':
		return percent(text)
	case '&':
		return reference(text)
	case 0:
		return nothing, 1
	}
	switch r, n := utf8.DecodeRune(text); r {
	case '\u00ad', '\u200b', '\u200c', '\u200d', '\u2060', '\ufeff': // take no place on a page
		return nothing, n
	}
	return 0, 0
}

// backslash reads an escape of JSON or JavaScript: of any number of backslashes,
// since texts in texts in texts have more of them.
func backslash(text []byte) (rune, int) {
	n := 0
	for n < len(text) && text[n] == '\\' {
		n++
	}
	if n == len(text) {
		return 0, 0
	}
	switch c := text[n]; c {
	case 'n':
		return '\n', n + 1
	case 'r':
		return '\r', n + 1
	case 't':
		return '\t', n + 1
	case '"', '\'', '/':
		return rune(c), n + 1
	case 'x':
		if v, ok := digits(text[n+1:], 2); ok {
			return v | asByte, n + 3
		}
	case 'u':
		v, ok := digits(text[n+1:], 4)
		if !ok {
			break
		}
		if v == 0 {
			return nothing, n + 5
		}
		if utf16.IsSurrogate(v) {
			rest, m := text[n+5:], 0
			for m < len(rest) && rest[m] == '\\' {
				m++
			}
			if m > 0 && m < len(rest) && rest[m] == 'u' {
				if low, ok := digits(rest[m+1:], 4); ok {
					return utf16.DecodeRune(v, low), n + 5 + m + 5
				}
			}
		}
		return v, n + 5
	}
	return 0, 0
}

// percent reads one byte in percent-encoding, itself encoded any number of times.
func percent(text []byte) (rune, int) {
	n := 1
	for n+2 <= len(text) && text[n] == '2' && text[n+1] == '5' {
		n += 2
	}
	v, ok := digits(text[n:], 2)
	if !ok {
		// %25 and no digits: it is a percent sign.
		if n > 1 {
			return '%', n
		}
		return 0, 0
	}
	return v | asByte, n + 2 // NUL as well: of compressed data, which is looked at first
}

// reference reads a character reference of HTML or XML by number.
func reference(text []byte) (rune, int) {
	n := 1
	for len(text) >= n+4 && string(text[n:n+4]) == "amp;" {
		n += 4
	}
	if n >= len(text) || text[n] != '#' {
		return 0, 0
	}
	n++
	base := rune(10)
	if n < len(text) && text[n]|0x20 == 'x' {
		base = 16
		n++
	}
	var v rune
	begin := n
	for ; n < len(text) && n-begin < 10; n++ {
		d := hexValue[text[n]]
		if d < 0 || rune(d) >= base {
			break
		}
		if v = v*base + rune(d); v > utf8.MaxRune {
			return 0, 0
		}
	}
	if n == begin || n == len(text) || text[n] != ';' {
		return 0, 0
	}
	if v == 0 {
		return nothing, n + 1
	}
	return v, n + 1
}

// hexValue is -1 for what is no hexadecimal digit.
var hexValue = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range 10 {
		t['0'+i] = int8(i)
	}
	for i := range 6 {
		t['a'+i], t['A'+i] = int8(10+i), int8(10+i)
	}
	return t
}()

func digits(text []byte, n int) (v rune, ok bool) {
	if len(text) < n {
		return 0, false
	}
	for _, c := range text[:n] {
		d := hexValue[c]
		if d < 0 {
			return 0, false
		}
		v = v<<4 | rune(d)
	}
	return v, true
}
