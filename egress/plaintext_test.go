package egress

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// TestPlaintextOnTLSPort: nothing that is inspected goes to port 443 unencrypted,
// even for the right authority.
func TestPlaintextOnTLSPort(t *testing.T) {
	route := &fakeRoute{host: "model.test"}
	r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Inference = func() Inference { return route } })
	r.web("ok.test", 443, echo)
	check := func(c net.Conn, raw string) {
		t.Helper()
		resp, body := talk(t, c, "GET", raw)
		if d := wantDenial(t, resp, body, 403, codeProtocol); !strings.Contains(d.Reason, "use https") {
			t.Errorf("denial %+v", d)
		}
	}
	for _, w := range bothWays {
		for _, host := range []string{"ok.test", "model.test"} {
			c, _ := r.open(w, host+":443")
			check(c, "GET /public/a HTTP/1.1\r\nHost: "+host+":443\r\n\r\n")
			r.event("refused", func(ev audit.Event) bool {
				return ev.Verdict == "deny" && ev.Host == host && string(ev.Via) == string(w) && strings.Contains(ev.Reason, "use https")
			})
		}
	}
	c, err := net.Dial("tcp", r.proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	check(c, "GET http://ok.test:443/public/a HTTP/1.1\r\nHost: ok.test:443\r\n\r\n")
	if r.dialed() != 0 {
		t.Error("an upstream was dialled")
	}
}
