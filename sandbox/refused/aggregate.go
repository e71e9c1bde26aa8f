package refused

import "time"

const (
	// quiet is the least time between two reports of one destination. Programs
	// that get no answer over UDP retry for a while.
	quiet = 10 * time.Second

	// maxDestinations bounds what is held: a scan of ports must not grow it.
	maxDestinations = 512

	// burst and refill bound the reports of different destinations: so many at
	// once, then one per refill.
	burst  = 50
	refill = time.Second
)

// aggregate reports a destination at once when it is new, and counts after that.
type aggregate struct {
	report func(Packet)
	held   map[key]*tally
	missed uint64
	tokens int
	filled time.Time
}

type tally struct {
	count    uint64
	reported time.Time // zero: never
}

func newAggregate(report func(Packet), now time.Time) *aggregate {
	return &aggregate{report: report, held: make(map[key]*tally), tokens: burst, filled: now}
}

// add counts a packet.
func (a *aggregate) add(k key, now time.Time) {
	t := a.held[k]
	if t == nil {
		if len(a.held) >= maxDestinations {
			a.flush(now)
		}
		if len(a.held) >= maxDestinations {
			a.missed++
			return
		}
		t = &tally{}
		a.held[k] = t
	}
	t.count++
	if t.due(now) && a.take(now) {
		a.send(k, t, now)
	}
}

// flush reports what is due, and forgets destinations that were quiet.
func (a *aggregate) flush(now time.Time) {
	for k, t := range a.held {
		switch {
		case !t.due(now):
		case t.count == 0:
			delete(a.held, k)
		case a.take(now):
			a.send(k, t, now)
		}
	}
}

// finish reports all that is left: at most maxDestinations.
func (a *aggregate) finish(now time.Time) {
	for k, t := range a.held {
		if t.count > 0 {
			a.send(k, t, now)
		}
	}
}

// pending reports whether flush will have something to report one day.
func (a *aggregate) pending() bool {
	for _, t := range a.held {
		if t.count > 0 {
			return true
		}
	}
	return false
}

func (t *tally) due(now time.Time) bool {
	return t.reported.IsZero() || now.Sub(t.reported) >= quiet
}

func (a *aggregate) take(now time.Time) bool {
	if n := now.Sub(a.filled) / refill; n > 0 {
		a.tokens = int(min(burst, time.Duration(a.tokens)+n))
		a.filled = now
	}
	if a.tokens == 0 {
		return false
	}
	a.tokens--
	return true
}

func (a *aggregate) send(k key, t *tally, now time.Time) {
	p := k.packet()
	p.Count, p.Missed = t.count, a.missed
	t.count, t.reported, a.missed = 0, now, 0
	a.report(p)
}
