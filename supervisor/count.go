package supervisor

import (
	"sync/atomic"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// counter keeps the numbers that `creel ls` shows.
type counter struct{ allowed, denied, rerouted, opened, closed atomic.Uint64 }

func (c *counter) add(e audit.Event) {
	switch e.Kind {
	case audit.Close:
		c.closed.Add(1)
		return
	case audit.Connect, audit.Request, audit.Inference, audit.Refused, audit.DNS:
	default:
		return
	}
	switch e.Verdict {
	case policy.Allow.String():
		if !e.Inspected { // its requests follow
			c.allowed.Add(1)
		}
		if e.Kind == audit.Connect {
			c.opened.Add(1)
		}
	case policy.Reroute.String():
		if e.Kind == audit.Connect {
			c.opened.Add(1) // its requests follow
		} else {
			c.rerouted.Add(1)
		}
	case policy.Deny.String():
		c.denied.Add(1)
	}
}

func (c *counter) counts() api.Counts {
	n := api.Counts{Allowed: c.allowed.Load(), Denied: c.denied.Load(), Rerouted: c.rerouted.Load()}
	if open, closed := c.opened.Load(), c.closed.Load(); open > closed {
		n.Open = open - closed
	}
	return n
}
