package automaton

import "sync"

// Climbing are the texts that lead elsewhere than they read, as arguments of tools
// may: with "." or ".." between slashes of either kind, as they are or with escapes
// (%2e) decoded once or twice; with three levels of escapes, which nobody looks
// into; and with a NUL, at any of these levels.
var Climbing = sync.OnceValue(func() *Automaton {
	return machine(climber{}, func(s climber, c byte) climber {
		if s = s.read(0, plainByte(c)); s.climbs {
			return climber{climbs: true}
		}
		return s
	}, func(s climber) bool {
		for level := range s.escape {
			if level == len(s.dots)-1 {
				break
			}
			for _, c := range s.escape[level].rest() {
				s = s.read(level+1, c)
			}
		}
		for _, d := range s.dots {
			s.climbs = s.climbs || d.hidden()
		}
		return s.climbs
	})
})

// climber looks at a text as it is, decoded once and decoded twice.
type climber struct {
	dots   [3]dots
	escape [3]unescaper // the last one only says whether there is an escape
	climbs bool
}

// read takes a byte of a level: 0 as it is, 1 and 2 decoded so often.
func (s climber) read(level int, c byte) climber {
	switch {
	case c == 0:
		s.climbs = true
	case c == '/' || c == '\\':
		s.climbs = s.climbs || s.dots[level].hidden()
		s.dots[level] = none
	default:
		s.dots[level] = s.dots[level].add(c)
	}
	decoded, escaped := s.escape[level].read(c)
	if level == len(s.dots)-1 {
		s.climbs = s.climbs || escaped
		return s
	}
	for _, d := range decoded {
		s = s.read(level+1, d)
	}
	return s
}

// unescaper decodes %XX as bytes come. What is not well formed stays as it is.
type unescaper struct {
	open  bool // a percent sign was read
	digit byte // behind it, as far as it matters; 0: none yet
}

// Bytes that mean the same to a climber are one.
const (
	otherByte  = 'z'
	otherDigit = '8' // with which no escape of a byte that matters begins
)

func plainByte(c byte) byte {
	if _, digit := hexDigit(c); digit {
		return c
	}
	switch c {
	case 0, '.', '/', '\\', '%':
		return c
	}
	return otherByte
}

// read takes a byte and gives what it completes; escaped: an escape.
func (u *unescaper) read(c byte) (out []byte, escaped bool) {
	low, digit := hexDigit(c)
	switch {
	case digit && u.digit != 0:
		high, _ := hexDigit(u.digit)
		*u = unescaper{}
		return []byte{plainByte(high<<4 | low)}, true
	case digit && u.open:
		if u.digit = otherDigit; c == '0' || c >= '2' && c <= '6' {
			u.digit = c
		}
		return nil, false
	}
	out = u.rest()
	if *u = (unescaper{open: c == '%'}); !u.open {
		out = append(out, c)
	}
	return out, false
}

// rest is what was read of an escape that did not come.
func (u unescaper) rest() []byte {
	switch {
	case u.digit != 0:
		return []byte{'%', u.digit}
	case u.open:
		return []byte{'%'}
	}
	return nil
}

func hexDigit(c byte) (uint8, bool) {
	if c >= 'a' && c <= 'f' {
		c -= 'a' - 'A'
	}
	return upperHex(c)
}
