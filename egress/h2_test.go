package egress

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/creel-run/creel/audit"
)

func TestHTTP2EndToEnd(t *testing.T) {
	r := newRig(t, basePolicy)
	seen := make(chan *http.Request, 8)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		seen <- q
		w.Header().Set("X-Answer", "1")
		w.WriteHeader(201)
		_, _ = w.Write(body)
		w.Header().Set(http.TrailerPrefix+"X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"Connection", "x")
	})
	c := r.client2("ok.test:443")
	for range 2 {
		q, _ := http.NewRequest("POST", "https://ok.test/public/a?b=%20c", strings.NewReader("hello"))
		q.Header.Set("X-Kept", "1")
		q.Header.Set("X-Original-Url", "/secret")
		q.Header.Set("Te", "trailers")
		q.Header.Add("Cookie", "a=1; b=2")
		resp, err := c.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 201 || string(body) != "hello" || resp.ProtoMajor != 2 || resp.Header.Get("X-Answer") != "1" {
			t.Errorf("%v %s %s", resp, body, err)
		}
		if resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("Connection") != "" {
			t.Errorf("trailers %v", resp.Trailer)
		}
		s := <-seen
		h := s.Header
		if s.ProtoMajor != 2 || s.Host != "ok.test" || s.RequestURI != "/public/a?b=%20c" || h.Get("X-Kept") != "1" || h.Get("X-Original-Url") != "" ||
			h.Get("Cookie") != "a=1; b=2" || h.Get("Te") != "trailers" || s.ContentLength != 5 {
			t.Errorf("the upstream got %s %s %s %v", s.Proto, s.Host, s.RequestURI, h)
		}
	}
	if n := r.dialed(); n != 1 {
		t.Errorf("%d upstream connections, want one for both requests", n)
	}

	// A denied stream ends alone: the connection stays, and has one more.
	resp, err := c.Get("https://ok.test/secret")
	if err != nil {
		t.Fatal(err)
	}
	var d denialBody
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil || resp.StatusCode != 403 || d.Error != codePolicy {
		t.Errorf("%d %+v %v", resp.StatusCode, d, err)
	}
	if resp, err = c.Get("https://ok.test/public/b"); err != nil || resp.StatusCode != 201 {
		t.Errorf("%v %v", resp, err)
	}
	_ = resp.Body.Close()
	<-seen
	ev := r.event("denial", is(audit.Request, "deny", "ok.test"))
	if ev.Method != "GET" || ev.Path != "/secret" || ev.Status != 403 || ev.Conn != 1 {
		t.Errorf("%+v", ev)
	}
}

// TestHTTP2Downgrade: the server speaks HTTP/1.1 alone, and a raw one tells what arrived.
func TestHTTP2Downgrade(t *testing.T) {
	r := newRig(t, basePolicy)
	got := make(chan string, 1)
	r.raw1("ok.test", func(head string) { got <- head }, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 5\r\nX-A: b\r\n\r\n3\r\nabc\r\n0\r\nGrpc-Status: 0\r\n\r\n")
	f := r.framed("ok.test:443")
	f.open(1, true, get("/public/a", "x-kept: a b", "cookie: a=1", "cookie: b=2", "te: trailers")...)
	o := f.result(1)
	if o.end != "200" || o.body != "abc" || o.headers.Get("X-A") != "b" || o.headers.Get("Keep-Alive") != "" || o.trailers.Get("Grpc-Status") != "0" {
		t.Errorf("%+v", o)
	}
	want := "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nCookie: a=1; b=2\r\nTe: trailers\r\nX-Kept: a b\r\n\r\n"
	if head := <-got; head != want {
		t.Errorf("the upstream got %q, want %q", head, want)
	}
}

// TestHTTP2Refused is about what a stream or a connection may not be.
func TestHTTP2Refused(t *testing.T) {
	long := strings.Repeat("a", maxHead)
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		if body, err := io.ReadAll(q.Body); err == nil {
			t.Errorf("the upstream got %s %s %v %q", q.Method, q.RequestURI, q.Header, body)
		}
	})
	for i, one := range []struct {
		name string
		do   func(f *h2agent)
		want string // outcomes that are right, separated by |
	}{
		{"other authority", func(f *h2agent) {
			f.open(1, true, ":method: GET", ":scheme: https", ":authority: no.test", ":path: /public/a")
		}, "421"},
		{"other port", func(f *h2agent) {
			f.open(1, true, ":method: GET", ":scheme: https", ":authority: ok.test:444", ":path: /public/a")
		}, "421"},
		{"user in authority", func(f *h2agent) {
			f.open(1, true, ":method: GET", ":scheme: https", ":authority: a@ok.test", ":path: /public/a")
		}, "RST PROTOCOL_ERROR"},
		{"no authority", func(f *h2agent) { f.open(1, true, ":method: GET", ":scheme: https", ":path: /public/a") }, "400"},
		{"Host differs", func(f *h2agent) { f.open(1, true, get("/public/a", "host: no.test")...) }, "400"},
		{"two Hosts", func(f *h2agent) { f.open(1, true, get("/public/a", "host: ok.test", "host: ok.test")...) }, "400"},
		{"Host alone, other", func(f *h2agent) {
			f.open(1, true, ":method: GET", ":scheme: https", ":path: /public/a", "host: no.test")
		}, "421"},
		{"absolute path", func(f *h2agent) { f.open(1, true, get("https://ok.test/public/a")...) }, "400"},
		{"asterisk", func(f *h2agent) {
			f.open(1, true, ":method: OPTIONS", ":scheme: https", ":authority: ok.test", ":path: *")
		}, "400"},
		{"empty path", func(f *h2agent) { f.open(1, true, get("")...) }, "RST PROTOCOL_ERROR"},
		{"space in path", func(f *h2agent) { f.open(1, true, get("/public/a HTTP/1.1")...) }, "400|RST PROTOCOL_ERROR"},
		{"line end in path", func(f *h2agent) { f.open(1, true, get("/public/a\r\nX: y")...) }, "RST PROTOCOL_ERROR"},
		{"line end in a value", func(f *h2agent) { f.open(1, true, get("/public/a", "x: a\r\ny: b")...) }, "RST PROTOCOL_ERROR"},
		{"NUL in a value", func(f *h2agent) { f.open(1, true, get("/public/a", "x: a\x00b")...) }, "RST PROTOCOL_ERROR"},
		{"space around a value", func(f *h2agent) { f.open(1, true, get("/public/a", "x:  a")...) }, "400"},
		{"upper case", func(f *h2agent) { f.open(1, true, get("/public/a", "X-A: b")...) }, "RST PROTOCOL_ERROR"},
		{"space in a name", func(f *h2agent) { f.open(1, true, get("/public/a", "x a: b")...) }, "RST PROTOCOL_ERROR"},
		{"method no token", func(f *h2agent) {
			f.open(1, true, ":method: GET /", ":scheme: https", ":authority: ok.test", ":path: /public/a")
		}, "400"},
		{"long method", func(f *h2agent) {
			f.open(1, true, ":method: "+strings.Repeat("A", maxMethod+1), ":scheme: https", ":authority: ok.test", ":path: /public/a")
		}, "400"},
		{"unknown pseudo field", func(f *h2agent) { f.open(1, true, get("/public/a", ":foo: bar")...) }, "RST PROTOCOL_ERROR"},
		{"status in a request", func(f *h2agent) { f.open(1, true, get("/public/a", ":status: 200")...) }, "RST PROTOCOL_ERROR"},
		{"pseudo field twice", func(f *h2agent) { f.open(1, true, get("/public/a", ":path: /secret")...) }, "RST PROTOCOL_ERROR"},
		{"pseudo field late", func(f *h2agent) {
			f.open(1, true, ":method: GET", ":scheme: https", ":path: /public/a", "x: y", ":authority: ok.test")
		}, "RST PROTOCOL_ERROR"},
		{"no method", func(f *h2agent) { f.open(1, true, ":scheme: https", ":authority: ok.test", ":path: /public/a") }, "RST PROTOCOL_ERROR"},
		{"no scheme", func(f *h2agent) { f.open(1, true, ":method: GET", ":authority: ok.test", ":path: /public/a") }, "RST PROTOCOL_ERROR"},
		{"other scheme", func(f *h2agent) {
			f.open(1, true, ":method: GET", ":scheme: ftp", ":authority: ok.test", ":path: /public/a")
		}, "RST PROTOCOL_ERROR"},
		{"Connection", func(f *h2agent) { f.open(1, true, get("/public/a", "connection: keep-alive")...) }, "400"},
		{"Upgrade", func(f *h2agent) { f.open(1, true, get("/public/a", "upgrade: websocket")...) }, "400"},
		{"Transfer-Encoding", func(f *h2agent) { f.open(1, false, post("/public/a", "transfer-encoding: chunked")...) }, "400"},
		{"TE", func(f *h2agent) { f.open(1, true, get("/public/a", "te: gzip")...) }, "400"},
		{"Expect", func(f *h2agent) { f.open(1, true, get("/public/a", "expect: something")...) }, "417"},
		{"two lengths", func(f *h2agent) { f.open(1, false, post("/public/a", "content-length: 1", "content-length: 2")...) }, "400"},
		{"length of no number", func(f *h2agent) { f.open(1, false, post("/public/a", "content-length: +1")...) }, "400"},
		{"length without a body", func(f *h2agent) { f.open(1, true, post("/public/a", "content-length: 5")...) }, "400"},
		{"more than the length", func(f *h2agent) {
			f.open(1, false, post("/public/a", "content-length: 1")...)
			f.ok(f.fr.WriteData(1, true, []byte("hello")))
		}, "RST PROTOCOL_ERROR"},
		{"less than the length", func(f *h2agent) {
			f.open(1, false, post("/public/a", "content-length: 9")...)
			f.ok(f.fr.WriteData(1, true, []byte("hello")))
		}, "400"},
		{"CONNECT", func(f *h2agent) { f.open(1, false, ":method: CONNECT", ":authority: ok.test:443") }, "501"},
		{"extended CONNECT", func(f *h2agent) {
			f.open(1, false, ":method: CONNECT", ":protocol: websocket", ":scheme: https", ":authority: ok.test", ":path: /public/a")
		}, "RST PROTOCOL_ERROR"},
		{"many fields", func(f *h2agent) {
			f.open(1, true, get("/public/a", strings.Split(strings.Repeat("x: y|", maxFields)+"x: y", "|")...)...)
		}, "431"},
		{"long field", func(f *h2agent) { f.open(1, true, get("/public/a", "x: "+long)...) }, "431"},
		{"HPACK bomb", func(f *h2agent) {
			fields := get("/public/a", "x: "+strings.Repeat("a", 3000))
			for range 5000 {
				fields = append(fields, fields[4]) // one byte each, by the index
			}
			f.open(1, true, fields...)
		}, "431|GOAWAY PROTOCOL_ERROR"},
		{"long path", func(f *h2agent) { f.open(1, true, get("/public/"+long)...) }, "431"},
		{"dot segments", func(f *h2agent) { f.open(1, true, get("/public/../secret")...) }, "400|403"},
		{"encoded slash", func(f *h2agent) { f.open(1, true, get("/public/..%2fsecret")...) }, "400|403"},
		{"even stream", func(f *h2agent) { f.open(2, true, get("/public/a")...) }, "GOAWAY PROTOCOL_ERROR"},
		{"stream goes down", func(f *h2agent) {
			f.open(5, true, get("/secret")...)
			f.open(3, true, get("/secret")...)
		}, "GOAWAY PROTOCOL_ERROR"},
		{"DATA on an idle stream", func(f *h2agent) { f.ok(f.fr.WriteData(1, true, []byte("x"))) }, "GOAWAY PROTOCOL_ERROR"},
		{"HEADERS on stream 0", func(f *h2agent) { f.open(0, true, get("/public/a")...) }, "GOAWAY PROTOCOL_ERROR"},
		{"lone CONTINUATION", func(f *h2agent) { f.ok(f.fr.WriteContinuation(1, true, f.block("x: y"))) }, "GOAWAY PROTOCOL_ERROR"},
		{"DATA inside a head", func(f *h2agent) {
			f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(get("/public/a")...)}))
			f.ok(f.fr.WriteData(1, true, []byte("x")))
		}, "GOAWAY PROTOCOL_ERROR"},
		{"broken HPACK", func(f *h2agent) {
			f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true}))
		}, "GOAWAY COMPRESSION_ERROR"},
		{"HPACK table beyond the bound", func(f *h2agent) {
			f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x3f, 0xe1, 0xff, 0x7f}, EndHeaders: true}))
		}, "GOAWAY COMPRESSION_ERROR"},
		{"settings of a wrong length", func(f *h2agent) { f.ok(f.fr.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{1})) }, "GOAWAY FRAME_SIZE_ERROR"},
		{"settings on a stream", func(f *h2agent) { f.ok(f.fr.WriteRawFrame(http2.FrameSettings, 0, 1, nil)) }, "GOAWAY PROTOCOL_ERROR"},
		{"push from a client", func(f *h2agent) { f.ok(f.fr.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2})) }, "GOAWAY PROTOCOL_ERROR"},
		{"window too large by settings", func(f *h2agent) {
			f.ok(f.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31}))
		}, "GOAWAY FLOW_CONTROL_ERROR"},
		{"window too large", func(f *h2agent) { f.ok(f.fr.WriteWindowUpdate(0, 1<<31-1)) }, "GOAWAY FLOW_CONTROL_ERROR"},
		{"window update of nothing", func(f *h2agent) { f.ok(f.fr.WriteWindowUpdate(0, 0)) }, "GOAWAY PROTOCOL_ERROR"},
		{"PING of a wrong length", func(f *h2agent) { f.ok(f.fr.WriteRawFrame(http2.FramePing, 0, 0, []byte("short"))) }, "GOAWAY FRAME_SIZE_ERROR"},
		{"frame too large", func(f *h2agent) {
			f.open(1, false, post("/secret")...)
			f.ok(f.fr.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 2<<20)))
		}, "GOAWAY FRAME_SIZE_ERROR|403|closed"},
		{"padding too large", func(f *h2agent) { f.ok(f.fr.WriteRawFrame(http2.FrameHeaders, 0x8|4, 1, []byte{200, 0x82})) }, "GOAWAY PROTOCOL_ERROR|RST PROTOCOL_ERROR"},
		{"PUSH_PROMISE from a client", func(f *h2agent) {
			f.ok(f.fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: f.block("x: y"), EndHeaders: true}))
		}, "GOAWAY PROTOCOL_ERROR"},
		{"RST of an idle stream", func(f *h2agent) { f.ok(f.fr.WriteRSTStream(1, http2.ErrCodeCancel)) }, "GOAWAY PROTOCOL_ERROR"},
		{"depends on itself", func(f *h2agent) {
			f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(get("/public/a")...), EndHeaders: true, EndStream: true, Priority: http2.PriorityParam{StreamDep: 1, Weight: 1}}))
		}, "RST PROTOCOL_ERROR"},
	} {
		t.Run(one.name, func(t *testing.T) {
			f := r.framed("ok.test:443")
			one.do(f)
			o := f.result(1)
			if !strings.Contains("|"+one.want+"|", "|"+o.end+"|") {
				t.Errorf("%s, want %s: %s", o.end, one.want, o.body)
			}
			_ = f.c.Close()
			r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && ev.Conn == uint64(i+1) })
		})
	}
}

// TestHTTP2Floods is about what costs work and asks for nothing.
func TestHTTP2Floods(t *testing.T) {
	many := 3 * idleFrames
	for name, do := range map[string]func(f *h2agent) error{
		"PING":     func(f *h2agent) error { return f.fr.WritePing(false, [8]byte{}) },
		"SETTINGS": func(f *h2agent) error { return f.fr.WriteSettings() },
		"PRIORITY": func(f *h2agent) error {
			return f.fr.WritePriority(7, http2.PriorityParam{StreamDep: 0, Weight: 1})
		},
		"WINDOW_UPDATE": func(f *h2agent) error { return f.fr.WriteWindowUpdate(0, 1) },
		"unknown":       func(f *h2agent) error { return f.fr.WriteRawFrame(0xbe, 0, 0, nil) },
		"empty DATA":    func(f *h2agent) error { return f.fr.WriteData(1, false, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) { _, _ = io.Copy(io.Discard, q.Body) })
			f := r.framed("ok.test:443")
			f.open(1, false, post("/public/a")...)
			go func() { _, _ = io.Copy(io.Discard, f.c) }()
			for i := 0; i < many && do(f) == nil; i++ {
			}
			r.event("denial", func(ev audit.Event) bool {
				return ev.Verdict == "deny" && strings.Contains(ev.Reason, "ask for nothing")
			})
		})
	}
	t.Run("rapid reset", func(t *testing.T) {
		r := newRig(t, basePolicy)
		r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
		f := r.framed("ok.test:443")
		go func() { _, _ = io.Copy(io.Discard, f.c) }()
		for i := range uint32(many) {
			id := 2*i + 1
			if f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.block(get("/public/a")...), EndHeaders: true, EndStream: true}) != nil ||
				f.fr.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				break
			}
		}
		r.event("denial", func(ev audit.Event) bool {
			return ev.Verdict == "deny" && (strings.Contains(ev.Reason, "ask for nothing") || strings.Contains(ev.Reason, "ENHANCE_YOUR_CALM"))
		})
	})
	t.Run("CONTINUATION", func(t *testing.T) {
		r := newRig(t, basePolicy)
		f := r.framed("ok.test:443")
		f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(get("/public/a")...)}))
		for i := 0; i < many && f.fr.WriteContinuation(1, false, nil) == nil; i++ {
		}
		r.event("denial", func(ev audit.Event) bool {
			return ev.Verdict == "deny" && strings.Contains(ev.Reason, "head of HTTP/2")
		})
	})
	t.Run("streams", func(t *testing.T) {
		r := newRig(t, basePolicy)
		r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
		f := r.framed("ok.test:443")
		f.open(1, true, get("/secret")...)
		if o := f.result(1); o.end != "403" { // settings are acknowledged by now
			t.Fatal(o.end)
		}
		for i := range uint32(maxStreams + 1) {
			f.open(2*i+3, true, get("/public/a")...)
		}
		if o := f.result(2*maxStreams + 3); o.end != "RST PROTOCOL_ERROR" && o.end != "RST REFUSED_STREAM" {
			t.Errorf("one more than the bound: %s", o.end)
		}
	})
}

// TestHTTP2SlowHead: a head that is begun holds up its connection for no longer
// than a head of HTTP/1 does. It needs the whole headTimeout.
func TestHTTP2SlowHead(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for headTimeout")
	}
	t.Parallel()
	r := newRig(t, basePolicy)
	f := r.framed("ok.test:443")
	f.open(1, true, get("/secret")...)
	if o := f.result(1); o.end != "403" { // settings are acknowledged by now
		t.Fatal(o.end)
	}
	f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: f.block(get("/public/a")...)}))
	if o := f.result(3); o.end != "closed" {
		t.Error(o.end)
	}
	r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, "not complete") })
}

// TestHTTP2Recheck: a stream that a new revision denies ends alone, at once,
// even if its client does not read.
func TestHTTP2Recheck(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		w.WriteHeader(200)
		for piece := make([]byte, 16<<10); ; {
			if strings.HasSuffix(q.URL.Path, "/full") {
				if _, err := w.Write(piece); err != nil {
					return
				}
				continue
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-q.Context().Done():
			case <-time.After(patience):
			}
			return
		}
	})
	f := r.framed("ok.test:443")
	f.open(1, true, get("/public/wait")...)
	f.open(3, true, get("/public/full")...) // its window is not opened
	f.open(5, true, get("/public/keep/wait")...)
	for n := 0; n < 3; {
		fr, err := f.fr.ReadFrame()
		f.ok(err)
		if _, ok := fr.(*http2.MetaHeadersFrame); ok {
			n++
		}
	}
	r.engine.Store(compile(t, strings.Replace(basePolicy, `{method: GET, path: "/public/**"}`, `{method: GET, path: "/public/keep/**"}`, 1)))
	dialed := r.dialed()
	if n := r.s.Recheck(); n != 1 {
		t.Errorf("Recheck closed %d", n)
	}
	ended := map[uint32]bool{}
	for len(ended) < 2 {
		_ = f.c.SetReadDeadline(time.Now().Add(patience))
		fr, err := f.fr.ReadFrame()
		f.ok(err)
		switch fr := fr.(type) {
		case *http2.RSTStreamFrame:
			ended[fr.StreamID] = true
		case *http2.DataFrame:
			if fr.StreamEnded() {
				t.Errorf("stream %d ended as if it were whole", fr.StreamID)
			}
		}
	}
	if !ended[1] || !ended[3] {
		t.Errorf("ended: %v", ended)
	}
	f.open(7, true, get("/public/keep/b/wait")...) // a new one dials anew
	for {
		fr, err := f.fr.ReadFrame()
		f.ok(err)
		if h, ok := fr.(*http2.MetaHeadersFrame); ok && h.StreamID == 7 {
			break
		}
		if rst, ok := fr.(*http2.RSTStreamFrame); ok && rst.StreamID == 5 {
			t.Error("the stream that is still allowed ended, too")
		}
	}
	if r.dialed() != dialed+1 {
		t.Errorf("%d dials after the change, want one", r.dialed()-dialed)
	}
	r.event("denial", func(ev audit.Event) bool {
		return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Path == "/public/full" && strings.Contains(ev.Reason, policyChanged)
	})
}

// TestHTTP2UpstreamEnds: what the server breaks off never looks complete.
func TestHTTP2UpstreamEnds(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/public/before":
			panic(http.ErrAbortHandler)
		case "/public/after":
			w.WriteHeader(200)
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte("whole"))
	})
	f := r.framed("ok.test:443")
	f.open(1, true, get("/public/before")...)
	if o := f.result(1); o.end != "502" || !strings.Contains(o.body, codeUpstream) {
		t.Errorf("%+v", o)
	}
	f.open(3, true, get("/public/after")...)
	if o := f.result(3); o.end != "RST INTERNAL_ERROR" || o.body != "half" {
		t.Errorf("%+v", o)
	}
	f.open(5, true, get("/public/x")...)
	if o := f.result(5); o.end != "200" || o.body != "whole" {
		t.Errorf("%+v", o)
	}
}

// TestHTTP2Cleartext: HTTP/2 without TLS, known beforehand, where requests are inspected.
func TestHTTP2Cleartext(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web2c("ok.test", 80, func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprintf(w, "%s %s", q.Proto, q.RequestURI)
	})
	c := r.client2("ok.test:80")
	c.Transport.(*http.Transport).Protocols.SetHTTP2(false)
	resp, err := c.Get("http://ok.test/public/a")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "HTTP/2.0 /public/a" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, err = c.Get("http://ok.test/secret"); err != nil || resp.StatusCode != 403 {
		t.Errorf("%v %v", resp, err)
	}
	_ = resp.Body.Close()

	// A whole connection that is denied says so in HTTP/2, too.
	d := r.client2("no.test:80")
	d.Transport.(*http.Transport).Protocols.SetHTTP2(false)
	if resp, err = d.Get("http://no.test/"); err != nil || resp.StatusCode != 403 {
		t.Fatalf("%v %v", resp, err)
	}
	_ = resp.Body.Close()
	d = r.client2("no.test:443")
	if resp, err = d.Get("https://no.test/"); err != nil || resp.StatusCode != 403 || resp.ProtoMajor != 2 {
		t.Fatalf("%v %v", resp, err)
	}
	_ = resp.Body.Close()
}
