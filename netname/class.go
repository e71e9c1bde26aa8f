package netname

import (
	"net/netip"
	"sync"
)

// Class says how freely an address may be dialled. The zero value blocks.
type Class uint8

const (
	AlwaysBlocked Class = iota // never, whatever a policy says
	Internal                   // only with an explicit permission
	Public
)

func (c Class) String() string {
	switch c {
	case Public:
		return "public"
	case Internal:
		return "internal"
	case AlwaysBlocked:
	}
	return "always blocked"
}

// platform is a metadata or platform service of a cloud inside space that is
// otherwise internal or public. A network that holds it is blocked too if it
// is no wider than within: wider networks (a whole RFC 1918-like range) may be
// permitted, and Destination.Check still refuses the address itself.
type platform struct {
	net    netip.Prefix
	within int
}

type ranges struct {
	blocked4, internal4          []netip.Prefix
	blocked6, internal6, public6 []netip.Prefix
	platforms                    []platform
	metadata                     []netip.Addr // inside link-local space

	mapped, nat64, nat64Local, compatible, siit, sixToFour, teredo netip.Prefix
}

// Sources: IANA IPv4 and IPv6 special-purpose address registries, IANA IPv6
// global unicast assignments, and the documentation of the clouds named.
var table = sync.OnceValue(func() *ranges {
	list := func(s ...string) []netip.Prefix {
		out := make([]netip.Prefix, len(s))
		for i, t := range s {
			out[i] = netip.MustParsePrefix(t)
		}
		return out
	}
	one := netip.MustParsePrefix
	return &ranges{
		// 240.0.0.0/4 is cut so that its last address, the limited broadcast, is
		// internal: it cannot be dialled with TCP, and version 1 calls it that.
		blocked4: append(list("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4",
			"240.0.0.0/5", "248.0.0.0/6", "252.0.0.0/7", "254.0.0.0/8", "255.0.0.0/9", "255.128.0.0/10",
			"255.192.0.0/11", "255.224.0.0/12", "255.240.0.0/13", "255.248.0.0/14", "255.252.0.0/15",
			"255.254.0.0/16", "255.255.0.0/17", "255.255.128.0/18", "255.255.192.0/19", "255.255.224.0/20",
			"255.255.240.0/21", "255.255.248.0/22", "255.255.252.0/23", "255.255.254.0/24", "255.255.255.0/25",
			"255.255.255.128/26", "255.255.255.192/27", "255.255.255.224/28", "255.255.255.240/29",
			"255.255.255.248/30", "255.255.255.252/31", "255.255.255.254/32"), SyntheticV4),
		internal4: list("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
			"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
			"255.255.255.255/32"),
		blocked6: append(list("::/128", "::1/128", "fe80::/10", "ff00::/8"), SyntheticV6),
		// Inside the public ranges below: IETF protocol assignments, documentation.
		internal6: list("2001::/23", "2001:db8::/32"),
		// Only what IANA gave to registries: unknown space is not public.
		public6: list("2001::/16", "2003::/16", "2400::/6", "2800::/6", "2c00::/8"),
		platforms: []platform{
			{one("168.63.129.16/32"), 24},   // Azure wire server
			{one("100.100.100.200/32"), 24}, // Alibaba metadata
			{one("192.0.0.192/32"), 25},     // Oracle classic metadata
			{one("fd00:ec2::/32"), 32},      // AWS services over IPv6
			{one("fd20:ce::/32"), 32},       // Google metadata over IPv6
			{one("fd00:c1::/32"), 32},       // Oracle metadata over IPv6
			{one("fd00:42::42/128"), 64},    // Scaleway metadata over IPv6
		},
		metadata: []netip.Addr{
			netip.MustParseAddr("169.254.169.254"), // nearly every cloud
			netip.MustParseAddr("169.254.170.2"),   // AWS ECS credentials
			netip.MustParseAddr("169.254.170.23"),  // AWS EKS pod identity
			netip.MustParseAddr("fe80::a9fe:a9fe"), // OpenStack over IPv6
		},
		mapped:     one("::ffff:0:0/96"),
		nat64:      one("64:ff9b::/96"),
		nat64Local: one("64:ff9b:1::/48"),
		compatible: one("::/96"),
		siit:       one("::ffff:0:0:0/96"),
		sixToFour:  one("2002::/16"),
		teredo:     one("2001::/32"),
	}
})

// Classify puts an address into its class; unknown space is not public, an
// IPv4 address inside an IPv6 one counts like the IPv4 address itself, and an
// invalid address is blocked.
func Classify(a netip.Addr) Class {
	if !a.IsValid() || a.Zone() != "" {
		return AlwaysBlocked
	}
	return ClassifyPrefix(netip.PrefixFrom(a, a.BitLen()))
}

// ClassifyPrefix is the strictest class of the addresses in a network, except
// for single platform addresses inside a much wider one (see platform).
func ClassifyPrefix(p netip.Prefix) Class {
	if !p.IsValid() {
		return AlwaysBlocked
	}
	p = unmapPrefix(p)
	t := table()
	for _, s := range t.platforms {
		if p.Bits() >= s.within && p.Overlaps(s.net) {
			return AlwaysBlocked
		}
	}
	if p.Addr().Is4() {
		switch {
		case overlapsAny(p, t.blocked4):
			return AlwaysBlocked
		case overlapsAny(p, t.internal4):
			return Internal
		}
		return Public
	}
	return t.classify6(p)
}

func (t *ranges) classify6(p netip.Prefix) Class {
	if overlapsAny(p, t.blocked6) {
		return AlwaysBlocked
	}
	for _, e := range []netip.Prefix{t.mapped, t.nat64, t.nat64Local, t.compatible, t.siit, t.sixToFour, t.teredo} {
		if e.Overlaps(p) && p.Bits() <= e.Bits() {
			return AlwaysBlocked // all of IPv4, loopback included
		}
	}
	b := p.Addr().As16()
	in := func(e netip.Prefix) bool { return e.Contains(p.Addr()) }
	switch {
	case in(t.nat64):
		return ClassifyPrefix(embedded(b[12:], p.Bits()-96))
	case in(t.compatible), in(t.siit):
		return min(Internal, ClassifyPrefix(embedded(b[12:], p.Bits()-96)))
	case in(t.sixToFour):
		return ClassifyPrefix(embedded(b[2:], min(32, p.Bits()-16)))
	case in(t.teredo), in(t.nat64Local):
		return t.classifyTunnel(p, b)
	}
	class := Internal
	for _, e := range t.public6 {
		if p.Bits() >= e.Bits() && e.Contains(p.Addr()) && !overlapsAny(p, t.internal6) {
			class = Public
		}
	}
	// ISATAP (RFC 5214 §6.1): the interface identifier holds an IPv4 address.
	if p.IsSingleIP() && b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		class = min(class, ClassifyPrefix(embedded(b[12:], 32)))
	}
	return class
}

// classifyTunnel handles forms whose IPv4 address is scattered or inverted: a
// network of them is refused as a whole.
func (t *ranges) classifyTunnel(p netip.Prefix, b [16]byte) Class {
	if !p.IsSingleIP() {
		return AlwaysBlocked
	}
	if t.teredo.Contains(p.Addr()) { // RFC 4380 §4: server, flags, port, inverted client
		client := []byte{^b[12], ^b[13], ^b[14], ^b[15]}
		return min(ClassifyPrefix(embedded(b[4:], 32)), ClassifyPrefix(embedded(client, 32)))
	}
	// RFC 6052 §2.2 with prefixes of 48, 56, 64 and 96 bits, since any of them
	// may be in use below 64:ff9b:1::/48; it is never global (RFC 8215).
	return min(Internal,
		ClassifyPrefix(embedded([]byte{b[6], b[7], b[9], b[10]}, 32)),
		ClassifyPrefix(embedded([]byte{b[7], b[9], b[10], b[11]}, 32)),
		ClassifyPrefix(embedded(b[9:], 32)),
		ClassifyPrefix(embedded(b[12:], 32)))
}

func embedded(b []byte, bits int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(b[:4])), bits)
}

// unmapPrefix turns a network of mapped addresses into its IPv4 form.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	p = p.Masked()
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

func overlapsAny(p netip.Prefix, list []netip.Prefix) bool {
	for _, e := range list {
		if e.Overlaps(p) {
			return true
		}
	}
	return false
}
