package egress

import (
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/middleware"
)

// passUnseen records, for a host that middlewares take, that nobody looks at what
// passes there. It reports whether the connection may go on.
func (c *conn) passUnseen(why string) bool {
	looks := c.s.chain().For(c.facts.Host)
	if looks == nil {
		return true
	}
	r := looks.Opaque(why)
	return recordReports(c.s, r, func() audit.Event { return c.event(audit.Middleware) }) == nil && r.Action == middleware.Pass
}

// mayPassUnseen reports whether the connection, which does not speak HTTP, is
// inspected for the sake of middlewares alone that let pass what they cannot look
// at. It is relayed from then on.
func (c *conn) mayPassUnseen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode != modeInspect || c.isCut {
		return false
	}
	c.opaque = true
	if _, m := c.verdict(); m != modeRelay {
		c.opaque = false
		return false
	}
	c.mode = modeRelay
	return true
}

// relayUnseen relays it.
func (c *conn) relayUnseen() {
	if !c.passUnseen("what the client sends is not HTTP") {
		c.explain(auditDenial)
		return
	}
	c.mu.Lock()
	d := c.decision
	c.mu.Unlock()
	c.relay(d)
}
