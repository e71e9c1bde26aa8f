package egress

import (
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

func deny(host, reason string) audit.Event {
	return audit.Event{Kind: audit.Connect, Verdict: policy.Deny.String(), Host: host, Port: 443, Binary: "/bin/a", Reason: reason}
}

// bare is a Server that records and does nothing else.
func bare(now *time.Time) (*Server, *book) {
	b := &book{wake: make(chan struct{})}
	s := &Server{conf: Config{Audit: b}, denials: newDenialLimit(), log: slog.New(slog.DiscardHandler)}
	s.denials.now = func() time.Time { return *now }
	return s, b
}

func TestEqualDenialsAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	s, b := bare(&now)
	for range 10 * equalBurst {
		if err := s.record(deny("no.test", "r")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.events); n != equalBurst {
		t.Fatalf("%d events of %d equal denials, want %d", n, 10*equalBurst, equalBurst)
	}
	// What is allowed is recorded always, and says what is missing before it.
	allowed := audit.Event{Kind: audit.Connect, Verdict: policy.Allow.String(), Host: "no.test", Port: 443, Binary: "/bin/a", Reason: "r",
		Detail: map[string]string{"a": "b"}}
	for range 3 * equalBurst {
		_ = s.record(allowed)
	}
	if n := len(b.events); n != 4*equalBurst {
		t.Fatalf("%d events, want all %d that were allowed", n-equalBurst, 3*equalBurst)
	}
	if d := b.events[equalBurst].Detail; d[audit.NotRecorded] != strconv.Itoa(9*equalBurst) || d["a"] != "b" || len(allowed.Detail) != 1 {
		t.Errorf("detail %v, of the caller %v", d, allowed.Detail)
	}
	if d := b.events[equalBurst+1].Detail; d[audit.NotRecorded] != "" {
		t.Errorf("told twice: %v", d)
	}
	// Others are not held back by it; nor is a failure to record forgotten.
	_ = s.record(deny("no.test", "r"))
	b.refuse = func(audit.Event) bool { return true }
	if err := s.record(deny("other.test", "r")); err == nil {
		t.Error("an event that was not kept gave no error")
	}
	b.refuse = nil
	now = now.Add(equalEvery)
	_ = s.record(deny("no.test", "r"))
	if ev := b.events[len(b.events)-1]; ev.Host != "no.test" || ev.Detail[audit.NotRecorded] != "1" {
		t.Errorf("after an interval: %+v", ev)
	}
}

func TestAllDenialsAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	s, b := bare(&now)
	const asked = 20 * denialBurst
	for i := range asked {
		_ = s.record(deny(fmt.Sprintf("h%d.test", i), "r"))
	}
	if n := len(b.events); n != denialBurst {
		t.Fatalf("%d events, want %d", n, denialBurst)
	}
	if n := len(s.denials.kinds); n > maxKinds {
		t.Errorf("%d kinds are remembered", n)
	}
	s.recordHeld()
	s.recordHeld()
	if n := len(b.events); n != denialBurst+1 || b.events[n-1].Detail[audit.NotRecorded] != strconv.Itoa(asked-denialBurst) {
		t.Errorf("at the end: %d events, %+v", n, b.events[n-1])
	}
}

// TestDeniedConnectionsAreBounded: every connection is refused, whether an event
// is written or not.
func TestDeniedConnectionsAreBounded(t *testing.T) {
	r := newRig(t, basePolicy)
	const asked = equalBurst + 20
	for range asked {
		resp, body := r.https(viaConnect, "no.test:443", "")
		wantDenial(t, resp, body, 403, codePolicy)
	}
	r.book.mu.Lock()
	n := len(r.book.events)
	r.book.mu.Unlock()
	if n < equalBurst || n >= asked {
		t.Errorf("%d events for %d denials", n, asked)
	}
	for range asked {
		resp, body := r.https(viaRedirect, "ok.test:443", "PUT /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0\r\n\r\n")
		wantDenial(t, resp, body, 403, codePolicy)
	}
	requests := 0
	r.book.mu.Lock()
	for _, ev := range r.book.events {
		if ev.Kind == audit.Request {
			requests++
		}
	}
	r.book.mu.Unlock()
	if requests < equalBurst || requests >= asked || r.dialed() != 0 {
		t.Errorf("%d events for %d denied requests, %d dialled", requests, asked, r.dialed())
	}
	r.event("held back", func(ev audit.Event) bool { return ev.Detail[audit.NotRecorded] != "" })
}

// TestHeldBackDenialStands: with an audit that fails, what is not written is
// denied as well.
func TestHeldBackDenialStands(t *testing.T) {
	now := time.Unix(1e9, 0)
	s, b := bare(&now)
	b.refuse = func(audit.Event) bool { return true }
	failures := 0
	for range 2 * equalBurst {
		if err := s.record(deny("no.test", "r")); err != nil {
			failures++
		}
	}
	if failures != equalBurst || len(b.events) != 0 {
		t.Errorf("%d failures, %d events", failures, len(b.events))
	}
	if err := s.record(audit.Event{Kind: audit.Connect, Verdict: policy.Allow.String()}); err == nil {
		t.Error("an allow that was not kept gave no error")
	}
}
