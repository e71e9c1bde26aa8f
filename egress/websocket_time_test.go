package egress

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creel-run/creel/egress/websocket"
)

// pacedSide is a side that reads from a pipe, at a time of its own.
func pacedSide(agent bool) (*socketSide, *tunnel, net.Conn) {
	t := &tunnel{}
	t.active.Store(time.Now().UnixNano())
	near, far := net.Pipe()
	return newSide(t, near, nil, agent, websocket.Limits{Text: maxText, Binary: maxBinary}), t, far
}

// read reads messages until an error.
func readAll(s *socketSide) error {
	for {
		if _, err := s.reader.Next(); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, s.reader); err != nil {
			return err
		}
	}
}

func TestWebSocketTimes(t *testing.T) {
	whole := frame(0x81, strings.Repeat("a", 1000))
	for name, tt := range map[string]struct {
		send  func(far net.Conn)
		fault bool
		least time.Duration
		most  time.Duration
	}{
		"half a frame":   {func(far net.Conn) { _, _ = io.WriteString(far, whole[:10]) }, true, messageIdle, messageIdle + time.Second},
		"half a head":    {func(far net.Conn) { _, _ = io.WriteString(far, whole[:1]) }, true, messageIdle, messageIdle + time.Second},
		"half a message": {func(far net.Conn) { _, _ = io.WriteString(far, frame(0x01, "a")) }, true, messageIdle, messageIdle + time.Second},
		"a byte at a time": {func(far net.Conn) {
			for i := range len(whole) {
				if _, err := io.WriteString(far, whole[i:i+1]); err != nil {
					return
				}
				time.Sleep(messageIdle - time.Second)
			}
		}, true, messageTime, messageTime + messageIdle},
		"whole messages": {func(far net.Conn) {
			for range 5 {
				_, _ = io.WriteString(far, whole)
				time.Sleep(messageTime)
			}
		}, false, 4*messageTime + relayIdle, 5*messageTime + relayIdle + time.Second},
		"nothing": {func(net.Conn) {}, false, relayIdle, relayIdle + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, far := pacedSide(true)
				sent := make(chan struct{})
				go func() { defer close(sent); tt.send(far) }()
				began := time.Now()
				err := readAll(s)
				var fault *websocket.Fault
				if errors.As(err, &fault) != tt.fault || !tt.fault && !errors.Is(err, errIdle) {
					t.Errorf("ended with %v", err)
				}
				if took := time.Since(began); took < tt.least || took > tt.most {
					t.Errorf("after %v, want %v to %v", took, tt.least, tt.most)
				}
				_, _ = far.Close(), s.conn.Close()
				<-sent
			})
		})
	}
}

// TestWebSocketSilence: one side may be silent as long as the other is not, and
// not for long after a close frame.
func TestWebSocketSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, tun, far := pacedSide(true)
		stop, sent := time.Now().Add(5*relayIdle), make(chan struct{})
		go func() {
			defer close(sent)
			for time.Now().Before(stop) {
				tun.active.Store(time.Now().UnixNano())
				time.Sleep(time.Minute)
			}
			s.hurry(closeTimeout, messageTime)
			for range 100 { // it goes on talking
				if _, err := io.WriteString(far, frame(0x89, "")); err != nil {
					return
				}
				time.Sleep(closeTimeout - time.Second)
			}
		}()
		err := readAll(s)
		late := time.Since(stop)
		if err == nil || errors.Is(err, errIdle) || late < messageTime-time.Minute || late > messageTime+2*time.Minute {
			t.Errorf("ended with %v, %v after", err, late)
		}
		_, _ = far.Close(), s.conn.Close()
		<-sent
	})
}

// TestWebSocketUses: a WebSocket is one use, with all of its messages.
func TestWebSocketUses(t *testing.T) {
	r := newRig(t, strings.Replace(socketPolicy, "path: /ws/**\n", "path: /ws/**\n        max_uses: 2\n", 1))
	r.socketServer("ok.test", 80, plain, echoFrames)
	for range 2 {
		p := r.dialSocket(viaRedirect, "ok.test:80", "/ws/chat/1", "", 101)
		p.send(frame(0x81, "a"), frame(0x81, "b"), frame(0x81, "c"), frame(0x88, ""))
		if got := p.all(); fmt.Sprint(got) != "[a b c close 0]" {
			t.Errorf("got %q", got)
		}
		_ = p.c.Close()
	}
	r.dialSocket(viaRedirect, "ok.test:80", "/ws/chat/1", "", 403)
}

// TestWebSocketThroughProxy: a client that asks its proxy for the whole URL.
func TestWebSocketThroughProxy(t *testing.T) {
	r := newRig(t, socketPolicy)
	r.socketServer("ok.test", 80, plain, echoFrames)
	c, err := net.Dial("tcp", r.proxy)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	defer c.Close()
	p := r.answered(c, strings.Replace(upgradeTo("ok.test", "/ws/chat/1", ""), "GET ", "GET http://ok.test", 1), 101)
	p.send(frame(0x81, "hello"), frame(0x88, ""))
	if got := p.all(); fmt.Sprint(got) != "[hello close 0]" {
		t.Errorf("got %q", got)
	}
}
