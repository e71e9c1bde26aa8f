package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/creel-run/creel/audit"
)

// TestHTTP2StreamsCountAsConnections: one connection of HTTP/2 takes no more
// descriptors than its place among all, and leaves the supervisor its own.
func TestHTTP2StreamsCountAsConnections(t *testing.T) {
	const most = 5
	r := newRig(t, cutPolicy, func(_ *rig, c *Config) { c.MaxConns = most })
	free := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(free) }) }
	defer release()
	arrived := make(chan struct{}, 64)
	r.web("ok.test", 443, func(_ http.ResponseWriter, q *http.Request) {
		arrived <- struct{}{}
		select {
		case <-free:
		case <-q.Context().Done():
		}
	})
	f := r.framed("ok.test:443")
	for i := range uint32(most) { // the first is the connection's own
		f.open(2*i+1, true, get("/keep/a")...)
		<-arrived
	}
	f.open(2*most+1, true, get("/keep/a")...)
	if o := f.result(2*most + 1); o.end != "RST INTERNAL_ERROR" {
		t.Errorf("%+v", o)
	}
	r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && ev.Detail["error"] == codeLimit })
	c, _ := r.open(viaRedirect, "ok.test:443")
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("a connection more is taken")
	}
	release()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		r.s.mu.Lock()
		n := r.s.streams
		r.s.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d streams are counted still", n)
		}
	}
	g := r.framed("ok.test:443")
	g.open(1, true, get("/keep/a")...)
	if o := g.result(1); o.end != "200" {
		t.Errorf("%+v", o)
	}
}

// TestHTTP2AnswersThatWaitCount: an answer that the client takes no byte of holds its
// place when its request is done, and gives it back when it is taken, taken back, or
// its connection ends.
func TestHTTP2AnswersThatWaitCount(t *testing.T) {
	const most = 5
	r := newRig(t, cutPolicy, func(_ *rig, c *Config) { c.MaxConns = most })
	r.web("ok.test", 443, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "short") })
	settled := func(what string, done func(streams int) bool) {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			r.s.mu.Lock()
			n := r.s.streams
			r.s.mu.Unlock()
			if done(n) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %d streams are counted", what, n)
			}
		}
	}
	gates := func(f *h2agent) { // no request runs, all answers wait
		t.Helper()
		for i := range uint32(most) {
			f.open(2*i+1, true, get("/keep/a")...)
			r.event("done", func(ev audit.Event) bool { return ev.Kind == audit.Request && ev.Verdict == "allow" })
		}
		settled("full", func(n int) bool { return n == most-1 })
	}
	for _, how := range []string{"taken", "taken back", "closed"} {
		t.Run(how, func(t *testing.T) {
			f := r.framed("ok.test:443")
			f.ok(f.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
			gates(f)
			// The answers' heads tell that the requests are done.
			for heads := 0; heads < most; {
				_ = f.c.SetReadDeadline(time.Now().Add(patience))
				fr, err := f.fr.ReadFrame()
				f.ok(err)
				if _, ok := fr.(*http2.MetaHeadersFrame); ok {
					heads++
				}
			}
			f.open(2*most+1, true, get("/keep/a")...)
			if o := f.result(2*most + 1); o.end != "RST INTERNAL_ERROR" {
				t.Errorf("one more than there are places for: %+v", o)
			}
			r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && ev.Detail["error"] == codeLimit })
			settled("one was refused", func(n int) bool { return n == most-1 })
			switch how {
			case "taken":
				f.ok(f.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
				if o := f.result(2*most - 1); o.body != "short" {
					t.Errorf("%+v", o)
				}
			case "taken back":
				for i := range uint32(most) {
					f.ok(f.fr.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
				}
			}
			if how != "closed" {
				settled(how, func(n int) bool { return n == 0 })
				f.open(2*most+3, true, get("/keep/a")...)
				f.ok(f.fr.WriteWindowUpdate(2*most+3, 100))
				if o := f.result(2*most + 3); o.end != "200" {
					t.Errorf("there is room again: %+v", o)
				}
			}
			_ = f.c.Close()
			settled("the end", func(n int) bool { return n == 0 })
		})
	}
}

// TestHTTP2AgentWindows: what agents send ahead is held within a bound, however many
// connections they have.
func TestHTTP2AgentWindows(t *testing.T) {
	r := newRig(t, cutPolicy)
	open := func() (f *h2agent, stream, conn int) {
		t.Helper()
		f = r.framed("ok.test:443")
		conn = 1<<16 - 1
		for stream == 0 || conn == 1<<16-1 {
			_ = f.c.SetReadDeadline(time.Now().Add(patience))
			fr, err := f.fr.ReadFrame()
			f.ok(err)
			switch fr := fr.(type) {
			case *http2.SettingsFrame:
				if n, ok := fr.Value(http2.SettingInitialWindowSize); ok {
					stream = int(n)
				}
			case *http2.WindowUpdateFrame:
				conn += int(fr.Increment)
			}
		}
		return f, stream, conn
	}
	first, stream, conn := open()
	if stream != agentStreamWindow || conn != agentConnWindow {
		t.Errorf("the first: windows of %d and %d bytes", stream, conn)
	}
	for range maxWideAgents - 1 {
		if _, stream, _ := open(); stream != agentStreamWindow {
			t.Fatalf("a window of %d bytes", stream)
		}
	}
	if _, stream, conn := open(); stream != narrowStreamWindow || conn != narrowConnWindow {
		t.Errorf("one more: windows of %d and %d bytes", stream, conn)
	}
	_ = first.c.Close()
	for end := time.Now().Add(patience); r.s.web2.wides.Load() == maxWideAgents; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the end of a connection gives nothing back")
		}
	}
	if _, stream, _ := open(); stream != agentStreamWindow {
		t.Errorf("there is room again: a window of %d bytes", stream)
	}
}

// TestHTTP2UpstreamWindows: what agents do not read of their answers is held within
// a bound, however many servers send it.
func TestHTTP2UpstreamWindows(t *testing.T) {
	r := newRig(t, cutPolicy)
	windows := make(chan uint32, 8)
	heads := make(chan struct{}, 2*maxWide)
	r.raw("ok.test", 80, func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		fr := http2.NewFramer(c, c)
		fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = fr.WriteSettings()
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if n, ok := f.Value(http2.SettingInitialWindowSize); ok {
					windows <- n
				}
				if !f.IsAck() {
					_ = fr.WriteSettingsAck()
				}
			case *http2.MetaHeadersFrame: // and no answer
				heads <- struct{}{}
			}
		}
	})
	f := r.framed("ok.test:80")
	for i := range uint32(maxWide + 1) {
		f.open(2*i+1, true, ":method: GET", ":scheme: http", ":authority: ok.test", ":path: /keep/a")
		<-heads
	}
	if a, b := <-windows, <-windows; a != upstreamStreamWindow || b != narrowWindow {
		t.Errorf("windows of %d and %d bytes", a, b)
	}
	_ = f.c.Close()
	for end := time.Now().Add(patience); r.s.upstreams.h2.active.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d requests count as active", r.s.upstreams.h2.active.Load())
		}
	}
}

// TestFaultOfOurOwn: what breaks down while a body is sent ends its request, and
// neither another one nor the process.
func TestFaultOfOurOwn(t *testing.T) {
	for _, host := range []string{"ok.test:443", "bound.test:443"} { // HTTP/2 and HTTP/1 towards the server
		r := newRig(t, basePolicy, func(_ *rig, c *Config) {
			c.Secrets = &fakeSecrets{apply: func(q *http.Request) ([]string, error) {
				if q.Header.Get("X-Break") != "" {
					q.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { panic("what a secret says") }))
				}
				return nil, nil
			}}
		})
		name := strings.TrimSuffix(host, ":443")
		if name == "ok.test" {
			r.web(name, 443, echo)
		} else {
			r.raw(name, 443, func(c net.Conn) {
				conf := r.serverTLS(name)
				conf.NextProtos = []string{"http/1.1"}
				tc := tls.Server(c, conf)
				if raw, _, _ := readHead(tc); bytes.HasPrefix(raw, []byte("GET ")) {
					_, _ = io.WriteString(tc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
				_, _ = io.Copy(io.Discard, tc)
			})
		}
		f := r.framed(host)
		f.open(1, false, ":method: POST", ":scheme: https", ":authority: "+name, ":path: /public/a", "x-break: 1")
		f.ok(f.fr.WriteData(1, false, []byte("body")))
		if o := f.result(1); o.end != "500" || !strings.Contains(o.body, codeInternal) || strings.Contains(o.body, "secret says") {
			t.Errorf("%s: %+v", host, o)
		}
		r.event("denial", func(ev audit.Event) bool {
			return ev.Verdict == "deny" && ev.Path == "/public/a" && ev.Detail["error"] == codeInternal
		})
		f.open(3, true, ":method: GET", ":scheme: https", ":authority: "+name, ":path: /public/b")
		if o := f.result(3); o.end != "200" {
			t.Errorf("%s: %+v", host, o)
		}
	}
}

// TestFaultOfOurOwnIsRecorded: so it is before anything is sent.
func TestFaultOfOurOwnIsRecorded(t *testing.T) {
	r := newRig(t, basePolicy, func(_ *rig, c *Config) {
		c.Secrets = &fakeSecrets{apply: func(*http.Request) ([]string, error) { panic("broken") }}
	})
	f := r.framed("ok.test:443")
	f.open(1, true, get("/public/a")...)
	if o := f.result(1); o.end != "RST INTERNAL_ERROR" {
		t.Errorf("%+v", o)
	}
	r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && ev.Detail["error"] == codeInternal })
	if r.dialed() > 0 {
		t.Error("something was sent")
	}
}

// TestHalfAnAnswerIsNotHeld: a server of MCP that says half of something does not
// keep for ever what all bodies share.
func TestHalfAnAnswerIsNotHeld(t *testing.T) {
	half := bytes.Repeat([]byte("x"), 4*screenedFree)
	for name, read := range map[string]func(x *exchange, from io.ReadCloser) error{
		"JSON": func(x *exchange, from io.ReadCloser) error {
			_, err := x.wholeAnswer(from)
			return err
		},
		"events": func(x *exchange, from io.ReadCloser) error {
			_, err := io.ReadAll(&eventScreen{ReadCloser: from, x: x, apply: func(b []byte) ([]byte, error) { return b, nil }})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Server{bodies: newBodies()}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				x := &exchange{c: &conn{s: s}, giveUp: cancel}
				from, to := io.Pipe()
				context.AfterFunc(ctx, func() { _ = to.CloseWithError(context.Canceled) })
				begin := time.Now()
				go func() {
					_, _ = to.Write([]byte("data: "))
					_, _ = to.Write(half)
				}()
				err := read(x, from)
				if err == nil || !strings.Contains(err.Error(), errOverdue.Error()) {
					t.Errorf("it ends with %v", err)
				}
				if refused := (*screenError)(nil); name == "events" && !errors.As(err, &refused) {
					t.Errorf("it is not recorded: %v", err)
				}
				if d := time.Since(begin); d != answerTime {
					t.Errorf("after %v", d)
				}
				x.release()
				if !s.bodies.left.TryAcquire(maxBodies) {
					t.Error("the room is not given back")
				}
			})
		})
	}
}

// TestHalfAMessageIsNotHeld: the same of a WebSocket whose messages are looked at.
func TestHalfAMessageIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		side, tun, far := pacedSide(false)
		defer far.Close()
		log := &book{wake: make(chan struct{})}
		s := &Server{bodies: newBodies(), denials: newDenialLimit(), conf: Config{Audit: log}}
		tun.server, tun.x = side, &exchange{c: &conn{s: s}, r: httptest.NewRequest("GET", "/", nil)}
		half := "\x81\x7f\x00\x00\x00\x00\x00\x10\x00\x00" + strings.Repeat("a", 4*screenedFree)
		go func() { _, _ = io.WriteString(far, half) }()
		kind, err := side.reader.Next()
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, err = tun.lookServer(kind, side.reader, tun.mask.Stream(), maxBodies)
		if refused := (*refusal)(nil); !errors.As(err, &refused) || time.Since(begin) != messageIdle {
			t.Errorf("it ends with %v after %v", err, time.Since(begin))
		}
		if _, _, ok := log.find(func(ev audit.Event) bool { return ev.Detail["error"] == codeMiddlewareFailed }); !ok {
			t.Error("it is not recorded")
		}
		if !s.bodies.left.TryAcquire(maxBodies) {
			t.Error("the room is not given back")
		}
		// Where there is no room, nobody waits for it.
		side, _, other := pacedSide(false)
		defer other.Close()
		tun.server = side
		go func() { _, _ = io.WriteString(other, half) }()
		if kind, err = side.reader.Next(); err != nil {
			t.Fatal(err)
		}
		begin = time.Now()
		_, err = tun.lookServer(kind, side.reader, tun.mask.Stream(), maxBodies)
		if refused := (*refusal)(nil); !errors.As(err, &refused) || time.Since(begin) != 0 {
			t.Errorf("it ends with %v after %v", err, time.Since(begin))
		}
	})
}
