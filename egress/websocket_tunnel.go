package egress

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/creel-run/creel/egress/websocket"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/secret"
)

// tunnel is a WebSocket that is open: two connections, each with frames of its
// own. What the agent sends is read whole, judged and framed anew; what the
// server sends passes piece by piece.
//
// The goroutine of the exchange reads the agent, a second one the server; either
// writes to both sides. Nothing that the agent puts into a control frame reaches
// the server but the code of a close frame: pings carry numbers instead.
type tunnel struct {
	x             *exchange
	agent, server *socketSide
	mask          *secret.Mask

	active atomic.Int64 // when a byte was last read, in Unix nanoseconds
	once   sync.Once    // how it ended

	mu     sync.Mutex
	pings  []ping // of the agent, that the server has not answered, oldest first
	number uint64 // of the last one
	served []ping // of the server, that the agent has not answered
}

// ping is one as it was sent, and as it goes on.
type ping struct{ from, to string }

// tunnel passes messages between the agent and a server that agreed to a
// WebSocket, until one of them ends it, or the policy does.
func (x *exchange) tunnel(resp *http.Response, mask *secret.Mask) {
	nc, err := x.accept(resp, mask)
	switch {
	case errors.Is(err, errEarly):
		x.deny(&denial{status: http.StatusBadRequest, code: codeRequest, layer: layerHTTP, reason: err.Error(),
			method: x.request.Method, path: x.request.Target.Path})
		return
	case err != nil:
		panic(http.ErrAbortHandler) // the agent is gone
	}
	defer nc.Close()
	t := &tunnel{x: x, mask: mask}
	t.active.Store(time.Now().UnixNano())
	t.agent = newSide(t, &counted{Conn: nc, c: x.c}, nil, true, websocket.Limits{Text: maxText, Binary: maxBinary, Fragments: maxFragments})
	up := x.socket.up
	t.server = newSide(t, up.Conn, up.in.ahead(), false, websocket.Limits{Text: maxAnswer, Binary: maxAnswer})
	if d := x.socket.answer.Deflate; d.On {
		t.agent.reader.Deflate(false)
		t.server.reader.Deflate(!d.ServerNoContext)
	}
	t.agent.reader.Control, t.server.reader.Control = t.agentControl, t.serverControl

	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		defer func() { // a fault of ours ends this one, as in the exchange's own goroutine
			if v := recover(); v != nil {
				x.c.s.log.Error("serve WebSocket", "panic", v)
				x.c.cut("refused", true)
			}
		}()
		t.end(t.server, t.fromServer())
	}()
	t.end(t.agent, t.fromAgent())
	wg.Wait()
	lingeringClose(t.agent.conn)
}

// counted counts the bytes of the agent's connection.
type counted struct {
	net.Conn
	c *conn
}

func (k *counted) Read(p []byte) (int, error) {
	n, err := k.Conn.Read(p)
	k.c.out.Add(int64(n))
	return n, err
}

func (k *counted) Write(p []byte) (int, error) {
	n, err := k.Conn.Write(p)
	k.c.in.Add(int64(n))
	return n, err
}

func (k *counted) CloseWrite() error { return closeWrite(k.Conn) }

// socketSide is one side of a tunnel.
type socketSide struct {
	t      *tunnel
	conn   net.Conn
	ahead  []byte // was read before
	reader *websocket.Reader
	timed  bool // messages have to be whole in time; owned by the reader

	began time.Time // of the message that is being read; owned by the reader

	dmu     sync.Mutex
	closeBy time.Time     // zero: the side may go on
	silence time.Duration // that is borne until then

	wmu    sync.Mutex
	out    websocket.Writer
	closed bool // a close frame was sent, or a write failed
}

func newSide(t *tunnel, conn net.Conn, ahead []byte, agent bool, l websocket.Limits) *socketSide {
	s := &socketSide{t: t, conn: conn, ahead: ahead, timed: agent, out: websocket.Writer{To: conn, Masked: !agent}}
	s.reader = websocket.NewReader(bufio.NewReaderSize(s, socketBuffer), agent, l)
	return s
}

// Read reads from the connection, as long as one side or the other is not silent.
func (s *socketSide) Read(p []byte) (int, error) {
	if len(s.ahead) > 0 {
		n := copy(p, s.ahead)
		s.ahead = s.ahead[n:]
		return n, nil
	}
	for {
		now := time.Now()
		by := now.Add(relayIdle)
		switch begun := s.timed && s.reader.Started(); {
		case !begun:
			s.began = time.Time{}
		case s.began.IsZero():
			s.began = now
			fallthrough
		default:
			if by = now.Add(messageIdle); by.After(s.began.Add(messageTime)) {
				by = s.began.Add(messageTime)
			}
		}
		s.dmu.Lock()
		closing := !s.closeBy.IsZero()
		if closing {
			if by = now.Add(s.silence); by.After(s.closeBy) {
				by = s.closeBy
			}
		}
		_ = s.conn.SetReadDeadline(by)
		s.dmu.Unlock()
		n, err := s.conn.Read(p)
		if n > 0 {
			s.t.active.Store(time.Now().UnixNano())
			return n, nil // an error comes again
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || closing {
			return 0, err
		}
		if !s.began.IsZero() {
			return 0, errSlow
		}
		if time.Since(time.Unix(0, s.t.active.Load())) >= relayIdle {
			return 0, errIdle
		}
	}
}

var errSlow = &websocket.Fault{Code: websocket.CodePolicy, Reason: "a message did not come to its end in time"}

// hurry makes reading from the side end: after a silence, or when the time is over.
func (s *socketSide) hurry(silence, in time.Duration) {
	s.dmu.Lock()
	defer s.dmu.Unlock()
	if by := time.Now().Add(in); s.closeBy.IsZero() || by.Before(s.closeBy) {
		s.closeBy, s.silence = by, silence
		_ = s.conn.SetReadDeadline(time.Now().Add(silence))
	}
}

// write sends one frame. After a close frame nothing is sent.
func (s *socketSide) write(op websocket.Opcode, fin, compressed bool, payload []byte) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(socketWrite))
	err := s.out.Frame(op, fin, compressed, payload)
	s.closed = err != nil || op == websocket.Close
	return err
}

// close sends a close frame, unless one was sent. It does not wait behind a
// write that the peer does not take.
func (s *socketSide) close(code uint16, reason string) {
	_ = s.conn.SetWriteDeadline(time.Now().Add(closeTimeout))
	_ = s.write(websocket.Close, true, false, websocket.ClosePayload(code, reason))
}

// refusal ends a tunnel because of a message that may not pass; it is recorded.
type refusal struct {
	code   uint16
	reason string // for the agent
}

func (r *refusal) Error() string { return r.reason }

// end is called when nothing more is read from a side. The first call decides
// what the other side is told.
func (t *tunnel) end(of *socketSide, err error) {
	if errors.Is(err, websocket.ErrClosed) { // it was passed on; the answer to it is waited for
		t.agent.hurry(closeTimeout, messageTime)
		t.server.hurry(closeTimeout, messageTime)
		return
	}
	t.once.Do(func() {
		c := t.x.c
		var refused *refusal
		var fault *websocket.Fault
		switch {
		case errors.As(err, &refused):
			t.agent.close(refused.code, refused.reason)
			t.server.close(refused.code, "")
			c.end("refused")
		case errors.As(err, &fault) && of == t.agent:
			_ = t.x.recordDenial(&denial{status: http.StatusBadRequest, code: codeRequest, layer: layerHTTP, reason: "WebSocket: " + fault.Reason,
				method: t.x.request.Method, path: t.x.request.Target.Path})
			t.agent.close(fault.Code, fault.Reason)
			t.server.close(fault.Code, "")
			c.end("refused")
		case errors.As(err, &fault):
			t.agent.close(fault.Code, fault.Reason)
			t.server.close(fault.Code, fault.Reason)
			c.end("the server broke the WebSocket protocol: " + fault.Reason)
		case errors.Is(err, errIdle):
			t.agent.close(websocket.CodeGoingAway, errIdle.Error())
			t.server.close(websocket.CodeGoingAway, "")
			c.end(errIdle.Error())
		case of == t.server:
			c.end("the server ended the WebSocket")
		default:
			c.end("the agent ended the WebSocket")
		}
	})
	_ = t.server.conn.Close()
	t.agent.hurry(lingerTimeout, lingerTimeout)
}

// fromAgent passes the agent's messages on, each after it was judged.
func (t *tunnel) fromAgent() error {
	var buf []byte
	for {
		kind, err := t.agent.reader.Next()
		if err != nil {
			return err
		}
		if cap(buf) > keptMessage {
			buf = nil
		}
		if buf, err = t.message(kind, buf[:0]); err != nil {
			return err
		}
	}
}

// keptMessage is how much memory is kept for the next message, in bytes.
const keptMessage = 16 << 10

// message reads one message, and passes it on if it may pass.
func (t *tunnel) message(kind websocket.Opcode, buf []byte) ([]byte, error) {
	x, r := t.x, t.agent.reader
	compressed, held := r.Compressed(), int64(0)
	defer func() { x.c.s.bodies.left.Release(held) }()
	for {
		if len(buf) == cap(buf) {
			// Memory for messages is bounded over all connections.
			grow := max(4<<10, cap(buf))
			if cap(buf)+grow > keptMessage {
				ctx, cancel := context.WithTimeout(x.r.Context(), bodyTimeout)
				err := x.c.s.bodies.acquire(ctx, int64(grow))
				cancel()
				if err != nil {
					return buf, t.refuse(&denial{code: codeLimit, layer: layerRequest, reason: err.Error()}, websocket.CodeInternal)
				}
				held += int64(grow)
			}
			buf = append(make([]byte, 0, cap(buf)+grow), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return buf, err
		}
	}
	out, d := x.judgeMessage(kind, buf)
	if d != nil {
		code := uint16(websocket.CodePolicy)
		if d == auditDenial {
			code = websocket.CodeInternal
		}
		return buf, t.refuse(d, code)
	}
	if compressed {
		out = websocket.Compress(out)
	}
	return buf, t.server.write(kind, true, compressed, out)
}

// refuse records a denial of a message; what it gives ends the tunnel.
func (t *tunnel) refuse(d *denial, code uint16) error {
	reason := d.reason
	if d != auditDenial {
		d.method, d.path = policy.MethodText, t.x.request.Target.Path
		if t.x.recordDenial(d) != nil {
			reason, code = auditDenial.reason, websocket.CodeInternal
		}
	}
	return &refusal{code, "refused by the policy of this sandbox: " + reason}
}

// fromServer passes the server's messages on, as they come.
func (t *tunnel) fromServer() error {
	r := t.server.reader
	for {
		kind, err := r.Next()
		if err != nil {
			return err
		}
		if err := t.answer(kind, r); err != nil {
			return err
		}
	}
}

func (t *tunnel) answer(kind websocket.Opcode, r *websocket.Reader) error {
	buf := pieces.Get().(*[]byte)
	defer pieces.Put(buf)
	stream, op := t.mask.Stream(), kind
	if most := t.x.c.s.chain().For(t.x.c.facts.Host).MaxBody(middleware.ServerMessage); most > 0 {
		seen, err := t.lookServer(kind, r, stream, most)
		if err != nil || seen == nil {
			return err
		}
		// It is too long to be looked at, and may pass all the same.
		if err := t.agent.write(op, false, false, seen); err != nil {
			return err
		}
		op = websocket.Continuation
	}
	for {
		n, last, err := fillWhole(r, *buf)
		if err != nil {
			return err
		}
		out := stream.Next((*buf)[:n])
		if last {
			out = append(out, stream.Rest()...)
		}
		if err := t.agent.write(op, last, false, out); err != nil {
			return err
		}
		if last {
			return nil
		}
		op = websocket.Continuation
	}
}

// fillWhole fills buf, or reads to the end of the message.
func fillWhole(r io.Reader, buf []byte) (n int, last bool, err error) {
	for n < len(buf) {
		k, err := r.Read(buf[n:])
		n += k
		switch {
		case errors.Is(err, io.EOF):
			return n, true, nil
		case err != nil:
			return n, false, err
		}
	}
	return n, false, nil
}

// agentControl takes the agent's control frames.
func (t *tunnel) agentControl(op websocket.Opcode, payload []byte) error {
	switch op {
	case websocket.Ping:
		t.mu.Lock()
		t.number++
		number := binary.BigEndian.AppendUint64(nil, t.number)
		t.pings = remember(t.pings, ping{string(payload), string(number)})
		t.mu.Unlock()
		return t.server.write(websocket.Ping, true, false, number)
	case websocket.Pong:
		t.mu.Lock()
		p := recall(&t.served, string(payload))
		t.mu.Unlock()
		return t.server.write(websocket.Pong, true, false, []byte(p))
	case websocket.Close:
		code, _, err := websocket.ParseClose(payload)
		if err != nil {
			return err
		}
		t.x.c.end("the agent closed the WebSocket")
		t.server.close(code, "")
	default:
	}
	return nil
}

// serverControl takes the server's control frames.
func (t *tunnel) serverControl(op websocket.Opcode, payload []byte) error {
	switch op {
	case websocket.Ping:
		shown := t.shown(string(payload))
		t.mu.Lock()
		t.served = remember(t.served, ping{string(payload), shown})
		t.mu.Unlock()
		return t.agent.write(websocket.Ping, true, false, []byte(shown))
	case websocket.Pong:
		t.mu.Lock()
		p := recall(&t.pings, string(payload))
		t.mu.Unlock()
		return t.agent.write(websocket.Pong, true, false, []byte(p))
	case websocket.Close:
		code, reason, err := websocket.ParseClose(payload)
		if err != nil {
			return err
		}
		t.x.c.end("the server closed the WebSocket")
		t.agent.close(code, t.shown(reason))
	default:
	}
	return nil
}

// shown is what the agent sees of a text in a control frame.
func (t *tunnel) shown(text string) string {
	if t.x.looks(middleware.ServerMessage) { // it is no message, so nobody looks at it
		return ""
	}
	text = t.mask.String(text)
	return text[:min(len(text), websocket.MaxControl)]
}

func remember(list []ping, p ping) []ping {
	if len(list) == maxPings {
		list = append(list[:0], list[1:]...)
	}
	return append(list, p)
}

// recall gives what a pong answers, as its sender wrote it, and forgets what
// was sent before: a pong may be for the last of several pings. One that answers
// nothing is passed on empty.
func recall(list *[]ping, payload string) string {
	for i, p := range *list {
		if p.to == payload {
			*list = append((*list)[:0], (*list)[i+1:]...)
			return p.from
		}
	}
	return ""
}
