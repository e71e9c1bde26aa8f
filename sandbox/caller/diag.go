package caller

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// The messages of an exact sock_diag query, by hand: linux/inet_diag.h and
// linux/netlink.h. Headers are in host order, ports and addresses in network order.
const (
	nlmsgHeader  = 16 // struct nlmsghdr
	diagSockID   = 48 // struct inet_diag_sockid
	diagRequest  = 8 + diagSockID
	diagResponse = 4 + diagSockID + 20 // struct inet_diag_msg

	nlmsgError       = 2  // NLMSG_ERROR
	nlmRequest       = 1  // NLM_F_REQUEST
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	familyInet       = 2
	familyInet6      = 10
	protocolTCP      = 6
)

var errNoSocket = errors.New("no such socket")

// appendQuery asks for the one TCP socket whose own address is local and whose
// peer is remote, both of one family. The kernel looks it up in its hash; the
// IPv4 query finds IPv6 sockets with mapped addresses as well.
func appendQuery(b []byte, seq uint32, local, remote netip.AddrPort) []byte {
	ne := binary.NativeEndian
	b = ne.AppendUint32(b, nlmsgHeader+diagRequest)
	b = ne.AppendUint16(b, sockDiagByFamily)
	b = ne.AppendUint16(b, nlmRequest)
	b = ne.AppendUint32(b, seq)
	b = ne.AppendUint32(b, 0)
	family := byte(familyInet6)
	if local.Addr().Is4() {
		family = familyInet
	}
	b = append(b, family, protocolTCP, 0, 0)
	b = ne.AppendUint32(b, ^uint32(0)) // all states
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, a := range []netip.Addr{local.Addr(), remote.Addr()} {
		var field [16]byte
		copy(field[:], a.AsSlice())
		b = append(b, field[:]...)
	}
	b = ne.AppendUint32(b, 0)          // interface
	b = ne.AppendUint32(b, ^uint32(0)) // INET_DIAG_NOCOOKIE
	return ne.AppendUint32(b, ^uint32(0))
}

// parseAnswer reads one message. again means that it belongs to another query.
// The kernel falls back to listeners, so the socket must be compared.
func parseAnswer(b []byte, seq uint32, local, remote netip.AddrPort) (cookie uint64, again bool, err error) {
	ne := binary.NativeEndian
	if len(b) < nlmsgHeader || int(ne.Uint32(b)) > len(b) || ne.Uint32(b) < nlmsgHeader {
		return 0, false, errors.New("short message")
	}
	if ne.Uint32(b[8:]) != seq {
		return 0, true, nil
	}
	kind, body := ne.Uint16(b[4:]), b[nlmsgHeader:ne.Uint32(b)]
	if kind == nlmsgError {
		return 0, false, errNoSocket
	}
	if kind != sockDiagByFamily || len(body) < diagResponse {
		return 0, false, errors.New("unexpected message")
	}
	id := body[4:]
	size := 16
	if body[0] == familyInet {
		size = 4
	}
	end := func(port, addr int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(id[addr : addr+size])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(id[port:]))
	}
	if end(0, 4) != local || end(2, 20) != remote {
		return 0, false, errNoSocket
	}
	return uint64(ne.Uint32(id[40:])) | uint64(ne.Uint32(id[44:]))<<32, false, nil
}
