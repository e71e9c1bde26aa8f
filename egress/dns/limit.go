package dns

import (
	"sync"
	"time"
)

const (
	// auditBurst and auditEvery bound the audit events about refused queries: a
	// program that asks for HTTPS records with each request must not fill a
	// disk, and the first refusals tell an operator what there is to tell.
	auditBurst = 50
	auditEvery = time.Second
)

// limiter is a token bucket that counts what it held back.
type limiter struct {
	mu      sync.Mutex
	tokens  int
	last    time.Time
	skipped uint64
}

// take reports whether an event may be written, and how many were not since
// the last one.
func (l *limiter) take(now time.Time) (skipped uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.IsZero() {
		l.tokens, l.last = auditBurst, now
	}
	if n := int(now.Sub(l.last) / auditEvery); n > 0 {
		l.tokens = min(auditBurst, l.tokens+n)
		l.last = now
	}
	if l.tokens == 0 {
		l.skipped++
		return 0, false
	}
	l.tokens--
	skipped, l.skipped = l.skipped, 0
	return skipped, true
}
