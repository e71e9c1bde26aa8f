package egress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/creel-run/creel/netname"
)

// upstreams are the connections of inspected requests. They are pooled per
// host, port, scheme and address rule: a connection that was dialled under one
// rule never serves a request that is under another.
type upstreams struct {
	s   *Server
	ctx context.Context // ends every dial
	end context.CancelFunc

	mu       sync.Mutex
	revision int
	idle     map[poolKey][]*upstreamConn // the last one was used last
	idling   int
	open     map[*upstreamConn]struct{}

	h2 *h2pool

	sessions sessions
}

// upstreamSpec is all that decides where a pooled connection goes.
type upstreamSpec struct {
	host netname.Host
	port uint16
	rule netname.Destination
	tls  bool
	h2   bool // asked for by a client of HTTP/2
}

type poolKey struct {
	host    netname.Host
	port    uint16
	tls     bool
	mode    netname.DestinationMode
	allowed string
}

func (p *upstreamSpec) key() poolKey {
	k := poolKey{host: p.host, port: p.port, tls: p.tls, mode: p.rule.Mode}
	if len(p.rule.Allowed) > 0 || p.rule.Fixed != nil {
		k.allowed = fmt.Sprint(p.rule.Allowed, p.rule.Fixed)
	}
	return k
}

func newUpstreams(s *Server) *upstreams {
	u := &upstreams{
		s: s, open: make(map[*upstreamConn]struct{}), idle: make(map[poolKey][]*upstreamConn),
		sessions: newSessions(),
	}
	u.ctx, u.end = context.WithCancel(context.Background())
	u.h2 = newH2Pool(u)
	return u
}

// get gives a connection: one that was used before, unless a new one is asked for.
func (u *upstreams) get(ctx context.Context, spec *upstreamSpec, fresh bool) (c *upstreamConn, used bool, err error) {
	key := spec.key()
	for !fresh {
		u.mu.Lock()
		list := u.idle[key]
		if len(list) == 0 {
			u.mu.Unlock()
			break
		}
		c = list[len(list)-1]
		list[len(list)-1] = nil
		u.idle[key] = list[:len(list)-1]
		u.idling--
		u.mu.Unlock()
		// A server that speaks without being asked, or has hung up, is not asked again.
		if time.Since(c.since) < upstreamIdle && !readable(c.below) {
			return c, true, nil
		}
		_ = c.Close()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	c, err = u.dial(ctx, spec)
	return c, false, err
}

// put keeps a connection for the next request.
func (u *upstreams) put(c *upstreamConn) {
	u.mu.Lock()
	list := u.idle[c.key]
	_, open := u.open[c]
	if !open || c.revision != u.revision || len(list) >= maxUpstreamIdle || u.idling >= maxAllIdle {
		u.mu.Unlock()
		_ = c.Close()
		return
	}
	c.since = time.Now()
	clear(c.riders)
	c.riders = c.riders[:0]
	u.idle[c.key] = append(list, c)
	u.idling++
	u.mu.Unlock()
}

// tick closes what was idle for too long.
func (u *upstreams) tick() {
	u.mu.Lock()
	var old []*upstreamConn
	for key, list := range u.idle {
		n := 0
		for n < len(list) && time.Since(list[n].since) >= upstreamIdle {
			n++
		}
		old = append(old, list[:n]...)
		u.idling -= n
		if list = slices.Clone(list[n:]); len(list) == 0 {
			delete(u.idle, key)
		} else {
			u.idle[key] = list
		}
	}
	u.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

// renew makes later requests dial anew; connections in use are closed when
// their request is over.
func (u *upstreams) renew() {
	u.h2.renew()
	u.mu.Lock()
	u.revision++
	old := u.idle
	u.idle, u.idling = make(map[poolKey][]*upstreamConn), 0
	u.mu.Unlock()
	for _, list := range old {
		for _, c := range list {
			_ = c.Close()
		}
	}
}

func (u *upstreams) all() []*upstreamConn {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := make([]*upstreamConn, 0, len(u.open))
	for c := range u.open {
		list = append(list, c)
	}
	return list
}

// abort resets all connections.
func (u *upstreams) abort() {
	u.renew()
	for _, c := range u.all() {
		abort(c.below)
		_ = c.Close()
	}
}

func (u *upstreams) close() {
	u.end()
	u.renew()
	for _, c := range u.all() {
		_ = c.Close()
	}
}

// roundTrip sends one request and gives the final response. The interim ones go
// to the client. The body of the response has to be closed.
func (u *upstreams) roundTrip(x *exchange, req *http.Request, spec *upstreamSpec) (*http.Response, error) {
	if spec.h2 {
		if resp, err := u.h2.roundTrip(x, req, spec); !errors.Is(err, errHTTP1) {
			return resp, err
		}
	}
	out := &outgoing{x: x, req: req}
	if err := out.prepare(); err != nil {
		return nil, err
	}
	for fresh := false; ; fresh = true {
		c, used, err := u.get(req.Context(), spec, fresh)
		if err != nil {
			return nil, err
		}
		// Last look before a byte is written: a revision may have come between
		// the verdict and the connection.
		if err := x.ride(c); err != nil {
			_ = c.Close()
			return nil, err
		}
		resp, err := c.exchange(out)
		if err == nil || !used || !out.again() || c.heard || req.Context().Err() != nil {
			return resp, err
		}
		// The server hung up just when it was asked again (RFC 9110 §9.2.2).
	}
}

// outgoing is a request on its way to an upstream.
type outgoing struct {
	x    *exchange
	req  *http.Request
	text bytes.Buffer // the head, and a small body
	body io.Reader    // what is not in text; nil: nothing

	whole atomic.Bool // all of body was read, and its end is being sent
}

// prepare writes the head, and reads a small body that needs not be waited for.
func (o *outgoing) prepare() error {
	w := &o.text
	w.Grow(1 << 10)
	req := o.req
	for _, values := range req.Header {
		for _, v := range values {
			if !validValue(v) {
				return &upstreamError{"a header field cannot be sent"}
			}
		}
	}
	_, _ = w.WriteString(req.Method)
	_ = w.WriteByte(' ')
	_, _ = w.WriteString(req.URL.RequestURI())
	_, _ = w.WriteString(" HTTP/1.1\r\nHost: ")
	_, _ = w.WriteString(req.Host)
	_, _ = w.WriteString("\r\n")
	hasBody := req.Body != nil && req.Body != http.NoBody && req.ContentLength != 0
	switch {
	case hasBody && req.ContentLength < 0:
		_, _ = w.WriteString("Transfer-Encoding: chunked\r\n")
	case hasBody || req.ContentLength > 0:
		_, _ = w.WriteString("Content-Length: " + strconv.FormatInt(req.ContentLength, 10) + "\r\n")
	case req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch:
		_, _ = w.WriteString("Content-Length: 0\r\n")
	}
	if req.Close {
		_, _ = w.WriteString("Connection: close\r\n")
	} else if o.x.h.upgrade != "" && req.Header["Upgrade"] != nil {
		_, _ = w.WriteString("Connection: Upgrade\r\n")
	}
	writeFields(w, req.Header)
	_, _ = w.WriteString("\r\n")
	if hasBody && req.ContentLength > 0 && req.ContentLength <= smallBody && req.Header["Expect"] == nil {
		piece := make([]byte, req.ContentLength)
		if _, err := io.ReadFull(req.Body, piece); err != nil {
			return err
		}
		var more [1]byte
		if n, err := req.Body.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) { // what wraps it looks at the end
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		_, _ = w.Write(piece)
		hasBody = false
	}
	if hasBody {
		o.body = req.Body
	}
	return nil
}

// again reports whether the request may be sent a second time: all of it is still
// here, and doing it twice is as good as once.
func (o *outgoing) again() bool {
	if o.body != nil {
		return false
	}
	switch o.req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// send writes the body in its framing.
func (o *outgoing) send(w io.Writer) error {
	buf := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	out := bufio.NewWriterSize(w, len(*buf)+64)
	chunked := o.req.ContentLength < 0
	left := o.req.ContentLength
	for {
		n, err := o.body.Read(*buf)
		if n > 0 {
			if chunked {
				fmt.Fprintf(out, "%x\r\n", n)
			} else if left -= int64(n); left < 0 {
				return errors.New("the body is longer than it said")
			}
			_, _ = out.Write((*buf)[:n])
			if chunked {
				_, _ = out.WriteString("\r\n")
			}
			o.whole.Store(!chunked && left == 0) // the server may answer before its end is looked at
			if werr := out.Flush(); werr != nil {
				return werr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if left > 0 {
				return io.ErrUnexpectedEOF
			}
			o.whole.Store(true)
			if chunked {
				_, _ = out.WriteString("0\r\n\r\n")
			}
			return out.Flush()
		case err != nil:
			return err
		}
	}
}

// upstreamConn is a connection to an upstream, with TLS if it has that.
type upstreamConn struct {
	net.Conn          // what requests are written to
	below    net.Conn // TCP
	to       netip.AddrPort
	u        *upstreams
	key      poolKey
	revision int
	in       *stream
	since    time.Time // idle
	heard    bool      // the server answered something to the request that is sent

	// Under mu of upstreams.
	riders []*exchange // whose bytes it carries: of HTTP/2 several
	gone   bool        // reset, because the last of them was cut
}

// Close waits for nothing: no alert of TLS is sent, for which a server that takes
// no more bytes would keep whoever closes waiting, and the end of a revision with it.
func (c *upstreamConn) Close() error {
	c.u.mu.Lock()
	delete(c.u.open, c)
	c.u.mu.Unlock()
	return c.below.Close()
}

// exchange sends a request and reads the head of its response.
func (c *upstreamConn) exchange(o *outgoing) (*http.Response, error) {
	ctx := o.req.Context()
	c.heard = false
	stop := context.AfterFunc(ctx, func() { o.x.closeUpstream(c.below) })
	fail := func(err error) (*http.Response, error) {
		stop()
		o.x.closeUpstream(c.below)
		_ = c.Close()
		return nil, err
	}
	if _, err := c.Conn.Write(o.text.Bytes()); err != nil {
		return fail(err)
	}
	var sent chan error // nil: nothing is being sent
	proceed := func() {
		if o.body == nil || sent != nil {
			return
		}
		sent = make(chan error, 1)
		go func() {
			err := o.send(c.Conn)
			if err != nil {
				o.x.closeUpstream(c.below) // what was sent must not look complete
			}
			sent <- err
		}()
	}
	if o.req.Header["Expect"] == nil {
		proceed()
	} else if o.body != nil {
		// A server that knows nothing of it is not waited for.
		_ = c.Conn.SetReadDeadline(time.Now().Add(continueTimeout))
	}
	for interim := 0; ; interim++ {
		h, err := readResponse(c.in)
		if err != nil && isTimeout(err) && o.body != nil && sent == nil {
			_ = c.Conn.SetReadDeadline(time.Time{})
			proceed()
			continue
		}
		if err != nil {
			if sent != nil {
				select {
				case serr := <-sent:
					if serr != nil {
						err = serr
					}
				default:
				}
			}
			return fail(err)
		}
		c.heard = true
		switch {
		case h.status == http.StatusSwitchingProtocols && o.req.Header["Upgrade"] == nil:
			return fail(&upstreamError{"the server changes to another protocol, which nobody asked for"})
		case h.interim() && interim >= maxInterim:
			return fail(&upstreamError{"the server sends too many interim responses"})
		case h.status == http.StatusContinue:
			_ = c.Conn.SetReadDeadline(time.Time{})
			proceed()
			continue
		case h.interim():
			o.x.interim(h)
			continue
		}
		if o.body != nil && sent == nil { // refused before it was sent
			_ = c.Conn.SetReadDeadline(time.Time{})
		}
		return c.response(o, h, sent, stop), nil
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// response is a response whose body is still to be read.
func (c *upstreamConn) response(o *outgoing, h *responseHead, sent chan error, stop func() bool) *http.Response {
	how, length, reuse := h.body(o.req.Method)
	b := &responseBody{c: c, framed: framed{s: c.in, how: how, lenient: true, left: max(length, 0)}, out: o, sent: sent, stop: stop}
	b.reuse = reuse && !o.req.Close && (o.body == nil || sent != nil)
	resp := &http.Response{
		StatusCode: h.status, Status: strconv.Itoa(h.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: h.minor,
		Header: h.header, ContentLength: length, Body: b, Request: o.req,
		Trailer: make(http.Header),
	}
	b.trailer = resp.Trailer
	if how == noBody {
		resp.ContentLength = max(h.length, 0)
		b.end()
	}
	return resp
}

// responseBody gives the connection back at its end.
type responseBody struct {
	framed
	c     *upstreamConn
	out   *outgoing
	reuse bool
	sent  chan error
	stop  func() bool
	over  bool
}

func (b *responseBody) Read(p []byte) (int, error) {
	if b.over {
		return 0, io.EOF
	}
	n, err := b.framed.Read(p)
	if b.framed.ended() {
		b.end()
	} else if f, bad := err.(*httpFault); bad { //nolint:errorlint // it is kept as it is
		err = errors.New("the framing of the server's answer is broken: " + f.reason)
	}
	return n, err
}

// end is called once, when the response was read whole.
func (b *responseBody) end() {
	if b.over {
		return
	}
	b.over = true
	if b.sent != nil {
		b.reuse = b.reuse && b.wasSent()
	}
	if b.stop() && b.reuse && len(b.c.in.ahead()) == 0 {
		b.c.u.put(b.c)
		return
	}
	b.out.x.closeUpstream(b.c.below)
	_ = b.c.Close()
}

// wasSent reports whether the request was sent in full. A server that answers the
// last byte may be ahead of who has sent it, but not by much.
func (b *responseBody) wasSent() bool {
	if !b.out.whole.Load() {
		return false
	}
	late := time.NewTimer(sentTimeout)
	defer late.Stop()
	select {
	case err := <-b.sent:
		return err == nil
	case <-late.C:
		return false
	}
}

func (b *responseBody) Close() error {
	if !b.over {
		b.reuse = false
		b.end()
	}
	return nil
}
