package netname

import (
	"errors"
	"net/netip"
)

// Host is a canonical DNS name (lower case ASCII, no trailing dot) or an IP
// address. The zero Host is invalid and equals no parsed Host.
type Host struct {
	name string
	addr netip.Addr
}

// ParseHost takes the text of a name or of an address (IPv6 without brackets).
func ParseHost(s string) (Host, error) { return Host{}, errors.New("not built") }

// HostFromAddr is the Host that stands for an address.
func HostFromAddr(a netip.Addr) Host { return Host{addr: a.Unmap()} }

func (h Host) IsZero() bool     { return h == Host{} }
func (h Host) IsAddr() bool     { return h.addr.IsValid() }
func (h Host) Addr() netip.Addr { return h.addr }
func (h Host) String() string {
	if h.IsAddr() {
		return h.addr.String()
	}
	return h.name
}

// Pattern is a validated host pattern of a policy endpoint.
type Pattern struct{ text string }

// ParsePattern checks the shape of an endpoint's host.
func ParsePattern(s string) (Pattern, error) { return Pattern{}, errors.New("not built") }

func (p Pattern) Match(h Host) bool { return false }
func (p Pattern) String() string    { return p.text }

// Literal reports whether the pattern stands for exactly one host.
func (p Pattern) Literal() bool { return false }

// Class says how freely an address may be dialled. The zero value blocks.
type Class uint8

const (
	AlwaysBlocked Class = iota // never, whatever a policy says
	Internal                   // only with an explicit permission
	Public
)

// Classify puts an address into its class; unknown space is not public.
func Classify(a netip.Addr) Class { return AlwaysBlocked }

// ParseAllowed reads an allowed_ips list.
func ParseAllowed(list []string) ([]netip.Prefix, error) { return nil, errors.New("not built") }

// Destination is the address rule that a policy attaches to an allowed
// connection. The zero value permits public addresses only.
type Destination struct {
	Mode    DestinationMode
	Allowed []netip.Prefix // with AllowedIPs: every address must be inside
}

// DestinationMode names how the endpoint was written (openshell-v1.md §2.4).
type DestinationMode uint8

const (
	DefaultMode  DestinationMode = iota // wildcard or hostless: public addresses only
	DeclaredHost                        // exact host name: internal addresses too, see policy version
	AllowedIPs                          // exactly the listed ranges
	LiteralIP                           // the host is this address
)

// Check returns nil if every address (all answers of the resolver) may be
// dialled for the host and port, else an *AddressError.
func (d Destination) Check(h Host, port uint16, addrs []netip.Addr) error {
	return &AddressError{Host: h, Reason: "not built"}
}

// AddressError says which address was refused and why.
type AddressError struct {
	Host   Host
	Addr   netip.Addr
	Class  Class
	Reason string
}

func (e *AddressError) Error() string {
	return "address " + e.Addr.String() + " of " + e.Host.String() + ": " + e.Reason
}
