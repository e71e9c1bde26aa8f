package refused

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Packet is what was refused: one or more packets to one destination.
type Packet struct {
	Protocol string // tcp, udp, icmp, …, or "ip protocol N"
	Dst      netip.Addr
	Port     uint16 // 0 where the protocol has none, or the packet is a later fragment
	UID      int    // of the sender, as the sandbox numbers it; -1 if it is not known
	Count    uint64 // of equal packets since the last report, this one included

	// Missed counts packets to destinations that there was no room for, since the
	// last report of any.
	Missed uint64
}

// key says which packets are equal.
type key struct {
	protocol byte
	dst      netip.Addr
	port     uint16
	uid      int
}

func (k key) packet() Packet {
	return Packet{Protocol: protocolName(k.protocol), Dst: k.dst, Port: k.port, UID: k.uid}
}

// Numbers of the IANA protocol registry that a sandbox is likely to try.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoIGMP     = 2
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoESP      = 50
	protoAH       = 51
	protoICMPv6   = 58
	protoDestOpts = 60
	protoSCTP     = 132
	protoUDPLite  = 136
)

func protocolName(p byte) string {
	switch p {
	case protoICMP:
		return "icmp"
	case protoIGMP:
		return "igmp"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoESP:
		return "esp"
	case protoAH:
		return "ah"
	case protoICMPv6:
		return "icmpv6"
	case protoSCTP:
		return "sctp"
	case protoUDPLite:
		return "udplite"
	}
	return fmt.Sprintf("ip protocol %d", p)
}

// Messages of the log group (linux/netfilter/nfnetlink_log.h). Headers are in
// host order, netfilter's own fields in network order.
const (
	nlmsgHeader = 16 // struct nlmsghdr
	nfgenHeader = 4  // struct nfgenmsg
	attrHeader  = 4  // struct nlattr

	subsysLog     = 4              // NFNL_SUBSYS_ULOG
	messagePacket = subsysLog << 8 // NFULNL_MSG_PACKET = 0
	messageConfig = messagePacket | 1

	attrPayload = 9  // NFULA_PAYLOAD
	attrUID     = 11 // NFULA_UID
	attrTypes   = 0x3fff

	nlmsgError = 2 // NLMSG_ERROR

	// maxExtensions bounds the walk over IPv6 extension headers.
	maxExtensions = 8
)

var errShort = errors.New("short message")

// messages calls f with kind and body of each netlink message in b.
func messages(b []byte, f func(kind uint16, seq uint32, body []byte)) error {
	for len(b) > 0 {
		if len(b) < nlmsgHeader {
			return errShort
		}
		ne := binary.NativeEndian
		n := uint64(ne.Uint32(b))
		if n < nlmsgHeader || n > uint64(len(b)) {
			return errShort
		}
		f(ne.Uint16(b[4:]), ne.Uint32(b[8:]), b[nlmsgHeader:n])
		b = b[min(align(n), uint64(len(b))):]
	}
	return nil
}

func align(n uint64) uint64 { return (n + 3) &^ 3 }

// parseLogged reads the body of a packet message.
func parseLogged(b []byte) (key, error) {
	if len(b) < nfgenHeader {
		return key{}, errShort
	}
	uid := -1
	var payload []byte
	for b = b[nfgenHeader:]; len(b) >= attrHeader; {
		n := uint64(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > uint64(len(b)) {
			return key{}, errShort
		}
		value := b[attrHeader:n]
		switch binary.NativeEndian.Uint16(b[2:]) & attrTypes {
		case attrPayload:
			payload = value
		case attrUID:
			if len(value) == 4 {
				uid = int(binary.BigEndian.Uint32(value))
			}
		}
		b = b[min(align(n), uint64(len(b))):]
	}
	k, err := parseIP(payload)
	k.uid = uid
	return k, err
}

// parseIP reads destination, protocol and port of the beginning of a packet.
func parseIP(b []byte) (key, error) {
	if len(b) < 1 {
		return key{}, errShort
	}
	var k key
	later := false // a fragment, but not the first
	switch b[0] >> 4 {
	case 4:
		n := int(b[0]&0xf) * 4
		if n < 20 || len(b) < 20 {
			return key{}, errShort
		}
		k.protocol = b[9]
		k.dst = netip.AddrFrom4([4]byte(b[16:20]))
		later = binary.BigEndian.Uint16(b[6:])&0x1fff != 0
		b = b[min(n, len(b)):]
	case 6:
		if len(b) < 40 {
			return key{}, errShort
		}
		k.protocol = b[6]
		k.dst = netip.AddrFrom16([16]byte(b[24:40]))
		b = b[40:]
		k.protocol, b, later = skipExtensions(k.protocol, b)
	default:
		return key{}, fmt.Errorf("IP version %d", b[0]>>4)
	}
	switch k.protocol {
	case protoTCP, protoUDP, protoSCTP, protoUDPLite:
		if !later && len(b) >= 4 {
			k.port = binary.BigEndian.Uint16(b[2:])
		}
	}
	return k, nil
}

// skipExtensions finds the protocol above IPv6. Of a packet that was cut off
// inside its extensions it gives the last header that is there.
func skipExtensions(next byte, b []byte) (protocol byte, rest []byte, later bool) {
	for range maxExtensions {
		if len(b) < 8 {
			break
		}
		n := 8 + 8*int(b[1])
		switch next {
		case protoHopByHop, protoRouting, protoDestOpts:
		case protoAH:
			n = 8 + 4*int(b[1])
		case protoFragment:
			n = 8
			later = later || binary.BigEndian.Uint16(b[2:])&^7 != 0
		default:
			return next, b, later
		}
		if n > len(b) {
			return next, nil, later
		}
		next, b = b[0], b[n:]
		if later {
			return next, nil, true
		}
	}
	return next, b, later
}
