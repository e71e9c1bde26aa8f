package egress

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
)

// TestGuarded: a guarded host is reached where requests are judged, and refused
// where a rule would let bytes through, over every way in.
func TestGuarded(t *testing.T) {
	const more = `  models:
    endpoints:
      - {host: model.test, port: 443}
      - {host: named.test, port: 443, tls: skip}
      - {host: "*.zone.test", port: 80}
    binaries: any
`
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			text := strings.Replace(basePolicy, "  named:\n    endpoints:\n      - {host: named.test, port: 443}\n    binaries: [{path: /usr/bin/curl}]\n", "", 1) + more
			r := newRig(t, strings.Replace(text, "ports: [80, 443]\n        protocol: rest", "ports: [443]\n        protocol: rest", 1), func(_ *rig, c *Config) {
				c.Guarded = func(h netname.Host) string {
					if name := h.String(); name == "raw.test" || name == "opaque.test" {
						return ""
					}
					return "a guarded host"
				}
			})
			r.web("ok.test", 443, echo)
			r.raw("raw.test", 5432, chat)
			if resp, body := r.https(w, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 {
				t.Errorf("inspected: %d %s", resp.StatusCode, body)
			}
			c, _ := r.open(w, "raw.test:5432")
			fmt.Fprint(c, "ping\n")
			if line := make([]byte, 5); func() bool { _, err := io.ReadFull(c, line); return err != nil }() {
				t.Error("a host that is not guarded is refused")
			}
			n := r.dialed()
			for _, to := range []string{"model.test:443", "named.test:443"} {
				host, _, _ := strings.Cut(to, ":")
				resp, body := r.https(w, to, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
				if d := wantDenial(t, resp, body, 403, codePolicy); d.Reason != "a guarded host" {
					t.Errorf("%s: %+v", to, d)
				}
				r.event(to, is(audit.Connect, "deny", host))
			}
			c, err := net.Dial("tcp", r.proxy)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			resp, body := talk(t, c, "GET", "GET http://m.zone.test/ HTTP/1.1\r\nHost: m.zone.test\r\n\r\n")
			if d := wantDenial(t, resp, body, 403, codePolicy); d.Reason != "a guarded host" {
				t.Errorf("absolute form: %+v", d)
			}
			if r.dialed() != n {
				t.Error("something was dialled")
			}
		})
	}
}
