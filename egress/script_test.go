package egress

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/creel-run/creel/egress/parent"
)

// TestParentProxyScript: the ways that a script names are tried as it says, to
// addresses that were checked; what must not be dialled is asked of none of them.
func TestParentProxyScript(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			p := newProxyHost(t)
			var mu sync.Mutex
			answer := ""
			say := func(text string) { mu.Lock(); answer = text; mu.Unlock() }
			n := 0
			find := func(_ context.Context, url, _ string) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				n++
				return answer, nil
			}
			r := newRig(t, basePolicy, func(_ *rig, c *Config) {
				ways, err := parent.New(parent.Config{Find: find})
				if err != nil {
					t.Fatal(err)
				}
				c.Parent = ways
			})
			p.r = r
			p.start()
			proxy := "PROXY " + p.l.Addr().String()
			r.web("ok.test", 443, echo)
			ask := "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"
			say("PROXY 127.0.0.1:1; " + proxy)
			if resp, body := r.https(w, "ok.test:443", ask); resp.StatusCode != 200 || len(p.saw()) != 1 {
				t.Fatalf("%d %s, the proxy saw %v", resp.StatusCode, body, p.saw())
			}
			r.mu.Lock()
			ok := r.names["ok.test"][0]
			r.mu.Unlock()
			if got := p.saw()[0]; got != fmt.Sprintf("CONNECT %s:443 ", ok) {
				t.Errorf("the proxy was asked for %q", got)
			}
			// An answer is kept.
			say("nonsense")
			if resp, _ := r.https(w, "ok.test:443", ask); resp.StatusCode != 200 || n != 1 {
				t.Errorf("%d, the script was asked %d times", resp.StatusCode, n)
			}
		})
	}
	for answer, status := range map[string]int{"DIRECT": 200, "": 502, "SOCKS4 127.0.0.1:1": 502, "PROXY 127.0.0.1:1": 502, "PROXY 127.0.0.1:1; DIRECT": 200} {
		t.Run(answer, func(t *testing.T) {
			r := newRig(t, basePolicy, func(_ *rig, c *Config) {
				ways, err := parent.New(parent.Config{Find: func(context.Context, string, string) (string, error) { return answer, nil }})
				if err != nil {
					t.Fatal(err)
				}
				c.Parent = ways
			})
			r.web("ok.test", 443, echo)
			if resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"); resp.StatusCode != status {
				t.Errorf("%d %s, want %d", resp.StatusCode, body, status)
			}
		})
	}
}

// TestScriptAndAddresses: an address that the rule does not let be dialled ends the
// connection, whatever ways there are.
func TestScriptAndAddresses(t *testing.T) {
	p := newProxyHost(t)
	r := newRig(t, basePolicy, func(_ *rig, c *Config) {
		ways, err := parent.New(parent.Config{Find: func(context.Context, string, string) (string, error) {
			return "DIRECT; PROXY " + p.l.Addr().String(), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.Parent = ways
	})
	p.r = r
	p.start()
	r.web("ok.test", 443, echo)
	r.mu.Lock()
	r.names["ok.test"] = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	r.mu.Unlock()
	resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	wantDenial(t, resp, body, 403, codeAddress)
	if saw := p.saw(); len(saw) != 0 || r.dialed() != 0 {
		t.Errorf("the proxy saw %v, %d went straight", saw, r.dialed())
	}
}
