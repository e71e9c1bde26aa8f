package egress

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// exchange is one request on an inspected connection.
type exchange struct {
	c       *conn
	w       http.ResponseWriter
	r       *http.Request
	h       *head
	scheme  string
	framing func() *httpFault // the fault in the framing of the body, if there was one
	cancel  func()            // of one of several requests on its connection, which ends alone; nil: it is the only one

	socket     *socket // the WebSocket that is asked for; nil: none
	request    policy.Request
	served     string // the path at which the inference route answers it; empty: it is no model call, or its host is claimed
	unread     string // why what is judged beside method and path was not read
	body       []byte // nil: it was not read, and goes through as it comes
	lost       error  // why a part of the body can no longer be sent; nothing is, then
	held       int64  // of the budget of bodies, in bytes
	heldAnswer int64  // the same for the answer
	push       push   // of Git
	asking     bool   // the request on its way is Creel's own
	proved     bool   // what costs more to tell was looked at

	looked  bool        // the middlewares were asked about the request
	refusal *denial     // by them
	giveUp  func()      // on an answer that is looked at as a whole; nil: it is not
	due     *time.Timer // gives up on one that is held; nil: none is
	overdue atomic.Bool // it did
	unsaid  bool        // they found something in the path: the record does not have it

	governs *policy.Endpoint // the endpoint by which an allowed request was read; nil: by method and path alone

	// Under the lock of the connection.
	asked    []policy.Request // what is being answered, in every method that it may turn into
	holding  []*policy.Counters
	upstream netip.AddrPort
	carrier  *upstreamConn // what carries its bytes; nil: nothing does, or it is a WebSocket, whose connection is owned
	hard     bool          // it was cut, and nothing more may reach the upstream
	unseen   bool          // no middleware took the request
}

// run serves the exchange, and reports whether its answer may be completed.
func (x *exchange) run() (whole bool) {
	defer func() {
		if v := recover(); v != nil {
			whole = false
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				x.c.s.log.Error("serve request", "panic", v)
				d := ownFault()
				d.method, d.path = x.request.Method, x.request.Target.Path
				_ = x.recordDenial(d)
			}
		}
	}()
	x.serve()
	return true
}

// ownFault is the denial because of a fault of Creel's own: it ends one request.
func ownFault() *denial {
	return &denial{status: http.StatusInternalServerError, code: codeInternal, layer: layerHTTP, reason: errOwnFault.Error()}
}

var (
	errOwnFault  = errors.New("a fault of creel's own ended the request")
	errNotJudged = errors.New("a fault of creel's own, so that nothing says that it may go on")
)

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
	origin, f := h.origin(x.scheme, authority{c.facts.Host, c.facts.Port})
	if f != nil {
		code := codeRequest
		if f.status == http.StatusMisdirectedRequest {
			code = codeAuthority
		}
		fault(f.status, code, f.reason)
		return
	}

	defer x.release()
	x.readOffer()
	j := x.judge(origin)
	defer x.done()
	decision := j.decision
	switch {
	case x.refusal != nil:
		x.refuse(x.refusal)
	case j.err != nil:
		fault(http.StatusBadRequest, codeRequest, j.err.Error())
	case decision.Verdict == policy.Deny:
		layer := layerRequest
		if j.mode == modeDenied {
			layer = layerConnection
		}
		code := codePolicy
		switch {
		case j.limited:
			code = codeLimit
		case j.upgrade:
			code = codeUpgrade
		case j.model:
			code = codeModel
		}
		x.deny(&denial{status: http.StatusForbidden, code: code, layer: layer, reason: decision.Reason,
			rule: decision.Rule, method: h.verb(), path: x.request.Target.Path})
	case j.mode == modeReroute:
		if x.lookRerouted() {
			x.reroute()
		} else {
			x.refuse(x.refusal)
		}
	case x.bound() && givesBack(h.verb()):
		x.deny(&denial{status: http.StatusMethodNotAllowed, code: codeCredential, layer: layerCredential,
			reason: "a credential is bound to this host, and " + h.verb() + " would give it back",
			rule:   decision.Rule, method: h.verb(), path: x.request.Target.Path})
	case x.socket != nil && x.socket.fault != nil:
		fault(http.StatusBadRequest, codeRequest, x.socket.fault.Error())
	case h.upgrade != "" && x.socket == nil:
		status := http.StatusNotImplemented
		if strings.HasPrefix(strings.ToLower(h.upgrade), "h2c") {
			status = http.StatusForbidden
		}
		x.deny(&denial{status: status, code: codeUpgrade, layer: layerHTTP, reason: "the connection may not be upgraded to another protocol",
			rule: decision.Rule, method: h.verb(), path: x.request.Target.Path})
	case !x.look():
		x.refuse(x.refusal)
	default:
		x.forward(j)
	}
}

func (x *exchange) event(k audit.Kind) audit.Event {
	ev := x.c.event(k)
	ev.Protocol = x.scheme
	ev.Method, ev.Path, ev.Detail = x.request.Method, x.request.Target.Path, x.says()
	if x.unsaid {
		ev.Path = ""
	}
	return ev
}

// recordDenial records a denial of the request, or of what belongs to it, without the
// path where that is not to be in the record.
func (x *exchange) recordDenial(d *denial) error {
	d.unsaid = x.unsaid
	return x.c.recordDenial(d, x.scheme)
}

// deny records a denial and answers with it, in the protocol of the request; the
// connection ends then.
func (x *exchange) deny(d *denial) {
	d.says, d.query = x.says(), x.request.Target.Query
	if d.code == codePolicy && (x.governs != nil || d.says != nil) {
		d.missing = x.c.missing(d, &x.request)
	}
	if d.calls = x.pending(); d.calls != nil {
		d.status = http.StatusOK
	}
	if x.recordDenial(d) != nil {
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
	if x.served != "" {
		u.Path, u.RawPath = x.served, ""
		x.r.RequestURI = u.RequestURI()
	}
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
		if ev.Path == "" || x.served != "" {
			ev.Path = have.Path
		}
		if ev.Verdict == "" && ev.Kind == audit.Inference {
			ev.Verdict = policy.Reroute.String()
		}
		return x.c.s.record(ev)
	})
}

func pathOnly(t string) string {
	if _, _, origin, ok := parseAbsolute(t); ok {
		t = origin
	}
	path, _, _ := strings.Cut(t, "?")
	return path
}
