package netname

import "net/netip"

// The synthetic ranges: addresses that stand for names inside a sandbox
// (design.md §4). They are public unicast space, because agents refuse to
// connect to special-use ranges; 29.193.0.0/16 lies in space that its holder
// does not announce, 2d0c:cee1::/64 in space that IANA has not allocated.
// Nothing in them is ever dialled, and a policy that names them is an error.
var (
	SyntheticV4 = netip.MustParsePrefix("29.193.0.0/16")
	SyntheticV6 = netip.MustParsePrefix("2d0c:cee1::/64")

	// The sandbox's own addresses on lo and its name server, the first of each range.
	SandboxV4    = netip.MustParseAddr("29.193.0.1")
	SandboxV6    = netip.MustParseAddr("2d0c:cee1::1")
	NameServerV4 = netip.MustParseAddr("29.193.0.2")
)

// Synthetic reports whether an address stands for a name inside a sandbox.
func Synthetic(a netip.Addr) bool {
	a = a.Unmap()
	return SyntheticV4.Contains(a) || SyntheticV6.Contains(a)
}
