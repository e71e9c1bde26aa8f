package audit

import (
	"sync"
	"time"
)

// NotRecorded is the key in Detail of how many events of a kind that is bounded
// were held back before this one.
const NotRecorded = "not_recorded_before"

// Limiter bounds how many events are written where the agent decides how many
// there are: a token bucket that counts what it held back. It is safe for
// concurrent use. The zero Limiter lets nothing pass.
type Limiter struct {
	burst int           // events at once
	every time.Duration // one more

	mu     sync.Mutex
	tokens int
	last   time.Time
	held   uint64
}

// NewLimiter lets burst events pass at once, and one more every interval.
func NewLimiter(burst int, every time.Duration) *Limiter {
	return &Limiter{burst: burst, every: every, tokens: burst}
}

// Take reports whether an event may be written, and how many were not since
// the last one.
func (l *Limiter) Take(now time.Time) (held uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.IsZero() {
		l.last = now
	}
	if l.every > 0 {
		if n := now.Sub(l.last) / l.every; n > 0 {
			l.tokens = int(min(int64(l.burst), int64(l.tokens)+int64(n)))
			l.last = now
		}
	}
	if l.tokens <= 0 {
		l.held++
		return 0, false
	}
	l.tokens--
	held, l.held = l.held, 0
	return held, true
}
