package naive

import (
	"slices"
	"strings"
)

// Layers merges policies that extend each other, the top one first. It takes for
// granted that none loosens what is not open: what a lower one says replaces what
// stands above.
func Layers(layers ...Policy) Policy {
	merged := layers[0]
	merged.Networks = slices.Clone(merged.Networks)
	for i, low := range layers[1:] {
		if low.Unmatched != "" {
			merged.Unmatched = low.Unmatched
		}
		if low.Limit > 0 {
			merged.Limit = low.Limit
		}
		for _, n := range low.Networks {
			if Open(layers[:i+1], n.Key) {
				merged.Networks = slices.DeleteFunc(merged.Networks, func(u Network) bool { return u.Key == n.Key })
			}
			for j, u := range merged.Networks {
				if u.Key == n.Key {
					merged.Networks[j] = takenBack(u)
				}
			}
			merged.Networks = append(merged.Networks, n)
		}
	}
	return merged
}

// takenBack: the rules deny and grant nothing, and nobody is asked about them.
func takenBack(n Network) Network {
	n.Endpoints = slices.Clone(n.Endpoints)
	for i := range n.Endpoints {
		e := &n.Endpoints[i]
		e.TakenBack, e.Asks = true, false
		if e.Enforcement == "ask" {
			e.Enforcement = "enforce"
		}
	}
	return n
}

// Open reports whether a layer below all of these may loosen a network policy:
// the top one opens it, and none below that says what is open leaves it out.
func Open(above []Policy, key string) bool {
	for i, p := range above {
		if i > 0 && !p.HasOpen {
			continue
		}
		open := false
		for _, word := range p.Open {
			glob, inSection := strings.CutPrefix(word, "network_policies.")
			ok, err := Glob(glob, key, '.')
			open = open || word == "network_policies" || inSection && ok && err == nil
		}
		if !open {
			return false
		}
	}
	return true
}
