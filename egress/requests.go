package egress

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// requests are the HTTP/1 requests of one connection, which are read strictly
// and answered one after the other. Bytes behind a request are looked at when its
// answer is complete.
type requests struct {
	c      *conn
	nc     net.Conn
	in     *stream
	scheme string

	mu      sync.Mutex
	awaits  bool          // the request was read whole, and its answer is not complete
	ticks   int           // since then, or since the client ended its stream
	watcher chan struct{} // closed when the watcher ended; nil: there is none
	early   []byte        // what it read
	sent    int64         // what the client had been sent at the last tick, in bytes
	half    bool          // the client sends nothing more
	gone    error         // why it read nothing
}

// http has the requests of a connection judged and answered, until its end.
func (c *conn) http(nc net.Conn, ahead []byte, scheme string) {
	_ = c.client.SetDeadline(time.Time{})
	r := &requests{c: c, nc: nc, in: newStream(nc, ahead, &c.out), scheme: scheme}
	c.mu.Lock()
	c.requests = r
	c.mu.Unlock()
	for r.one() {
	}
}

// one answers the next request, and reports whether another may follow. The
// connection is closed where none may.
func (r *requests) one() (more bool) {
	h, fault, err := r.head()
	if err != nil { // gone, or silent for too long: there is nothing to answer
		_ = r.nc.Close()
		return false
	}
	w := newAnswer(r, h)
	defer w.free()
	body := &requestBody{r: r, w: w}
	x := &exchange{c: r.c, w: w, h: h, scheme: r.scheme, framing: body.framing}
	if fault != nil {
		x.deny(&denial{status: fault.status, code: codeRequest, layer: layerHTTP, reason: fault.reason})
		_ = w.finish()
		lingeringClose(r.nc)
		return false
	}
	if r.scheme == "http" {
		h.decline()
	}
	x.r = r.request(h, body)
	w.body = body
	if !h.hasBody() {
		r.await()
	}
	whole := x.run()
	if w.hijacked {
		return false
	}
	passed := body.stop()
	r.settle()
	if !whole || w.finish() != nil || r.gone != nil {
		// What was cut short must not look complete: where the end of the
		// connection is the end of the answer, it is a reset.
		if w.how == byClose {
			r.c.reset()
		}
		_ = r.nc.Close()
		return false
	}
	if passed && !w.close && (!r.half || len(r.in.ahead()) > 0) {
		return true
	}
	lingeringClose(r.nc)
	return false
}

// request is a head as net/http has it, without what is for one hop.
func (r *requests) request(h *head, body *requestBody) *http.Request {
	req := &http.Request{
		Method: h.verb(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: h.minor,
		Header: make(http.Header, len(h.fields)), Body: http.NoBody, RequestURI: "/",
	}
	values := make([]string, len(h.fields)) // one piece of memory for all
	for i, f := range h.fields {
		if h.hopByHop(f.name) || f.name == "transfer-encoding" {
			continue
		}
		key := textproto.CanonicalMIMEHeaderKey(f.name)
		if have := req.Header[key]; have != nil {
			req.Header[key] = append(have, f.value)
			continue
		}
		values[i] = f.value
		req.Header[key] = values[i : i+1 : i+1]
	}
	if h.hasBody() {
		body.framed = framed{s: r.in, how: byLength, left: h.length}
		if req.ContentLength = h.length; h.chunked {
			body.framed.how, body.framed.left, req.ContentLength = byChunks, 0, -1
		}
		body.expect = h.minor == 1 && req.Header["Expect"] != nil
		req.Body = body
	}
	return req.WithContext(r.c.ctx)
}

// head waits for the next request and reads its head. An error is the end of the
// connection; a fault is to be answered.
func (r *requests) head() (*head, *httpFault, error) {
	limit := idleTimeout
	if len(r.in.ahead()) > 0 {
		limit = headTimeout
	}
	_ = r.nc.SetReadDeadline(time.Now().Add(limit))
	for {
		in := r.in.ahead()
		if len(in) > 0 {
			end := bytes.Index(in, []byte("\r\n\r\n"))
			switch {
			case end >= 0 && end+4 <= maxHead:
				h, fault := parseHead(in[:end+4])
				r.in.skip(end + 4)
				r.in.trim()
				_ = r.nc.SetReadDeadline(time.Time{})
				return h, fault, nil
			case end >= 0 || len(in) >= maxHead:
				return nil, &httpFault{http.StatusRequestHeaderFieldsTooLarge, "the request head is longer than " + strconv.Itoa(maxHead) + " bytes"}, nil
			}
			if f := checkStart(in); f != nil {
				return nil, f, nil
			}
		}
		if err := r.in.fill(); err != nil {
			if len(in) > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, &httpFault{http.StatusRequestTimeout, "the request head took longer than " + headTimeout.String()}, nil
			}
			return nil, nil, err
		}
		if len(in) == 0 {
			_ = r.nc.SetReadDeadline(time.Now().Add(headTimeout))
		}
	}
}

// requestBody is the body of a request. A client that waits for a 100 gets it
// when the first byte is asked for.
type requestBody struct {
	framed
	r      *requests
	w      *answer
	expect bool

	whole  atomic.Bool // it was read to its end
	faulty atomic.Pointer[httpFault]

	mu   sync.Mutex // who sends it upstream may not be who answers
	shut bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.s == nil: // there is none
		return 0, io.EOF
	case b.shut:
		return 0, http.ErrBodyReadAfterClose
	case b.expect:
		b.expect = false
		if err := b.w.proceed(); err != nil {
			return 0, err
		}
	}
	n, err := b.framed.Read(p)
	switch fault := b.fault(); {
	case fault != nil:
		b.faulty.Store(fault)
	case b.framed.ended() && !b.whole.Load():
		b.r.await() // first: who sees that it is whole ends the waiting
		b.whole.Store(true)
	}
	return n, err
}

// Close ends the reading of the body; what is left of it is looked at when the
// answer is complete.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = true
	return nil
}

// framing is the fault in the framing, if there was one so far. It never waits.
func (b *requestBody) framing() *httpFault { return b.faulty.Load() }

// stop ends the reading of the body, by whoever does it, and reports whether it
// was read to its end. What is there of it is passed over: a client that is
// answered early may have sent it all.
func (b *requestBody) stop() (passed bool) {
	if b.s == nil || b.whole.Load() {
		return true
	}
	// Nothing that is not there is waited for, also not the rest of a chunk's line.
	_ = b.r.nc.SetReadDeadline(time.Unix(1, 0))
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { _ = b.r.nc.SetReadDeadline(time.Time{}) }()
	b.shut = true
	if b.expect { // it may send the body or not
		return false
	}
	for left := maxPassedOver; left > 0 && !b.framed.ended() && len(b.s.ahead()) > 0 && b.framed.err == nil; {
		var piece [512]byte
		n, _ := b.framed.Read(piece[:])
		left -= n
		if n == 0 {
			break
		}
	}
	return b.framed.ended()
}

// await notes that the client has nothing more to say until it is answered.
func (r *requests) await() {
	r.mu.Lock()
	r.awaits, r.ticks = true, 0
	r.mu.Unlock()
}

// tick is called once a second. A client that has waited for long is watched, so
// that what is done for one that went away ends.
func (r *requests) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.awaits {
		return
	}
	if r.ticks++; r.half {
		if sent := r.c.in.Load(); sent != r.sent {
			r.sent, r.ticks = sent, 0 // it takes the answer
		}
	}
	switch {
	case r.half && r.ticks > halfClosed:
		r.awaits = false
		go r.c.cut("the client closed the connection", false)
	case r.watcher == nil && r.ticks > 1 && !r.half:
		r.watcher = make(chan struct{})
		go r.watch(r.watcher)
	}
}

// watch reads ahead. A client that ends its own stream may still want the
// answer, as half-closed connections do; one that is reset does not.
func (r *requests) watch(done chan struct{}) {
	buf := make([]byte, 512)
	n, err := r.nc.Read(buf)
	r.mu.Lock()
	r.early = buf[:n]
	r.c.out.Add(int64(n))
	cut := false
	switch {
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
	case errors.Is(err, io.EOF):
		r.half, r.ticks = true, 0
	default:
		r.gone, cut = err, true
	}
	r.mu.Unlock()
	close(done)
	if cut {
		r.c.cut("the client closed the connection", false)
	}
}

// settle ends the watch, and keeps what it read.
func (r *requests) settle() {
	r.mu.Lock()
	r.awaits = false
	watcher := r.watcher
	r.mu.Unlock()
	if watcher == nil {
		return
	}
	_ = r.nc.SetReadDeadline(time.Unix(1, 0))
	<-watcher
	_ = r.nc.SetReadDeadline(time.Time{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watcher = nil
	if len(r.early) > 0 {
		r.in.push(r.early)
		r.early = nil
	}
}
