package egress

import (
	"context"
	"io"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// mode is how a judged connection goes on. The zero value denies.
type mode uint8

const (
	modeDenied  mode = iota
	modeRelay        // bytes pass through
	modeInspect      // HTTP is judged request by request
	modeReroute      // answered by the inference route
)

// conn is one connection out of the sandbox. Its facts are set by the goroutine
// that accepted it, before it is judged, and do not change after.
type conn struct {
	s      *Server
	id     uint64
	via    audit.Via
	client net.Conn
	opened time.Time
	ctx    context.Context
	cancel context.CancelFunc

	facts   policy.Connection
	who     Caller
	release func() // of the name

	waiting bool    // a CONNECT waits for its answer
	ahead   []byte  // bytes that were read ahead
	denial  *denial // every request on this connection gets it

	in, out atomic.Int64 // bytes towards the agent, bytes from it

	mu       sync.Mutex
	mode     mode // judged when it is not modeDenied
	decision policy.ConnectDecision
	requests *requests              // nil: none are read
	open     map[*exchange]struct{} // the requests that are being answered
	upstream netip.AddrPort         // dialled for the relay
	last     netip.AddrPort         // dialled at all
	ended    string                 // why, for the audit
	failed   bool                   // an upstream was not reached
	isCut    bool
	hard     bool               // cut, and nothing more may reach an upstream
	owned    map[io.Closer]side // closed by cut
	held     []*policy.Counters // this connection was counted in them
	alarm    alarm
	limits   []*policy.Limited // that the connection falls under, each once
	limited  bool              // it was refused because of one
	metered  bool              // its bytes are counted
	opaque   bool              // it carries no HTTP, and every middleware lets that pass
}

// verdict judges the connection with what is in force now. Callers hold mu.
func (c *conn) verdict() (policy.ConnectDecision, mode) {
	if inf := c.s.inference(); inf != nil && inf.Claims(c.facts.Host, c.facts.Port) {
		return policy.ConnectDecision{
			Decision: policy.Decision{Verdict: policy.Reroute, Reason: "the inference route claims this host"},
			Inspect:  true,
		}, modeReroute
	}
	d := c.s.conf.Engine().Connect(c.present())
	switch d.Verdict {
	case policy.Allow:
	case policy.Ask:
		unasked(&d.Decision)
		c.unknown(&d)
		return d, modeDenied
	default:
		d.Verdict = policy.Deny
		c.unknown(&d)
		return d, modeDenied
	}
	bound := c.s.conf.Secrets != nil && c.s.conf.Secrets.Bound(c.facts.Host) || len(c.s.clientCerts(c.facts.Host, c.facts.Port)) > 0
	switch {
	case bound && d.SkipTLS:
		// Bytes that nobody reads may carry any credential.
		d.Verdict, d.Reason = policy.Deny, "a credential is bound to this host, so its connections must be inspected, but the policy says tls: skip"
		return d, modeDenied
	case !bound && c.guarded(&d):
		return d, modeDenied
	case d.Inspect || bound || c.via == audit.ProxyForward:
		return d, modeInspect
	}
	looks := c.s.chain().For(c.facts.Host)
	switch {
	case looks == nil:
	case d.SkipTLS && looks.FailClosed():
		d.Verdict, d.Reason = policy.Deny, "a middleware looks at what goes to this host, so its connections must be inspected, but the policy says tls: skip"
		return d, modeDenied
	case d.SkipTLS, c.opaque && !looks.FailClosed():
	default:
		return d, modeInspect
	}
	return d, modeRelay
}

// unknown adds to a denial why nobody can tell who asks.
func (c *conn) unknown(d *policy.ConnectDecision) {
	if !c.who.Known && c.who.Why != "" {
		d.Reason += ": " + c.who.Why
	}
}

// guarded denies a connection whose requests no rule looks at, to a host that is
// not to be reached so.
func (c *conn) guarded(d *policy.ConnectDecision) bool {
	if d.Inspect || c.s.conf.Guarded == nil {
		return false
	}
	why := c.s.conf.Guarded(c.facts.Host)
	if why != "" {
		d.Verdict, d.Reason = policy.Deny, why
	}
	return why != ""
}

// judge decides about the connection and remembers how it goes on, in one step
// with respect to Recheck.
func (c *conn) judge() (policy.ConnectDecision, mode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decision, c.mode = c.verdict()
	c.openLimits()
	for c.mode != modeDenied && c.decision.Uses != nil {
		if c.s.conf.Uses.Take(c.decision.Uses) {
			c.held = append(c.held, c.decision.Uses)
			break
		}
		c.decision, c.mode = c.verdict() // another took the last one
	}
	c.arm(c.decision.Until)
	return c.decision, c.mode
}

// Causes of a recheck.
const (
	policyChanged = "changed policy"
	ruleEnded     = "the time of a rule is over"
)

// recheck judges again with what is in force now, and cuts what is denied: the
// connection, or a stream of several on it. It reports whether it did. A fault of
// Creel's own denies: what is not known to be allowed does not go on.
func (c *conn) recheck(cause string) (closed bool) {
	defer func() {
		if v := recover(); v != nil {
			closed = true
			c.cut("a fault of creel's own", true)
			c.s.log.Error("judge connection again", "panic", v)
			ev := c.event(audit.Connect)
			ev.Verdict, ev.Reason = policy.Deny.String(), cause+": "+errNotJudged.Error()
			ev.Detail = map[string]string{"error": codeInternal, "layer": layerConnection}
			_ = c.s.record(ev) // it is closed either way
		}
	}()
	events, denied := c.rejudge(cause)
	for _, ev := range events {
		_ = c.s.record(ev) // it is closed either way
	}
	if !denied {
		return len(events) > 0
	}
	if cause == policyChanged {
		cause = "the policy changed"
	}
	c.cut(cause, true)
	return true
}

// rejudge judges again, and cuts the streams that end alone. It gives the events to
// be recorded, and whether all of the connection is denied.
func (c *conn) rejudge(cause string) (events []audit.Event, denied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode == modeDenied || c.isCut {
		return nil, false
	}
	d, m := c.verdict()
	reason := ""
	switch {
	case m == modeDenied:
		reason = d.Reason
	case m != c.mode && !(c.mode == modeInspect && m == modeRelay):
		// Bytes that passed uninspected cannot be inspected afterwards, and a
		// model host that is claimed or given back changes who answers.
		reason = "this connection would be treated otherwise now"
	case m != modeReroute && !c.metered && c.mustMeter():
		reason = "its bytes would be counted now"
	case m != modeReroute && c.upstream.IsValid():
		if err := c.s.mayDial(c.facts.Host, d.Destination, c.facts.Port, c.upstream); err != nil {
			reason = err.Error()
		}
	}
	decision, method, path := d.Decision, "", ""
	for x := range c.open {
		if reason != "" || m == modeReroute {
			break
		}
		if rd, denied := x.recheck(d); denied != nil && x.streamed() {
			events = append(events, x.cutOff(cause, rd, denied))
		} else if denied != nil {
			reason, decision = rd.Reason, rd
			method, path = x.request.Method, denied.Target.Path
		}
	}
	if reason == "" {
		c.decision = d
		c.renewLimits()
		c.arm(d.Until)
		return events, false
	}
	c.mode = modeDenied
	ev := c.event(audit.Connect)
	if method != "" {
		ev.Kind, ev.Method, ev.Path = audit.Request, method, path
	}
	ev.Verdict, ev.Reason = policy.Deny.String(), cause+": "+reason
	setRule(&ev, decision.Rule)
	return append(events, ev), true
}

// side says what something that a connection owns belongs to.
type side bool

const (
	agentSide    side = false
	upstreamSide side = true
)

// own hands c something that cut must close, and closes it at once if that has happened.
func (c *conn) own(x io.Closer, of side) {
	c.mu.Lock()
	if !c.isCut {
		c.owned[x] = of
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	closeOwned(x, of == upstreamSide)
}

func (c *conn) disown(x io.Closer) {
	c.mu.Lock()
	delete(c.owned, x)
	c.mu.Unlock()
}

// cut ends the connection now: client, upstream, and the request in flight.
// hard: what the kernel has not sent to the upstream yet is thrown away.
func (c *conn) cut(why string, hard bool) {
	c.mu.Lock()
	if c.isCut {
		c.mu.Unlock()
		return
	}
	c.isCut, c.hard = true, hard
	c.mode = modeDenied
	if c.ended == "" {
		c.ended = why
	}
	owned := c.owned
	c.owned = nil
	if hard {
		for x := range c.open {
			x.dismount(true)
		}
	}
	c.mu.Unlock()
	c.cancel()
	for x, of := range owned {
		closeOwned(x, hard && of == upstreamSide)
	}
}

func closeOwned(x io.Closer, hard bool) {
	if nc, ok := x.(net.Conn); ok && hard {
		_ = abort(nc).Close() // first: TLS above it would wait for a peer that takes nothing
	}
	_ = x.Close()
}

// end says why the connection ended, if nothing said so before.
func (c *conn) end(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == "" {
		c.ended = why
	}
}

// unreached says that an upstream was not, and why.
func (c *conn) unreached(why string) {
	c.end(why)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = true
}

// dialled notes where the bytes of the relay will go, and fails if what is in
// force by now does not let them.
func (c *conn) dialled(to netip.AddrPort) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.mayGo(to)
	if err == nil {
		c.upstream = to
	}
	return err
}

// mayGo is the last look before a byte is written to an upstream. Callers hold mu.
func (c *conn) mayGo(to netip.AddrPort) error {
	if c.isCut {
		return net.ErrClosed
	}
	if err := c.s.mayDial(c.facts.Host, c.decision.Destination, c.facts.Port, to); err != nil {
		return err
	}
	c.last = to
	return nil
}

// event has the facts of the connection.
func (c *conn) event(k audit.Kind) audit.Event {
	return audit.Event{
		Kind: k, Conn: c.id, Via: c.via, Protocol: "tcp",
		Host: c.facts.Host.String(), Port: c.facts.Port,
		Binary: c.who.Binary, Unverified: c.who.Binary != "" && !c.who.Known, Script: c.who.Script, PID: c.who.PID,
	}
}

func withDetail(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

func setRule(ev *audit.Event, r policy.Rule) {
	ev.Rule = r.Policy
	if r.At.Line > 0 {
		ev.RuleAt = r.At.String()
	}
}

// recordDecision records a verdict about the connection.
func (c *conn) recordDecision(d policy.Decision, inspected bool) error {
	ev := c.event(audit.Connect)
	ev.Inspected = inspected
	ev.Verdict, ev.Reason, ev.Audited = d.Verdict.String(), d.Reason, d.Audited
	setRule(&ev, d.Rule)
	return c.s.record(ev)
}

// recordDenial records an answer that Creel gives itself.
func (c *conn) recordDenial(d *denial, protocol string) error {
	ev := c.event(audit.Connect)
	if d.method != "" || d.layer == layerHTTP {
		ev.Kind = audit.Request
	}
	ev.Verdict, ev.Reason, ev.Protocol = policy.Deny.String(), d.reason, protocol
	ev.Method, ev.Path, ev.Status = d.method, d.path, d.status
	if d.unsaid {
		ev.Path = ""
	}
	ev.Addr = d.addr
	ev.Detail = map[string]string{"error": d.code, "layer": d.layer}
	maps.Copy(ev.Detail, d.says)
	if d.missing != nil && !d.unsaid {
		ev.Detail[audit.RuleMissing] = d.missing.record()
	}
	if d.middleware != "" {
		ev.Detail["middleware"] = d.middleware
	}
	setRule(&ev, d.rule)
	return c.s.record(ev)
}

// recordClose records the end of a connection that was allowed.
func (c *conn) recordClose() {
	c.mu.Lock()
	why, last, failed := c.ended, c.last, c.failed
	c.mu.Unlock()
	ev := c.event(audit.Close)
	ev.Reason = why
	if failed {
		ev.Detail = map[string]string{"error": audit.UpstreamFailed}
	}
	switch {
	case last.IsValid() && last == unseen(c.facts.Port):
		ev.Detail = withDetail(ev.Detail, "address", "resolved by the proxy")
	case last.IsValid():
		ev.Addr = last.String()
	}
	ev.BytesIn, ev.BytesOut = c.in.Load(), c.out.Load()
	ev.Millis = time.Since(c.opened).Milliseconds()
	_ = c.s.record(ev) // nothing is left to stop
}

var auditDenial = &denial{status: 503, code: codeAudit, layer: layerAudit, reason: "the audit log cannot be written, so nothing is sent"}
