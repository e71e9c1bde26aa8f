package audit

import (
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := NewLimiter(3, time.Second)
	passed := 0
	for range 10 {
		if held, ok := l.Take(now); ok {
			passed++
			if held != 0 {
				t.Errorf("%d held back before the first refusal", held)
			}
		}
	}
	if passed != 3 {
		t.Fatalf("%d events passed, want the burst of 3", passed)
	}
	if _, ok := l.Take(now.Add(999 * time.Millisecond)); ok {
		t.Error("passed before its time")
	}
	if held, ok := l.Take(now.Add(time.Second)); !ok || held != 8 {
		t.Errorf("after an interval: %v with %d held back, want 8", ok, held)
	}
	if _, ok := l.Take(now); ok {
		t.Error("a clock that goes back gives tokens")
	}
	passed = 0
	for range 10 {
		if _, ok := l.Take(now.Add(time.Hour)); ok {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d events after a long pause, want the burst", passed)
	}
	if _, ok := new(Limiter).Take(now); ok {
		t.Error("the zero Limiter lets pass")
	}
}
