package egress

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/egress/parent"
)

// proxyHost is a CONNECT proxy of the operator's: it notes what it is asked for,
// and knows names and routes as the rig does.
type proxyHost struct {
	r *rig
	l net.Listener

	mu     sync.Mutex
	asked  []string
	status int // 0: it connects
}

func (p *proxyHost) saw() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

func (p *proxyHost) refuse(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status = status
}

func newProxyHost(t *testing.T) *proxyHost {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &proxyHost{l: l}
}

func (p *proxyHost) start() {
	var wg sync.WaitGroup
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, req.Method+" "+req.RequestURI+" "+req.Header.Get("Proxy-Authorization"))
		status := p.status
		p.mu.Unlock()
		if status != 0 {
			w.WriteHeader(status)
			return
		}
		a, err := parseAuthority(req.RequestURI, 0)
		if err != nil {
			w.WriteHeader(400)
			return
		}
		p.r.mu.Lock()
		addr := a.host.Addr()
		if !a.host.IsAddr() && len(p.r.names[a.host.String()]) > 0 {
			addr = p.r.names[a.host.String()][0]
		}
		at := p.r.routes[netip.AddrPortFrom(addr, a.port)]
		p.r.mu.Unlock()
		up, err := net.Dial("tcp", at)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		defer up.Close()
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
		wg.Go(func() {
			_, _ = io.Copy(up, rw.Reader)
			_ = up.(*net.TCPConn).CloseWrite()
		})
		_, _ = io.Copy(c, up)
		_ = c.(*net.TCPConn).CloseWrite()
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(p.l) }()
	p.r.t.Cleanup(func() { _ = srv.Close(); <-done; wg.Wait() })
}

// behind makes a rig whose way out is a proxy with credentials.
func behind(t *testing.T, text, except string, byName bool) (*rig, *proxyHost) {
	t.Helper()
	p := newProxyHost(t)
	ways, err := parent.New(parent.Config{HTTP: "http://u:canary@" + p.l.Addr().String(), HTTPS: "http://u:canary@" + p.l.Addr().String(), Except: except, ByName: byName})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, text, func(_ *rig, c *Config) { c.Parent = ways })
	p.r = r
	p.start()
	return r, p
}

const viaProxyPolicy = basePolicy + `
  ranged:
    endpoints:
      - {host: rebind.test, port: 443, allowed_ips: [93.184.0.0/16]}
    binaries: any
`

// TestParentProxy: what is inspected and what is relayed goes out by the proxy,
// to the address that was checked; nothing goes another way, whatever the proxy says.
func TestParentProxy(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r, p := behind(t, basePolicy, "", false)
			r.web("ok.test", 443, echo)
			r.web("ok.test", 80, echo)
			r.raw("raw.test", 5432, chat)
			ask := "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"
			if resp, body := r.https(w, "ok.test:443", ask); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			c, _ := r.open(w, "ok.test:80")
			if resp, body := talk(t, c, "GET", ask); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			c, _ = r.open(w, "raw.test:5432")
			fmt.Fprint(c, "ping\n")
			if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "ping\n" {
				t.Errorf("%q %v", line, err)
			}
			_ = c.Close()
			r.mu.Lock()
			ok, raw := r.names["ok.test"][0], r.names["raw.test"][0]
			r.mu.Unlock()
			const cred = " Basic dTpjYW5hcnk="
			want := fmt.Sprint([]string{fmt.Sprintf("CONNECT %s:443%s", ok, cred), fmt.Sprintf("CONNECT %s:80%s", ok, cred), fmt.Sprintf("CONNECT %s:5432%s", raw, cred)})
			if got := fmt.Sprint(p.saw()); got != want {
				t.Errorf("the proxy saw %s, want %s", got, want)
			}
			end := r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close && ev.Host == "raw.test" })
			if end.Addr != raw.String()+":5432" {
				t.Errorf("closing event %+v", end)
			}

			// The address rules hold before the proxy is asked.
			r.mu.Lock()
			r.names["ok.test"] = []netip.Addr{netip.MustParseAddr("169.254.169.254")}
			r.mu.Unlock()
			r.s.upstreams.renew()
			n := len(p.saw())
			resp, body := r.https(w, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
			wantDenial(t, resp, body, 403, codeAddress)
			if len(p.saw()) != n {
				t.Error("the proxy was asked for a refused address")
			}

			p.refuse(403)
			c, _ = r.open(w, "raw.test:5432")
			fmt.Fprint(c, "\x00")
			if b, _ := io.ReadAll(c); len(b) != 0 {
				t.Errorf("got %q through a proxy that refuses", b)
			}
			r.event("refused by the proxy", func(ev audit.Event) bool {
				return ev.Kind == audit.Close && strings.Contains(ev.Reason, "the proxy on the way out refuses the connection (status 403)")
			})
			if r.dialed() != 0 {
				t.Error("a connection went past the proxy")
			}
			r.book.mu.Lock()
			if text := fmt.Sprintf("%+v", r.book.events); strings.Contains(text, "canary") || strings.Contains(text, "dTpjYW5hcnk") {
				t.Error("the proxy's password is in the audit")
			}
			r.book.mu.Unlock()
		})
	}
}

// TestParentProxyExceptions: NO_PROXY hosts and the operator's own services are
// reached straight.
func TestParentProxyExceptions(t *testing.T) {
	r, p := behind(t, basePolicy, "ok.test", false)
	r.web("ok.test", 443, echo)
	if resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if len(p.saw()) != 0 || r.dialed() != 1 {
		t.Errorf("the proxy saw %v, %d went straight", p.saw(), r.dialed())
	}
}

// TestParentProxyNames: a proxy that resolves names gets them. Rules that need an
// address refuse, and the log says that none was seen.
func TestParentProxyNames(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r, p := behind(t, strings.Replace(viaProxyPolicy, "      - {host: rebind.test, port: 443}\n", "", 1), "", true)
			r.web("ok.test", 443, echo)
			r.raw("raw.test", 5432, chat)
			r.web("rebind.test", 443, echo)
			if resp, body := r.https(w, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			c, _ := r.open(w, "raw.test:5432")
			fmt.Fprint(c, "ping\n")
			in := bufio.NewReader(c)
			if line, err := in.ReadString('\n'); err != nil || line != "ping\n" {
				t.Fatalf("%q %v", line, err)
			}
			if n := r.s.Recheck(); n != 0 {
				t.Errorf("%d connections closed without a reason", n)
			}
			resp, body := r.https(w, "rebind.test:443", "GET / HTTP/1.1\r\nHost: rebind.test\r\n\r\n")
			wantDenial(t, resp, body, 403, codeAddress)
			// A rule that wants addresses from now on ends what has none.
			r.engine.Store(compile(t, strings.Replace(basePolicy, "- {host: raw.test, ports: [443, 5432]}", "- {host: raw.test, ports: [443, 5432], allowed_ips: [93.184.0.0/16]}", 1)))
			if n := r.s.Recheck(); n != 1 {
				t.Errorf("%d connections closed, want 1", n)
			}
			if _, err := in.ReadString('\n'); err == nil {
				t.Error("the connection lives on")
			}
			end := r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close && ev.Host == "raw.test" })
			if end.Addr != "" || end.Detail["address"] == "" {
				t.Errorf("closing event %+v", end)
			}
			if resp, body := r.https(w, "93.184.216.99:443", "GET / HTTP/1.1\r\nHost: 93.184.216.99\r\n\r\n"); resp.StatusCode == 200 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			for _, asked := range p.saw() {
				if strings.Contains(asked, "rebind.test") {
					t.Errorf("the proxy was asked: %s", asked)
				}
			}
			if r.dialed() != 0 {
				t.Error("a connection went past the proxy")
			}
		})
	}
}
