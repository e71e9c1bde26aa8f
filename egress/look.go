package egress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/policy"
)

// chain is the middlewares in force.
func (s *Server) chain() *middleware.Chain {
	if s.conf.Chain == nil {
		return nil
	}
	return s.conf.Chain()
}

// looks reports whether middlewares look at messages of a direction.
func (x *exchange) looks(d middleware.Direction) bool {
	return x.c.s.chain().For(x.c.facts.Host).Takes(d)
}

// shown is a message of the exchange, with what all of them have.
func (x *exchange) shown(d middleware.Direction) *middleware.Message {
	t := x.request.Target
	return &middleware.Message{Direction: d, Method: x.request.Method, Scheme: x.scheme, Host: x.c.facts.Host, Port: x.c.facts.Port,
		Path: t.Path, RawQuery: t.RawQuery}
}

// look shows the allowed request to the middlewares, once, and reports whether it
// may be sent; refusal says why not. A changed body takes the place of the old one,
// after it was judged.
func (x *exchange) look() bool {
	if x.looked {
		return x.refusal == nil
	}
	x.looked = true
	x.c.mu.Lock() // Recheck, after a new chain is in force, sees what this one did, or comes before it
	sel := x.c.s.chain().For(x.c.facts.Host)
	most := sel.MaxBody(middleware.Request)
	x.unseen = most == 0
	x.c.mu.Unlock()
	if x.unseen {
		return true
	}
	m := x.shown(middleware.Request)
	if m.Header = x.r.Header; x.socket != nil {
		m.Header = m.Header.Clone()
		x.writeOffer(m.Header)
	}
	var err error
	if m.Body, m.Unseen, err = x.peek(most); err != nil {
		x.refusal = &denial{status: http.StatusBadRequest, code: codeRequest, layer: layerHTTP, reason: err.Error(),
			method: x.request.Method, path: x.request.Target.Path}
		if f := x.framing(); f != nil {
			x.refusal.status, x.refusal.reason = f.status, f.reason
		}
		return false
	}
	r := sel.Check(x.r.Context(), m, x.rejudge)
	for i := range r.Reports {
		for _, f := range r.Reports[i].Findings {
			x.unsaid = x.unsaid || f.Part == middleware.Target && f.From < len(m.Path)
		}
	}
	x.refusal = x.settle(m.Method, r)
	return x.refusal == nil
}

// lookRerouted does the same for a request that the inference route answers. The
// answers of the route are not shown: who has to see them fails.
func (x *exchange) lookRerouted() bool {
	if !x.look() {
		return false
	}
	if sel := x.c.s.chain().For(x.c.facts.Host); sel.Takes(middleware.Response) {
		m := x.shown(middleware.Response)
		m.Unseen = "answers of the inference route are not shown to middlewares"
		x.refusal = x.settle(x.request.Method, sel.Check(x.r.Context(), m, nil))
	}
	return x.refusal == nil
}

// peek reads the body, and leaves it to be sent. unseen says why it was not read
// as a whole.
func (x *exchange) peek(most int) (body []byte, unseen string, err error) {
	switch {
	case x.body != nil && len(x.body) <= most:
		return x.body, "", nil
	case x.body != nil || x.r.ContentLength > int64(most):
		return nil, tooLong(most).Error(), nil
	case !x.h.hasBody():
		return nil, "", nil
	}
	if body, err = x.upTo(most); err != nil {
		return nil, "", err
	}
	if len(body) > most {
		rest := x.r.Body
		x.r.Header.Del("Expect")
		x.r.Body = &joined{io.MultiReader(bytes.NewReader(body), rest), rest}
		return nil, tooLong(most).Error(), nil
	}
	x.hand(body)
	return body, "", nil
}

// ofBody are the fields that tell of one body alone (RFC 9110 §8.4, RFC 9530, and
// two that went before it).
var ofBody = []string{"Content-Encoding", "Content-Length", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5"}

// rejudge puts another body into the request, and judges it again where bodies are
// judged.
func (x *exchange) rejudge(body []byte) error {
	if !x.h.hasBody() {
		if len(body) > 0 {
			return errors.New("the request has no body")
		}
		return nil
	}
	if strings.HasPrefix(strings.ToLower(x.r.Header.Get("Content-Type")), "application/grpc") {
		return errors.New("a message of gRPC is framed, and is sent as it is or not at all")
	}
	if n := int64(len(body)) - x.held; n > 0 {
		if err := x.c.s.bodies.acquire(x.r.Context(), n); err != nil {
			return err
		}
		x.held += n
	}
	for _, name := range ofBody {
		x.r.Header.Del(name)
	}
	x.hand(slices.Clip(append([]byte{}, body...)))
	if x.governs == nil {
		return nil
	}
	switch x.governs.Protocol {
	case policy.GraphQL, policy.JSONRPC, policy.MCP:
	case policy.Git:
		if x.push.request != nil || x.push.err != nil {
			return errors.New("a push is sent as it was judged")
		}
		return nil
	default: // judged by path and head
		return nil
	}
	x.read(x.governs)
	c := x.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if engine := c.s.conf.Engine(); engine.Governing(x.present(), x.request.Target.Path) != x.governs || len(x.asked) == 0 {
		return errors.New("the policy changed while a middleware looked at it; send it again")
	}
	asked := slices.Clone(x.asked)
	for i := range asked {
		asked[i].Connection, asked[i].GraphQL, asked[i].RPC = x.present(), x.request.GraphQL, x.request.RPC
	}
	d := x.count(asked)
	switch {
	case d.Verdict == policy.Allow && !x.toolsHold():
		return errors.New(reasonTool)
	case d.Verdict == policy.Allow:
		x.asked = asked
		return nil
	}
	unasked(&d)
	if x.unread != "" {
		d.Reason += ": " + x.unread
	}
	return errors.New(d.Reason)
}

// settle records what middlewares did, and gives the denial if there is one.
func (x *exchange) settle(method string, r middleware.Result) *denial {
	if recordReports(x.c.s, r, func() audit.Event {
		ev := x.event(audit.Middleware)
		ev.Method = method
		return ev
	}) != nil {
		return auditDenial
	}
	if r.Action == middleware.Pass || r.Action == middleware.Change {
		return nil
	}
	d := refusedBy(r)
	d.method, d.path = method, x.request.Target.Path
	return d
}

// recordReports records what is worth telling: findings, changes, denials, failures.
func recordReports(s *Server, r middleware.Result, event func() audit.Event) error {
	for i := range r.Reports {
		rep := &r.Reports[i]
		if rep.Action == middleware.Pass && rep.Found == 0 && rep.Failure == "" {
			continue
		}
		ev := event()
		ev.Verdict, ev.Reason = policy.Allow.String(), "something was found"
		switch {
		case rep.Failure != "":
			ev.Reason = "it gave no answer: " + rep.Failure
		case rep.Action == middleware.Change:
			ev.Reason = "the body was changed"
		}
		if rep.Action == middleware.Deny {
			ev.Verdict = policy.Deny.String()
		}
		ev.RuleAt = ""
		setRule(&ev, policy.Rule{At: rep.At})
		ev.Millis = rep.Took.Milliseconds()
		ev.Detail = map[string]string{"middleware": rep.Key, "implementation": rep.Implementation, "action": rep.Action.String()}
		if rep.Found > 0 {
			ev.Detail["found"], ev.Detail["findings"] = strconv.Itoa(rep.Found), findingsText(rep.Findings)
		}
		if err := s.record(ev); err != nil {
			return err
		}
	}
	return nil
}

// findingsText says what stands where, for the record: rules and places alone.
func findingsText(list []middleware.Finding) string {
	var b strings.Builder
	for i, f := range list {
		if b.Len() > maxSays {
			return b.String() + "; …"
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.Rule + " " + f.Part.String())
		if f.Name != "" {
			b.WriteString(" " + f.Name)
		}
		if f.To > f.From {
			fmt.Fprintf(&b, " %d-%d", f.From, f.To)
		}
		if len(f.Via) > 0 {
			b.WriteString(" via " + strings.Join(f.Via, ", "))
		}
	}
	return b.String()
}

// refusedBy is the denial of a middleware.
func refusedBy(r middleware.Result) *denial {
	d := &denial{status: http.StatusForbidden, code: codeMiddleware, layer: layerMiddleware, reason: r.Reason,
		rule: policy.Rule{At: r.At}, middleware: r.By}
	if r.Failed {
		d.code = codeMiddlewareFailed
	}
	return d
}

// refuse answers with a denial of the middlewares.
func (x *exchange) refuse(d *denial) {
	if d == auditDenial {
		x.c.answer(x.w, d)
		return
	}
	x.deny(d)
}
