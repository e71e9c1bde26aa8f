package egress

import (
	"bufio"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func TestRuleThatEndsClosesItsConnections(t *testing.T) {
	end := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	now := &clock{at: end.Add(-100 * time.Millisecond)}
	text := strings.Replace(basePolicy, "{host: raw.test, ports: [443, 5432]}", "{host: raw.test, ports: [443, 5432], expires_at: 2030-01-01T12:00:00Z}", 1)
	r := newRig(t, text, func(_ *rig, c *Config) { c.Now = now.now })
	r.raw("raw.test", 5432, chat)
	c, _ := r.open(viaRedirect, "raw.test:5432")
	in := bufio.NewReader(c)
	alive(t, c, in)
	now.set(end)
	if line, err := in.ReadString('\n'); err == nil {
		t.Errorf("the connection outlives its rule: %q", line)
	}
	r.event("cut", func(ev audit.Event) bool {
		return ev.Kind == audit.Connect && ev.Verdict == "deny" && strings.Contains(ev.Reason, "time of a rule is over") && strings.Contains(ev.Reason, "until 2030-01-01T12:00:00Z")
	})
	c, _ = r.open(viaRedirect, "raw.test:5432")
	if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
		t.Errorf("a rule that ended takes a connection: %q", line)
	}
}

func TestMaxUsesCountsConnectionsAndRequests(t *testing.T) {
	text := strings.NewReplacer(
		"{host: raw.test, ports: [443, 5432]}", "{host: raw.test, ports: [443, 5432], max_uses: 1}",
		"protocol: rest\n", "protocol: rest\n        max_uses: 2\n").Replace(basePolicy)
	r := newRig(t, text)
	r.raw("raw.test", 5432, chat)
	r.web("ok.test", 443, echo)
	c, _ := r.open(viaRedirect, "raw.test:5432")
	in := bufio.NewReader(c)
	alive(t, c, in)
	if line, err := bufio.NewReader(second(r.open(viaRedirect, "raw.test:5432"))).ReadString('\n'); err == nil {
		t.Errorf("a second use: %q", line)
	}
	r.event("denied", func(ev audit.Event) bool {
		return ev.Kind == audit.Connect && ev.Verdict == "deny" && strings.Contains(ev.Reason, "allowed 1 uses, and they are used up")
	})

	web, _ := r.open(viaRedirect, "ok.test:443")
	tc, err := r.startTLS(web, "ok.test")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if resp, body := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n"); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	// A reload counts neither again, nor from the beginning.
	r.swap(text + "  other:\n    endpoints: [{host: no.test, port: 443}]\n    binaries: any\n")
	alive(t, c, in)
	if web, _ = r.open(viaRedirect, "ok.test:443"); web == nil {
		t.Fatal("no connection")
	}
	if tc, err = r.startTLS(web, "ok.test"); err != nil {
		t.Fatal(err)
	}
	resp, body := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	wantDenial(t, resp, body, 403, codePolicy)
	if !strings.Contains(string(body), "used up") {
		t.Errorf("%s", body)
	}
}

func second[A, B any](a A, _ B) A { return a }

// A query that names another method uses up that method's rule as well.
func TestMaxUsesOfAnotherMethod(t *testing.T) {
	const text = `version: 2
network_policies:
  read:
    endpoints: [{host: ok.test, port: 80, protocol: rest, access: read-only}]
    binaries: any
  write:
    endpoints:
      - {host: ok.test, port: 80, protocol: rest, rules: [{allow: {method: POST, path: "/**"}}], max_uses: 1}
    binaries: any
`
	r := newRig(t, text)
	r.web("ok.test", 80, func(w http.ResponseWriter, _ *http.Request) {})
	c, _ := r.open(viaRedirect, "ok.test:80")
	const ask = "GET /a?_method=POST HTTP/1.1\r\nHost: ok.test\r\n\r\n"
	if resp, body := talk(t, c, "GET", ask); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	resp, body := talk(t, c, "GET", ask)
	wantDenial(t, resp, body, 403, codePolicy)
	if !strings.Contains(string(body), "used up") {
		t.Errorf("%s", body)
	}
}

func TestAskIsADenialThatSaysSo(t *testing.T) {
	text := "version: 2\nunmatched: ask\n" + strings.TrimPrefix(basePolicy, "version: 2\n")
	r := newRig(t, text)
	r.web("ok.test", 80, echo)
	c, _ := r.open(viaRedirect, "no.test:80")
	resp, body := talk(t, c, "GET", "GET /a HTTP/1.1\r\nHost: no.test\r\n\r\n")
	wantDenial(t, resp, body, 403, codePolicy)
	c, _ = r.open(viaRedirect, "ok.test:80")
	resp, body2 := talk(t, c, "GET", "DELETE /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	wantDenial(t, resp, body2, 403, codePolicy)
	const want = "an operator would have to be asked, and approvals are not built yet"
	for _, b := range [][]byte{[]byte(body), []byte(body2)} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s", b)
		}
	}
	r.event("denied", func(ev audit.Event) bool {
		return ev.Kind == audit.Request && ev.Verdict == policy.Deny.String() && strings.Contains(ev.Reason, want)
	})
}
