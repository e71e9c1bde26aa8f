package policy

import (
	"slices"
	"strconv"
	"sync"
	"time"
)

// lapse is what ends the grants of an endpoint: a time, a number of uses, or a
// lower layer that withdrew it. Deny rules, inspection and an enforcement that
// refuses stay: what ends can only take away, never open.
type lapse struct {
	expires   time.Time // zero: never
	counters  *Counters // nil: not counted
	expired   string    // reasons
	withdrawn string    // not empty: a layer below took the grant back
}

// lapsed says why the endpoint grants nothing now, or "". Without a time no
// rule that ends is alive, and without a count none that is counted.
func (ep *endpoint) lapsed(c *Connection) string {
	l := ep.lapse
	switch {
	case l == nil:
		return ""
	case l.withdrawn != "":
		return l.withdrawn
	case !l.expires.IsZero() && (c.Now.IsZero() || !c.Now.Before(l.expires)):
		return l.expired
	case l.counters != nil:
		return c.Uses.spent(l.counters, c.Holds)
	}
	return ""
}

// counters is what an allowed use of the endpoint is counted in.
func (ep *endpoint) counters() *Counters {
	if ep.lapse == nil {
		return nil
	}
	return ep.lapse.counters
}

// until is when the endpoint lapses by itself; zero: never.
func (ep *endpoint) until() time.Time {
	if ep.lapse == nil {
		return time.Time{}
	}
	return ep.lapse.expires
}

// newLapse is nil for an endpoint that never lapses.
func newLapse(n *Network, e *Endpoint) *lapse {
	l := lapse{expires: n.Expires}
	if l.expires.IsZero() || !e.Expires.IsZero() && e.Expires.Before(l.expires) {
		l.expires = e.Expires
	}
	if !l.expires.IsZero() {
		l.expired = "network policy " + show(n.Key) + " allowed this until " + l.expires.Format(time.RFC3339) + ", and that is over"
	}
	var list []counter
	if n.MaxUses > 0 {
		list = append(list, newCounter(n.Key, n.Key, n.MaxUses))
	}
	if e.MaxUses > 0 {
		list = append(list, newCounter(n.Key, ruleKey(n, e), e.MaxUses))
	}
	if len(list) > 0 {
		l.counters = &Counters{list: list}
	}
	if e.Withdrawn {
		l.withdrawn = "network policy " + show(n.Key) + " allowed this, and a layer below does so no longer"
	}
	if l.expires.IsZero() && l.counters == nil && l.withdrawn == "" {
		return nil
	}
	return &l
}

// ruleKey names an endpoint by what it is about, so that its counts outlive a
// new order of the list and every other change of the document.
func ruleKey(n *Network, e *Endpoint) string {
	return n.Key + "\x00" + e.Host + "\x00" + portList(e.Ports) + "\x00" + string(e.Protocol) + "\x00" + e.Path
}

// Counters are the counts that one use of a rule goes into: of its network
// policy, of its endpoint, or of both.
type Counters struct{ list []counter }

// same: a use goes into the same counts, with the same bounds.
func (c *Counters) same(other *Counters) bool {
	return c == other || other != nil && slices.EqualFunc(c.list, other.list, func(a, b counter) bool { return a.key == b.key && a.max == b.max })
}

type counter struct {
	key   string
	max   int64
	spent string // the reason
}

func newCounter(policy, key string, most int64) counter {
	return counter{key: key, max: most, spent: "network policy " + show(policy) + " allowed " + strconv.FormatInt(most, 10) + " uses, and they are used up"}
}

// Uses counts what rules with max_uses allowed: requests where they are
// judged, connections elsewhere. It lives beside the engine and outlives it: a
// rule is known by its name and by the host, ports, protocol and path of its
// endpoint. The nil Uses is used up. It is safe for concurrent use.
type Uses struct {
	mu    sync.Mutex
	taken map[string]int64
}

// Take counts one use in all of the counters, or in none, and reports whether
// there was one left. Who takes none asks the engine again: another rule may
// allow the same.
func (u *Uses) Take(c *Counters) bool {
	if c == nil {
		return true
	}
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range c.list {
		if u.taken[c.list[i].key] >= c.list[i].max {
			return false
		}
	}
	if u.taken == nil {
		u.taken = make(map[string]int64)
	}
	for i := range c.list {
		u.taken[c.list[i].key]++
	}
	return true
}

// spent is the reason of the counter that is used up, or "". What is held was
// counted already.
func (u *Uses) spent(c *Counters, held []*Counters) string {
	for i := range c.list {
		one := &c.list[i]
		if holds(held, one.key) {
			continue
		}
		if u == nil {
			return one.spent
		}
		u.mu.Lock()
		n := u.taken[one.key]
		u.mu.Unlock()
		if n >= one.max {
			return one.spent
		}
	}
	return ""
}

func holds(held []*Counters, key string) bool {
	for _, h := range held {
		for i := range h.list {
			if h.list[i].key == key {
				return true
			}
		}
	}
	return false
}

// Ended warns of rules whose time is over: Parse has no clock.
func (doc *Document) Ended(now time.Time) Warnings {
	var list Warnings
	over := func(t time.Time, at Position, path string) bool {
		if t.IsZero() || now.Before(t) {
			return false
		}
		list = append(list, Warning{At: at, Path: path + ".expires_at", Kind: NeverFires,
			Text: "the time " + t.Format(time.RFC3339) + " is over, so this allows nothing any more", Hint: "remove the rule, or give it another time"})
		return true
	}
	for i := range doc.Networks {
		n := &doc.Networks[i]
		path := pathKey("network_policies", n.Key)
		if over(n.Expires, n.At, path) {
			continue
		}
		for j := range n.Endpoints {
			if e := &n.Endpoints[j]; !e.Withdrawn {
				over(e.Expires, e.At, pathIndex(path+".endpoints", j))
			}
		}
	}
	return sortWarnings(list)
}
