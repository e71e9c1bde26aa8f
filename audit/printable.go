package audit

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Printable makes s safe to show on a terminal or a page, on one line: every
// control character (C0, C1, DEL, so also every ANSI sequence), bidirectional
// control, zero-width or otherwise invisible character, and every byte that is
// not UTF-8, becomes a visible escape. All printing of foreign strings goes
// through here. Text without such characters is returned unchanged.
func Printable(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' {
			return escape(s, i)
		}
	}
	return s
}

func escape(s string, from int) string {
	var b strings.Builder
	b.WriteString(s[:from])
	for i := from; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x`)
			b.WriteByte(hexDigits[s[i]>>4])
			b.WriteByte(hexDigits[s[i]&15])
		case !strconv.IsPrint(r) || invisible(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// PrintableJSON is Printable for an encoded JSON document, indented or not: what
// encoding/json leaves as it is in strings (DEL, C1, bidirectional and invisible
// characters) becomes an escape of JSON, which means the same.
func PrintableJSON(doc []byte) []byte {
	plain := func(c byte) bool { return c == '\n' || c >= ' ' && c <= '~' }
	i := 0
	for i < len(doc) && plain(doc[i]) {
		i++
	}
	if i == len(doc) {
		return doc
	}
	out := append(make([]byte, 0, len(doc)+64), doc[:i]...)
	for i < len(doc) {
		r, n := utf8.DecodeRune(doc[i:])
		switch {
		case r == '\n' || strconv.IsPrint(r) && !invisible(r):
			out = append(out, doc[i:i+n]...)
		default: // the encoder has replaced what is not UTF-8
			for _, u := range utf16.AppendRune(nil, r) {
				out = append(out, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
			}
		}
		i += n
	}
	return out
}

const hexDigits = "0123456789abcdef"

// invisible lists what Unicode counts as printable though nothing is seen of
// it (marks and letters that are fillers, joiners or selectors). Formats such
// as bidi controls, zero-width spaces and tags are no IsPrint already.
func invisible(r rune) bool {
	switch {
	case r == 0x034F, // combining grapheme joiner
		r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, // Hangul fillers
		r == 0x17B4, r == 0x17B5, // Khmer inherent vowels
		r == 0x2800,                // braille blank
		r >= 0x180B && r <= 0x180F, // Mongolian selectors
		r >= 0xFE00 && r <= 0xFE0F, // variation selectors
		r >= 0xE0100 && r <= 0xE01EF:
		return true
	}
	return false
}
