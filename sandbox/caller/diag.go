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

	unixRequest  = 24 // struct unix_diag_req
	unixResponse = 16 // struct unix_diag_msg

	nlmsgError       = 2     // NLMSG_ERROR
	nlmsgDone        = 3     // NLMSG_DONE
	nlmRequest       = 1     // NLM_F_REQUEST
	nlmDump          = 0x300 // NLM_F_DUMP
	sockDiagByFamily = 20    // SOCK_DIAG_BY_FAMILY
	familyUnix       = 1
	familyInet       = 2
	familyInet6      = 10
	protocolTCP      = 6
	stateListen      = 10 // TCP_LISTEN, for unix sockets as well
	showVFS          = 2  // UDIAG_SHOW_VFS
	attrVFS          = 1  // UNIX_DIAG_VFS
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

// appendUnixQuery asks for all unix sockets that listen, with the inode to which
// each is bound (linux/unix_diag.h).
func appendUnixQuery(b []byte, seq uint32) []byte {
	ne := binary.NativeEndian
	b = ne.AppendUint32(b, nlmsgHeader+unixRequest)
	b = ne.AppendUint16(b, sockDiagByFamily)
	b = ne.AppendUint16(b, nlmRequest|nlmDump)
	b = ne.AppendUint32(b, seq)
	b = ne.AppendUint32(b, 0)
	b = append(b, familyUnix, 0, 0, 0)
	b = ne.AppendUint32(b, 1<<stateListen)
	b = ne.AppendUint32(b, 0) // any inode
	b = ne.AppendUint32(b, showVFS)
	b = ne.AppendUint32(b, ^uint32(0)) // INET_DIAG_NOCOOKIE
	return ne.AppendUint32(b, ^uint32(0))
}

// findUnix looks for an inode in one datagram of the answer. The kernel gives 32
// bits of its number. done means that no further datagram comes.
func findUnix(b []byte, seq, dev, ino uint32) (found, done bool, err error) {
	ne := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < nlmsgHeader || int(ne.Uint32(b)) > len(b) || ne.Uint32(b) < nlmsgHeader {
			return false, false, errors.New("short message")
		}
		size := int(ne.Uint32(b))
		kind, body := ne.Uint16(b[4:]), b[nlmsgHeader:size]
		switch {
		case ne.Uint32(b[8:]) != seq: // an answer that nobody waited for
		case kind == nlmsgDone:
			return found, true, nil
		case kind == nlmsgError:
			return false, true, errors.New("the kernel lists no unix sockets (CONFIG_UNIX_DIAG)")
		case kind != sockDiagByFamily || len(body) < unixResponse:
			return false, false, errors.New("unexpected message")
		case boundTo(body[unixResponse:], dev, ino):
			found = true
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return found, false, nil
}

// boundTo looks through the attributes of one socket.
func boundTo(attrs []byte, dev, ino uint32) bool {
	ne := binary.NativeEndian
	for len(attrs) >= 4 {
		size := int(ne.Uint16(attrs))
		if size < 4 || size > len(attrs) {
			return false
		}
		if ne.Uint16(attrs[2:]) == attrVFS && size >= 12 {
			return ne.Uint32(attrs[4:]) == ino && ne.Uint32(attrs[8:]) == dev
		}
		attrs = attrs[min((size+3)&^3, len(attrs)):]
	}
	return false
}
