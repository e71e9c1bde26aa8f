package egress

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds on what a client of HTTP/2 may do beside asking for something.
const (
	// maxStreams is how many requests a connection may have open at once, the
	// least that RFC 9113 recommends and what common servers take.
	maxStreams = 100

	// maxFrame is the longest frame, in bytes of payload: the least that there may be.
	maxFrame = 16 << 10

	// maxContinuation bounds the frames of one header block, and maxBlock its
	// bytes before they are decompressed.
	maxContinuation = 32
	maxBlock        = 2 * maxHead
)

// h2gate stands between a client's bytes and the HTTP/2 server of net/http, which
// reads frames and header blocks strictly. The gate bounds what costs work and asks
// for nothing, and sees by what the server sends back what it refused by itself. It
// changes nothing but what is behind the end of a stream (late).
type h2gate struct {
	net.Conn
	c      *conn
	scheme string

	// Owned by the reader.
	ahead   []byte // that was read before
	ready   []byte // for the server, that the gate has looked at
	head    [9]byte
	in      frames
	block   int    // frames of the header block that is open; 0: none
	bytes   int    // of it
	ended   bool   // its last frame has begun
	late    bool   // its stream has ended
	timed   bool   // the connection has a deadline because of it
	newest  uint32 // stream
	idle    allowance
	refused error

	out frames // owned by the writer

	asked  atomic.Int64 // streams that were opened
	served atomic.Int64 // that came to be judged
	faults atomic.Int64 // that the server refused, each with an event

	room room

	leaving sync.Once

	once   sync.Once
	closed chan struct{}
}

func newH2Gate(c *conn, nc net.Conn, ahead []byte, scheme string) *h2gate {
	return &h2gate{Conn: nc, c: c, scheme: scheme, ahead: ahead, in: frames{skip: len(h2Preface)},
		idle: newAllowance(), room: room{s: c.s, last: 1<<31 - 1}, closed: make(chan struct{})}
}

// wait waits for the end of the connection and of all its requests.
func (g *h2gate) wait() {
	<-g.closed
	g.room.close()
	if n := g.asked.Load() - g.served.Load() - g.faults.Load(); n > 0 {
		_ = g.c.recordDenial(&denial{code: codeRequest, layer: layerHTTP,
			reason: fmt.Sprintf("%d requests ended before they were judged: malformed, or taken back by the client", n)}, g.scheme)
	}
}

func (g *h2gate) CloseWrite() error { return closeWrite(g.Conn) }

// dismiss ends a denied connection soon, so that a client that asks again, perhaps
// under another policy, asks anew. Not at once: GOAWAY goes out before the answers,
// and Java's client and httpx take it for the end of what they wait for.
func (g *h2gate) dismiss() {
	g.leaving.Do(func() { time.AfterFunc(dismissTime, func() { _ = g.Close() }) })
}

func (g *h2gate) Close() error {
	err := g.Conn.Close()
	g.once.Do(func() { close(g.closed) })
	return err
}

// Read gives the server what the client sends, one piece of a frame at a time.
func (g *h2gate) Read(p []byte) (int, error) {
	for g.refused == nil && len(g.ready) == 0 {
		if !g.in.between() {
			n, err := g.take(p[:min(len(p), g.in.rest())])
			if g.in.between() {
				g.ready = g.closing()
			}
			return n, err
		}
		// The head of a frame goes on when it is whole.
		switch n, err := g.take(g.head[g.in.have:]); {
		case n > 0 && g.in.headed():
			g.ready = g.opening()
		case err != nil:
			return 0, err
		}
	}
	if g.refused != nil {
		return 0, g.refused
	}
	n := copy(p, g.ready)
	g.ready = g.ready[n:]
	return n, nil
}

// take reads what the client sends, and looks at it.
func (g *h2gate) take(p []byte) (int, error) {
	if len(g.ahead) > 0 {
		n := copy(p, g.ahead)
		g.ahead = g.ahead[n:]
		return n, g.look(p[:n])
	}
	// A header block holds up the whole connection until it is complete.
	if open := g.block > 0; open != g.timed {
		at := time.Time{}
		if open {
			at = time.Now().Add(headTimeout)
		}
		_ = g.Conn.SetReadDeadline(at)
		g.timed = open
	}
	n, err := g.Conn.Read(p)
	g.c.out.Add(int64(n))
	if g.timed && errors.Is(err, os.ErrDeadlineExceeded) {
		g.refuse("a request head of HTTP/2 was not complete within %v", headTimeout)
	}
	if refused := g.look(p[:n]); refused != nil {
		return 0, refused
	}
	return n, err
}

// look follows what the client sends, and fails once it is too much.
func (g *h2gate) look(b []byte) error {
	if n := min(g.in.skip, len(b)); string(b[:n]) != h2Preface[len(h2Preface)-g.in.skip:][:n] {
		g.refuse("what the client sends is not HTTP/2, though that was agreed on")
	}
	g.in.feed(b, g.received)
	if g.ended && !g.in.inside() {
		g.block = 0
	}
	if g.refused != nil {
		_ = g.c.recordDenial(&denial{code: codeLimit, layer: layerHTTP, reason: g.refused.Error()}, g.scheme)
		g.c.end("refused")
	}
	return g.refused
}

func (g *h2gate) received(f *h2frame) {
	switch f.kind {
	case frameHeaders, frameContinuation:
		if f.kind == frameHeaders {
			g.block, g.bytes = 0, 0
			if f.stream > g.newest {
				g.newest = f.stream
				g.asked.Add(1)
				g.room.begin(f.stream, f.flags&flagEndStream != 0)
			} else if f.flags&flagEndStream != 0 {
				g.room.whole(f.stream)
			}
		}
		g.block, g.bytes = g.block+1, g.bytes+f.length
		if g.block > maxContinuation || g.bytes > maxBlock {
			g.refuse("a request head of HTTP/2 is longer than the %d frames or %d bytes that are read", maxContinuation, maxBlock)
		}
		g.ended = f.flags&flagEndHeaders != 0
		return
	case frameData:
		g.block = 0
		if f.flags&flagEndStream != 0 {
			g.room.whole(f.stream)
		}
		if f.length > 0 || f.flags&flagEndStream != 0 {
			g.idle.earn(1)
			return
		}
		g.spend(1)
	case frameRSTStream:
		g.block = 0
		g.room.end(f.stream, false)
		g.spend(1)
	case frameSettings:
		g.block = 0
		g.spend(1 + f.length/settingsPerFrame)
	default:
		g.block = 0
		g.spend(1)
	}
}

// spend takes frames that ask for nothing.
func (g *h2gate) spend(n int) {
	if !g.idle.spend(n) {
		g.refuse("%s", reasonIdle)
	}
}

func (g *h2gate) refuse(format string, args ...any) {
	if g.refused == nil {
		g.refused = fmt.Errorf(format, args...)
	}
}

func (g *h2gate) Write(b []byte) (int, error) {
	g.out.feed(b, g.sent)
	n, err := g.Conn.Write(b)
	g.c.in.Add(int64(n))
	return n, err
}

// sent sees what the server answers by itself to what it does not take.
func (g *h2gate) sent(f *h2frame) {
	switch f.kind {
	case frameData, frameHeaders:
		g.idle.earn(1)
		if f.flags&flagEndStream != 0 {
			g.room.end(f.stream, true)
		}
	case frameRSTStream, frameGoAway:
		open := f.kind == frameGoAway
		if open {
			g.room.shut(f.lastStream())
		} else {
			open = g.room.end(f.stream, true)
		}
		switch f.code() {
		case h2NoError, h2Internal, h2Cancel, h2StreamClosed: // ends that are Creel's own, or late frames
			return
		}
		if !open { // it had ended, and its event, if it had one, is written
			return
		}
		what := "the connection"
		if f.kind == frameRSTStream {
			what = "a request"
			g.faults.Add(1)
		}
		_ = g.c.recordDenial(&denial{code: codeRequest, layer: layerHTTP,
			reason: what + " breaks the rules of HTTP/2: " + h2Error(f.code())}, g.scheme)
	}
}

// h2Error names an error code (RFC 9113 §7).
func h2Error(code uint32) string {
	names := []string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
		"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
		"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}
	if code < uint32(len(names)) {
		return names[code]
	}
	return fmt.Sprintf("error %d", code)
}

// speaksHTTP2 reports whether a client without TLS begins with the preface of
// HTTP/2, and gives what was read to tell.
func speaksHTTP2(nc net.Conn, first []byte) (bool, []byte) {
	for buf := []byte(nil); len(first) < len(h2Preface) && string(first) == h2Preface[:len(first)]; {
		if buf == nil {
			buf = make([]byte, len(h2Preface))
			_ = nc.SetReadDeadline(time.Now().Add(headTimeout))
		}
		n, err := nc.Read(buf[:len(h2Preface)-len(first)])
		first = append(first[:len(first):len(first)], buf[:n]...)
		if err != nil {
			break
		}
	}
	return len(first) >= len(h2Preface) && string(first[:len(h2Preface)]) == h2Preface, first
}
