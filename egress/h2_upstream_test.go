package egress

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
)

// TestHTTP2LastLook: a revision between the verdict and the connection, and one
// that makes a pooled connection one that may not be used.
func TestHTTP2LastLook(t *testing.T) {
	var between atomic.Pointer[func()]
	var elsewhere atomic.Bool
	var to netip.AddrPort
	r := newRig(t, basePolicy, func(_ *rig, c *Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if f := between.Load(); f != nil {
				(*f)()
			}
			return dial(ctx, to)
		}
		c.Upstream = func(h netname.Host, port uint16) (netip.AddrPort, bool) {
			if h.String() != "ok.test" || port != 443 {
				return netip.AddrPort{}, false
			}
			if elsewhere.Load() {
				return netip.MustParseAddrPort("127.0.0.1:1"), true
			}
			return to, true
		}
	})
	var served atomic.Int64
	r.web("ok.test", 443, func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		_, _ = io.WriteString(w, "ok")
	})
	r.mu.Lock()
	for a := range r.routes {
		to = a
	}
	r.mu.Unlock()

	f := r.framed("ok.test:443")
	f.open(1, true, get("/public/a")...)
	if o := f.result(1); o.end != "200" {
		t.Fatalf("%+v", o)
	}
	// The connection is there and idle, and leads where the operator no longer serves the name.
	elsewhere.Store(true)
	f.open(3, true, get("/public/b")...)
	if o := f.result(3); o.end != "403" || !strings.Contains(o.body, codeAddress) {
		t.Errorf("%+v", o)
	}
	r.event("denial", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && ev.Path == "/public/b" && ev.Detail["error"] == codeAddress
	})
	elsewhere.Store(false)
	f.open(5, true, get("/public/c")...)
	if o := f.result(5); o.end != "200" {
		t.Errorf("%+v", o)
	}
	if n := served.Load(); n != 2 {
		t.Errorf("%d requests arrived, want 2", n)
	}

	// A new revision while the connection is being made.
	deny := func() {
		between.Store(nil)
		r.engine.Store(compile(t, strings.Replace(basePolicy, `{method: GET, path: "/public/**"}`, `{method: GET, path: "/other/**"}`, 1)))
		r.s.Recheck()
	}
	r.s.upstreams.renew()
	between.Store(&deny)
	f.open(7, true, get("/public/d")...)
	if o := f.result(7); !strings.HasPrefix(o.end, "RST") {
		t.Errorf("%+v", o)
	}
	if n := served.Load(); n != 2 {
		t.Errorf("%d requests arrived, want 2", n)
	}
	r.event("denial", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && ev.Path == "/public/d" && strings.Contains(ev.Reason, policyChanged)
	})
}

// TestHTTP2KnowsHTTP1: that a server has no HTTP/2 is asked once, and what was
// opened to ask serves.
func TestHTTP2KnowsHTTP1(t *testing.T) {
	r := newRig(t, basePolicy)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.upstream("ok.test", 443, l)
	protocol := make(chan string, 4)
	srv := &http.Server{TLSConfig: r.serverTLS("ok.test"), Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		protocol <- q.Proto + " " + q.Method + " " + string(body)
	})}
	srv.TLSConfig.NextProtos = []string{"http/1.1"}
	srv.Protocols.SetHTTP1(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	f := r.framed("ok.test:443")
	for i := range uint32(2) {
		f.open(2*i+1, true, get("/public/a")...)
		if o := f.result(2*i + 1); o.end != "200" {
			t.Errorf("%+v", o)
		}
		if got := <-protocol; got != "HTTP/1.1 GET " {
			t.Error(got)
		}
	}
	if n := r.dialed(); n != 1 {
		t.Errorf("%d connections for two requests", n)
	}
	f.open(5, false, post("/public/a")...)
	f.ok(f.fr.WriteData(5, true, []byte("body")))
	if o := f.result(5); o.end != "200" {
		t.Errorf("%+v", o)
	}
	if got := <-protocol; got != "HTTP/1.1 POST body" {
		t.Error(got)
	}
}
