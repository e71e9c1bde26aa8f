package egress

import (
	"errors"
	"unicode/utf8"

	"github.com/creel-run/creel/egress/websocket"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/secret"
)

// shownMessage is a message of the WebSocket as middlewares see it.
func (x *exchange) shownMessage(d middleware.Direction, kind websocket.Opcode, data []byte) *middleware.Message {
	m := x.shown(d)
	if m.Scheme = "ws"; x.scheme == "https" {
		m.Scheme = "wss"
	}
	m.Body, m.Binary = data, kind == websocket.Binary
	return m
}

var errNoText = errors.New("a text message has to be UTF-8")

// lookMessage shows an allowed message of the agent to the middlewares, and gives
// what may be sent. A changed one is judged again.
func (x *exchange) lookMessage(kind websocket.Opcode, data []byte) ([]byte, *denial) {
	sel := x.c.s.chain().For(x.c.facts.Host)
	if !sel.Takes(middleware.AgentMessage) {
		return data, nil
	}
	r := sel.Check(x.r.Context(), x.shownMessage(middleware.AgentMessage, kind, data), func(body []byte) error {
		if kind == websocket.Text && !utf8.Valid(body) {
			return errNoText
		}
		if d := x.scanMessage(kind, body); d != nil {
			return errors.New(d.reason)
		}
		if d, _ := x.decideMessage(kind, body, new(policy.Request)); d.Verdict != policy.Allow {
			return errors.New(d.Reason)
		}
		return nil
	})
	if d := x.settle(policy.MethodText, r); d != nil {
		return nil, d
	}
	if r.Action == middleware.Change {
		data = r.Body
	}
	return data, nil
}

// lookServer reads a message of the server, shows it to the middlewares without the
// credentials that stream hides, and passes it on. One that is longer than most
// bytes, and may pass all the same, is given back as far as it was read.
func (t *tunnel) lookServer(kind websocket.Opcode, r *websocket.Reader, stream *secret.Stream, most int) (begun []byte, err error) {
	x := t.x
	defer x.releaseAnswer()
	t.server.timed = true // else one that says half of something would keep the room of all others
	defer func() { t.server.timed = false }()
	buf := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	var data []byte
	last := false
	for !last && len(data) <= most {
		var n int
		if n, last, err = fillWhole(r, *buf); errors.Is(err, errSlow) {
			return nil, t.refuse(&denial{code: codeMiddlewareFailed, layer: layerMiddleware, reason: "a message of the server did not come to its end in time to be looked at"}, websocket.CodePolicy)
		}
		if err != nil {
			return nil, err
		}
		if herr := x.hold(len(data) + n); herr != nil {
			return nil, t.refuse(&denial{code: codeLimit, layer: layerRequest, reason: herr.Error()}, websocket.CodeInternal)
		}
		data = append(data, stream.Next((*buf)[:n])...)
		if last {
			data = append(data, stream.Rest()...)
		}
	}
	m := x.shownMessage(middleware.ServerMessage, kind, data)
	if !last {
		m.Body, m.Unseen = nil, tooLong(most).Error()
	}
	result := x.c.s.chain().For(x.c.facts.Host).Check(x.r.Context(), m, func(body []byte) error {
		if kind == websocket.Text && !utf8.Valid(body) {
			return errNoText
		}
		return nil
	})
	if d := x.settle(policy.MethodText, result); d != nil {
		code := uint16(websocket.CodePolicy)
		if d == auditDenial {
			code = websocket.CodeInternal
		} else {
			d.reason = "in a message of the server, " + d.reason
		}
		return nil, t.refuse(d, code)
	}
	if !last {
		return data, nil
	}
	if result.Action == middleware.Change {
		data = result.Body
	}
	return nil, t.agent.write(kind, true, false, data)
}
