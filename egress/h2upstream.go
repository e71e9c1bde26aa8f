package egress

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// upstreamStreamWindow and upstreamConnWindow are how many bytes of answers a
	// server may send ahead of what the agent reads: 1 MiB is 80 Mbit/s at 100 ms.
	upstreamStreamWindow = 1 << 20
	upstreamConnWindow   = 4<<20 - 1

	// maxWide is how many requests may have such windows at once, and narrowWindow
	// what the others have, the least that HTTP/2 knows: what agents do not read
	// is held in memory, less than 100 MiB of it for all of them.
	maxWide      = 32
	narrowWindow = 64<<10 - 1

	// maxOpen is how many upstream connections are open before idle ones of HTTP/2
	// are closed for a new one.
	maxOpen = 2 * maxAllIdle

	// maxGone is how often another connection is asked for where one was just reset.
	maxGone = 100

	// maxPlain is how many servers are known to have no HTTP/2.
	maxPlain = 1024

	// plainFor is how long a server counts as one that has no HTTP/2.
	plainFor = 10 * time.Minute
)

// h2pool are the connections to upstreams that speak HTTP/2, on each of which
// several requests are at once. They are kept apart as those of HTTP/1 are.
type h2pool struct {
	u *upstreams

	active atomic.Int64 // requests

	mu    sync.Mutex
	ways  [ways]*http.Transport // of one time between two revisions
	plain map[poolKey]time.Time
}

// Each way to a server has a Transport of its own.
const (
	wayWide = iota
	wayNarrow
	ways
)

// errHTTP1: the server speaks HTTP/1.1 alone; nothing was sent.
var errHTTP1 = errors.New("the server has no HTTP/2")

func newH2Pool(u *upstreams) *h2pool {
	p := &h2pool{u: u}
	p.renew()
	return p
}

// renew makes later requests dial anew. Those that are being answered go on; a
// connection is closed when it was idle after that.
func (p *h2pool) renew() {
	p.mu.Lock()
	old := p.ways
	for way := range p.ways {
		p.ways[way] = p.transport(way)
	}
	p.plain = make(map[poolKey]time.Time)
	p.mu.Unlock()
	for _, t := range old {
		if t != nil {
			t.CloseIdleConnections()
		}
	}
}

func (p *h2pool) closeIdle() {
	p.mu.Lock()
	now := p.ways
	p.mu.Unlock()
	for _, t := range now {
		t.CloseIdleConnections()
	}
}

func (p *h2pool) transport(way int) *http.Transport {
	t := &http.Transport{
		Proxy:          nil,
		DialContext:    p.dial,
		DialTLSContext: p.dial,
		Protocols:      new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerConnection: upstreamConnWindow,
			MaxReceiveBufferPerStream:     upstreamStreamWindow,
		},
		DisableCompression:     true,
		IdleConnTimeout:        upstreamIdle,
		MaxResponseHeaderBytes: maxResponseHead,
	}
	if way == wayNarrow {
		t.HTTP2.MaxReceiveBufferPerConnection, t.HTTP2.MaxReceiveBufferPerStream = narrowWindow, narrowWindow
	}
	t.Protocols.SetUnencryptedHTTP2(true) // it gets connections of which TLS is somebody else's
	return t
}

type wantKey struct{}

// want is what a connection is dialled for.
type want struct {
	spec *upstreamSpec
	ctx  context.Context // of the request: a Transport would dial on when that is over
}

// dial connects to the upstream of the request that its context is of.
func (p *h2pool) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	asked, ok := ctx.Value(wantKey{}).(*want)
	if !ok {
		return nil, errors.New("dial upstream: no destination")
	}
	u, spec := p.u, asked.spec
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	defer context.AfterFunc(asked.ctx, cancel)()
	u.mu.Lock()
	many := len(u.open) >= maxOpen
	u.mu.Unlock()
	if many {
		p.closeIdle()
	}
	below, err := u.connect(ctx, spec)
	if err != nil {
		return nil, err
	}
	if !spec.tls {
		return newH2Guard(below, below), nil
	}
	tc, err := u.handshake(ctx, below, spec, "h2", "http/1.1")
	if err != nil {
		_ = below.Close()
		return nil, err
	}
	if tc.ConnectionState().NegotiatedProtocol == "h2" {
		return newH2Guard(tc, below), nil
	}
	// It serves the request, or the next one, all the same.
	c := &upstreamConn{Conn: tc, below: below.below, to: below.to, u: u, key: below.key, revision: below.revision, in: newStream(tc, nil, nil)}
	u.mu.Lock()
	_, open := u.open[below]
	delete(u.open, below)
	if open {
		u.open[c] = struct{}{}
	}
	u.mu.Unlock()
	p.mu.Lock()
	if len(p.plain) >= maxPlain {
		clear(p.plain)
	}
	p.plain[c.key] = time.Now()
	p.mu.Unlock()
	u.put(c)
	return nil, errHTTP1
}

// isPlain reports whether a server is known to have no HTTP/2.
func (p *h2pool) isPlain(key poolKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, ok := p.plain[key]
	if ok && time.Since(since) > plainFor {
		delete(p.plain, key)
		return false
	}
	return ok
}

// roundTrip sends one request. Its URL names the authority; the key of the pool
// takes that place only here, because a Transport knows hosts alone.
func (p *h2pool) roundTrip(x *exchange, req *http.Request, spec *upstreamSpec) (*http.Response, error) {
	key := spec.key()
	if p.isPlain(key) {
		return nil, errHTTP1
	}
	for range maxGone {
		resp, err := p.try(x, req, spec, key)
		if !errors.Is(err, errGone) {
			return resp, err
		}
		time.Sleep(time.Millisecond) // until its Transport knows, too
	}
	return nil, errGone
}

// try is roundTrip with one connection, or errGone.
func (p *h2pool) try(x *exchange, req *http.Request, spec *upstreamSpec, key poolKey) (*http.Response, error) {
	body := &keptBody{ReadCloser: req.Body}
	ctx, giveUp := context.WithCancel(context.WithValue(req.Context(), wantKey{}, &want{spec, req.Context()}))
	var refused error
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		// Last look before a byte is written: a revision may have come between the
		// verdict and the connection, which others use. A request that is over is
		// not written.
		up := below(i.Conn)
		if up == nil {
			refused = net.ErrClosed
		} else {
			refused = x.ride(up)
		}
		body.used.Store(refused == nil)
		if refused != nil {
			giveUp()
		}
	}})
	out := req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		out.Body = body
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%v", key))
	url := *req.URL
	url.Host = hex.EncodeToString(sum[:16]) + ":" + strconv.Itoa(int(spec.port))
	out.URL = &url
	way := wayWide
	if p.active.Add(1) > maxWide {
		way = wayNarrow
	}
	p.mu.Lock()
	t := p.ways[way]
	p.mu.Unlock()
	resp, err := t.RoundTrip(out)
	if err == nil {
		resp.Body = &activeBody{ReadCloser: resp.Body, p: p}
		if refused != nil {
			_ = resp.Body.Close()
		}
	} else {
		p.active.Add(-1)
	}
	if refused != nil {
		return nil, refused
	}
	return resp, err
}

// activeBody is that of an answer, of which what was not read is held until it is closed.
type activeBody struct {
	io.ReadCloser
	p    *h2pool
	once sync.Once
}

func (b *activeBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { b.p.active.Add(-1) })
	return err
}

// keptBody is not closed as long as nothing was sent: it may go another way.
type keptBody struct {
	io.ReadCloser
	used atomic.Bool
}

func (b *keptBody) Close() error {
	if !b.used.Load() {
		return nil
	}
	return b.ReadCloser.Close()
}

func below(nc net.Conn) *upstreamConn {
	if g, ok := nc.(*h2guard); ok {
		return g.up
	}
	return nil
}
