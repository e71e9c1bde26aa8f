package stage

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// exchange sends messages over a netlink socket and awaits one answer, which
// must be an acknowledgement (struct nlmsgerr: the error follows the header).
func (b *batch) exchange(fd *int32, messages []byte) {
	answer := make([]byte, 4096)
	binary.NativeEndian.PutUint32(answer[unix.SizeofNlMsghdr:], ^uint32(unix.EPROTO)+1)
	b.add(unix.SYS_SENDTO, fd, messages, len(messages))
	b.add(unix.SYS_RECVFROM, fd, answer, len(answer)).retry = true
	b.add(callCheck, unsafe.Pointer(&answer[unix.SizeofNlMsghdr]))
}

// loopback brings lo up, gives it a global-scope address of each family (without
// one IPv4 has no source address) and makes every destination local. IPv4 gets a
// preferred source, else the source of a connection equals its destination.
func (b *batch) loopback(v4, v6 netip.Addr) {
	const (
		lo     = 1 // the first device of every network namespace
		create = unix.NLM_F_REQUEST | unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL
	)
	b.step("configure network", "")
	fd := b.get(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	for _, a := range []netip.Addr{v4, v6} {
		b.step("add address", a.String())
		m := begin(nil, unix.RTM_NEWADDR, create, []byte{family(a), byte(a.BitLen()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE, lo, 0, 0, 0})
		binary.NativeEndian.PutUint32(m[unix.SizeofNlMsghdr+4:], lo)
		m = m.attr(unix.IFA_LOCAL, a.AsSlice()).attr(unix.IFA_ADDRESS, a.AsSlice())
		b.exchange(fd, m.end(0))
	}
	b.step("set up", "lo")
	link := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(link[4:], lo)
	binary.NativeEndian.PutUint32(link[8:], unix.IFF_UP)
	binary.NativeEndian.PutUint32(link[12:], unix.IFF_UP)
	b.exchange(fd, begin(nil, unix.RTM_NEWLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, link).end(0))
	for _, a := range []netip.Addr{v4, v6} {
		b.step("make every address local", "")
		scope := byte(unix.RT_SCOPE_UNIVERSE)
		if a.Is4() {
			scope = unix.RT_SCOPE_HOST
		}
		m := begin(nil, unix.RTM_NEWROUTE, create, []byte{family(a), 0, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, scope, unix.RTN_LOCAL, 0, 0, 0, 0})
		m = m.u32(unix.RTA_OIF, lo)
		if a.Is4() {
			m = m.attr(unix.RTA_PREFSRC, a.AsSlice())
		}
		b.exchange(fd, m.end(0))
	}
	b.close(fd)
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// firewall loads the rules.
func (b *batch) firewall(v4, v6 netip.Addr) {
	b.step("load nftables rules", "")
	fd := b.get(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	b.exchange(fd, rules(v4, v6))
	b.close(fd)
}

// opened is a descriptor to hand over, with its name.
type opened struct {
	name string
	fd   *int32
}

// listeners makes the sandbox's sockets. They bind loopback addresses, not
// wildcards: a UDP reply from a wildcard socket leaves from the wrong source.
func (b *batch) listeners() []opened {
	var all []opened
	for _, l := range []struct {
		name string
		typ  int
		v6   bool
		port uint16
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
		b.step("open listener", l.name)
		af, loop := unix.AF_INET, netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if l.v6 {
			af, loop = unix.AF_INET6, netip.IPv6Loopback()
		}
		fd := b.get(unix.SYS_SOCKET, af, l.typ|unix.SOCK_CLOEXEC, 0)
		if l.v6 {
			b.add(unix.SYS_SETSOCKOPT, fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, []byte{1, 1, 1, 1}, 4)
		}
		address := socketAddress(loop, l.port)
		b.add(unix.SYS_BIND, fd, address, len(address))
		if l.typ == unix.SOCK_STREAM {
			b.add(unix.SYS_LISTEN, fd, 4096) // the kernel clamps it to net.core.somaxconn
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
		b.step("open netlink socket", n.name)
		fd := b.get(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, n.proto)
		address := make([]byte, unix.SizeofSockaddrNetlink)
		binary.NativeEndian.PutUint16(address, unix.AF_NETLINK)
		b.add(unix.SYS_BIND, fd, address, len(address))
		all = append(all, opened{n.name, fd})
	}
	return all
}

// socketAddress is a struct sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)).
func socketAddress(a netip.Addr, port uint16) []byte {
	s := binary.NativeEndian.AppendUint16(nil, uint16(family(a)))
	s = binary.BigEndian.AppendUint16(s, port)
	if a.Is4() {
		return append(append(s, a.AsSlice()...), make([]byte, 8)...)
	}
	s = append(s, 0, 0, 0, 0) // flow
	return append(append(s, a.AsSlice()...), 0, 0, 0, 0)
}
