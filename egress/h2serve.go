package egress

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// agentStreamWindow and agentConnWindow are how many bytes of bodies a client may
	// send ahead of what is read, on one stream and on all of a connection. The way
	// to it has no latency that would need as much; but each time that a window is
	// used up a client has to wait and be woken, which not all of them do well (git,
	// docs/clients.md). All of it is held in memory, and what holds it need not be
	// read: maxWideAgents connections have such windows, 64 MiB in all, and the
	// others narrow ones, which are 124 MiB for as many as there may be (maxConns).
	agentStreamWindow = 1 << 20
	agentConnWindow   = 2 << 20
	maxWideAgents     = 32

	narrowStreamWindow = 64 << 10
	narrowConnWindow   = 128 << 10
)

// http2 has the requests of a connection served that speaks HTTP/2, and waits
// for the end of all of them.
func (c *conn) http2(nc net.Conn, ahead []byte, scheme string) {
	_ = c.client.SetDeadline(time.Time{})
	_ = nc.SetReadDeadline(time.Now().Add(firstByteTimeout)) // net/http takes it back after the preface
	c.out.Add(int64(len(ahead)))
	g := newH2Gate(c, nc, ahead, scheme)
	w := c.s.web2
	to := w.wide
	if w.wides.Add(1) > maxWideAgents {
		w.wides.Add(-1)
		to = w.narrow
	} else {
		defer w.wides.Add(-1)
	}
	to.conns <- g // Run serves until every connection has ended
	g.wait()
}

// web2 are net/http's HTTP/2 servers. Their connections are not TLS any more, so that
// they begin with a preface, encrypted or not.
type web2 struct {
	wide, narrow *windowed
	wides        atomic.Int64 // connections that have wide windows
}

// windowed is a server with windows of one size.
type windowed struct {
	http  *http.Server
	conns chan net.Conn
	ended chan struct{} // closed when no connection comes any more
}

type gateKey struct{}

func newWeb2(s *Server) *web2 {
	return &web2{wide: newWindowed(s, agentStreamWindow, agentConnWindow), narrow: newWindowed(s, narrowStreamWindow, narrowConnWindow)}
}

func newWindowed(s *Server, ofStream, ofConn int) *windowed {
	w := &windowed{conns: make(chan net.Conn), ended: make(chan struct{})}
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
			MaxReceiveBufferPerConnection: ofConn,
			MaxReceiveBufferPerStream:     ofStream,
		},
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, gateKey{}, nc)
		},
	}
	w.http.Protocols.SetUnencryptedHTTP2(true)
	return w
}

// run serves until close.
func (w *windowed) run() { _ = w.http.Serve(handover{w}) }

func (w *windowed) close() {
	close(w.ended)
	_ = w.http.Close()
}

// handover gives connections to net/http.
type handover struct{ w *windowed }

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
