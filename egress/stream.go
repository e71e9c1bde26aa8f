package egress

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// stream reads HTTP/1 from a connection, strictly: what two readers might
// understand in two ways is a fault. A read that is interrupted by a deadline
// loses nothing.
type stream struct {
	nc    net.Conn
	count *atomic.Int64 // of the bytes that were read; nil: not counted
	buf   []byte        // buf[from:to] was read and not looked at yet
	from  int
	to    int
}

// streamBuffer is how much is read at once: most heads are shorter.
const streamBuffer = 4 << 10

func newStream(nc net.Conn, ahead []byte, count *atomic.Int64) *stream {
	s := &stream{nc: nc, count: count, buf: make([]byte, max(streamBuffer, len(ahead)))}
	s.to = copy(s.buf, ahead)
	if count != nil {
		count.Add(int64(len(ahead)))
	}
	return s
}

// ahead is what was read and not looked at.
func (s *stream) ahead() []byte { return s.buf[s.from:s.to] }

func (s *stream) skip(n int) {
	if s.from += n; s.from == s.to {
		s.from, s.to = 0, 0
	}
}

// trim gives back the memory that a long head took.
func (s *stream) trim() {
	if have := s.to - s.from; len(s.buf) > streamBuffer && have <= streamBuffer {
		to := make([]byte, streamBuffer)
		copy(to, s.buf[s.from:s.to])
		s.buf, s.from, s.to = to, 0, have
	}
}

// push puts bytes behind those that were read.
func (s *stream) push(b []byte) {
	s.room(len(b))
	s.to += copy(s.buf[s.to:], b)
}

// room makes place for n more bytes.
func (s *stream) room(n int) {
	if len(s.buf)-s.to >= n {
		return
	}
	have := s.to - s.from
	to := s.buf
	if have+n > len(s.buf) {
		to = make([]byte, max(2*len(s.buf), have+n))
	}
	copy(to, s.buf[s.from:s.to])
	s.buf, s.from, s.to = to, 0, have
}

// fill reads once, behind what is there.
func (s *stream) fill() error {
	if s.to == len(s.buf) {
		s.room(streamBuffer)
	}
	n, err := s.nc.Read(s.buf[s.to:])
	s.to += n
	if s.count != nil {
		s.count.Add(int64(n))
	}
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// read gives bytes straight into p, the ones that are there first.
func (s *stream) read(p []byte) (int, error) {
	if s.from < s.to {
		n := copy(p, s.ahead())
		s.skip(n)
		return n, nil
	}
	n, err := s.nc.Read(p)
	if s.count != nil {
		s.count.Add(int64(n))
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

var errLineEnd = errors.New("a line ends without a carriage return")

// line takes a line of at most limit bytes, its CRLF included, or reports that
// more is needed. What it gives is good until the next read.
func (s *stream) line(limit int) (text []byte, more bool, err error) {
	in := s.ahead()
	if len(in) > limit {
		in = in[:limit]
	}
	i := bytes.IndexByte(in, '\n')
	switch {
	case i < 0 && len(in) < limit:
		return nil, true, nil
	case i < 0:
		return nil, false, errors.New("a line is too long")
	case i == 0 || in[i-1] != '\r':
		return nil, false, errLineEnd
	}
	text = in[:i-1]
	s.skip(i + 1)
	return text, false, nil
}

// framed is a body in its framing. The end of it is io.EOF; a connection that
// ends before is io.ErrUnexpectedEOF, and a fault in the framing an *httpFault.
type framed struct {
	s       *stream
	how     framing
	lenient bool // chunk extensions are passed over: of servers
	left    int64
	trail   int
	trailer http.Header // takes the trailers; nil: they are dropped
	err     error       // what every further read gets
}

type framing uint8

const (
	noBody     framing = iota
	byLength           // left bytes
	byChunks           // at a size
	inChunk            // left bytes of it
	afterChunk         // at the CRLF behind it
	inTrailer
	byClose // as long as the connection lasts
)

func (f *framed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for f.err == nil {
		switch f.how {
		case noBody:
			f.err = io.EOF
		case byLength, inChunk:
			if int64(len(p)) > f.left {
				p = p[:f.left]
			}
			n, err := f.s.read(p)
			if f.left -= int64(n); f.left == 0 {
				if f.how == inChunk {
					f.how = afterChunk
				} else {
					f.how = noBody
				}
			}
			if n > 0 {
				return n, nil
			}
			return 0, f.broken(err)
		case byClose:
			n, err := f.s.read(p)
			if n > 0 || err == nil {
				return n, nil
			}
			if errors.Is(err, io.EOF) {
				f.err = io.EOF
			}
			return 0, err
		default:
			if more := f.chunk(); more {
				if err := f.s.fill(); err != nil {
					return 0, f.broken(err)
				}
			}
		}
	}
	return 0, f.err
}

// broken is the error of a read inside of the body. One that passes (a deadline)
// may be followed by another read.
func (f *framed) broken(err error) error {
	if errors.Is(err, io.EOF) || err == nil {
		f.err = io.ErrUnexpectedEOF
		return f.err
	}
	return err
}

// chunk looks at a line of the framing, or reports that more is needed.
func (f *framed) chunk() (more bool) {
	fail := func(reason string) bool {
		f.err = bad(reason)
		return false
	}
	switch f.how {
	case byChunks:
		limit := maxChunkLine
		if f.lenient {
			limit = maxTrailer
		}
		text, more, err := f.s.line(limit)
		if more || err != nil {
			return more || fail("a chunk size is malformed or has an extension")
		}
		if f.lenient {
			text, _, _ = bytes.Cut(text, []byte(";"))
			text = bytes.TrimRight(text, " \t")
		}
		if !isHex(text) || len(text) > 15 {
			return fail("a chunk size is malformed or has an extension")
		}
		size, err := strconv.ParseInt(string(text), 16, 64)
		if err != nil {
			return fail("a chunk size is malformed")
		}
		f.how, f.left = inChunk, size
		if size == 0 {
			f.how, f.trail = inTrailer, 0
		}
	case afterChunk:
		switch in := f.s.ahead(); {
		case len(in) > 0 && in[0] != '\r' || len(in) > 1 && in[1] != '\n':
			return fail("a chunk is longer than its size")
		case len(in) < 2:
			return true
		}
		f.s.skip(2)
		f.how = byChunks
	case inTrailer:
		text, more, err := f.s.line(maxTrailer - f.trail)
		switch {
		case more:
			return true
		case errors.Is(err, errLineEnd):
			return fail(errLineEnd.Error())
		case err != nil:
			return fail("the trailer section is too long")
		}
		f.trail += len(text) + 2
		if len(text) == 0 {
			f.how, f.err = noBody, io.EOF
			return false
		}
		name, value, ok := strings.Cut(string(text), ":")
		if !ok || !isToken(name) || strings.ContainsFunc(value, isControl) {
			return fail("a trailer field is malformed")
		}
		if f.trailer != nil {
			f.trailer.Add(name, strings.Trim(value, " \t"))
		}
	case noBody, byLength, inChunk, byClose:
		f.err = io.ErrUnexpectedEOF // it cannot be
	}
	return false
}

// ended reports whether the body was read to its end.
func (f *framed) ended() bool { return f.how == noBody && (f.err == nil || errors.Is(f.err, io.EOF)) }

// fault is the fault in the framing, if there was one.
func (f *framed) fault() *httpFault {
	fault, _ := f.err.(*httpFault) //nolint:errorlint // it is kept as it is
	return fault
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func isHex(b []byte) bool {
	for _, c := range b {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return len(b) > 0
}
