package egress

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/jsonrpc"
)

// screens reports whether the answer to the request is looked into: that of a
// server of MCP, which lists tools and may ask something of its client.
func (x *exchange) screens() bool { return x.governs != nil && x.governs.Protocol == policy.MCP }

const (
	reasonScreen  = "the server's answer cannot be read as strictly as it has to be: "
	reasonEncoded = "the server encoded its answer though it was asked not to, so it cannot be looked into"
)

// screen puts what the agent may have of an answer in place of its body. An
// answer that no client of MCP takes for messages passes if it is a failure or leads
// elsewhere.
func (x *exchange) screen(resp *http.Response) *denial {
	if !hasContent(x.request.Method, resp) {
		return nil
	}
	refuse := func(reason string) *denial {
		return &denial{status: http.StatusBadGateway, code: codeProtocol, layer: layerRequest, reason: reason,
			method: x.request.Method, path: x.request.Target.Path}
	}
	if isEncoded(resp.Header) {
		return refuse(reasonEncoded)
	}
	types := resp.Header["Content-Type"]
	kind := ""
	if len(types) == 1 {
		var param map[string]string
		kind, param, _ = mime.ParseMediaType(types[0])
		if c, set := param["charset"]; set && !strings.EqualFold(c, "utf-8") {
			return refuse("the server's answer is in another charset than UTF-8")
		}
	}
	switch {
	case kind == "text/event-stream":
		resp.Header.Del("Content-Length")
		resp.ContentLength = -1
		resp.Body = &eventScreen{ReadCloser: resp.Body, x: x, apply: x.applyScreen}
		return nil
	case kind != "application/json" && resp.StatusCode >= 300:
		return nil
	}
	body, err := x.wholeAnswer(resp.Body)
	switch {
	case err != nil:
		return refuse(reasonScreen + err.Error())
	case resp.StatusCode == http.StatusAccepted, x.request.RPC.EndSession: // no client reads what it says
		body = nil
	case len(body) == 0:
	case kind != "application/json":
		return refuse("the server's answer is neither JSON nor a stream of events")
	default:
		if body, err = x.applyScreen(body); err != nil {
			return refuse(reasonScreen + err.Error())
		}
	}
	_ = resp.Body.Close()
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// wholeAnswer reads a body of up to maxScreened bytes.
func (x *exchange) wholeAnswer(r io.Reader) ([]byte, error) {
	var body []byte
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		if herr := x.hold(len(body) + n); herr != nil {
			return nil, herr
		}
		body = append(body, buf[:n]...)
		switch {
		case errors.Is(err, io.EOF):
			return body, nil
		case x.overdue.Load():
			return nil, errOverdue
		case err != nil:
			return nil, errors.New("it broke off")
		}
	}
}

var errOverdue = errors.New("it did not come to its end in " + answerTime.String())

var errAnswerLong = errors.New("it is longer than the " + strconv.Itoa(maxScreened) + " bytes that are looked into")

// hold counts that n bytes of the answer are held at once.
func (x *exchange) hold(n int) error {
	if n > maxScreened {
		return errAnswerLong
	}
	for int64(n-screenedFree) > x.heldAnswer {
		if !x.c.s.bodies.left.TryAcquire(screenedFree) {
			return errBodies
		}
		x.heldAnswer += screenedFree
	}
	if x.heldAnswer > 0 && x.due == nil && x.giveUp != nil {
		// A server that says half of something would keep the room of all others.
		x.due = time.AfterFunc(answerTime, func() {
			x.overdue.Store(true)
			x.giveUp()
		})
	}
	return nil
}

func (x *exchange) releaseAnswer() {
	if x.due != nil {
		x.due.Stop()
		x.due = nil
	}
	x.c.s.bodies.left.Release(x.heldAnswer)
	x.heldAnswer = 0
}

// screenError is an event that did not pass.
type screenError struct{ reason string }

func (e *screenError) Error() string { return e.reason }

// applyScreen gives what the agent may have of a text of messages.
func (x *exchange) applyScreen(text []byte) ([]byte, error) {
	s := jsonrpc.Screen{LaxToolNames: x.governs.MCP.LooseToolNames, Tool: x.mayShow, Request: x.mayAsk}
	return s.Apply(text, maxScreened)
}

// asIf judges a call that the agent did not make, on the same endpoint and now.
func (x *exchange) asIf(call jsonrpc.Call) (policy.Decision, *policy.Endpoint) {
	x.c.mu.Lock()
	defer x.c.mu.Unlock()
	r := x.request
	r.Connection, r.Method, r.RPC = x.present(), http.MethodPost, &jsonrpc.Request{Calls: []jsonrpc.Call{call}}
	engine := x.c.s.conf.Engine()
	return engine.Request(r), engine.Governing(r.Connection, r.Target.Path)
}

// mayShow: a list shows a tool that may be called with some arguments, and whose
// definition is the one that counts.
func (x *exchange) mayShow(t jsonrpc.Tool) bool {
	d, ep := x.asIf(jsonrpc.Call{Method: "tools/call", Tool: t.Name, Arguments: jsonrpc.AnyArguments()})
	if d.Verdict != policy.Allow || ep == nil {
		return false
	}
	pin, pinned := ep.PinOf(t.Name)
	holds, news := x.c.s.tools.note(x.toolKey(t.Name), t.SHA256, pin, pinned)
	holds = holds || ep.Enforcement == policy.Audit
	if !news {
		return holds
	}
	ev := x.event(audit.Tool)
	ev.Verdict, ev.Reason = policy.Allow.String(), "the definition of this tool is new"
	if !holds {
		ev.Verdict, ev.Reason = policy.Deny.String(), "the definition of this tool is another one than the operator takes"
	}
	setRule(&ev, d.Rule)
	ev.Detail = map[string]string{"tool": t.Name, "sha256": t.SHA256}
	return x.c.s.record(ev) == nil && holds
}

// mayAsk: a server asks of its client what the rules name, as they name what the
// client may ask of the server.
func (x *exchange) mayAsk(method string) bool {
	d, _ := x.asIf(jsonrpc.Call{Method: method})
	if d.Verdict == policy.Allow && !d.Audited {
		return true
	}
	ev := x.event(audit.Request)
	ev.Verdict, ev.Audited, ev.Reason = policy.Deny.String(), d.Audited, "no rule lets the server ask this of its client"
	if d.Verdict == policy.Allow {
		ev.Verdict, ev.Reason = policy.Allow.String(), d.Reason
	}
	setRule(&ev, d.Rule)
	ev.Detail = map[string]string{"server_asks": method[:min(len(method), maxSays)]}
	return x.c.s.record(ev) == nil && d.Verdict == policy.Allow
}
