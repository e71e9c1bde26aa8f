package egress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/egress/websocket"
	"github.com/creel-run/creel/middleware"
)

// keepsFrames is an upstream that hands over every message that it got.
func keepsFrames(got chan string) func(*http.Request, net.Conn, *bufio.Reader) {
	return func(_ *http.Request, _ net.Conn, in *bufio.Reader) {
		r := websocket.NewReader(in, true, websocket.Limits{Text: 32 << 20, Binary: 32 << 20})
		for {
			if _, err := r.Next(); err != nil {
				close(got)
				return
			}
			b, _ := io.ReadAll(r)
			got <- string(b)
		}
	}
}

func all(got chan string) (list []string) {
	for m := range got {
		list = append(list, m)
	}
	return list
}

// A message of an agent that holds a secret ends the WebSocket, whatever kind it is.
func TestMiddlewareSocketDenies(t *testing.T) {
	for _, way := range ways101 {
		for name, frames := range map[string]string{
			"text":       frame(0x81, "a "+held),
			"binary":     frame(0x82, "\x00\xff "+held),
			"in pieces":  frame(0x01, held[:7]) + frame(0x89, "") + frame(0x80, held[7:]),
			"in base64":  frame(0x81, "enI3d3EtaGVsZC1ieS1jcmVlbC05MXhr"),
			"too long":   frame(0x82, strings.Repeat("x", middleware.MaxBody+1)),
			"in a query": "",
		} {
			t.Run(fmt.Sprint(way, " ", name), func(t *testing.T) {
				r, _ := chained(t, socketPolicy, "  guard: {middleware: creel/secrets, endpoints: {include: [ok.test]}}\n", nil)
				got := make(chan string, 8)
				_, port, _ := net.SplitHostPort(way.to)
				r.socketServer("ok.test", map[string]uint16{"80": 80, "443": 443}[port], plain, keepsFrames(got))
				if frames == "" {
					r.dialSocket(way.w, way.to, "/ws/chat/1?k="+held, "", 403)
					r.event("denial", func(ev audit.Event) bool { return ev.Kind == audit.Middleware && ev.Verdict == "deny" })
					r.keepsQuiet()
					return
				}
				p := r.dialSocket(way.w, way.to, "/ws/chat/1", "", 101)
				p.send(frame(0x81, "harmless"), frames)
				if list := p.all(); len(list) == 0 || list[len(list)-1] != "close 1008" {
					t.Errorf("the agent got %q", list)
				}
				if list := all(got); len(list) != 1 || list[0] != "harmless" {
					t.Errorf("the server got %.100q", list)
				}
				r.event("denial", func(ev audit.Event) bool {
					return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Method == "WEBSOCKET_TEXT" && ev.Detail["middleware"] == "guard" && ev.Detail["layer"] == layerMiddleware
				})
				r.keepsQuiet()
			})
		}
	}
}

func TestMiddlewareSocketRedacts(t *testing.T) {
	r, _ := chained(t, socketPolicy, "  guard: {middleware: creel/secrets, config: {mode: redact}, endpoints: {include: [ok.test]}}\n", nil)
	got := make(chan string, 8)
	r.socketServer("ok.test", 443, plain, keepsFrames(got))
	p := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
	p.send(frame(0x81, `{"a":"`+held+`"}`), frame(0x81, "next"), frame(0x88, "\x03\xe8"))
	p.answers = true
	p.all()
	if list := all(got); len(list) != 2 || list[0] != `{"a":"[redacted:secrets/known/HELD]"}` || list[1] != "next" {
		t.Errorf("the server got %q", list)
	}
	r.keepsQuiet()
}

// What a middleware makes of a message is judged as what the agent wrote.
func TestMiddlewareSocketChangeIsJudged(t *testing.T) {
	const subscribe = `{"id":"1","type":"subscribe","payload":{"query":"%s"}}`
	for _, tt := range []struct{ path, text, want string }{
		{"/graphql", fmt.Sprintf(subscribe, "{ b }"), ""},
		{"/graphql", fmt.Sprintf(subscribe, "mutation { b }"), "no rule"},
		{"/graphql", "hello", "no GraphQL"},
		{"/ws/chat/1", "\xff", "UTF-8"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			r, _ := chained(t, socketPolicy, "  w: {middleware: writes, endpoints: {include: [ok.test]}}\n", map[string]checks{
				"writes": {middleware.AgentMessage, func(*middleware.Message) (middleware.Answer, error) {
					return middleware.Answer{Action: middleware.Change, Body: []byte(tt.text)}, nil
				}}})
			got := make(chan string, 8)
			r.socketServer("ok.test", 443, plain, keepsFrames(got))
			p := r.dialSocket(viaRedirect, "ok.test:443", tt.path, "", 101)
			p.send(frame(0x81, fmt.Sprintf(subscribe, "{ a }")))
			if tt.want == "" {
				if m := <-got; m != tt.text {
					t.Errorf("the server got %q", m)
				}
				return
			}
			if list := p.all(); len(list) != 1 || list[0] != "close 1008" {
				t.Errorf("the agent got %q", list)
			}
			if list := all(got); len(list) > 0 {
				t.Errorf("the server got %q", list)
			}
			r.event("denial", func(ev audit.Event) bool {
				return ev.Kind == audit.Request && ev.Verdict == "deny" && strings.Contains(ev.Reason, tt.want)
			})
		})
	}
}

// The next message is looked at by what is in force then.
func TestMiddlewareSocketReload(t *testing.T) {
	r, p := chained(t, socketPolicy, "  guard: {middleware: creel/secrets, endpoints: {include: [ok.test]}}\n", nil)
	c := p.Swap(nil)
	got := make(chan string, 8)
	r.socketServer("ok.test", 443, plain, keepsFrames(got))
	s := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
	s.send(frame(0x81, "first "+held))
	<-got
	p.Store(c)
	if n := r.s.Recheck(); n != 0 {
		t.Errorf("%d closed", n)
	}
	s.send(frame(0x81, "second "+held))
	if list := s.all(); len(list) != 1 || list[0] != "close 1008" {
		t.Errorf("the agent got %q", list)
	}
	if list := all(got); len(list) > 0 {
		t.Errorf("the server got %q", list)
	}
}

// Messages of a server are looked at as a whole where a middleware takes them.
func TestMiddlewareSocketServer(t *testing.T) {
	for _, tt := range []struct {
		mode, onError string
		send          []string // frames of the server
		want          []string
	}{
		{"deny", "fail_closed", []string{"\x81\x02hi", "\x01\x01a", "\x80\x01b"}, []string{"hi", "ab"}},
		{"deny", "fail_closed", []string{"\x81\x02hi", "\x81\x18" + held}, []string{"hi", "close 1008"}},
		{"deny", "fail_closed", []string{"\x01\x07" + held[:7], "\x80\x11" + held[7:]}, []string{"close 1008"}},
		{"redact", "fail_closed", []string{"\x01\x07" + held[:7], "\x80\x11" + held[7:]}, []string{"[redacted:secrets/known/HELD]"}},
		{"deny", "fail_closed", []string{"\x82\x7f\x00\x00\x00\x00\x00\x40\x00\x01" + strings.Repeat("x", middleware.MaxBody+1)}, []string{"close 1008"}},
		{"deny", "fail_open", []string{"\x82\x7f\x00\x00\x00\x00\x00\x40\x00\x01" + strings.Repeat("x", middleware.MaxBody+1), "\x81\x02hi"}, []string{"4194305 bytes", "hi"}},
		{"deny", "fail_closed", []string{"\x89\x18" + held, "\x81\x02hi"}, []string{"ping ", "hi"}},
	} {
		t.Run(fmt.Sprintf("%s %s %.20q", tt.mode, tt.onError, tt.send), func(t *testing.T) {
			r, _ := chained(t, socketPolicy, "  guard: {middleware: creel/secrets, config: {mode: "+tt.mode+", on: [server_message]}, on_error: "+tt.onError+", endpoints: {include: [ok.test]}}\n", nil)
			r.socketServer("ok.test", 443, plain, func(_ *http.Request, nc net.Conn, in *bufio.Reader) {
				_, _ = io.WriteString(nc, strings.Join(tt.send, ""))
				_ = closeWrite(nc)
				_, _ = io.Copy(io.Discard, in)
			})
			p := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
			list := p.all()
			for len(list) > len(tt.want) { // how it ends
				list = list[:len(list)-1]
			}
			if fmt.Sprint(list) != fmt.Sprint(tt.want) {
				t.Errorf("the agent got %q, want %q", list, tt.want)
			}
			r.keepsQuiet()
		})
	}
}
