package egress

import (
	"bufio"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
)

// TestFaultWhileJudgedAgain: what breaks down while live connections are judged
// again closes the connection that it is about, and is told; the others are judged,
// and the process goes on.
func TestFaultWhileJudgedAgain(t *testing.T) {
	end := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	now := &clock{at: end.Add(-time.Hour)}
	var broken atomic.Bool
	text := strings.Replace(basePolicy, "{host: raw.test, ports: [443, 5432]}", "{host: raw.test, ports: [443, 5432], expires_at: 2030-01-01T12:00:00Z}", 1)
	r := newRig(t, text, func(_ *rig, c *Config) {
		c.Now = now.now
		c.Guarded = func(h netname.Host) string {
			if h.String() == "raw.test" && broken.Load() {
				panic("what a policy says")
			}
			return ""
		}
	})
	r.raw("raw.test", 5432, chat)
	r.raw("93.184.216.99", 443, chat)
	gone := func(cause string, in *bufio.Reader) {
		t.Helper()
		if line, err := in.ReadString('\n'); err == nil {
			t.Errorf("%s: the connection lives: %q", cause, line)
		}
		r.event(cause, func(ev audit.Event) bool {
			return ev.Host == "raw.test" && ev.Verdict == "deny" && ev.Detail["error"] == codeInternal && strings.HasPrefix(ev.Reason, cause+": a fault of creel's own")
		})
	}

	c, _ := r.open(viaRedirect, "raw.test:5432")
	in := bufio.NewReader(c)
	alive(t, c, in)
	// Of other hosts, one is not allowed any more: it is cut all the same.
	other, _ := r.open(viaRedirect, "93.184.216.99:443")
	otherIn := bufio.NewReader(other)
	alive(t, other, otherIn)
	broken.Store(true)
	r.swap(strings.Replace(text, "host: 93.184.216.99", "host: 93.184.216.97", 1))
	gone(policyChanged, in)
	if _, err := otherIn.ReadByte(); err == nil {
		t.Error("what the new policy does not allow lives")
	}
	r.event("cut", func(ev audit.Event) bool { return ev.Host == "93.184.216.99" && ev.Verdict == "deny" })

	broken.Store(false)
	now.set(end.Add(-100 * time.Millisecond))
	c, _ = r.open(viaRedirect, "raw.test:5432")
	in = bufio.NewReader(c)
	alive(t, c, in)
	broken.Store(true) // the alarm rings by the time that passes
	gone(ruleEnded, in)
	broken.Store(false)
	now.set(end.Add(-time.Hour))
	c, _ = r.open(viaRedirect, "raw.test:5432")
	alive(t, c, bufio.NewReader(c))
}
