package egress

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/secret"
)

// url is the canonical target as net/http takes it. ok is false if net/http
// would write other bytes than those that were judged.
func (x *exchange) url() (u *url.URL, ok bool) {
	t := x.request.Target
	path, err := url.PathUnescape(t.Path)
	if err != nil {
		return nil, false
	}
	u = &url.URL{
		Scheme: x.scheme, Host: authority{x.c.facts.Host, x.c.facts.Port}.text(x.scheme),
		Path: path, RawPath: t.Path, RawQuery: t.RawQuery, ForceQuery: t.HasQuery && t.RawQuery == "",
	}
	return u, u.RequestURI() == t.String()
}

// outgoing is the request that was allowed, as it goes to the upstream, with an
// empty body. ok is false if it would not be the one that was judged.
func (x *exchange) outgoing() (out *http.Request, ok bool) {
	u, ok := x.url()
	if !ok {
		return nil, false
	}
	out = &http.Request{
		Method: x.request.Method, URL: u, Host: u.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.r.Header.Clone(), ContentLength: x.r.ContentLength, Body: http.NoBody,
	}
	out.Header.Del("Connection")
	out.Header.Del("Content-Length") // written again from ContentLength
	if _, set := out.Header["User-Agent"]; !set {
		out.Header["User-Agent"] = nil // nothing is added
	}
	if x.streamed() && x.h.takesTrailers() {
		out.Header.Set("Te", "trailers") // gRPC servers want to see it
	}
	if x.h.hasBody() {
		// Its framing is written anew. A server that ignores the length of a body
		// that it does not expect ("CL.0") takes the body for the next request;
		// told to close, a server that keeps to that much never reads it, and the
		// answer to it can never be given to another request.
		out.Close = bodyUnexpected(out.Method)
	}
	return out, true
}

// forward sends the request that was allowed and passes the answer back.
func (x *exchange) forward(j judged) {
	c, d := x.c, j.conn
	fail := func(status int, code, layer, reason string) {
		x.deny(&denial{status: status, code: code, layer: layer, reason: reason,
			method: x.request.Method, path: x.request.Target.Path})
	}
	out, ok := x.outgoing()
	if !ok {
		fail(http.StatusBadRequest, codeRequest, layerHTTP, "the request target cannot be sent as it was judged")
		return
	}
	var in *watched
	if x.h.hasBody() {
		in = x.watch(x.r.Body)
		out.Body = in
		if d.Inspect {
			out.Body, _ = scanForm(out.Header, in, x.judgeForm)
		}
	}
	out.Trailer = x.late()
	if x.socket != nil {
		x.writeOffer(out.Header)
		x.w.Header().Set("Connection", "close") // if no WebSocket comes of it
	}
	var used []string // names of credentials
	if c.s.conf.Secrets != nil {
		var err error
		if used, err = c.s.conf.Secrets.Apply(c.facts.Host, out); err != nil {
			fail(http.StatusForbidden, codeCredential, layerCredential, err.Error())
			return
		}
	}
	if x.recordAllowed(j.decision, used) != nil {
		c.answer(x.w, auditDenial)
		return
	}
	var mask *secret.Mask
	if x.bound() {
		mask = c.s.conf.Secrets.Mask(c.facts.Host, out)
	}
	looks := x.looks(middleware.Response)
	if x.bound() || x.screens() || looks {
		wantWhole(out.Header)
	}
	ctx := x.r.Context()
	if looks || x.screens() {
		ctx, x.giveUp = context.WithCancel(ctx)
		defer x.giveUp()
	}
	var body *watched
	if in != nil {
		if out.Trailer != nil {
			out.Body = &trailed{out.Body, x, out}
		}
		body = x.watch(out.Body)
		out.Body = body
	}
	send := c.s.upstreams.roundTrip
	if x.socket != nil {
		send = openSocket
		defer x.closeSocket()
	}
	resp, err := send(x, out.WithContext(ctx),
		&upstreamSpec{host: c.facts.Host, port: c.facts.Port, rule: d.Destination, tls: x.scheme == "https", h2: x.streamed()})
	if err == nil && x.opened() {
		if d := x.lookAnswer(resp, mask); d != nil {
			x.refuse(d)
			return
		}
		x.tunnel(resp, mask)
		return
	}
	if err == nil && (resp.StatusCode < 200 || resp.StatusCode > 599) {
		_ = resp.Body.Close()
		err = &upstreamError{"the server answered with a status that was not asked for"}
	}
	if err != nil {
		x.failed(err, in, body)
		return
	}
	defer resp.Body.Close()
	if x.bound() && hasContent(out.Method, resp) && isEncoded(resp.Header) {
		fail(http.StatusBadGateway, codeCredential, layerCredential,
			"the server encoded its answer though it was asked not to, so the credential that it was sent cannot be kept out of it")
		return
	}
	if x.screens() {
		if d := x.screen(resp); d != nil {
			x.deny(d)
			return
		}
	}
	if l := x.refusesType(resp); l != nil {
		x.deny(&denial{status: http.StatusForbidden, code: codeLimit, layer: layerRequest, rule: l.Rule,
			reason: "the server's answer is of a type that limits.response_types of " + l.Name + " do not list",
			method: x.request.Method, path: x.request.Target.Path})
		return
	}
	if d := x.lookAnswer(resp, mask); d != nil {
		x.refuse(d)
		return
	}
	err = x.respond(resp, mask)
	if refused := (*screenError)(nil); errors.As(err, &refused) {
		_ = x.recordDenial(&denial{status: http.StatusBadGateway, code: codeProtocol, layer: layerRequest, reason: refused.reason,
			method: x.request.Method, path: x.request.Target.Path, says: x.says()})
	}
	// A server may answer before it has read the body that is refused.
	if f := x.framing(); f != nil {
		_ = x.recordDenial(&denial{status: f.status, code: codeRequest, layer: layerHTTP, reason: f.reason,
			method: x.request.Method, path: x.request.Target.Path})
	} else if d := x.refusedBody(in, body); d != nil {
		_ = x.recordDenial(d)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // what was cut short must not look complete
	}
}

// recordAllowed keeps what is to be sent, before a byte of it is.
func (x *exchange) recordAllowed(d policy.Decision, credentials []string) error {
	ev := x.event(audit.Request)
	ev.Verdict, ev.Audited, ev.Reason = d.Verdict.String(), d.Audited, d.Reason
	setRule(&ev, d.Rule)
	if len(credentials) == 0 {
		return x.c.s.record(ev)
	}
	use := x.event(audit.Credential)
	use.Verdict = policy.Allow.String()
	use.Detail = map[string]string{"names": strings.Join(credentials, ",")}
	return x.c.s.record(ev, use)
}

// bodyUnexpected: RFC 9110 §9.3 gives content no meaning in these methods.
func bodyUnexpected(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodTrace:
		return true
	}
	return false
}

// failed answers for a request that got no response.
func (x *exchange) failed(err error, in, body *watched) {
	d := &denial{status: http.StatusForbidden, method: x.request.Method, path: x.request.Target.Path}
	if f := x.framing(); f != nil {
		d.status, d.code, d.layer, d.reason = f.status, codeRequest, layerHTTP, f.reason
	} else if refused := x.refusedBody(in, body); refused != nil {
		d = refused
	} else if x.r.Context().Err() != nil || in.failed() != nil {
		panic(http.ErrAbortHandler) // the client is gone, or was cut off
	} else {
		d = x.c.dialDenial(err, d.method, d.path)
	}
	if d.code != codeUpstream {
		x.deny(d)
		return
	}
	x.c.unreached(d.reason)
	x.c.answer(x.w, d)
}

// dialDenial says why an upstream was not reached: by rule, or by accident.
func (c *conn) dialDenial(err error, method, path string) *denial {
	var addr *netname.AddressError
	var up *upstreamError
	d := &denial{status: http.StatusBadGateway, code: codeUpstream, layer: layerUpstream, method: method, path: path}
	switch {
	case errors.As(err, &addr):
		d.status, d.code, d.layer = http.StatusForbidden, codeAddress, layerAddress
		d.reason = addr.Error()
		if addr.Addr.IsValid() {
			d.addr = addr.Addr.String()
		}
		c.mu.Lock()
		d.rule = c.decision.Rule
		c.mu.Unlock()
	case errors.As(err, &up):
		d.reason = up.reason
	default:
		d.reason, d.cause = "the server broke the connection off", err
	}
	return d
}

// watched remembers the error that ended a body. It is read by whoever sends the
// body, where nothing would catch a fault of ours in what looks through it.
type watched struct {
	io.ReadCloser
	log *slog.Logger
	mu  sync.Mutex
	err error
}

func (x *exchange) watch(body io.ReadCloser) *watched {
	return &watched{ReadCloser: body, log: x.c.s.log}
}

func (b *watched) Read(p []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			b.log.Error("read body", "panic", v)
			n, err = 0, errOwnFault
		}
		if err != nil && !errors.Is(err, io.EOF) {
			b.mu.Lock()
			b.err = err
			b.mu.Unlock()
		}
	}()
	return b.ReadCloser.Read(p)
}

func (b *watched) failed() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// refusedBody is the denial if what wraps the body stopped it, not the client.
func (x *exchange) refusedBody(in, body *watched) *denial {
	err := body.failed()
	if errors.Is(err, errOwnFault) {
		d := ownFault()
		d.method, d.path = x.request.Method, x.request.Target.Path
		return d
	}
	if err == nil || in.failed() != nil {
		return nil
	}
	d := &denial{status: http.StatusForbidden, code: codeCredential, layer: layerCredential, reason: err.Error(),
		method: x.request.Method, path: x.request.Target.Path}
	if fault := (*httpFault)(nil); errors.As(err, &fault) {
		d.status, d.code, d.layer = fault.status, codeRequest, layerHTTP
	}
	if other := (*overrideError)(nil); errors.As(err, &other) {
		d.code, d.layer = codePolicy, layerRequest
		x.c.mu.Lock()
		d.rule = x.c.decision.Rule
		x.c.mu.Unlock()
	}
	return d
}
