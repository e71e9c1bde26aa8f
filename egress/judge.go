package egress

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// judged is the outcome for a request. The zero value denies.
type judged struct {
	conn     policy.ConnectDecision
	decision policy.Decision
	mode     mode
	limited  bool  // denied because of a limit
	upgrade  bool  // denied because of the WebSocket that it asks for, or should
	model    bool  // denied because it is a model call
	err      error // the request target is not well formed
}

// judge decides about the request, and remembers it for Recheck. What is judged
// of a message beside method and path is read first, while nothing is locked;
// the decision is made with what is in force after that.
func (x *exchange) judge(origin string) judged {
	var read *policy.Endpoint
	for range maxReadings {
		j, wants := x.decide(origin, read)
		switch {
		case wants != nil:
			x.read(wants)
			read = wants
		case j.decision.Verdict == policy.Deny && !j.limited && x.mayProve():
			if !x.look() { // proving asks the server
				return j
			}
			x.prove()
		default:
			return j
		}
	}
	return judged{decision: policy.Decision{Reason: "the policy changed again and again while the request was read; send it again"}}
}

// mayProve reports that the request is denied for want of something that takes
// longer to find out: whether a push keeps every commit, or when a version was
// published. It is found out once.
func (x *exchange) mayProve() bool {
	if x.proved || x.governs == nil {
		return false
	}
	r := x.request
	switch {
	case r.Git != nil && len(r.Git.Updates) > 0:
		r.Git = kept(r.Git)
	case r.Package != nil && r.Package.Action == registry.Download:
		r.Package = longAgo(r.Package)
	default:
		return false
	}
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	r.Connection = x.present()
	return x.c.s.conf.Engine().Request(r).Verdict == policy.Allow
}

// prove finds it out, and says why the request is denied if it still is.
func (x *exchange) prove() {
	x.proved = true
	if x.request.Git != nil {
		x.unread = x.provePush()
	} else {
		x.unread = x.proveAge()
	}
}

// reasonLost: no rule is asked, for there is nothing left that could be sent.
const reasonLost = "the body of the request could not be read for the policy: "

// decide judges with what is in force now, and remembers it, in one step with
// respect to Recheck. Where an endpoint governs whose protocol reads messages,
// and it is not the one that the message was read for, it is given instead, and
// nothing is decided.
func (x *exchange) decide(origin string, read *policy.Endpoint) (_ judged, wants *policy.Endpoint) {
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	denied := func(reason string, r policy.Rule) (judged, *policy.Endpoint) {
		return judged{decision: policy.Decision{Reason: reason, Rule: r}}, nil
	}
	d, m := c.verdict()
	t, err := target.Parse(origin, m == modeInspect && d.AllowEncodedSlash)
	if err != nil {
		return judged{conn: d, mode: m, err: fmt.Errorf("the request target is not well formed: %w", err)}, nil
	}
	x.request.Connection, x.request.Method, x.request.Target = c.present(), x.h.verb(), t
	switch {
	case c.isCut || c.mode == modeDenied:
		return denied("the policy changed", policy.Rule{})
	case m == modeDenied:
		return denied(d.Reason, d.Rule)
	case x.lost != nil:
		return denied(reasonLost+x.lost.Error(), policy.Rule{})
	case m != c.mode && m != modeRelay:
		return denied("this connection would be treated otherwise now; connect again", policy.Rule{})
	}
	c.decision = d
	j := judged{conn: d, decision: d.Decision, mode: modeInspect}
	switch {
	case m == modeReroute:
		j.mode = m
		return j, nil
	case !d.Inspect:
		asked := []policy.Request{x.request}
		if x.models(&j, asked) {
			x.begin(asked)
		}
		return j, nil
	}
	engine := c.s.conf.Engine()
	governing := engine.Governing(x.request.Connection, t.Path)
	if governing != read && readsMessages(governing) {
		return judged{}, governing
	}
	if x.governs = nil; readsMessages(governing) {
		x.governs = governing
	}
	asked := []policy.Request{x.request}
	methods, ok := overrides(x.request.Method, t.RawQuery)
	if !ok {
		j.decision = policy.Decision{Reason: "the query names several other methods"}
		return j, nil
	}
	for _, m := range methods {
		other := x.request
		other.Method = m
		asked = append(asked, other)
	}
	j.decision, _ = judgeAll(engine, asked)
	if j.decision.Verdict == policy.Allow && !x.toolsHold() {
		j.decision = policy.Decision{Rule: j.decision.Rule, Reason: reasonTool}
	}
	if why := x.mayOpen(governing); why != "" && j.decision.Verdict == policy.Allow {
		j.upgrade, j.decision = true, policy.Decision{Rule: j.decision.Rule, Reason: why}
	}
	if j.decision.Verdict == policy.Allow && !x.models(&j, asked) {
		return j, nil
	}
	if j.decision.Verdict == policy.Allow {
		if l, why := c.s.quotas.request(c.limitsOf(t.Path)); l != nil {
			j.limited, j.decision = true, policy.Decision{Rule: l.Rule, Reason: why}
			return j, nil
		}
		j.decision = x.count(asked)
	}
	if j.decision.Verdict == policy.Deny || j.decision.Verdict == policy.Ask {
		unasked(&j.decision)
		if x.unread != "" {
			j.decision.Reason += ": " + x.unread
		}
		return j, nil
	}
	x.begin(asked)
	return j, nil
}

// begin makes Recheck look at the request, in every method that it may turn
// into, as long as it is answered. Callers hold mu of the connection.
func (x *exchange) begin(asked []policy.Request) {
	x.asked = asked
	if x.c.open == nil {
		x.c.open = make(map[*exchange]struct{})
	}
	x.c.open[x] = struct{}{}
}

// done forgets the request.
func (x *exchange) done() {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	delete(x.c.open, x)
	x.dismount(false)
	x.asked, x.holding = nil, nil
}

// recheck judges again what is being answered, now that the decision about its
// connection is d; denied is nil if it may go on. Callers hold mu of the connection.
func (x *exchange) recheck(d policy.ConnectDecision) (_ policy.Decision, denied *policy.Request) {
	if x.upstream.IsValid() {
		if err := x.c.s.mayDial(x.c.facts.Host, d.Destination, x.c.facts.Port, x.upstream); err != nil {
			return policy.Decision{Reason: err.Error(), Rule: d.Rule}, &x.request
		}
	}
	if x.unseen && x.socket == nil && x.looks(middleware.Request) {
		return policy.Decision{Reason: "a middleware would look at this request now; send it again", Rule: d.Rule}, &x.request
	}
	for i := range x.asked {
		x.asked[i].Connection = x.present()
	}
	if d.Inspect {
		if rd, denied := judgeAll(x.c.s.conf.Engine(), x.asked); denied != nil {
			return rd, denied
		}
	}
	return x.recheckModel(d)
}

// dialled notes where the request will go, and fails if what is in force by now
// does not let it.
func (x *exchange) dialled(to netip.AddrPort) error {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	if _, open := x.c.open[x]; !open {
		return net.ErrClosed // Recheck would not see it
	}
	err := x.c.mayGo(to)
	if err == nil {
		x.upstream = to
	}
	return err
}
