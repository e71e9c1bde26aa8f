package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
	"github.com/creel-run/creel/secret"
)

// nopLog: what net/http would log is in the audit, or is the client's doing.
func nopLog() *log.Logger { return log.New(io.Discard, "", 0) }

// exchange is one request on an inspected connection.
type exchange struct {
	c *conn
	g *gate
	w http.ResponseWriter
	r *http.Request
	h *head

	request policy.Request
	limited bool // refused because of a limit
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	g, ok := r.Context().Value(gateKey{}).(*gate)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	m := g.next()
	if m == nil { // a request that the gate did not make: it cannot be
		panic(http.ErrAbortHandler)
	}
	x := &exchange{c: g.c, g: g, w: w, r: r, h: m.head}
	defer func() {
		if v := recover(); v != nil {
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				s.log.Error("serve request", "panic", v)
			}
			panic(http.ErrAbortHandler)
		}
	}()
	if m.fault != nil {
		x.deny(&denial{status: m.fault.status, code: codeRequest, layer: layerHTTP, reason: m.fault.reason})
		return
	}
	x.serve()
}

func (x *exchange) serve() {
	c, h := x.c, x.h
	if c.denial != nil { // the connection is denied, and its event is written
		d := *c.denial
		d.method = h.verb()
		if t, err := target.Parse(pathOnly(h.target), true); err == nil {
			d.path = t.Path
		}
		c.answer(x.w, &d)
		return
	}
	if c.via == audit.ProxyForward {
		x.w.Header().Set("Connection", "close") // the next request may be for another host
	}
	fault := func(status int, code, reason string) {
		x.deny(&denial{status: status, code: code, layer: layerHTTP, reason: reason, method: h.verb()})
	}
	if h.verb() == http.MethodConnect {
		fault(http.StatusNotImplemented, codeUpgrade, "CONNECT inside a connection is not served")
		return
	}
	origin, f := h.origin(x.g.scheme, authority{c.facts.Host, c.facts.Port})
	if f != nil {
		code := codeRequest
		if f.status == http.StatusMisdirectedRequest {
			code = codeAuthority
		}
		fault(f.status, code, f.reason)
		return
	}

	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	x.r = x.r.WithContext(ctx)

	d, decision, m, err := x.judge(origin)
	defer x.done()
	switch {
	case err != nil:
		fault(http.StatusBadRequest, codeRequest, err.Error())
	case decision.Verdict == policy.Deny:
		layer := layerRequest
		if m == modeDenied {
			layer = layerConnection
		}
		code := codePolicy
		if x.limited {
			code = codeLimit
		}
		x.deny(&denial{status: http.StatusForbidden, code: code, layer: layer, reason: decision.Reason,
			rule: decision.Rule, method: h.verb(), path: x.request.Target.Path})
	case m == modeReroute:
		x.reroute()
	case x.bound() && givesBack(h.verb()):
		x.deny(&denial{status: http.StatusMethodNotAllowed, code: codeCredential, layer: layerCredential,
			reason: "a credential is bound to this host, and " + h.verb() + " would give it back",
			rule:   decision.Rule, method: h.verb(), path: x.request.Target.Path})
	case h.upgrade != "":
		status := http.StatusNotImplemented
		if strings.HasPrefix(strings.ToLower(h.upgrade), "h2c") {
			status = http.StatusForbidden
		}
		x.deny(&denial{status: status, code: codeUpgrade, layer: layerHTTP, reason: "the connection may not be upgraded to another protocol",
			rule: decision.Rule, method: h.verb(), path: x.request.Target.Path})
	default:
		ev := x.event(audit.Request)
		ev.Verdict, ev.Audited, ev.Reason = decision.Verdict.String(), decision.Audited, decision.Reason
		setRule(&ev, decision.Rule)
		if c.s.record(ev) != nil {
			c.answer(x.w, auditDenial)
			return
		}
		x.forward(d)
	}
}

// judge decides about the request with what is in force now, and remembers it
// for Recheck, in one step.
func (x *exchange) judge(origin string) (policy.ConnectDecision, policy.Decision, mode, error) {
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	denied := func(reason string, r policy.Rule) (policy.ConnectDecision, policy.Decision, mode, error) {
		return policy.ConnectDecision{}, policy.Decision{Reason: reason, Rule: r}, modeDenied, nil
	}
	d, m := c.verdict()
	t, err := target.Parse(origin, m == modeInspect && d.AllowEncodedSlash)
	if err != nil {
		return d, policy.Decision{}, m, fmt.Errorf("the request target is not well formed: %w", err)
	}
	x.request = policy.Request{Connection: c.present(), Method: x.h.verb(), Target: t}
	asked := []policy.Request{x.request}
	switch {
	case c.isCut || c.mode == modeDenied:
		return denied("the policy changed", policy.Rule{})
	case m == modeDenied:
		return denied(d.Reason, d.Rule)
	case m != c.mode && m != modeRelay:
		return denied("this connection would be treated otherwise now; connect again", policy.Rule{})
	}
	c.decision = d
	if m == modeReroute {
		return d, d.Decision, m, nil
	}
	decision := d.Decision
	if d.Inspect {
		methods, ok := overrides(x.request.Method, t.RawQuery)
		if !ok {
			return d, policy.Decision{Reason: "the query names several other methods"}, modeInspect, nil
		}
		for _, m := range methods {
			asked = append(asked, policy.Request{Connection: x.request.Connection, Method: m, Target: t})
		}
		decision, _ = judgeAll(c.s.conf.Engine(), asked)
		if decision.Verdict == policy.Allow {
			if l, why := c.s.quotas.request(c.limitsOf(t.Path)); l != nil {
				x.limited = true
				return d, policy.Decision{Rule: l.Rule, Reason: why}, modeInspect, nil
			}
			decision = c.count(asked)
		}
	}
	if decision.Verdict != policy.Allow {
		unasked(&decision)
		return d, decision, modeInspect, nil
	}
	c.inflight = asked
	return d, decision, modeInspect, nil
}

// done forgets the request.
func (x *exchange) done() {
	x.c.mu.Lock()
	x.c.inflight, x.c.holding = nil, nil
	if x.c.mode == modeInspect {
		x.c.upstream = zeroAddr
	}
	x.c.mu.Unlock()
}

func (x *exchange) event(k audit.Kind) audit.Event {
	ev := x.c.event(k)
	ev.Protocol = x.g.scheme
	ev.Method, ev.Path = x.request.Method, x.request.Target.Path
	return ev
}

// deny records a denial and answers with it; the connection ends then.
func (x *exchange) deny(d *denial) {
	if x.c.recordDenial(d, x.g.scheme) != nil {
		d = auditDenial
	}
	x.c.answer(x.w, d)
}

// reroute hands the request to the inference route.
func (x *exchange) reroute() {
	inf := x.c.s.inference()
	u, ok := x.url()
	if inf == nil || !ok {
		panic(http.ErrAbortHandler)
	}
	x.r.URL, x.r.RequestURI, x.r.Host = u, x.request.Target.String(), u.Host
	if x.h.upgrade != "" {
		x.r.Header.Set("Upgrade", x.h.upgrade) // it is the route that says no
	}
	inf.Serve(x.w, x.r, func(ev audit.Event) error {
		have := x.event(ev.Kind)
		ev.Conn, ev.Via, ev.Protocol = have.Conn, have.Via, have.Protocol
		ev.Host, ev.Port, ev.PID = have.Host, have.Port, have.PID
		ev.Binary, ev.Unverified, ev.Script = have.Binary, have.Unverified, have.Script
		if ev.Method == "" {
			ev.Method = have.Method
		}
		if ev.Path == "" {
			ev.Path = have.Path
		}
		if ev.Verdict == "" && ev.Kind == audit.Inference {
			ev.Verdict = policy.Reroute.String()
		}
		return x.c.s.record(ev)
	})
}

// url is the canonical target as net/http takes it. ok is false if net/http
// would write other bytes than those that were judged.
func (x *exchange) url() (u *url.URL, ok bool) {
	t := x.request.Target
	path, err := url.PathUnescape(t.Path)
	if err != nil {
		return nil, false
	}
	u = &url.URL{
		Scheme: x.g.scheme, Host: authority{x.c.facts.Host, x.c.facts.Port}.text(x.g.scheme),
		Path: path, RawPath: t.Path, RawQuery: t.RawQuery, ForceQuery: t.HasQuery && t.RawQuery == "",
	}
	return u, u.RequestURI() == t.String()
}

// forward sends the request that was allowed and passes the answer back.
func (x *exchange) forward(d policy.ConnectDecision) {
	c := x.c
	fail := func(status int, code, layer, reason string) {
		x.deny(&denial{status: status, code: code, layer: layer, reason: reason,
			method: x.request.Method, path: x.request.Target.Path})
	}
	u, ok := x.url()
	if !ok {
		fail(http.StatusBadRequest, codeRequest, layerHTTP, "the request target cannot be sent as it was judged")
		return
	}
	out := &http.Request{
		Method: x.request.Method, URL: u, Host: u.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.r.Header.Clone(), ContentLength: x.r.ContentLength, Body: http.NoBody,
	}
	out.Header.Del("Connection")
	out.Header.Del("Content-Length") // written again from ContentLength
	var in *watched
	if x.h.hasBody() {
		in = &watched{ReadCloser: x.r.Body}
		out.Body = in
		if d.Inspect {
			out.Body, _ = scanForm(out.Header, in, x.judgeForm)
		}
		// Its framing is written anew. A server that ignores the length of a body
		// that it does not expect ("CL.0") takes the body for the next request;
		// told to close, a server that keeps to that much never reads it, and the
		// answer to it can never be given to another request.
		out.Close = bodyUnexpected(out.Method)
	}
	if c.s.conf.Secrets != nil {
		used, err := c.s.conf.Secrets.Apply(c.facts.Host, out)
		if err != nil {
			fail(http.StatusForbidden, codeCredential, layerCredential, err.Error())
			return
		}
		if len(used) > 0 {
			ev := x.event(audit.Credential)
			ev.Verdict = policy.Allow.String()
			ev.Detail = map[string]string{"names": strings.Join(used, ",")}
			if c.s.record(ev) != nil {
				c.answer(x.w, auditDenial)
				return
			}
		}
	}
	var mask *secret.Mask
	if x.bound() {
		mask = c.s.conf.Secrets.Mask(c.facts.Host, out)
		wantWhole(out.Header)
	}
	var body *watched
	if in != nil {
		body = &watched{ReadCloser: out.Body}
		out.Body = body
	}
	if _, set := out.Header["User-Agent"]; !set {
		out.Header["User-Agent"] = nil // nothing is added
	}
	resp, err := c.s.upstreams.roundTrip(c, out.WithContext(x.r.Context()),
		&upstreamSpec{host: c.facts.Host, port: c.facts.Port, rule: d.Destination, tls: x.g.scheme == "https"})
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
	if l := x.refusesType(resp); l != nil {
		x.deny(&denial{status: http.StatusForbidden, code: codeLimit, layer: layerRequest, rule: l.Rule,
			reason: "the server's answer is of a type that limits.response_types of " + l.Name + " do not list",
			method: x.request.Method, path: x.request.Target.Path})
		return
	}
	err = x.respond(resp, mask)
	// A server may answer before it has read the body that is refused.
	if f := x.g.bodyFault(); f != nil {
		_ = c.recordDenial(&denial{status: f.status, code: codeRequest, layer: layerHTTP, reason: f.reason,
			method: x.request.Method, path: x.request.Target.Path}, x.g.scheme)
	} else if d := x.refusedBody(in, body); d != nil {
		_ = c.recordDenial(d, x.g.scheme)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // what was cut short must not look complete
	}
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
	if f := x.g.bodyFault(); f != nil {
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
		d.reason = "the server broke the connection off"
	}
	return d
}

// watched remembers the error that ended a body.
type watched struct {
	io.ReadCloser
	mu  sync.Mutex
	err error
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
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
	if err == nil || in.failed() != nil {
		return nil
	}
	d := &denial{status: http.StatusForbidden, code: codeCredential, layer: layerCredential, reason: err.Error(),
		method: x.request.Method, path: x.request.Target.Path}
	if other := (*overrideError)(nil); errors.As(err, &other) {
		d.code, d.layer = codePolicy, layerRequest
		x.c.mu.Lock()
		d.rule = x.c.decision.Rule
		x.c.mu.Unlock()
	}
	return d
}

func pathOnly(t string) string {
	if _, _, origin, ok := parseAbsolute(t); ok {
		t = origin
	}
	path, _, _ := strings.Cut(t, "?")
	return path
}
