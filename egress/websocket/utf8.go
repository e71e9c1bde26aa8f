package websocket

import "unicode/utf8"

// utf8State checks UTF-8 that comes in pieces, and refuses at the first byte
// that no valid text can have there.
type utf8State struct {
	begun [utf8.UTFMax]byte // of a character that is not complete
	n     int
}

func (s *utf8State) take(b []byte) bool {
	for s.n > 0 && len(b) > 0 {
		s.begun[s.n] = b[0]
		s.n++
		b = b[1:]
		if !possible(s.begun[:s.n]) {
			return false
		}
		if utf8.FullRune(s.begun[:s.n]) {
			s.n = 0
		}
	}
	// What is at the end may be a part of a character.
	end := len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; c&0xc0 != 0x80 {
			if c >= 0xc0 && !utf8.FullRune(b[len(b)-i:]) {
				end = len(b) - i
			}
			break
		}
	}
	if !utf8.Valid(b[:end]) {
		return false
	}
	if rest := b[end:]; len(rest) > 0 {
		s.n = copy(s.begun[:], rest)
		return possible(rest)
	}
	return true
}

// whole reports whether no character is incomplete.
func (s *utf8State) whole() bool { return s.n == 0 }

// possible reports whether b is a character, or the beginning of one.
// utf8.FullRune takes what is wrong for complete, so that decoding says so.
func possible(b []byte) bool {
	if !utf8.FullRune(b) {
		return true
	}
	r, n := utf8.DecodeRune(b)
	return (r != utf8.RuneError || n != 1) && n == len(b)
}
