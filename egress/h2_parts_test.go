package egress

import (
	"crypto/tls"
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

// FuzzHTTP2Head: what is taken as a head of HTTP/2 is the same head if it is
// written as HTTP/1.1 and read again; so nothing can be hidden in it from one of
// the two readers.
func FuzzHTTP2Head(f *testing.F) {
	f.Add("GET", "/public/a?b", "ok.test", "X-A\x00b\x00Te\x00trailers", int64(0))
	f.Add("POST", "/a", "ok.test:443", "Content-Length\x005\x00Cookie\x00a=b; c", int64(5))
	f.Add("POST", "/a\r\nX: y", "ok.test\r\nX: y", "X-B\x00c\r\nd: e", int64(-1))
	f.Add("get", "*", "a@b", "Host\x00ok.test\x00Transfer-Encoding\x00chunked", int64(-1))
	f.Fuzz(func(t *testing.T, method, path, host, fields string, length int64) {
		r := &http.Request{Method: method, RequestURI: path, Host: host, Header: http.Header{}, ContentLength: max(length, -1)}
		list := strings.Split(fields, "\x00")
		for i := 0; i+1 < len(list); i += 2 {
			r.Header[http.CanonicalHeaderKey(list[i])] = append(r.Header[http.CanonicalHeaderKey(list[i])], list[i+1])
		}
		h, fault := headOf(r)
		if fault != nil {
			if h != nil && fault.status == 0 || fault.reason == "" {
				t.Fatalf("%+v %+v", h, fault)
			}
			return
		}
		if _, err := parseAuthority(h.host, 443); err != nil {
			return // refused with what the connection is for
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", h.method, h.target, h.host)
		for _, x := range h.fields {
			fmt.Fprintf(&b, "%s: %s\r\n", x.name, x.value)
		}
		if h.chunked {
			b.WriteString("Transfer-Encoding: chunked\r\n")
		}
		b.WriteString("\r\n")
		again, fault := parseHead([]byte(b.String()))
		if fault != nil {
			t.Fatalf("%q is refused: %v", b.String(), fault)
		}
		n := len(again.fields)
		if h.chunked {
			n--
		}
		if again.method != h.method || again.target != h.target || again.host != h.host || again.length != h.length || again.chunked != h.chunked ||
			again.upgrade != "" || n != len(h.fields) {
			t.Fatalf("%q\n%+v\n%+v", b.String(), h, again)
		}
		for i, x := range h.fields {
			if again.fields[i] != x {
				t.Fatalf("field %d: %v, %v", i, x, again.fields[i])
			}
		}
	})
}

// FuzzFrames: frames are found the same however the bytes are cut.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00\x04\x01\x00\x00\x00\x00"), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		read := func(size int) (list []string) {
			s := frames{}
			for rest := b; len(rest) > 0; {
				n := min(size, len(rest))
				s.feed(rest[:n], func(f *h2frame) { list = append(list, fmt.Sprintf("%+v %x", *f, f.first)) })
				rest = rest[n:]
			}
			return append(list, fmt.Sprint(s.inside(), s.left))
		}
		size := 1 + (cut&0xff+0x100)%0x100
		if a, b := read(len(b)+1), read(size); fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("whole: %v\nin pieces of %d: %v", a, size, b)
		}
	})
}

func TestHTTP2Credential(t *testing.T) {
	r := boundRig(t, func(w http.ResponseWriter, q *http.Request) {
		got := q.Header.Get("Authorization")
		if q.Header.Get("Grpc-Accept-Encoding") != "" || q.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("the upstream got %v", q.Header)
		}
		if q.URL.Path == "/encoded" {
			w.Header().Set("Grpc-Encoding", "gzip")
		}
		w.Header().Set("X-Echo", got)
		_, _ = io.WriteString(w, got)
		w.Header().Set(http.TrailerPrefix+"X-Late", got)
	})
	f := r.framed("bound.test:443")
	ask := func(id uint32, path string) outcome {
		f.open(id, true, ":method: POST", ":scheme: https", ":authority: bound.test", ":path: "+path, "grpc-accept-encoding: gzip", "accept-encoding: gzip")
		return f.result(id)
	}
	if o := ask(1, "/x"); o.end != "200" || o.headers.Get("X-Echo") != "Bearer PLACEHOLDER" || o.body != "Bearer PLACEHOLDER" || o.trailers.Get("X-Late") != "Bearer PLACEHOLDER" {
		t.Errorf("%+v", o)
	}
	if o := ask(3, "/encoded"); o.end != "502" || !strings.Contains(o.body, codeCredential) {
		t.Errorf("%+v", o)
	}
}

func TestHTTP2Reroute(t *testing.T) {
	route := &fakeRoute{host: "model.test"}
	r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Inference = func() Inference { return route } })
	f := r.framed("model.test:443")
	f.open(1, true, ":method: GET", ":scheme: https", ":authority: model.test", ":path: /v1/./models?a")
	if o := f.result(1); o.end != "200" || o.body != "/v1/models?a /v1/models?a model.test" {
		t.Errorf("%+v", o)
	}
	r.event("inference", is(audit.Inference, "reroute", "model.test"))
}

// TestHTTP2Limits: requests are counted stream by stream.
func TestHTTP2Limits(t *testing.T) {
	r := newRig(t, strings.Replace(basePolicy, "        protocol: rest\n", "        protocol: rest\n        limits: {requests: {count: 2, per: 1h}}\n", 1))
	r.web("ok.test", 443, func(http.ResponseWriter, *http.Request) {})
	f := r.framed("ok.test:443")
	for i, want := range []string{"200", "200", "403"} {
		id := uint32(2*i + 1)
		f.open(id, true, get("/public/a")...)
		o := f.result(id)
		var d denialBody
		if o.end != want || want == "403" && (json.Unmarshal([]byte(o.body), &d) != nil || d.Error != codeLimit) {
			t.Errorf("%d: %+v", i, o)
		}
	}
}

// TestHTTP2Windows: a client may not send more ahead than the windows say, and one
// that does not read holds up its own stream alone.
func TestHTTP2Windows(t *testing.T) {
	r := newRig(t, basePolicy)
	free := make(chan struct{})
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/public/full" {
			_, _ = w.Write(make([]byte, 1<<20))
			return
		}
		if q.URL.Path == "/public/stuck" {
			<-free
			_, _ = io.Copy(io.Discard, q.Body)
		}
		_, _ = io.WriteString(w, "ok")
	})
	t.Cleanup(func() { close(free) })
	f := r.framed("ok.test:443")
	f.ok(f.fr.WriteWindowUpdate(0, 4<<20))
	f.open(1, true, get("/public/full")...) // never opens its window
	f.open(3, true, get("/public/a")...)
	if o := f.result(3); o.end != "200" || o.body != "ok" {
		t.Errorf("beside a stream that is stuck: %+v", o)
	}
	f.open(5, false, post("/secret")...)
	for range agentStreamWindow/(16<<10) + 1 {
		f.ok(f.fr.WriteData(5, false, make([]byte, 16<<10)))
	}
	if o := f.result(5); o.end != "403" && o.end != "RST FLOW_CONTROL_ERROR" {
		t.Errorf("more than the window: %+v", o)
	}
	f.open(7, false, post("/public/stuck")...)
	for sent := 0; sent < 16<<20 && f.fr.WriteData(7, false, make([]byte, 16<<10)) == nil; sent += 16 << 10 { // far more than the upstream takes, too
	}
	if o := f.result(7); o.end != "RST FLOW_CONTROL_ERROR" && o.end != "GOAWAY FLOW_CONTROL_ERROR" && o.end != "closed" {
		t.Errorf("far more than the window: %+v", o)
	}
}

// TestHTTP2NotAgreed: HTTP/1.1 behind ALPN h2, and h2 behind ALPN http/1.1.
func TestHTTP2NotAgreed(t *testing.T) {
	r := newRig(t, basePolicy)
	for i, tt := range []struct{ proto, send string }{
		{"h2", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n"},
		{"http/1.1", http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
	} {
		c, _ := r.open(viaRedirect, "ok.test:443")
		tc := tls.Client(c, &tls.Config{RootCAs: r.agent, ServerName: "ok.test", NextProtos: []string{tt.proto}})
		_, _ = io.WriteString(tc, tt.send)
		_ = tc.SetReadDeadline(time.Now().Add(patience))
		if b, _ := io.ReadAll(tc); strings.Contains(string(b), " 200 ") {
			t.Errorf("%s: %q", tt.proto, b)
		}
		r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && ev.Conn == uint64(i+1) })
	}
	if r.dialed() != 0 {
		t.Error("an upstream was dialled")
	}
}
