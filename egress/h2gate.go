package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
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

	// streamWindow and connWindow are how many bytes of bodies a client may send
	// ahead of what is read, on one stream and on all of a connection. The way to
	// the client has no latency that would need more.
	streamWindow = 128 << 10
	connWindow   = 256 << 10

	// maxFrame is the longest frame, in bytes of payload: the least that there may be.
	maxFrame = 16 << 10

	// maxContinuation bounds the frames of one header block, and maxBlock its
	// bytes before they are decompressed.
	maxContinuation = 32
	maxBlock        = 2 * maxHead

	// idleFrames is how many frames that ask for nothing (PING, SETTINGS,
	// WINDOW_UPDATE, PRIORITY, RST_STREAM, empty DATA, unknown ones) may come in a
	// burst, and idleFramesPerSecond how many ever after. A frame of data or an
	// answer, in either direction, earns earnedFrames more: clients acknowledge
	// those, and gRPC measures the way with a PING for each.
	idleFrames          = 2000
	idleFramesPerSecond = 100
	earnedFrames        = 4
)

// h2gate stands between a client's bytes and the HTTP/2 server of net/http, which
// reads frames and header blocks strictly. The gate changes nothing: it bounds
// what costs work and asks for nothing, and sees by what the server sends back
// what it refused by itself.
type h2gate struct {
	net.Conn
	c      *conn
	scheme string

	// Owned by the reader.
	ahead   []byte
	in      frames
	block   int    // frames of the header block that is open; 0: none
	bytes   int    // of it
	ended   bool   // its last frame has begun
	timed   bool   // the connection has a deadline because of it
	newest  uint32 // stream
	tokens  int
	filled  time.Time
	refused error

	out   frames       // owned by the writer
	moved atomic.Int64 // frames that earned something

	asked  atomic.Int64 // streams that were opened
	served atomic.Int64 // that came to be judged
	faults atomic.Int64 // that the server refused, each with an event

	mu      sync.Mutex
	over    bool
	running int // requests
	serving sync.WaitGroup

	leaving sync.Once

	once   sync.Once
	closed chan struct{}
}

func newH2Gate(c *conn, nc net.Conn, ahead []byte, scheme string) *h2gate {
	return &h2gate{Conn: nc, c: c, scheme: scheme, ahead: ahead, in: frames{skip: len(h2Preface)},
		tokens: idleFrames, filled: time.Now(), closed: make(chan struct{})}
}

// enter reports whether a request may still be served, and whether others of the
// connection are; leave follows it then.
func (g *h2gate) enter() (ok, beside bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false, false
	}
	g.running++
	g.serving.Add(1)
	g.served.Add(1)
	return true, g.running > 1
}

func (g *h2gate) leave() {
	g.mu.Lock()
	g.running--
	g.mu.Unlock()
	g.serving.Done()
}

// wait waits for the end of the connection and of all its requests.
func (g *h2gate) wait() {
	<-g.closed
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
	g.serving.Wait()
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

func (g *h2gate) Read(p []byte) (int, error) {
	if g.refused != nil {
		return 0, g.refused
	}
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
		if f.length > 0 || f.flags&flagEndStream != 0 {
			g.moved.Add(1)
			return
		}
		g.spend()
	default:
		g.block = 0
		g.spend()
	}
}

// spend takes one of the frames that ask for nothing.
func (g *h2gate) spend() {
	if g.tokens == 0 {
		now := time.Now()
		more := earnedFrames*g.moved.Swap(0) + int64(now.Sub(g.filled).Seconds()*idleFramesPerSecond)
		g.tokens, g.filled = int(min(more, idleFrames)), now
	}
	if g.tokens == 0 {
		g.refuse("more frames of HTTP/2 that ask for nothing than the %d per second that are taken", idleFramesPerSecond)
		return
	}
	g.tokens--
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
		g.moved.Add(1)
	case frameRSTStream, frameGoAway:
		switch f.code() {
		case h2NoError, h2Internal, h2Cancel, h2StreamClosed: // ends that are Creel's own, or late frames
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

// http2 has the requests of a connection served that speaks HTTP/2, and waits
// for the end of all of them.
func (c *conn) http2(nc net.Conn, ahead []byte, scheme string) {
	_ = c.client.SetDeadline(time.Time{})
	_ = nc.SetReadDeadline(time.Now().Add(firstByteTimeout)) // net/http takes it back after the preface
	c.out.Add(int64(len(ahead)))
	g := newH2Gate(c, nc, ahead, scheme)
	c.s.web2.conns <- g // Run serves until every connection has ended
	g.wait()
}

// web2 is net/http's HTTP/2 server. Its connections are not TLS any more, so that
// they begin with a preface, encrypted or not.
type web2 struct {
	http  *http.Server
	conns chan net.Conn
	ended chan struct{} // closed when no connection comes any more
}

type gateKey struct{}

func newWeb2(s *Server) *web2 {
	w := &web2{conns: make(chan net.Conn), ended: make(chan struct{})}
	w.http = &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP2),
		DisableGeneralOptionsHandler: true,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               2 * maxHead,                // headOf is stricter
		ErrorLog:                     log.New(io.Discard, "", 0), // what it says is in the audit, or is the client's doing
		Protocols:                    new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              maxFrame,
			MaxReceiveBufferPerConnection: connWindow,
			MaxReceiveBufferPerStream:     streamWindow,
		},
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, gateKey{}, nc)
		},
	}
	w.http.Protocols.SetUnencryptedHTTP2(true)
	return w
}

// run serves until close.
func (w *web2) run() { _ = w.http.Serve(handover{w}) }

func (w *web2) close() {
	close(w.ended)
	_ = w.http.Close()
}

// handover gives connections to net/http.
type handover struct{ w *web2 }

func (h handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.w.conns:
		return c, nil
	case <-h.w.ended:
		return nil, net.ErrClosed
	}
}

func (handover) Close() error   { return nil }
func (handover) Addr() net.Addr { return &net.TCPAddr{} }

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
