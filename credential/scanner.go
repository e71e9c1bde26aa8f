package credential

import (
	"errors"
	"io"
)

// ErrPlaceholder is the error of a reader that came upon a placeholder.
var ErrPlaceholder = errors.New("a placeholder stands in the data that would be sent, where no credential is bound; it is refused")

// NewScanner reads through to r and fails with ErrPlaceholder before it gives
// out a placeholder, as it is or percent-encoded once. Use it for request
// bodies and for what a client sends over a connection that is not inspected.
//
// It gives every byte out at once, except those that may be a placeholder's
// begin, from its sixth character on ("creel:"): a protocol that waits for an
// answer to a message with this ending would wait in vain, and none is known.
// It is for one reader at a time.
func NewScanner(r io.Reader) io.Reader {
	return &scanner{from: r, plain: matcher{}, coded: matcher{percent: true}}
}

// Scan is NewScanner, for those who know a Set behind an interface only. A nil
// Set scans as well.
func (s *Set) Scan(r io.Reader) io.Reader { return NewScanner(r) }

// holdFrom is how many characters of the prefix must have come before bytes are
// held back: with fewer, single letters at the end of a message would be held
// from the one who waits for them. What gets out before that names nothing.
const holdFrom = len("creel:")

type scanner struct {
	from  io.Reader
	plain matcher
	coded matcher
	buf   []byte
	out   []byte // a part of buf that is ready to be given out
	held  []byte // the part behind it, which may be the begin of a placeholder
	err   error  // given once out is empty
}

// readBytes is one piece of input: one TLS record.
const readBytes = 16 << 10

func (s *scanner) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(s.out) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.fill()
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

// fill is called with all of out given away.
func (s *scanner) fill() {
	if s.buf == nil {
		s.buf = make([]byte, readBytes+3*len(prefix)) // what is held has at most three bytes per character
	}
	base := copy(s.buf, s.held)
	n, err := s.from.Read(s.buf[base : base+readBytes])
	all := s.buf[:base+n]
	for i := base; i < len(all); i++ {
		// Both take every byte, whichever finds first.
		plain, coded := s.plain.step(all[i]), s.coded.step(all[i])
		if !plain && !coded {
			continue
		}
		length := 0
		if plain {
			length = s.plain.raw()
		}
		if coded {
			length = max(length, s.coded.raw())
		}
		// Everything before the match is fit to be given out.
		s.out, s.held, s.err = all[:max(i+1-length, 0)], nil, ErrPlaceholder
		return
	}
	if err != nil {
		s.out, s.held, s.err = all, nil, err
		return
	}
	keep := min(max(s.plain.hold(), s.coded.hold()), len(all))
	s.out, s.held = all[:len(all)-keep], all[len(all)-keep:]
}

// matcher looks for the prefix in a stream, character by character; with
// percent, in the stream that percent-decoding makes of it.
type matcher struct {
	percent bool
	pending []byte // raw bytes of an escape that is not complete
	state   int    // characters of the prefix that match
	lengths []int  // raw length of each of them, 1 or 3
}

// step takes a raw byte and reports whether the prefix is complete.
func (m *matcher) step(c byte) bool {
	if !m.percent {
		return m.take(c, 1)
	}
	if len(m.pending) == 0 && c != '%' {
		return m.take(c, 1)
	}
	if len(m.pending) > 0 && !isHex(c) {
		// Not an escape after all: its bytes stand for themselves. None of them
		// completes the prefix, whose last character is neither % nor a digit.
		for _, p := range m.pending {
			m.take(p, 1)
		}
		m.pending = m.pending[:0]
		return m.step(c)
	}
	m.pending = append(m.pending, c)
	if len(m.pending) < 3 {
		return false
	}
	dec := unhex(m.pending[1])<<4 | unhex(m.pending[2])
	m.pending = m.pending[:0]
	return m.take(dec, 3)
}

// take takes a decoded character that had length raw bytes.
func (m *matcher) take(c byte, length int) bool {
	for {
		if m.state < len(prefix) && prefix[m.state] == c {
			m.state++
			m.lengths = append(m.lengths, length)
			return m.state == len(prefix)
		}
		if m.state == 0 {
			return false
		}
		// Fall back to the longest begin of the prefix that ends here.
		next := m.state - 1
		for next > 0 && prefix[:next] != prefix[m.state-next:m.state] {
			next--
		}
		m.lengths = m.lengths[len(m.lengths)-next:]
		m.state = next
	}
}

// raw is how many bytes the matched characters had.
func (m *matcher) raw() int {
	n := len(m.pending)
	for _, l := range m.lengths {
		n += l
	}
	return n
}

// hold is how many bytes at the end must wait.
func (m *matcher) hold() int {
	if m.state < holdFrom {
		return 0
	}
	return m.raw()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// scannedBody is a request body behind a scanner.
type scannedBody struct {
	io.Reader
	io.Closer
}
