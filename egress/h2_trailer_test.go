package egress

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/credential"
)

// arrival is what a server got of a request.
type arrival struct {
	body    string
	trailer http.Header
	err     error
}

// trailersRig has a server of HTTP/2 that tells what it got.
func trailersRig(t *testing.T, text string, opts ...rigOption) (*rig, chan arrival) {
	r, got := newRig(t, text, opts...), make(chan arrival, 8)
	serve := func(_ http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		got <- arrival{string(body), q.Trailer, err}
	}
	r.web("ok.test", 443, serve)
	r.web("bound.test", 443, serve)
	return r, got
}

// late sends a body and fields behind it.
func (f *h2agent) late(id uint32, body string, fields ...string) {
	f.t.Helper()
	f.ok(f.fr.WriteData(id, false, []byte(body)))
	f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.block(fields...), EndHeaders: true, EndStream: true}))
}

// TestRequestTrailers: fields behind the body go on by the rules of fields before it.
func TestRequestTrailers(t *testing.T) {
	set := (*credential.Set)(nil)
	r, got := trailersRig(t, basePolicy, func(_ *rig, c *Config) { c.Secrets = set })
	f := r.framed("ok.test:443")
	f.open(1, false, post("/public/a", "trailer: x-sum, X-More,x-original-url, content_length, cookie2, a b", "trailer: x-void")...)
	f.late(1, "body", "x-sum: 42", "x-more: a", "x-more: b", "x-original-url: /secret", "content_length: 9", "x-undeclared: 1")
	if o := f.result(1); o.end != "200" {
		t.Fatalf("%+v", o)
	}
	s := <-got
	if s.err != nil || s.body != "body" || len(s.trailer["X-Sum"]) != 1 || s.trailer.Get("X-Sum") != "42" || strings.Join(s.trailer["X-More"], ",") != "a,b" {
		t.Errorf("the server got %+v", s)
	}
	for name, values := range s.trailer {
		if name != "X-Sum" && name != "X-More" && len(values) > 0 {
			t.Errorf("the server got %s", name)
		}
	}

	for i, one := range []struct {
		name, want, code string
		fields           []string
	}{
		{"placeholder", "403", codeCredential, []string{"x-sum: creel:cred:TKN/key"}},
		{"placeholder of Basic", "403", codeCredential, []string{"x-sum: Basic bWU6Y3JlZWw6Y3JlZDpUS04va2V5"}},
		{"too long", "431", codeRequest, []string{"x-sum: " + strings.Repeat("a", maxTrailer)}},
		{"space around a value", "400", codeRequest, []string{"x-sum:  a"}},
		{"line end", "RST PROTOCOL_ERROR", codeRequest, []string{"x-sum: a\r\nb: c"}},
		{"pseudo field", "RST PROTOCOL_ERROR", codeRequest, []string{":path: /secret"}},
		{"framing", "RST PROTOCOL_ERROR", codeRequest, []string{"content-length: 1"}},
		{"authorization", "RST PROTOCOL_ERROR", codeRequest, []string{"authorization: Bearer x"}},
	} {
		t.Run(one.name, func(t *testing.T) {
			f := r.framed("ok.test:443")
			f.open(1, false, post("/public/a", "trailer: x-sum")...)
			f.late(1, "body", one.fields...)
			if o := f.result(1); o.end != one.want {
				t.Errorf("%+v, want %s", o, one.want)
			}
			r.event("denial", func(ev audit.Event) bool {
				return ev.Verdict == "deny" && ev.Conn == uint64(i+2) && ev.Detail["error"] == one.code
			})
		})
	}
	t.Run("many names", func(t *testing.T) {
		f := r.framed("ok.test:443")
		f.open(1, false, post("/public/a", "trailer: "+manyNames(maxTrailerFields+1))...)
		if o := f.result(1); o.end != "431" {
			t.Errorf("%+v", o)
		}
	})
	r.s.Abort()
	for len(got) > 0 {
		if s := <-got; s.err == nil {
			t.Errorf("the request looks complete to the server: %+v", s)
		}
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(",x-" + strings.Repeat("a", i))
	}
	return b.String()[1:]
}

// TestRequestTrailersDropped: where somebody has to see all of a request before it
// goes, or a credential is bound, and towards HTTP/1, they do not go on.
func TestRequestTrailersDropped(t *testing.T) {
	check := func(t *testing.T, f *h2agent, got chan arrival, fields []string, body string) {
		t.Helper()
		f.open(1, false, append(fields, "trailer: x-sum")...)
		f.late(1, body, "x-sum: 42")
		if o := f.result(1); o.end != "200" {
			t.Errorf("%+v", o)
		}
		if s := <-got; s.err != nil || s.body != body || len(s.trailer["X-Sum"]) > 0 {
			t.Errorf("the server got %+v", s)
		}
	}
	t.Run("bound", func(t *testing.T) {
		r, got := trailersRig(t, basePolicy, func(_ *rig, c *Config) {
			c.Secrets = &fakeSecrets{apply: func(*http.Request) ([]string, error) { return nil, nil }, value: canary}
		})
		check(t, r.framed("bound.test:443"), got, []string{":method: POST", ":scheme: https", ":authority: bound.test", ":path: /a"}, "body")
	})
	t.Run("read whole", func(t *testing.T) {
		r, got := trailersRig(t, strings.Replace(mcpPolicy, "path: /mcp\n", "path: /public/a\n", 1))
		check(t, r.framed("ok.test:443"), got, post("/public/a", "content-type: application/json", "accept: "+bothKinds), `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	})
	t.Run("looked at", func(t *testing.T) {
		r, _ := chained(t, basePolicy, "  body: {middleware: creel/secrets, order: 2, config: {parts: [body]}, endpoints: {include: [ok.test]}}\n", nil)
		got := make(chan arrival, 1)
		r.web("ok.test", 443, func(_ http.ResponseWriter, q *http.Request) {
			body, err := io.ReadAll(q.Body)
			got <- arrival{string(body), q.Trailer, err}
		})
		check(t, r.framed("ok.test:443"), got, post("/public/a"), "body")
	})
	t.Run("HTTP/1", func(t *testing.T) {
		r, got := newRig(t, basePolicy), make(chan string, 1)
		r.raw("ok.test", 443, func(c net.Conn) {
			conf := r.serverTLS("ok.test")
			conf.NextProtos = []string{"http/1.1"}
			tc := tls.Server(c, conf)
			var all []byte
			for buf := make([]byte, 1024); !strings.HasSuffix(string(all), "0\r\n\r\n"); {
				n, err := tc.Read(buf)
				if all = append(all, buf[:n]...); err != nil {
					break
				}
			}
			_, _ = io.WriteString(tc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			got <- string(all)
		})
		f := r.framed("ok.test:443")
		f.open(1, false, post("/public/a", "trailer: x-sum")...)
		f.late(1, "body", "x-sum: 42")
		if o := f.result(1); o.end != "200" {
			t.Errorf("%+v", o)
		}
		if all := <-got; strings.Contains(strings.ToLower(all), "sum") || strings.Contains(all, "Trailer") || !strings.HasSuffix(all, "\r\n\r\n4\r\nbody\r\n0\r\n\r\n") {
			t.Errorf("the server got %q", all)
		}
	})
}
