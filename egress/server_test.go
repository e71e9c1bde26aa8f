package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s %d", r.Method, r.RequestURI, r.Host, len(body))
}

func TestInspected(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.web("ok.test", 443, echo)

			resp, body := r.https(w, "ok.test:443", "GET /public/../public/%61?q=%20x HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != 200 || body != "GET /public/a?q=%20x ok.test 0" {
				t.Errorf("allowed request: %d %s", resp.StatusCode, body)
			}
			ev := r.event("request", is(audit.Request, "allow", "ok.test"))
			if ev.Method != "GET" || ev.Path != "/public/a" || ev.Rule != "web" || ev.RuleAt == "" || string(ev.Via) != string(w) || ev.Binary != "/usr/bin/agent" || ev.PID != 77 {
				t.Errorf("event %+v", ev)
			}
			r.event("connection", is(audit.Connect, "allow", "ok.test"))
			end := r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close })
			if !strings.HasPrefix(end.Addr, "93.184.216.") || end.BytesIn == 0 || end.BytesOut == 0 || end.Conn != ev.Conn {
				t.Errorf("closing event %+v", end)
			}

			n := r.dialed()
			resp, body = r.https(w, "ok.test:443", "DELETE /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
			d := wantDenial(t, resp, body, 403, codePolicy)
			if d.Method != "DELETE" || d.Path != "/public/a" || d.Host != "ok.test" || d.Port != 443 || d.Layer != layerRequest || d.Binary != "/usr/bin/agent" || d.RuleMissing == nil {
				t.Errorf("denial %+v", d)
			}
			r.event("denied request", is(audit.Request, "deny", "ok.test"))

			resp, body = r.https(w, "ok.test:443", "GET /public/../secret?key=canary HTTP/1.1\r\nHost: ok.test\r\n\r\n")
			if d := wantDenial(t, resp, body, 403, codePolicy); d.Path != "/secret" {
				t.Errorf("denied path %q", d.Path)
			}
			if strings.Contains(body, "canary") {
				t.Error("the query stands in the denial")
			}
			if r.dialed() != n {
				t.Error("a denied request reached an upstream")
			}
		})
	}
}

func TestDeniedHostIsTold(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.web("no.test", 443, echo)
			resp, body := r.https(w, "no.test:443", "GET / HTTP/1.1\r\nHost: no.test\r\n\r\n")
			d := wantDenial(t, resp, body, 403, codePolicy)
			if d.Layer != layerConnection || d.Host != "no.test" || d.Port != 443 {
				t.Errorf("denial %+v", d)
			}
			r.event("denied", is(audit.Connect, "deny", "no.test"))
			if r.dialed() != 0 {
				t.Error("a denied host was dialled")
			}
		})
	}
	t.Run("plain", func(t *testing.T) {
		r := newRig(t, basePolicy)
		c, _ := r.open(viaRedirect, "no.test:80")
		resp, body := talk(t, c, "GET", "GET /x?secret HTTP/1.1\r\nHost: no.test\r\n\r\n")
		if d := wantDenial(t, resp, body, 403, codePolicy); d.Method != "GET" || d.Path != "/x" {
			t.Errorf("denial %+v", d)
		}
	})
	t.Run("neither TLS nor HTTP", func(t *testing.T) {
		r := newRig(t, basePolicy)
		c, _ := r.open(viaRedirect, "no.test:443")
		_, _ = c.Write([]byte{0, 1, 2, 3})
		if b, err := io.ReadAll(c); len(b) != 0 || err == nil {
			t.Errorf("want a reset, got %q %v", b, err)
		}
	})
}

func TestDestinations(t *testing.T) {
	r := newRig(t, basePolicy)
	for _, tt := range []struct{ to, reason string }{
		{"unassigned", "none that is known"},
		{"none", "no original destination"},
		{"straight", "straight to a listener"},
		{"93.184.216.98:443", "no network policy"},
	} {
		// A reset can come before the client knows that it is connected.
		if c, err := net.Dial("tcp", r.ways[tt.to]); err == nil {
			_, _ = c.Write([]byte{0})
			if b, _ := io.ReadAll(c); len(b) != 0 {
				t.Errorf("%s: got %q", tt.to, b)
			}
			_ = c.Close()
		}
		r.event(tt.to, func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, tt.reason) })
	}
	if r.dialed() != 0 {
		t.Error("something was dialled")
	}
}

func TestLiteralAddress(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("93.184.216.99", 443, echo)
	c, _ := r.open(viaRedirect, "93.184.216.99:443")
	// The endpoint is not inspected: the certificate is the upstream's own.
	r.agent.AppendCertsFromPEM(r.public.PEM())
	tc, err := r.startTLS(c, "93.184.216.99")
	if err != nil {
		t.Fatal(err)
	}
	if resp, body := talk(t, tc, "GET", "GET /x HTTP/1.1\r\nHost: 93.184.216.99\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestCallers(t *testing.T) {
	var who atomic.Pointer[Caller]
	r := newRig(t, basePolicy, func(r *rig, c *Config) {
		c.Callers = callersFunc(func(client, original netip.AddrPort) Caller {
			if !client.IsValid() || !original.IsValid() {
				t.Error("the caller was asked for without addresses")
			}
			return *who.Load()
		})
	})
	r.web("named.test", 443, echo)
	r.agent.AppendCertsFromPEM(r.public.PEM())
	for _, tt := range []struct {
		who Caller
		ok  bool
	}{
		{Caller{Known: true, Binary: "/usr/bin/curl"}, true},
		{Caller{Known: true, Binary: "/usr/bin/other"}, false},
		{Caller{Known: false, Binary: "/usr/bin/curl"}, false},
		{Caller{Known: false, Binary: "/usr/bin/curl", Why: "its program changes"}, false},
	} {
		who.Store(&tt.who)
		resp, body := r.https(viaConnect, "named.test:443", "GET / HTTP/1.1\r\nHost: named.test\r\nConnection: close\r\n\r\n")
		if (resp.StatusCode == 200) != tt.ok {
			t.Errorf("%+v: %d %s", tt.who, resp.StatusCode, body)
		}
		if why := tt.who.Why; why != "" {
			if d := wantDenial(t, resp, body, 403, codePolicy); !strings.HasSuffix(d.Reason, ": "+why) {
				t.Errorf("the reason is %q", d.Reason)
			}
			r.event("denial", func(ev audit.Event) bool {
				return ev.Verdict == "deny" && ev.Unverified && strings.HasSuffix(ev.Reason, ": "+why)
			})
		}
	}
}

func TestAuthorityMismatch(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.web("ok.test", 443, echo)
			for _, raw := range []string{
				"GET /public/a HTTP/1.1\r\nHost: no.test\r\n\r\n",
				"GET /public/a HTTP/1.1\r\nHost: ok.test:8443\r\n\r\n",
				"GET https://no.test/public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n",
				"GET http://ok.test/public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n",
			} {
				resp, body := r.https(w, "ok.test:443", raw)
				wantDenial(t, resp, body, 421, codeAuthority)
			}
			r.event("mismatch", func(ev audit.Event) bool { return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Status == 421 })
			if r.dialed() != 0 {
				t.Error("a misdirected request reached an upstream")
			}
		})
	}
}

func TestServerName(t *testing.T) {
	for _, w := range bothWays {
		for _, to := range []string{"ok.test:443", "raw.test:443"} {
			t.Run(string(w)+" "+to, func(t *testing.T) {
				r := newRig(t, basePolicy)
				host, _, _ := net.SplitHostPort(to)
				got := make(chan int, 8)
				r.raw(host, 443, func(c net.Conn) {
					n, _ := io.Copy(io.Discard, c)
					got <- int(n)
				})
				for _, name := range []string{"no.test", ""} {
					c, _ := r.open(w, to)
					hello := clientHello(t, name)
					_, _ = c.Write(hello)
					b, _ := io.ReadAll(c)
					if len(b) < 7 || b[0] != 0x15 || b[6] != 112 {
						t.Errorf("server name %q: got %x, want the alert unrecognized_name", name, b)
					}
				}
				r.event("mismatch", func(ev audit.Event) bool {
					return ev.Verdict == "deny" && ev.Protocol == "tls" && strings.Contains(ev.Reason, "no.test")
				})
				r.event("none", func(ev audit.Event) bool {
					return ev.Verdict == "deny" && ev.Protocol == "tls" && strings.Contains(ev.Reason, "names no server")
				})
				for range r.dialed() {
					if n := <-got; n != 0 {
						t.Errorf("the upstream got %d bytes", n)
					}
				}
			})
		}
	}
}

func TestHelloInSmallPieces(t *testing.T) {
	for _, to := range []string{"ok.test:443", "raw.test:443"} {
		t.Run(to, func(t *testing.T) {
			r := newRig(t, basePolicy)
			host, _, _ := net.SplitHostPort(to)
			r.web(host, 443, echo)
			r.agent.AppendCertsFromPEM(r.public.PEM())
			c, _ := r.open(viaRedirect, to)
			tc, err := r.startTLS(&bytewise{c}, host)
			if err != nil {
				t.Fatal(err)
			}
			resp, body := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != 200 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// bytewise sends every byte in a segment of its own.
type bytewise struct{ net.Conn }

func (b *bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// TestPassThrough: the agent sees the upstream's own certificate and protocols.
func TestPassThrough(t *testing.T) {
	for _, w := range bothWays {
		for _, to := range []string{"raw.test:443", "opaque.test:443"} {
			t.Run(string(w)+" "+to, func(t *testing.T) {
				r := newRig(t, basePolicy)
				host, _, _ := net.SplitHostPort(to)
				r.web(host, 443, echo)
				c, _ := r.open(w, to)
				if _, err := r.startTLS(c, host); err == nil {
					t.Fatal("a passed-through connection was terminated")
				}
				r.agent.AppendCertsFromPEM(r.public.PEM())
				resp, body := r.https(w, to, "BREW /any HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
				if resp.StatusCode != 200 || !strings.HasPrefix(body, "BREW /any") {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
			})
		}
	}
}

func TestServerSpeaksFirst(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.raw("raw.test", 5432, func(c net.Conn) {
				fmt.Fprintf(c, "hello, who is there?\n")
				line, _ := bufio.NewReader(c).ReadString('\n')
				fmt.Fprintf(c, "welcome, %s", line)
				// Half-close is passed on in both directions.
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, c)
			})
			c, _ := r.open(w, "raw.test:5432")
			in := bufio.NewReader(c)
			if line, err := in.ReadString('\n'); err != nil || line != "hello, who is there?\n" {
				t.Fatalf("%q %v", line, err)
			}
			fmt.Fprintf(c, "agent\n")
			if rest, err := io.ReadAll(in); err != nil || string(rest) != "welcome, agent\n" {
				t.Fatalf("%q %v", rest, err)
			}
			_ = c.Close()
			end := r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close })
			if end.BytesIn != 36 || end.BytesOut < 6 {
				t.Errorf("closing event %+v", end)
			}
		})
	}
}

func TestHalfCloseOfTheAgent(t *testing.T) {
	r := newRig(t, basePolicy)
	r.raw("raw.test", 5432, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		fmt.Fprintf(c, "got %d", len(b))
	})
	c, _ := r.open(viaRedirect, "raw.test:5432")
	_, _ = c.Write(make([]byte, 1<<20))
	_ = c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "got 1048576" {
		t.Errorf("%q %v", b, err)
	}
}

func TestAddressRules(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.mu.Lock()
			public := netip.MustParseAddr("93.184.216.34")
			r.names["ok.test"] = []netip.Addr{public, netip.MustParseAddr("169.254.169.254")}
			r.names["rebind.test"] = []netip.Addr{netip.MustParseAddr("::ffff:169.254.169.254")}
			r.mu.Unlock()
			resp, body := r.https(w, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
			wantDenial(t, resp, body, 403, codeAddress)
			resp, body = r.https(w, "rebind.test:443", "GET / HTTP/1.1\r\nHost: rebind.test\r\n\r\n")
			wantDenial(t, resp, body, 403, codeAddress)
			r.event("request", func(ev audit.Event) bool {
				return ev.Kind == audit.Request && ev.Verdict == "deny" && strings.Contains(ev.Reason, "169.254.169.254")
			})
			r.event("connection", func(ev audit.Event) bool {
				return ev.Kind == audit.Connect && ev.Verdict == "deny" && ev.Host == "rebind.test"
			})
			if r.dialed() != 0 {
				t.Error("something was dialled")
			}
		})
	}
}

func TestDeadUpstream(t *testing.T) {
	for _, w := range bothWays {
		for _, to := range []string{"ok.test:443", "raw.test:443"} {
			t.Run(string(w)+" "+to, func(t *testing.T) {
				r := newRig(t, basePolicy)
				host, _, _ := net.SplitHostPort(to)
				ask := "GET /public/a HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
				resp, body := r.https(w, to, ask)
				if d := wantDenial(t, resp, body, 502, codeUpstream); !strings.Contains(d.Reason, "does not exist") {
					t.Errorf("reason %q", d.Reason)
				}
				r.mu.Lock()
				r.names[host] = []netip.Addr{netip.MustParseAddr("93.184.216.34")}
				r.mu.Unlock()
				resp, body = r.https(w, to, ask)
				if d := wantDenial(t, resp, body, 502, codeUpstream); !strings.Contains(d.Reason, "refused") {
					t.Errorf("reason %q", d.Reason)
				}
			})
		}
	}
}

// TestNameServerTrouble: the agent is told what kind of trouble, and no address.
func TestNameServerTrouble(t *testing.T) {
	away := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 53), Port: 53}, Err: errors.New("connection refused")}
	for want, fault := range map[string]error{
		"resolve: the name server cannot be reached": &net.DNSError{Err: "no answer", IsTemporary: true, UnwrapErr: away},
		"resolve: the name server does not answer":   &net.DNSError{Err: "no answer", IsTimeout: true, UnwrapErr: away},
		"resolve: the name does not exist":           &net.DNSError{Err: "no such host", IsNotFound: true},
		"resolve: the name cannot be resolved":       &net.DNSError{Err: "the server answers SERVFAIL", IsTemporary: true},
	} {
		s := &Server{conf: Config{Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, fault }}}
		host, err := netname.ParseHost("a.test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.resolve(t.Context(), host); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestUntrustedUpstream(t *testing.T) {
	r := newRig(t, basePolicy)
	other := r.serverTLS("other.test")
	r.raw("ok.test", 443, func(c net.Conn) {
		s := tlsServer(c, other)
		_ = s.Handshake()
		_, _ = io.Copy(io.Discard, s)
	})
	resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	if d := wantDenial(t, resp, body, 502, codeUpstream); !strings.Contains(d.Reason, "certificate") {
		t.Errorf("reason %q", d.Reason)
	}
}

func TestAuditFailureDenies(t *testing.T) {
	for _, w := range bothWays {
		for _, kind := range []audit.Kind{audit.Connect, audit.Request} {
			t.Run(string(w)+" "+string(kind), func(t *testing.T) {
				r := newRig(t, basePolicy)
				r.book.refuse = func(ev audit.Event) bool { return ev.Kind == kind }
				r.web("ok.test", 443, echo)
				resp, body := r.https(w, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
				wantDenial(t, resp, body, 503, codeAudit)
				if r.dialed() != 0 {
					t.Error("something was dialled")
				}
				if r.auditErrors.Load() == 0 {
					t.Error("nobody was told")
				}
			})
		}
	}
	t.Run("relay", func(t *testing.T) {
		r := newRig(t, basePolicy)
		r.book.refuse = func(audit.Event) bool { return true }
		r.raw("raw.test", 5432, func(net.Conn) {})
		c, _ := r.open(viaRedirect, "raw.test:5432")
		_, _ = c.Write([]byte("\x00"))
		if b, err := io.ReadAll(c); len(b) != 0 || err == nil {
			t.Errorf("%q %v", b, err)
		}
		if r.dialed() != 0 {
			t.Error("something was dialled")
		}
	})
}

func TestNewWantsEverything(t *testing.T) {
	r := newRig(t, basePolicy)
	good := r.s.conf
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Engine = nil }, func(c *Config) { c.Audit = nil }, func(c *Config) { c.Names = nil },
		func(c *Config) { c.Callers = nil }, func(c *Config) { c.CA = nil },
	} {
		c := good
		spoil(&c)
		if _, err := New(c, Listeners{}); err == nil {
			t.Error("a server without a needed part was made")
		}
	}
}

func TestLimitOfConnections(t *testing.T) {
	r := newRig(t, basePolicy)
	r.s.mu.Lock()
	for range maxConns {
		r.s.conns[&conn{s: r.s}] = struct{}{} // unjudged: nothing looks at them
	}
	r.s.mu.Unlock()
	c, _ := r.open(viaRedirect, "ok.test:443")
	if b, _ := io.ReadAll(c); len(b) != 0 {
		t.Errorf("got %q", b)
	}
	r.event("limit", func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, "at once") })
	r.s.mu.Lock()
	clear(r.s.conns)
	r.s.mu.Unlock()
}

// TestOperatorsOwnService: the operator's address is dialled for the name as it
// is; the policy decides all the same.
func TestOperatorsOwnService(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(echo)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()
	here := netip.MustParseAddrPort(l.Addr().String())
	r := newRig(t, basePolicy, func(r *rig, c *Config) {
		c.Upstream = func(h netname.Host, port uint16) (netip.AddrPort, bool) {
			return here, port == 80 && strings.HasSuffix(h.String(), ".test")
		}
		c.Dial = nil
	})
	for _, tt := range []struct {
		to, raw string
		status  int
	}{
		{"ok.test:80", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", 200},
		{"ok.test:80", "PUT /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0\r\n\r\n", 403},
		{"no.test:80", "GET /public/a HTTP/1.1\r\nHost: no.test\r\n\r\n", 403},
	} {
		c, _ := r.open(viaRedirect, tt.to)
		if resp, body := talk(t, c, "GET", tt.raw); resp.StatusCode != tt.status {
			t.Errorf("%s %q: %d %s", tt.to, tt.raw, resp.StatusCode, body)
		}
	}
	if n := r.s.Recheck(); n != 0 {
		t.Errorf("%d connections closed without a reason", n)
	}
}
