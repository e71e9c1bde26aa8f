package netname

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxAllowed bounds one allowed_ips list; every connection walks it.
const maxAllowed = 256

// ParseAllowed reads an allowed_ips list: addresses and networks in strict
// text form, no space, no zone. What is always blocked, wholly or in part, is
// an error here, when the policy is loaded, and so are the synthetic ranges.
func ParseAllowed(list []string) ([]netip.Prefix, error) {
	if len(list) > maxAllowed {
		return nil, fmt.Errorf("parse allowed_ips: more than %d entries", maxAllowed)
	}
	out := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		var p netip.Prefix
		if strings.IndexByte(s, '/') >= 0 {
			q, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, fmt.Errorf("parse allowed_ips %q: not an address or network", clip(s))
			}
			p = unmapPrefix(q)
		} else {
			a, err := netip.ParseAddr(s)
			if err != nil || a.Zone() != "" {
				return nil, fmt.Errorf("parse allowed_ips %q: not an address or network", clip(s))
			}
			a = a.Unmap()
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if ClassifyPrefix(p) == AlwaysBlocked {
			return nil, fmt.Errorf("parse allowed_ips %q: holds addresses that are always blocked "+
				"(loopback, link-local, metadata, multicast, reserved or synthetic)", clip(s))
		}
		out = append(out, p)
	}
	return out, nil
}

// Destination is the address rule that a policy attaches to an allowed
// connection. The zero value permits public addresses only.
type Destination struct {
	Mode    DestinationMode
	Allowed []netip.Prefix // with AllowedIPs: every address must be inside
	// Fixed are the addresses that the policy gives the host, which is then not
	// looked up; nil: it gives none. Mode holds for them as for any answer.
	Fixed []netip.Addr
}

// DestinationMode names how the endpoint was written (openshell-v1.md §2.4).
type DestinationMode uint8

const (
	DefaultMode  DestinationMode = iota // wildcard or hostless: public addresses only
	DeclaredHost                        // exact host name: internal addresses too, see policy version
	AllowedIPs                          // exactly the listed ranges
	LiteralIP                           // the host is this address
)

// Reasons of an AddressError.
const (
	ReasonNoHost       = "no host"
	ReasonNoAddress    = "no address"
	ReasonMetadataHost = "is a cloud metadata service"
	ReasonBlocked      = "is always blocked"
	ReasonInternal     = "is an internal address"
	ReasonNotHost      = "is not the address that was asked for"
	ReasonOutside      = "is outside allowed_ips"
	ReasonControlPlane = "has a control-plane port"
	ReasonMode         = "has no valid address rule"
	ReasonFixed        = "is given by the policy, so no proxy resolves it"
	ReasonNotFixed     = "is not one that the policy gives the host"
	ReasonUnseen       = "is resolved by a proxy, so allowed_ips cannot be checked"
)

// controlPlanePort reports the ports of etcd, the Kubernetes API and kubelets.
// Modes that may reach internal addresses never reach these.
func controlPlanePort(port uint16) bool {
	switch port {
	case 2379, 2380, 6443, 10250, 10255:
		return true
	}
	return false
}

// Check returns nil if every address (all answers of the resolver) may be
// dialled for the host and port, else an *AddressError. One refused address
// refuses the connection: which one is dialled is not the caller's choice.
func (d Destination) Check(h Host, port uint16, addrs []netip.Addr) error {
	fail := func(a netip.Addr, reason string) error {
		return &AddressError{Host: h, Addr: a, Class: Classify(a), Reason: reason}
	}
	switch {
	case h.IsZero():
		return fail(netip.Addr{}, ReasonNoHost)
	case len(addrs) == 0:
		return fail(netip.Addr{}, ReasonNoAddress)
	case IsMetadataHost(h):
		return fail(addrs[0], ReasonMetadataHost)
	case d.Mode != DefaultMode && controlPlanePort(port):
		return fail(addrs[0], ReasonControlPlane)
	}
	for _, a := range addrs {
		if a.Zone() != "" {
			return fail(a, ReasonBlocked)
		}
		a = a.Unmap()
		class := Classify(a)
		switch {
		case class == AlwaysBlocked:
			return fail(a, ReasonBlocked)
		case h.IsAddr() && a != h.addr:
			return fail(a, ReasonNotHost)
		case d.Fixed != nil && !slices.Contains(d.Fixed, a):
			return fail(a, ReasonNotFixed)
		}
		switch d.Mode {
		case DefaultMode:
			if class != Public {
				return fail(a, ReasonInternal)
			}
		case DeclaredHost:
			if h.IsAddr() && class != Public {
				return fail(a, ReasonInternal)
			}
		case LiteralIP:
			if !h.IsAddr() {
				return fail(a, ReasonMode)
			}
		case AllowedIPs:
			if !containsAddr(d.Allowed, a) {
				return fail(a, ReasonOutside)
			}
		default:
			return fail(a, ReasonMode)
		}
	}
	return nil
}

// CheckName is Check where a proxy resolves the name, so that no address is ever
// seen: what can be said without one is. Public and internal addresses are not
// told apart then, which the operator has accepted.
func (d Destination) CheckName(h Host, port uint16) error {
	if h.IsAddr() {
		return d.Check(h, port, []netip.Addr{h.addr})
	}
	fail := func(reason string) error { return &AddressError{Host: h, Reason: reason} }
	switch {
	case h.IsZero():
		return fail(ReasonNoHost)
	case IsMetadataHost(h):
		return fail(ReasonMetadataHost)
	case h.name == "localhost" || strings.HasSuffix(h.name, ".localhost"):
		return fail(ReasonBlocked) // it would be the proxy's own
	case d.Mode != DefaultMode && controlPlanePort(port):
		return fail(ReasonControlPlane)
	case d.Fixed != nil:
		return fail(ReasonFixed)
	}
	switch d.Mode {
	case DefaultMode, DeclaredHost:
		return nil
	case AllowedIPs:
		return fail(ReasonUnseen)
	}
	return fail(ReasonMode)
}

func containsAddr(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// AddressError says which address was refused and why.
type AddressError struct {
	Host   Host
	Addr   netip.Addr
	Class  Class
	Reason string
}

func (e *AddressError) Error() string {
	host := e.Host.String()
	if host == "" {
		host = "no host"
	}
	if !e.Addr.IsValid() {
		return "address of " + host + ": " + e.Reason
	}
	return "address " + e.Addr.String() + " of " + host + ": " + e.Reason
}
