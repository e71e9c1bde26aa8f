package egress

import (
	"bytes"
	"io"
	"net/http"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/egress/websocket"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
)

// judgeMessage judges a message of the agent, shows it to the middlewares, and
// records that it may pass, as it is given back; a denial is for the caller to record.
//
// Rules about messages say where they may be sent, not what may be in them: a
// binary one falls under those for text. Where the messages are GraphQL, or a
// credential is bound to the host, binary ones are refused: they cannot be read.
func (x *exchange) judgeMessage(kind websocket.Opcode, data []byte) ([]byte, *denial) {
	c := x.c
	if d := x.scanMessage(kind, data); d != nil {
		return nil, d
	}
	var asked policy.Request
	d, judged := x.decideMessage(kind, data, &asked)
	if d.Verdict != policy.Allow {
		unasked(&d)
		no := &denial{status: http.StatusForbidden, code: codePolicy, layer: layerRequest, reason: d.Reason, rule: d.Rule, method: policy.MethodText, path: x.request.Target.Path}
		if asked.Text {
			no.says, no.missing = says(&asked), c.missing(no, &asked)
		}
		return nil, no
	}
	data, refused := x.lookMessage(kind, data)
	if refused != nil || !judged {
		return data, refused
	}
	ev := x.event(audit.Request)
	ev.Method, ev.Detail = policy.MethodText, says(&asked)
	ev.Verdict, ev.Audited, ev.Reason = d.Verdict.String(), d.Audited, d.Reason
	setRule(&ev, d.Rule)
	if c.s.record(ev) != nil {
		return nil, auditDenial
	}
	return data, nil
}

// scanMessage looks for credentials that a message may not carry.
func (x *exchange) scanMessage(kind websocket.Opcode, data []byte) *denial {
	secrets := x.c.s.conf.Secrets
	if secrets == nil {
		return nil
	}
	if kind == websocket.Binary && x.bound() {
		return &denial{status: http.StatusForbidden, code: codeCredential, layer: layerCredential,
			reason: "a credential is bound to this host, and a binary message cannot be looked through for others"}
	}
	if _, err := io.Copy(io.Discard, secrets.Scan(bytes.NewReader(data))); err != nil {
		return &denial{status: http.StatusForbidden, code: codeCredential, layer: layerCredential, reason: err.Error()}
	}
	return nil
}

// decideMessage judges with what is in force now. judged is false where nothing
// is said about single messages: the connection alone was judged, or the message
// is of GraphQL's own control. asked is what the rules were asked, and stays as it is
// where none were.
func (x *exchange) decideMessage(kind websocket.Opcode, data []byte, asked *policy.Request) (_ policy.Decision, judged bool) {
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	denied := func(reason string, r policy.Rule) (policy.Decision, bool) {
		return policy.Decision{Reason: reason, Rule: r}, true
	}
	d, m := c.verdict()
	switch {
	case c.isCut || c.mode == modeDenied:
		return denied("the policy changed", policy.Rule{})
	case m == modeDenied:
		return denied(d.Reason, d.Rule)
	case m != modeInspect && m != modeRelay:
		return denied("this connection would be treated otherwise now; connect again", policy.Rule{})
	case !d.Inspect:
		return policy.Decision{Verdict: policy.Allow, Reason: d.Reason, Rule: d.Rule}, false
	}
	q := policy.Request{Connection: x.present(), Target: x.request.Target, Text: true}
	governing := c.s.conf.Engine().Governing(q.Connection, q.Target.Path)
	switch {
	case governing == nil || governing.Protocol != policy.WebSocket:
		return denied("no endpoint lets a WebSocket be open on this path now", d.Rule)
	case governing.GraphQLMessages():
		if kind != websocket.Text {
			return denied("the messages on this path are GraphQL operations, which are text", d.Rule)
		}
		m, err := graphql.ParseMessage(data, governing.BodyLimit())
		switch {
		case err != nil:
			return denied("the message is no GraphQL operation that can be judged: "+err.Error(), d.Rule)
		case m.Control:
			return policy.Decision{Verdict: policy.Allow, Reason: d.Reason, Rule: d.Rule}, false
		}
		q.GraphQL = &m.Request
	}
	*asked = q
	return x.count([]policy.Request{q}), true
}
