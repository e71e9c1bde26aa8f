package egress

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// quotas counts what limits of the policy bound. It outlives revisions: a set
// of limits is known by its key.
type quotas struct {
	now func() time.Time

	mu    sync.Mutex
	byKey map[string]*quota
}

type quota struct {
	conns             int64
	requests, out, in window
}

// window counts in one time after the other; the first begins with the first use.
type window struct {
	began time.Time
	n     int64
}

// left gives how much of a quantity is left at a time.
func (w *window) left(q policy.Quantity, now time.Time) int64 {
	if q.Per > 0 && (now.Sub(w.began) >= q.Per || now.Before(w.began)) {
		w.began, w.n = now, 0
	}
	return q.Count - w.n
}

// of gives the counts of a set of limits. Callers hold mu.
func (q *quotas) of(l *policy.Limited) *quota {
	have := q.byKey[l.Key]
	if have == nil {
		have = &quota{}
		q.byKey[l.Key] = have
	}
	return have
}

// open counts a connection in all of the sets, or in none and says why.
func (q *quotas) open(list []*policy.Limited) (*policy.Limited, string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	for _, l := range list {
		have := q.of(l)
		switch {
		case l.Limits.Connections > 0 && have.conns >= l.Limits.Connections:
			return l, fmt.Sprintf("limits.connections of %s: %d are open", l.Name, have.conns)
		case l.Limits.BytesOut.Count > 0 && have.out.left(l.Limits.BytesOut, now) <= 0:
			return l, reached("bytes_out", l, l.Limits.BytesOut)
		case l.Limits.BytesIn.Count > 0 && have.in.left(l.Limits.BytesIn, now) <= 0:
			return l, reached("bytes_in", l, l.Limits.BytesIn)
		}
	}
	for _, l := range list {
		q.of(l).conns++
	}
	return nil, ""
}

func reached(what string, l *policy.Limited, q policy.Quantity) string {
	return fmt.Sprintf("limits.%s of %s: %v are reached", what, l.Name, q)
}

// change moves the connections of one list to another.
func (q *quotas) change(from, to []*policy.Limited) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range to {
		q.of(l).conns++
	}
	for _, l := range from {
		q.of(l).conns--
	}
}

// request counts a request in all of the sets, or in none and says why.
func (q *quotas) request(list []*policy.Limited) (*policy.Limited, string) {
	if len(list) == 0 {
		return nil, ""
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	for _, l := range list {
		if r := l.Limits.Requests; r.Count > 0 && q.of(l).requests.left(r, now) <= 0 {
			return l, reached("requests", l, r)
		}
	}
	for _, l := range list {
		q.of(l).requests.n++
	}
	return nil, ""
}

// bytes counts bytes in all of the sets. Where they would go beyond one, none
// are counted, and the limit is given.
func (q *quotas) bytes(list []*policy.Limited, n int64, out bool) (*policy.Limited, string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	for _, l := range list {
		have, limit, what := &q.of(l).in, l.Limits.BytesIn, "bytes_in"
		if out {
			have, limit, what = &q.of(l).out, l.Limits.BytesOut, "bytes_out"
		}
		if limit.Count > 0 && have.left(limit, now) < n {
			return l, reached(what, l, limit)
		}
	}
	for _, l := range list {
		if out {
			q.of(l).out.n += n
		} else {
			q.of(l).in.n += n
		}
	}
	return nil, ""
}

// limitsOf are the sets of limits that the connection, or a request on it,
// falls under. Callers hold mu.
func (c *conn) limitsOf(path string) []*policy.Limited {
	var list []*policy.Limited
	c.s.conf.Engine().Limits(c.facts, path, func(l *policy.Limited) {
		if !slices.Contains(list, l) {
			list = append(list, l)
		}
	})
	return list
}

// openLimits counts a connection that was allowed, or denies it. Callers hold mu.
func (c *conn) openLimits() {
	if c.mode != modeRelay && c.mode != modeInspect {
		return
	}
	list := c.limitsOf("")
	if len(list) == 0 {
		return
	}
	if l, why := c.s.quotas.open(list); l != nil {
		c.limited, c.mode = true, modeDenied
		c.decision = policy.ConnectDecision{Decision: policy.Decision{Rule: l.Rule, Reason: why}}
		return
	}
	c.limits = list
}

// renewLimits counts the connection under what is in force now. Callers hold mu.
func (c *conn) renewLimits() {
	if c.mode != modeRelay && c.mode != modeInspect {
		return
	}
	list := c.limitsOf("")
	if len(list)+len(c.limits) > 0 {
		c.s.quotas.change(c.limits, list)
		c.limits = list
	}
}

func (c *conn) closeLimits() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.limits) > 0 {
		c.s.quotas.change(c.limits, nil)
		c.limits = nil
	}
}

// mustMeter reports whether a limit in force counts bytes. Callers hold mu.
func (c *conn) mustMeter() bool {
	return slices.ContainsFunc(c.limitsOf(""), countsBytes)
}

func countsBytes(l *policy.Limited) bool {
	return l.Limits.BytesOut.Count > 0 || l.Limits.BytesIn.Count > 0
}

func (c *conn) codeOfDenial() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limited {
		return codeLimit
	}
	return codePolicy
}

// meter has the bytes of the agent counted from here on, if a limit bounds them.
// Where none does, the kernel may go on moving them by itself.
func (c *conn) meter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.limits, countsBytes) {
		c.metered = true
		c.client = &metered{Conn: c.client, c: c}
	}
}

// metered counts the bytes of an agent's connection before they go on. Those
// that a limit does not let through never do: the connection is cut.
type metered struct {
	net.Conn
	c *conn
}

var errLimit = errors.New("a limit of the policy is reached")

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if n > 0 && !m.c.spend(int64(n), true) {
		return 0, errLimit
	}
	return n, err
}

func (m *metered) Write(p []byte) (int, error) {
	if !m.c.spend(int64(len(p)), false) {
		return 0, errLimit
	}
	return m.Conn.Write(p)
}

func (m *metered) CloseWrite() error { return closeWrite(m.Conn) }
func (m *metered) NetConn() net.Conn { return m.Conn }

// spend counts bytes, and cuts the connection that may not have them.
func (c *conn) spend(n int64, out bool) bool {
	c.mu.Lock()
	list, gone := c.limits, c.isCut
	c.mu.Unlock()
	if gone {
		return false
	}
	l, why := c.s.quotas.bytes(list, n, out)
	if l == nil {
		return true
	}
	c.mu.Lock()
	first := !c.limited
	c.limited = true
	c.mu.Unlock()
	if first {
		ev := c.event(audit.Connect)
		ev.Verdict, ev.Reason = policy.Deny.String(), why
		ev.Detail = map[string]string{"error": codeLimit, "layer": layerConnection}
		setRule(&ev, l.Rule)
		_ = c.s.record(ev) // it is cut either way
	}
	c.cut("a limit is reached", true)
	return false
}

// refusesType is the limit that does not take a response, or nil.
func (x *exchange) refusesType(resp *http.Response) *policy.Limited {
	if !hasContent(x.request.Method, resp) || resp.ContentLength == 0 {
		return nil
	}
	x.c.mu.Lock()
	list := x.c.limitsOf(x.request.Target.Path)
	x.c.mu.Unlock()
	for _, l := range list {
		if !l.Limits.AcceptsType(resp.Header["Content-Type"]) {
			return l
		}
	}
	return nil
}
