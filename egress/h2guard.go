package egress

import (
	"net"
	"net/http"
	"sync"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// h2guard stands between the bytes of a server and the HTTP/2 client of net/http,
// which answers each PING and SETTINGS, and reads what belongs to nothing, as fast as
// they come. It changes nothing: it ends a connection on which more of that comes than
// what is asked of the server explains.
type h2guard struct {
	net.Conn // plain, or TLS
	up       *upstreamConn

	// Owned by the reader.
	in      frames
	idle    allowance
	refused error

	out frames // owned by the writer

	mu   sync.Mutex
	open map[uint32]struct{} // requests that are not answered in full
}

func newH2Guard(nc net.Conn, up *upstreamConn) *h2guard {
	return &h2guard{Conn: nc, up: up, idle: newAllowance(), out: frames{skip: len(h2Preface)}, open: make(map[uint32]struct{})}
}

// Close waits for nothing, as that of upstreamConn.
func (g *h2guard) Close() error { return g.up.Close() }

func (g *h2guard) Read(p []byte) (int, error) {
	if g.refused != nil {
		return 0, g.refused
	}
	n, err := g.Conn.Read(p)
	g.in.feed(p[:n], g.received)
	if g.refused != nil {
		g.record()
		_ = g.Close()
		return 0, g.refused
	}
	return n, err
}

func (g *h2guard) received(f *h2frame) {
	switch f.kind {
	case frameData:
		if f.length == 0 && f.flags&flagEndStream == 0 {
			g.spend(1)
		} else if g.follow(f) {
			g.idle.earn(1)
		}
	case frameSettings:
		g.spend(1 + f.length/settingsPerFrame)
	default: // a request earns its heads
		g.follow(f)
		g.spend(1)
	}
}

// follow notes the end of an answer, and reports whether the frame belongs to one
// that is awaited.
func (g *h2guard) follow(f *h2frame) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, open := g.open[f.stream]
	if f.kind == frameRSTStream || f.flags&flagEndStream != 0 && (f.kind == frameData || f.kind == frameHeaders) {
		delete(g.open, f.stream)
	}
	return open
}

func (g *h2guard) spend(n int) {
	if g.refused == nil && !g.idle.spend(n) {
		g.refused = &upstreamError{"the server sends " + reasonIdle}
	}
}

func (g *h2guard) Write(b []byte) (int, error) {
	g.out.feed(b, g.sent)
	return g.Conn.Write(b)
}

// sent sees what is asked of the server. Servers give windows for as little as they
// have read.
func (g *h2guard) sent(f *h2frame) {
	switch f.kind {
	case frameHeaders:
		g.mu.Lock()
		g.open[f.stream] = struct{}{}
		g.mu.Unlock()
		g.idle.earn(1)
	case frameData:
		g.idle.earn(1 + int64(f.length>>10))
	case frameRSTStream:
		g.follow(f)
	}
}

// record tells that the connection ends, as the denial of one of those that it
// carries requests of, if there is any.
func (g *h2guard) record() {
	g.up.u.mu.Lock()
	ev := audit.Event{Kind: audit.Connect, Protocol: "tcp", Host: g.up.key.host.String(), Port: g.up.key.port}
	if len(g.up.riders) > 0 {
		ev = g.up.riders[0].c.event(audit.Connect)
	}
	g.up.u.mu.Unlock()
	ev.Verdict, ev.Reason, ev.Status = policy.Deny.String(), g.refused.Error(), http.StatusBadGateway
	ev.Addr = g.up.to.Addr().String()
	ev.Detail = map[string]string{"error": codeLimit, "layer": layerUpstream}
	_ = g.up.u.s.record(ev) // it is closed either way
}
