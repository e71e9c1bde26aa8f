package egress

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/creel-run/creel/audit"
)

// fixing is the base policy with addresses of its own for some names.
func fixing(hosts string) string {
	return strings.Replace(basePolicy, "version: 2\n", "version: 2\ndns: {hosts: {"+hosts+"}}\n", 1)
}

// asking notes every name that is looked up.
type asking struct {
	mu    sync.Mutex
	names []string
}

func (a *asking) option(_ *rig, c *Config) {
	resolve := c.Resolve
	c.Resolve = func(ctx context.Context, name string) ([]netip.Addr, error) {
		a.mu.Lock()
		a.names = append(a.names, name)
		a.mu.Unlock()
		return resolve(ctx, name)
	}
}

func (a *asking) saw() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprint(a.names)
}

// behindAddr makes what serves a name serve an address, too.
func (r *rig) behindAddr(host string, port uint16, addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes[netip.AddrPortFrom(netip.MustParseAddr(addr), port)] = r.routes[netip.AddrPortFrom(r.names[host][0], port)]
}

// TestFixedHosts: a name whose addresses the policy gives is asked of nobody, and
// its addresses are judged as any answer.
func TestFixedHosts(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			asked := &asking{}
			r := newRig(t, fixing("ok.test: [93.184.216.50], raw.test: [93.184.216.51], named.test: [93.184.216.52], bound.test: [10.0.0.5]"), asked.option)
			r.web("ok.test", 443, echo)
			r.raw("raw.test", 5432, chat)
			r.behindAddr("ok.test", 443, "93.184.216.50")
			r.behindAddr("raw.test", 5432, "93.184.216.51")
			if resp, body := r.https(w, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			c, _ := r.open(w, "raw.test:5432")
			alive(t, c, bufio.NewReader(c))
			_ = c.Close()
			end := r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close && ev.Host == "raw.test" })
			if end.Addr != "93.184.216.51:5432" {
				t.Errorf("closing event %+v", end)
			}
			// It allows nothing: neither a program that no rule names, nor an address.
			resp, body := r.https(w, "named.test:443", "GET / HTTP/1.1\r\nHost: named.test\r\n\r\n")
			wantDenial(t, resp, body, 403, codePolicy)
			n := r.dialed()
			resp, body = r.https(w, "bound.test:443", "GET / HTTP/1.1\r\nHost: bound.test\r\n\r\n")
			wantDenial(t, resp, body, 403, codeAddress)
			if r.dialed() != n {
				t.Error("an internal address was dialled")
			}
			if asked.saw() != "[]" {
				t.Errorf("somebody was asked for %s", asked.saw())
			}
			// Without that word it is looked up as ever.
			r.swap(basePolicy)
			if resp, body := r.https(w, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 || asked.saw() != "[ok.test]" {
				t.Errorf("%d %s, asked for %s", resp.StatusCode, body, asked.saw())
			}
		})
	}
}

// TestRecheckFixedHosts: a connection to an address that the name does not have
// any more ends; the next request on one that is inspected goes to one that it has.
func TestRecheckFixedHosts(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.raw("raw.test", 5432, chat)
			r.web("ok.test", 443, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "first") })
			r.web("named.test", 443, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "second") })
			r.mu.Lock()
			have, first := r.names["raw.test"][0].String(), r.names["ok.test"][0].String()
			r.mu.Unlock()
			c, _ := r.open(w, "raw.test:5432")
			in := bufio.NewReader(c)
			alive(t, c, in)
			kept, _ := r.open(w, "ok.test:443")
			tc, err := r.startTLS(kept, "ok.test")
			if err != nil {
				t.Fatal(err)
			}
			get := func(want string) {
				t.Helper()
				if resp, body := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n"); string(body) != want {
					t.Fatalf("%d %s, want %s", resp.StatusCode, body, want)
				}
			}
			get("first")
			r.swap(fixing("raw.test: [" + have + ", 93.184.216.51], ok.test: [" + first + "]"))
			alive(t, c, in)
			get("first")

			// The next one has another server behind it, which the name's certificate is not for.
			r.behindAddr("named.test", 443, "93.184.216.50")
			n := r.dialed()
			r.swap(fixing("raw.test: [93.184.216.51], ok.test: [93.184.216.50]"))
			if line, err := in.ReadString('\n'); err == nil {
				t.Errorf("the connection lives: %q", line)
			}
			cut := r.event("cut", func(ev audit.Event) bool {
				return ev.Kind == audit.Connect && ev.Verdict == "deny" && ev.Host == "raw.test"
			})
			if !strings.Contains(cut.Reason, "is not one that the policy gives the host") {
				t.Errorf("%+v", cut)
			}
			resp, body := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
			r.mu.Lock()
			dials := fmt.Sprint(r.dials[n:])
			r.mu.Unlock()
			if resp.StatusCode != 502 || dials != "[93.184.216.50:443]" {
				t.Errorf("%d %s, dialled %s", resp.StatusCode, body, dials)
			}
		})
	}
}

// TestFixedHostsAndProxyNames: a proxy that resolves names is asked for the address
// that the policy gives, and not for the name.
func TestFixedHostsAndProxyNames(t *testing.T) {
	r, p := behind(t, basePolicy, "", true)
	r.web("ok.test", 443, echo)
	r.raw("raw.test", 5432, chat)
	r.behindAddr("ok.test", 443, "93.184.216.50")
	c, _ := r.open(viaRedirect, "raw.test:5432")
	in := bufio.NewReader(c)
	alive(t, c, in)
	r.swap(fixing("ok.test: [93.184.216.50], raw.test: [93.184.216.51]"))
	if line, err := in.ReadString('\n'); err == nil {
		t.Errorf("a connection whose address nobody saw lives: %q", line)
	}
	if resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	const cred = " Basic dTpjYW5hcnk="
	if got := fmt.Sprint(p.saw()); got != "[CONNECT raw.test:5432"+cred+" CONNECT 93.184.216.50:443"+cred+"]" {
		t.Errorf("the proxy saw %s", got)
	}
	if r.dialed() != 0 {
		t.Error("a connection went past the proxy")
	}
}
