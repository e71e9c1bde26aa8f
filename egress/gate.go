package egress

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// gate stands between a client's bytes and net/http. It reads heads and body
// framing strictly and gives net/http a head that it wrote itself, so that
// nothing hostile reaches a second, more lenient parser, and no byte behind a
// message is ever taken for a part of it.
//
// A head that is refused becomes a harmless one, whose place in the queue of
// heads says what to answer: so answers keep their order. Reading can be
// interrupted by a deadline (net/http does it) and goes on where it was.
type gate struct {
	net.Conn
	c      *conn
	scheme string

	// Owned by the reader; net/http has one at a time.
	in    []byte // read, not yet looked at
	piece []byte // where one read goes
	out   []byte // to be given to net/http
	state gateState
	left  int64 // bytes of the body or chunk
	trail int   // bytes of trailers so far

	mu    sync.Mutex
	heads []*message // handed to net/http, not yet taken by the handler
	fault *httpFault // in the framing of a body

	once   sync.Once
	closed chan struct{}
}

type gateState uint8

const (
	atHead gateState = iota
	atLength
	atChunkSize
	atChunk
	atChunkEnd
	atTrailer
	atFault
)

// message is a head in the queue: one of head and fault is set.
type message struct {
	head  *head
	fault *httpFault
}

func newGate(c *conn, nc net.Conn, ahead []byte, scheme string) *gate {
	return &gate{Conn: nc, c: c, scheme: scheme, in: ahead, closed: make(chan struct{})}
}

// next is the message that belongs to the request which net/http serves now.
func (g *gate) next() *message {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.heads) == 0 {
		return nil
	}
	m := g.heads[0]
	g.heads = g.heads[1:]
	return m
}

func (g *gate) push(m *message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heads = append(g.heads, m)
}

// bodyFault is the fault in the framing of the body that is being read.
func (g *gate) bodyFault() *httpFault {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fault
}

func (g *gate) Write(b []byte) (int, error) {
	n, err := g.Conn.Write(b)
	g.c.in.Add(int64(n))
	return n, err
}

func (g *gate) CloseWrite() error { return closeWrite(g.Conn) }

func (g *gate) Close() error {
	err := g.Conn.Close()
	g.once.Do(func() { close(g.closed) })
	return err
}

func (g *gate) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(g.out) > 0 {
			n := copy(p, g.out)
			g.out = g.out[n:]
			return n, nil
		}
		n, more, err := g.step(p)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if more {
			if err := g.fill(); err != nil {
				return 0, err
			}
		}
	}
}

// step does what can be done with the bytes that are there: it puts bytes into
// p or g.out, or changes state, or asks for more.
func (g *gate) step(p []byte) (n int, more bool, err error) {
	switch g.state {
	case atHead:
		return 0, !g.head(), nil
	case atLength, atChunk:
		n, err := g.body(p)
		return n, false, err
	case atChunkSize:
		i := bytes.Index(g.in, []byte("\r\n"))
		if i < 0 && len(g.in) < maxChunkLine {
			return 0, true, nil
		}
		if i < 0 || i > maxChunkLine-2 || !isHex(g.in[:i]) {
			return 0, false, g.fail("a chunk size is malformed or has an extension")
		}
		size, perr := strconv.ParseInt(string(g.in[:i]), 16, 64)
		if perr != nil {
			return 0, false, g.fail("a chunk size is malformed")
		}
		if g.in = g.in[i+2:]; size == 0 {
			g.state, g.trail = atTrailer, 0
			return 0, false, nil
		}
		g.out = append(strconv.AppendInt(g.out[:0], size, 16), "\r\n"...)
		g.state, g.left = atChunk, size
	case atChunkEnd:
		switch {
		case len(g.in) > 0 && g.in[0] != '\r' || len(g.in) > 1 && g.in[1] != '\n':
			return 0, false, g.fail("a chunk is longer than its size")
		case len(g.in) < 2:
			return 0, true, nil
		}
		g.in, g.state = g.in[2:], atChunkSize
		g.out = append(g.out[:0], "\r\n"...)
	case atTrailer:
		return 0, !g.trailer(), g.bodyError()
	default:
		return 0, false, io.EOF
	}
	return 0, false, nil
}

// fill reads once. Only the head and lines of the framing are collected.
func (g *gate) fill() error {
	if g.piece == nil {
		g.piece = make([]byte, 4096)
	}
	n, err := g.Conn.Read(g.piece)
	g.c.out.Add(int64(n))
	if n > 0 {
		g.in = append(g.in, g.piece[:n]...)
		return nil
	}
	if errors.Is(err, io.EOF) && (g.state != atHead || len(g.in) > 0) {
		return io.ErrUnexpectedEOF // the client can never have meant this as complete
	}
	return err
}

// head takes a whole head, or reports that more is needed.
func (g *gate) head() bool {
	end := bytes.Index(g.in, []byte("\r\n\r\n"))
	switch {
	case end >= 0 && end+4 <= maxHead:
		end += 4
	case end >= 0 || len(g.in) >= maxHead:
		g.refuse(&httpFault{431, "the request head is longer than " + strconv.Itoa(maxHead) + " bytes"})
		return true
	default:
		if f := checkStart(g.in); f != nil {
			g.refuse(f)
			return true
		}
		return false
	}
	h, f := parseHead(g.in[:end])
	if f != nil {
		g.refuse(f)
		return true
	}
	g.in = append([]byte(nil), g.in[end:]...)
	switch {
	case h.chunked:
		g.state = atChunkSize
	case h.length > 0:
		g.state, g.left = atLength, h.length
	}
	g.push(&message{head: h})
	g.out = h.rewrite(g.out[:0])
	return true
}

// checkStart refuses what can no longer become a head, so that a client that
// speaks something else need not wait for a timeout.
func checkStart(b []byte) *httpFault {
	for i, c := range b {
		if c == ' ' && i > 0 {
			break
		}
		if !isTokenByte(c) || i >= maxMethod {
			return bad("what the client sends is not HTTP")
		}
	}
	for i, c := range b {
		if c == '\n' && (i == 0 || b[i-1] != '\r') {
			return bad("a line ends without a carriage return")
		}
	}
	if line, _, whole := bytes.Cut(b, []byte("\r\n")); whole {
		return new(head).requestLine(string(line)) // SSH and SMTP begin like a method
	}
	return nil
}

// refuse puts a harmless head in place of one that is not taken; nothing is
// read behind it.
func (g *gate) refuse(f *httpFault) {
	g.push(&message{fault: f})
	g.state, g.in = atFault, nil
	g.out = append(g.out[:0], "GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"...)
}

// rewrite writes the head for net/http: same framing and end-to-end fields,
// with a target and a Host that mean nothing, because the handler takes both
// from the queue.
func (h *head) rewrite(b []byte) []byte {
	b = append(b, h.verb()...)
	b = append(b, " / HTTP/1."...)
	b = strconv.AppendInt(b, int64(h.minor), 10)
	b = append(b, "\r\nHost: judged\r\n"...)
	for _, f := range h.fields {
		if h.hopByHop(f.name) {
			continue
		}
		b = append(b, f.name...)
		b = append(b, ": "...)
		b = append(b, f.value...)
		b = append(b, "\r\n"...)
	}
	switch {
	case h.close:
		b = append(b, "Connection: close\r\n"...)
	case h.keepAlive:
		b = append(b, "Connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...)
}

// body gives bytes of a body of known length or of a chunk, straight into p.
func (g *gate) body(p []byte) (int, error) {
	if int64(len(p)) > g.left {
		p = p[:g.left]
	}
	var n int
	if len(g.in) > 0 {
		n = copy(p, g.in)
		g.in = g.in[n:]
	} else {
		var err error
		n, err = g.Conn.Read(p)
		g.c.out.Add(int64(n))
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	if g.left -= int64(n); g.left == 0 {
		if g.state == atLength {
			g.state = atHead
		} else {
			g.state = atChunkEnd
		}
	}
	return n, nil
}

// trailer drops the trailer section and ends the body, or reports that more is needed.
func (g *gate) trailer() bool {
	for {
		i := bytes.Index(g.in, []byte("\r\n"))
		if i < 0 {
			if g.trail+len(g.in) > maxTrailer {
				_ = g.fail("the trailer section is too long")
				return true
			}
			if j := bytes.IndexByte(g.in, '\n'); j >= 0 {
				_ = g.fail("a line ends without a carriage return")
				return true
			}
			return false
		}
		line := string(g.in[:i])
		g.in = g.in[i+2:]
		if g.trail += i + 2; g.trail > maxTrailer {
			_ = g.fail("the trailer section is too long")
			return true
		}
		if line == "" {
			g.state = atHead
			g.out = append(g.out[:0], "0\r\n\r\n"...)
			return true
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			_ = g.fail("a trailer field is malformed")
			return true
		}
	}
}

func (g *gate) bodyError() error {
	if f := g.bodyFault(); f != nil {
		return f
	}
	return nil
}

// fail ends the stream inside a body: what was forwarded stays incomplete.
func (g *gate) fail(reason string) error {
	f := bad(reason)
	g.mu.Lock()
	g.fault = f
	g.mu.Unlock()
	g.state, g.in = atFault, nil
	return f
}

func isHex(b []byte) bool {
	for _, c := range b {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return len(b) > 0
}
