package stage

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/creel-run/creel/sandbox/spec"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// configureLoopback brings lo up, gives it a global-scope address of each family
// (without one IPv4 has no source address) and makes every destination local.
// IPv4 gets a preferred source, else the source of a connection equals its destination.
func configureLoopback(n spec.Network) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open route socket: %w", err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	for _, a := range []string{n.V4, n.V6} {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return fmt.Errorf("parse sandbox address: %w", err)
		}
		ip := &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}
		if err := h.AddrAdd(lo, &netlink.Addr{IPNet: ip, Scope: unix.RT_SCOPE_UNIVERSE, Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	for _, r := range []struct{ dst, src string }{{"0.0.0.0/0", n.V4}, {"::/0", ""}} {
		_, dst, _ := net.ParseCIDR(r.dst)
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}
		if r.src != "" {
			route.Src = net.ParseIP(r.src)
		} else {
			route.Scope = unix.RT_SCOPE_UNIVERSE
		}
		if err := h.RouteAdd(route); err != nil {
			return fmt.Errorf("add local default route %s: %w", r.dst, err)
		}
	}
	return nil
}

// opened is a descriptor to hand over, with its name.
type opened struct {
	name string
	fd   int
}

// openListeners makes the sandbox's sockets. They bind loopback addresses, not
// wildcards: a UDP reply from a wildcard socket leaves from the wrong source.
func openListeners() (all []opened, err error) {
	loop4 := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	loop6 := &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	for _, l := range []struct {
		name string
		typ  int
		v6   bool
		port int
	}{
		{spec.FDRedirect4, unix.SOCK_STREAM, false, spec.RedirectPort},
		{spec.FDRedirect6, unix.SOCK_STREAM, true, spec.RedirectPort},
		{spec.FDProxy4, unix.SOCK_STREAM, false, spec.ProxyPort},
		{spec.FDProxy6, unix.SOCK_STREAM, true, spec.ProxyPort},
		{spec.FDDNSUDP4, unix.SOCK_DGRAM, false, spec.DNSPort},
		{spec.FDDNSUDP6, unix.SOCK_DGRAM, true, spec.DNSPort},
		{spec.FDDNSTCP4, unix.SOCK_STREAM, false, spec.DNSPort},
		{spec.FDDNSTCP6, unix.SOCK_STREAM, true, spec.DNSPort},
	} {
		family := unix.AF_INET
		if l.v6 {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, l.typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", l.name, err)
		}
		var sa unix.Sockaddr
		if l.v6 {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
				return nil, fmt.Errorf("open %s: %w", l.name, err)
			}
			loop6.Port = l.port
			sa = loop6
		} else {
			loop4.Port = l.port
			sa = loop4
		}
		if err := unix.Bind(fd, sa); err != nil {
			return nil, fmt.Errorf("bind %s: %w", l.name, err)
		}
		if l.typ == unix.SOCK_STREAM {
			// The kernel clamps the backlog to net.core.somaxconn.
			if err := unix.Listen(fd, 4096); err != nil {
				return nil, fmt.Errorf("listen %s: %w", l.name, err)
			}
		}
		all = append(all, opened{l.name, fd})
	}
	for _, n := range []struct {
		name  string
		proto int
	}{
		{spec.FDDiag, unix.NETLINK_SOCK_DIAG},
		{spec.FDRefused, unix.NETLINK_NETFILTER},
		{spec.FDNetfilter, unix.NETLINK_NETFILTER},
	} {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, n.proto)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", n.name, err)
		}
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("bind %s: %w", n.name, err)
		}
		all = append(all, opened{n.name, fd})
	}
	return all, nil
}
