package egress

import (
	"slices"
	"sync"
	"time"

	"github.com/creel-run/creel/policy"
)

// maxAlarm bounds how long the clock is trusted to go on as it does: it may be
// set, and a machine may sleep.
const maxAlarm = time.Minute

// present is what the policy judges: the facts of the connection, the time, and
// what was used. Callers hold mu.
func (c *conn) present() policy.Connection {
	p := c.facts
	p.Now, p.Uses, p.Holds = c.s.conf.Now(), c.s.conf.Uses, c.held
	return p
}

// present is that of the connection, with what the request was counted in.
// Callers hold mu of the connection.
func (x *exchange) present() policy.Connection {
	p := x.c.present()
	if len(x.holding) > 0 {
		p.Holds = append(slices.Clip(x.c.held), x.holding...)
	}
	return p
}

// count judges a request in every method that it may turn into, and counts it
// where a rule has a number of uses. Callers hold mu of the connection.
func (x *exchange) count(asked []policy.Request) policy.Decision {
	engine := x.c.s.conf.Engine()
	for {
		d, denied := judgeAll(engine, asked)
		if denied != nil || x.take(engine, asked) {
			return d
		}
		// Somebody else took the last one: another rule may allow the same.
		for i := range asked {
			asked[i].Connection = x.present()
		}
	}
}

// take counts what was allowed, and reports whether all of it could be.
func (x *exchange) take(engine *policy.Engine, asked []policy.Request) bool {
	for i := range asked {
		d := engine.Request(asked[i])
		if d.Uses == nil || slices.Contains(x.c.held, d.Uses) || slices.Contains(x.holding, d.Uses) {
			continue
		}
		if !x.c.s.conf.Uses.Take(d.Uses) {
			return false
		}
		x.holding = append(x.holding, d.Uses)
	}
	return true
}

// unasked makes the denial that an ask is as long as nobody can be asked.
func unasked(d *policy.Decision) {
	if d.Verdict == policy.Ask {
		d.Reason += ": an operator would have to be asked, and approvals are not built yet"
	}
	d.Verdict = policy.Deny
}

// alarm judges a connection again when a rule that it rests on ends.
type alarm struct {
	timer *time.Timer
	wait  sync.WaitGroup
	off   bool
}

// arm sets the alarm; a zero time sets none. Callers hold mu.
func (c *conn) arm(at time.Time) {
	a := &c.alarm
	if a.timer != nil && a.timer.Stop() {
		a.wait.Done()
	}
	a.timer = nil
	if at.IsZero() || a.off || c.isCut || c.mode == modeDenied {
		return
	}
	a.wait.Add(1)
	a.timer = time.AfterFunc(min(max(at.Sub(c.s.conf.Now()), 0)+time.Millisecond, maxAlarm), func() {
		defer a.wait.Done()
		c.recheck(ruleEnded)
	})
}

// disarm ends the alarm and waits for one that rings.
func (c *conn) disarm() {
	c.mu.Lock()
	c.alarm.off = true
	if c.alarm.timer != nil && c.alarm.timer.Stop() {
		c.alarm.wait.Done()
	}
	c.alarm.timer = nil
	c.mu.Unlock()
	c.alarm.wait.Wait()
}
