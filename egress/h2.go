package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/grpc"
	"github.com/creel-run/creel/secret"
)

// serveHTTP2 serves one stream.
func (s *Server) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	g, ok := r.Context().Value(gateKey{}).(*h2gate)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	ok, full := g.room.enter()
	if !ok {
		panic(http.ErrAbortHandler)
	}
	g.served.Add(1)
	defer g.room.leave()
	if g.c.denial != nil {
		defer g.dismiss()
	}
	body := &streamBody{ReadCloser: r.Body}
	r.Body = body
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(g.c.ctx, cancel)()
	x := &exchange{c: g.c, r: r.WithContext(ctx), scheme: g.scheme, framing: body.fault, cancel: cancel,
		w: &streamWriter{ResponseWriter: w, grpc: grpc.IsContentType(r.Header.Get("Content-Type")), timed: r.Header.Get("Grpc-Timeout") != ""}}
	h, fault := headOf(r)
	switch {
	case full:
		// No answer, which a client that gives it no window would keep here, and the
		// request with it. The end of a stream waits for nobody.
		_ = g.c.recordDenial(&denial{status: http.StatusServiceUnavailable, code: codeLimit, layer: layerHTTP,
			reason: fmt.Sprintf("more than %d connections and requests at once", s.conf.MaxConns)}, g.scheme)
		panic(http.ErrAbortHandler)
	case fault != nil:
		x.deny(&denial{status: fault.status, code: codeRequest, layer: layerHTTP, reason: fault.reason})
		return
	}
	x.h, x.r.Header = h, h.endToEnd()
	if !x.run() {
		panic(http.ErrAbortHandler) // what was cut short must not look complete
	}
}

// streamed reports whether the request is one of several on its connection.
func (x *exchange) streamed() bool { return x.cancel != nil }

// headOf is the head of a request of HTTP/2, in the one form that all requests
// are judged in. The server has seen to it (RFC 9113 §8.2, §8.3) that names and
// values have no byte that could end a line, names no upper case, that each
// pseudo-header field is there once, before the others, and that there is no
// field that is for one connection.
func headOf(r *http.Request) (*head, *httpFault) {
	h := &head{minor: 1, length: -1, host: r.Host, hasHost: r.Host != ""}
	if f := h.requestLine(r.Method + " " + r.RequestURI + " HTTP/1.1"); f != nil {
		return nil, f
	}
	if !strings.HasPrefix(h.target, "/") && h.verb() != http.MethodConnect {
		return nil, bad("the :path is no path")
	}
	size := len(h.method) + len(h.target) + len(h.host)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) { // in one order
		for _, value := range r.Header[name] {
			if !isToken(name) {
				return nil, bad("a header field is malformed")
			}
			if value != strings.Trim(value, " \t") {
				return nil, bad("a header field begins or ends with a space")
			}
			if name == "Host" {
				if len(r.Header[name]) > 1 || !strings.EqualFold(value, r.Host) {
					return nil, bad("Host and :authority differ")
				}
				continue
			}
			if f := h.add(name, value); f != nil {
				return nil, f
			}
			size += len(name) + len(value) + len(": \r\n")
		}
	}
	if size > maxHead {
		return nil, &httpFault{http.StatusRequestHeaderFieldsTooLarge, "the request head is longer than " + strconv.Itoa(maxHead) + " bytes"}
	}
	switch {
	case len(r.Trailer) > maxTrailerFields:
		return nil, &httpFault{http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("more than %d trailer fields", maxTrailerFields)}
	case h.close || h.keepAlive || len(h.nominated) > 0 || h.upgrade != "" || h.chunked: // the server lets none through
		return nil, bad("a header field that is for one connection")
	case h.length > 0 && r.ContentLength == 0:
		return nil, bad("Content-Length is not that of the body")
	case h.length < 0 && r.ContentLength < 0:
		h.chunked = true // the frames tell its end
	}
	return h, h.frame()
}

// streamBody remembers that a body was shorter than its Content-Length. One that is
// longer the server resets by itself.
type streamBody struct {
	io.ReadCloser
	short atomic.Bool
}

func (b *streamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && strings.HasPrefix(err.Error(), "request declared a Content-Length of ") {
		b.short.Store(true)
	}
	return n, err
}

func (b *streamBody) fault() *httpFault {
	if b.short.Load() {
		return bad("the body is shorter than its Content-Length")
	}
	return nil
}

// endToEnd are the fields that are passed on.
func (h *head) endToEnd() http.Header {
	out := make(http.Header, len(h.fields))
	for _, f := range h.fields {
		if !h.hopByHop(f.name) {
			out.Add(f.name, f.value)
		}
	}
	return out
}

// takesTrailers reports whether the client said that it reads trailers.
func (h *head) takesTrailers() bool {
	return slices.ContainsFunc(h.fields, func(f field) bool {
		return f.name == "te" && slices.ContainsFunc(strings.Split(f.value, ","), func(t string) bool {
			return strings.EqualFold(strings.Trim(t, " \t"), "trailers")
		})
	})
}

// streamWriter answers one stream.
type streamWriter struct {
	http.ResponseWriter
	grpc  bool // what asks is gRPC
	timed bool // it has a deadline
}

func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for those who do not ask through http.ResponseController.
func (w *streamWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// grpcCall is what the request calls, if it is gRPC.
func (x *exchange) grpcCall() (*grpc.Request, error) {
	if !x.streamed() {
		return nil, errors.New("gRPC needs HTTP/2")
	}
	if err := grpc.CheckHead(x.r.Header); err != nil {
		return nil, err
	}
	call, err := grpc.Parse(x.h.verb(), x.request.Target.Path, x.request.Target.HasQuery)
	if err != nil {
		return nil, err
	}
	return &call, nil
}

// answer writes a denial as gRPC does, whose clients show nobody the body of
// another answer: a status and its message, in a head without a body.
func (w *streamWriter) answer(c *conn, d *denial) {
	code := 13 // INTERNAL
	switch d.status {
	case http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusMethodNotAllowed:
		code = 7 // PERMISSION_DENIED
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		code = 14 // UNAVAILABLE
	}
	switch {
	case d.code == codeLimit:
		code = 8 // RESOURCE_EXHAUSTED
	case d.code == codeUpstream && d.cause != nil:
		code = brokenOff(d.cause, w.timed)
	}
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(code))
	h.Set("Grpc-Message", grpcMessage(c.describe(d)))
	h.Set(policyHeader, d.policyName())
	w.WriteHeader(http.StatusOK)
}

// maxGRPCMessage bounds the text of a denial, in bytes: clients take heads of 8 KB.
const maxGRPCMessage = 1024

// streamError is what ended a stream towards the server, as errors.As finds it
// in those of net/http: type and fields are that of x/net/http2.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return h2Error(e.Code) }

// brokenOff is the status of gRPC for an answer that the server broke off (the
// mapping of gRPC's HTTP/2 protocol). A server that has been told a time takes a
// stream back when it is over.
func brokenOff(err error, timed bool) int {
	var s streamError
	if !errors.As(err, &s) {
		return 14 // UNAVAILABLE
	}
	if s.Code == h2Cancel && timed {
		return 4 // DEADLINE_EXCEEDED
	}
	switch s.Code {
	case h2RefusedStream:
		return 14
	case h2Cancel:
		return 1 // CANCELLED
	case h2EnhanceYourCalm:
		return 8 // RESOURCE_EXHAUSTED
	}
	return 13 // INTERNAL
}

// grpcMessage encodes what a denial says as Grpc-Message has it.
func grpcMessage(d denialBody) string {
	text := d.Detail
	if !strings.Contains(text, d.Reason) {
		text += ": " + d.Reason
	}
	var b strings.Builder
	for i := range min(len(text), maxGRPCMessage) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// trailers passes the trailers of an answer on. The connection of HTTP/1 tells
// by its framing whether there is a place for them.
func (x *exchange) trailers(from http.Header, drop map[string]bool, mask *secret.Mask) {
	if len(from) == 0 || !x.streamed() && !x.h.takesTrailers() {
		return
	}
	h := x.w.Header()
	for name, values := range from {
		if hop(name) || drop[name] || mask.Holds(name) {
			continue
		}
		for _, v := range values {
			if mask != nil {
				v = mask.String(v)
			}
			h.Add(http.TrailerPrefix+name, v)
		}
	}
}

// broken ends an answer that the server broke off: with an error, so that it is
// reset and does not look complete, or as gRPC says that it failed.
func (x *exchange) broken(err error) error {
	w, ok := x.w.(*streamWriter)
	if !ok || !w.grpc || x.r.Context().Err() != nil {
		return err
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(brokenOff(err, w.timed)))
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", "the server broke the answer off")
	return nil
}

// cutOff ends one stream of several that may not go on: what it sends and gets
// is reset, and Recheck sees nothing of it any more. It gives the event to be
// recorded. Callers hold mu of the connection, and the stream is open.
func (x *exchange) cutOff(cause string, d policy.Decision, denied *policy.Request) audit.Event {
	delete(x.c.open, x)
	x.dismount(true)
	x.cancel()
	// A deadline that has passed resets the stream at once.
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Unix(1, 0))
	ev := x.event(audit.Request)
	ev.Verdict, ev.Reason, ev.Path = policy.Deny.String(), cause+": "+d.Reason, denied.Target.Path
	setRule(&ev, d.Rule)
	return ev
}
