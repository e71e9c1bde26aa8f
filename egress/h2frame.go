package egress

import "encoding/binary"

// Frame types, flags and error codes of RFC 9113 that are told apart here.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameRSTStream    = 0x3
	frameSettings     = 0x4
	frameGoAway       = 0x7
	frameContinuation = 0x9

	flagEndStream  = 0x1
	flagEndHeaders = 0x4

	h2NoError         = 0x0
	h2Internal        = 0x2
	h2StreamClosed    = 0x5
	h2RefusedStream   = 0x7
	h2Cancel          = 0x8
	h2EnhanceYourCalm = 0xb
)

// h2Preface is what a client of HTTP/2 sends first (RFC 9113 §3.4).
const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// h2frame is the head of a frame with the first bytes of its payload, at most 8.
type h2frame struct {
	length int // of the payload, in bytes
	kind   byte
	flags  byte
	stream uint32
	first  []byte
}

// code is the error code of a frame that has one.
func (f *h2frame) code() uint32 {
	switch {
	case f.kind == frameRSTStream && len(f.first) >= 4:
		return binary.BigEndian.Uint32(f.first)
	case f.kind == frameGoAway && len(f.first) >= 8:
		return binary.BigEndian.Uint32(f.first[4:])
	}
	return h2NoError
}

// lastStream is the newest stream that whoever sends a GOAWAY still takes.
func (f *h2frame) lastStream() uint32 {
	if f.kind != frameGoAway || len(f.first) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(f.first) & (1<<31 - 1)
}

// frames follows the frames in a stream of bytes, however it is cut, and keeps
// nothing of them.
type frames struct {
	skip  int // bytes of the preface that are to come
	head  [9]byte
	have  int // of head
	first [8]byte
	got   int // of first
	left  int // of the payload
	now   h2frame
}

// feed looks at bytes, and calls each for a frame as soon as its head and the
// first bytes of its payload are there.
func (s *frames) feed(b []byte, each func(*h2frame)) {
	n := min(s.skip, len(b))
	s.skip, b = s.skip-n, b[n:]
	for len(b) > 0 {
		if s.have < len(s.head) {
			n := copy(s.head[s.have:], b)
			s.have, b = s.have+n, b[n:]
			if s.have < len(s.head) {
				return
			}
			s.left = int(s.head[0])<<16 | int(s.head[1])<<8 | int(s.head[2])
			s.got = 0
			s.now = h2frame{length: s.left, kind: s.head[3], flags: s.head[4],
				stream: binary.BigEndian.Uint32(s.head[5:]) & (1<<31 - 1)}
			if s.left == 0 {
				s.have = 0
				each(&s.now)
			}
			continue
		}
		want := min(len(s.first), s.now.length)
		if s.got < want {
			n := min(copy(s.first[s.got:want], b), s.left)
			s.got += n
			s.left, b = s.left-n, b[n:]
			if s.got < want {
				return
			}
			s.now.first = s.first[:want]
			each(&s.now)
		} else {
			n := min(s.left, len(b))
			s.left, b = s.left-n, b[n:]
		}
		if s.left == 0 {
			s.have = 0
		}
	}
}

// inside reports whether the payload of a frame is incomplete.
func (s *frames) inside() bool { return s.have == len(s.head) }

// between reports whether what comes next belongs to the head of a frame.
func (s *frames) between() bool { return s.skip == 0 && !s.inside() }

// headed reports whether the last byte was the last one of the head of a frame.
func (s *frames) headed() bool { return s.skip == 0 && (s.have == 0 || s.inside()) }

// rest is how many bytes come before the next head of a frame.
func (s *frames) rest() int {
	if s.skip > 0 {
		return s.skip
	}
	return s.left
}
