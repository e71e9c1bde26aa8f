package egress

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

const (
	// equalBurst and equalEvery bound the events about equal denials: the first
	// tell an operator what there is to tell, the rest would only fill a disk.
	equalBurst = 30
	equalEvery = 10 * time.Second

	// denialBurst and denialEvery bound all of them together: names, reasons and
	// paths are the agent's choice. An event has half a KB, or 20 with a path
	// that is as long as it may be.
	denialBurst = 1000
	denialEvery = time.Second

	// maxKinds is how many kinds of denials are told apart, of about 200 bytes each.
	maxKinds = 1024
)

// denialKind is what makes denials equal.
type denialKind struct {
	host   string
	port   uint16
	binary string
	reason string
}

// denialLimit holds back events about denials beyond a rate. What it bounds is
// the record: the denial itself always stands. Verdicts that let something out
// never come here.
type denialLimit struct {
	all *audit.Limiter
	now func() time.Time

	mu    sync.Mutex
	kinds map[denialKind]*audit.Limiter
	held  uint64 // since the last event that was recorded
}

func newDenialLimit() *denialLimit {
	return &denialLimit{
		all: audit.NewLimiter(denialBurst, denialEvery), now: time.Now,
		kinds: make(map[denialKind]*audit.Limiter),
	}
}

// pass reports whether the event of a denial may be recorded.
func (l *denialLimit) pass(ev *audit.Event) bool {
	now := l.now()
	kind := denialKind{ev.Host, ev.Port, ev.Binary, ev.Reason}
	l.mu.Lock()
	defer l.mu.Unlock()
	one, ok := l.kinds[kind]
	if !ok {
		if len(l.kinds) >= maxKinds {
			clear(l.kinds) // the bound on all of them holds
		}
		one = audit.NewLimiter(equalBurst, equalEvery)
		l.kinds[kind] = one
	}
	if _, ok = one.Take(now); ok {
		_, ok = l.all.Take(now)
	}
	if !ok {
		l.held++
	}
	return ok
}

// take gives the number of events that were held back, to be recorded with the
// next one; give returns it if that failed.
func (l *denialLimit) take() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.held
	l.held = 0
	return n
}

func (l *denialLimit) give(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held += n
}

// record keeps events, all or none, or says that the action must not go on.
// Denials beyond a rate are counted only, and the next event of any kind says how
// many.
func (s *Server) record(events ...audit.Event) error {
	events = slices.DeleteFunc(events, func(ev audit.Event) bool {
		return ev.Verdict == policy.Deny.String() && !s.denials.pass(&ev)
	})
	if len(events) == 0 {
		return nil
	}
	held := s.denials.take()
	if held > 0 {
		ev := &events[0]
		ev.Detail = maps.Clone(ev.Detail) // it may be the caller's
		if ev.Detail == nil {
			ev.Detail = make(map[string]string, 1)
		}
		ev.Detail[audit.NotRecorded] = strconv.FormatUint(held, 10)
	}
	err := s.conf.Audit.Record(events...)
	if err != nil {
		s.denials.give(held)
		s.log.Error("record audit event", "error", err)
		if s.conf.OnAuditError != nil {
			s.conf.OnAuditError(err)
		}
	}
	return err
}

// recordHeld tells at the end of a sandbox what no later event could.
func (s *Server) recordHeld() {
	held := s.denials.take()
	if held == 0 {
		return
	}
	ev := audit.Event{
		Kind: audit.Connect, Verdict: policy.Deny.String(), Protocol: "tcp",
		Reason: "denials that were too many to be recorded one by one",
		Detail: map[string]string{audit.NotRecorded: strconv.FormatUint(held, 10)},
	}
	if err := s.conf.Audit.Record(ev); err != nil {
		s.log.Error("record audit event", "error", err)
	}
}
