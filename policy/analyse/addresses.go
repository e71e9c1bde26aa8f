package analyse

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/creel-run/creel/netname"
)

// addresses compares the addresses that a host may resolve to, where both sides
// allow the connection.
func (a *analysis) addresses(c *cell, who *caller, index int, x, y *state) ([]Class, []Unknown) {
	var out []Class
	var unknown []Unknown
	for _, p := range c.places {
		at := p
		port := at.ports[0]
		if port == anyPort {
			port = freePort(at)
		}
		for _, more := range []bool{true, false} {
			from, to := x.dest, y.dest
			was, is := Denied, Allowed
			if !more {
				from, to = to, from
				was, is = is, was
			}
			addr, found, exact := newlyDialled(from, to, at.host.witness, port)
			if !exact {
				unknown = append(unknown, Unknown{What: "the addresses that " + at.host.witness.String() + " may have"})
			}
			if !found {
				continue
			}
			one := Class{
				Traffic: Connection, Was: was, Is: is, Address: true, Hosts: a.describeHosts([]*hostClass{at.host}), Ports: at.ports,
				Callers: c.who.describe([]int{index}), Witness: c.witness(at, who, Connection, nil),
			}
			one.Policies = c.policies(portGroup{at.ports, []*hostClass{at.host}}, []int{index})
			one.Witness.Address = addr.String()
			out = append(out, one)
		}
	}
	return out, unknown
}

// maxSearch bounds the networks that one search for an address looks at.
const maxSearch = 1 << 14

// newlyDialled finds an address that to permits and from does not. exact is
// false if the search was given up.
func newlyDialled(from, to netname.Destination, host netname.Host, port uint16) (addr netip.Addr, found, exact bool) {
	permits := func(d netname.Destination, a netip.Addr) bool { return d.Check(host, port, []netip.Addr{a}) == nil }
	hit := func(a netip.Addr) bool { return permits(to, a) && !permits(from, a) }
	if host.IsAddr() {
		return host.Addr(), hit(host.Addr()), true
	}
	// Ports of control planes are reached by the default rule alone.
	public := []netip.Addr{netip.AddrFrom4([4]byte{1, 1, 1, 1})}
	control := netname.Destination{Mode: netname.DeclaredHost}.Check(host, port, public) != nil
	switch {
	case from.Mode == to.Mode && from.Mode != netname.AllowedIPs:
		return netip.Addr{}, false, true
	case netname.IsMetadataHost(host), control && to.Mode != netname.DefaultMode:
		return netip.Addr{}, false, true
	case control && from.Mode != netname.DefaultMode:
		return public[0], hit(public[0]), true
	}
	var queue []netip.Prefix
	switch to.Mode {
	case netname.AllowedIPs:
		queue = slices.Clone(to.Allowed)
	case netname.LiteralIP:
		return netip.Addr{}, false, true
	case netname.DefaultMode, netname.DeclaredHost:
		queue = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
	}
	slices.SortFunc(queue, func(x, y netip.Prefix) int { return x.Bits() - y.Bits() })
	for n := 0; n < len(queue); n++ {
		if n > maxSearch {
			return netip.Addr{}, false, false
		}
		p := queue[n].Masked()
		if covered(p, from, to) {
			continue
		}
		first, last := p.Addr(), lastAddr(p)
		for _, a := range []netip.Addr{last, first, last.Prev(), first.Next()} {
			if p.Contains(a) && hit(a) {
				return a, true, true
			}
		}
		if !p.IsSingleIP() {
			low := netip.PrefixFrom(first, p.Bits()+1)
			queue = append(queue, low, netip.PrefixFrom(lastAddr(low).Next(), p.Bits()+1))
		}
	}
	return netip.Addr{}, false, true
}

// covered: no address of a network can be permitted by to alone.
func covered(p netip.Prefix, from, to netname.Destination) bool {
	inside := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) })
	}
	overlaps := func(list []netip.Prefix) bool { return slices.ContainsFunc(list, p.Overlaps) }
	switch {
	case inside(neverDialled()):
		return true
	case to.Mode == netname.AllowedIPs && !overlaps(to.Allowed), to.Mode == netname.DefaultMode && inside(neverPublic()):
		return true
	}
	switch from.Mode {
	case netname.AllowedIPs:
		return inside(from.Allowed)
	case netname.DeclaredHost:
		return true // from permits whatever is dialled at all
	case netname.DefaultMode:
		return netname.ClassifyPrefix(p) == netname.Public
	case netname.LiteralIP:
	}
	return false
}

// neverDialled are networks of which no address is dialled whatever a policy
// says, neverPublic those that hold no public address: only to end a search
// early, so that what is missing here costs time alone.
var neverDialled = sync.OnceValue(func() []netip.Prefix {
	return parsePrefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/5", "248.0.0.0/6", "252.0.0.0/7", "254.0.0.0/8",
		"::/127", "fe80::/10", "ff00::/8", netname.SyntheticV4.String(), netname.SyntheticV6.String())
})

var neverPublic = sync.OnceValue(func() []netip.Prefix {
	return parsePrefixes("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "255.0.0.0/8", "fc00::/6", "8000::/1", "4000::/2", "2001:db8::/32")
})

func parsePrefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
