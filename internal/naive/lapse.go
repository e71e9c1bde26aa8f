package naive

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// ended: the rule grants nothing: its time is over or not known, its uses are used
// up or not known, or a layer below took it back.
func ended(r rule, q Question) bool {
	if r.e.TakenBack {
		return true
	}
	if t := ends(r); !t.IsZero() && (q.Now.IsZero() || !q.Now.Before(t)) {
		return true
	}
	most := map[string]int64{}
	if r.n.MaxUses > 0 {
		most[r.n.Key] = r.n.MaxUses
	}
	if r.e.MaxUses > 0 {
		most[place(r)] = r.e.MaxUses
	}
	for key, n := range most {
		if q.Used == nil || q.Used[key] >= n {
			return true
		}
	}
	return false
}

// ends is the earlier time of the network policy and the endpoint; zero: never.
func ends(r rule) time.Time {
	if r.n.Expires.IsZero() || !r.e.Expires.IsZero() && r.e.Expires.Before(r.n.Expires) {
		return r.e.Expires
	}
	return r.n.Expires
}

// counts are those that a use of a rule goes into.
func counts(r rule) []string {
	var list []string
	if r.n.MaxUses > 0 {
		list = append(list, r.n.Key)
	}
	if r.e.MaxUses > 0 {
		list = append(list, place(r))
	}
	return list
}

// place is what a rule is known by beside its name: host, ports, protocol, path.
func place(r rule) string {
	return fmt.Sprintf("%s: %s %v %s %s", r.n.Key, r.e.Host, r.e.Ports, r.e.Protocol, r.e.Path)
}

// addresses says to which addresses an endpoint lets its host resolve (§2.4).
func addresses(e Endpoint) string {
	_, err := netip.ParseAddr(e.Host)
	switch {
	case e.AllowedIPs:
		return "allowed_ips"
	case err == nil:
		return "literal"
	case !strings.Contains(e.Host, "*") && e.InternalAddresses:
		return "host"
	}
	return ""
}

// wider is the one that goes first of two (§2.4: plan precedence).
func wider(a, b string) string {
	order := map[string]int{"allowed_ips": 3, "literal": 2, "host": 1}
	if order[b] > order[a] {
		return b
	}
	return a
}

// standsForName: an address of the synthetic range (decision 0003).
func standsForName(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && (netip.MustParsePrefix("29.193.0.0/16").Contains(a.Unmap()) || netip.MustParsePrefix("2d0c:cee1::/64").Contains(a))
}

// neverDialled: loopback, link-local and metadata services, as far as the tests
// ask for them.
func neverDialled(host string) bool {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "metadata.google.internal"
	}
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified()
}
