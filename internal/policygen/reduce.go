package policygen

import (
	"slices"

	"github.com/creel-run/creel/policy"
)

// Reduce takes out of a document whatever can go while still holds: networks,
// endpoints, rules, programs, conditions. What is left says best what a failed
// property is about. The document itself is not changed, and what is left was
// not parsed.
func Reduce(doc *policy.Document, still func(*policy.Document) bool) *policy.Document {
	best := *doc
	for again := true; again; {
		again = false
		try := func(change func(*policy.Document)) {
			next := clone(&best)
			change(next)
			if still(next) {
				best, again = *next, true
			}
		}
		for n := len(best.Networks) - 1; n >= 0; n-- {
			if len(best.Networks) > 1 {
				try(func(d *policy.Document) { d.Networks = slices.Delete(d.Networks, n, n+1) })
			}
		}
		for n := range best.Networks {
			for b := len(best.Networks[n].Binaries) - 1; b > 0; b-- {
				try(func(d *policy.Document) { d.Networks[n].Binaries = slices.Delete(d.Networks[n].Binaries, b, b+1) })
			}
			for e := len(best.Networks[n].Endpoints) - 1; e >= 0; e-- {
				if len(best.Networks[n].Endpoints) > 1 {
					try(func(d *policy.Document) { d.Networks[n].Endpoints = slices.Delete(d.Networks[n].Endpoints, e, e+1) })
				}
			}
			for e := range best.Networks[n].Endpoints {
				at := func(d *policy.Document) *policy.Endpoint { return &d.Networks[n].Endpoints[e] }
				for r := len(at(&best).Allow) - 1; r >= 0; r-- {
					try(func(d *policy.Document) { at(d).Allow = slices.Delete(at(d).Allow, r, r+1) })
				}
				for r := len(at(&best).Deny) - 1; r >= 0; r-- {
					try(func(d *policy.Document) { at(d).Deny = slices.Delete(at(d).Deny, r, r+1) })
				}
				for r := range at(&best).Allow {
					if len(at(&best).Allow[r].Query) > 0 {
						try(func(d *policy.Document) { at(d).Allow[r].Query = nil })
					}
				}
				for r := range at(&best).Deny {
					if len(at(&best).Deny[r].Query) > 0 {
						try(func(d *policy.Document) { at(d).Deny[r].Query = nil })
					}
				}
			}
		}
	}
	return &best
}

func clone(doc *policy.Document) *policy.Document {
	c := *doc
	c.Networks = slices.Clone(doc.Networks)
	for i := range c.Networks {
		n := &c.Networks[i]
		n.Binaries = slices.Clone(n.Binaries)
		n.Endpoints = slices.Clone(n.Endpoints)
		for j := range n.Endpoints {
			n.Endpoints[j].Allow = slices.Clone(n.Endpoints[j].Allow)
			n.Endpoints[j].Deny = slices.Clone(n.Endpoints[j].Deny)
		}
	}
	return &c
}
