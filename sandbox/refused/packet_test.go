package refused

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

func v4(protocol byte, fragment uint16, options int, rest ...byte) []byte {
	b := make([]byte, 20+options)
	b[0] = 0x40 | byte(len(b)/4)
	binary.BigEndian.PutUint16(b[6:], fragment)
	b[9] = protocol
	copy(b[16:], []byte{192, 0, 2, 7})
	return append(b, rest...)
}

func v6(next byte, rest ...byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, next
	copy(b[24:], netip.MustParseAddr("2001:db8::7").AsSlice())
	return append(b, rest...)
}

func TestParseIP(t *testing.T) {
	ports := []byte{0x10, 0, 0x1f, 0x90} // to 8080
	ext := func(next, words byte) []byte { return append([]byte{next, words}, make([]byte, 6+8*int(words))...) }
	cat := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for _, tt := range []struct {
		name     string
		b        []byte
		protocol string // "" if it is an error
		dst      string
		port     uint16
	}{
		{"udp", v4(protoUDP, 0, 0, ports...), "udp", "192.0.2.7", 8080},
		{"options", v4(protoUDP, 0, 8, ports...), "udp", "192.0.2.7", 8080},
		{"first fragment", v4(protoUDP, 0x2000, 0, ports...), "udp", "192.0.2.7", 8080},
		{"later fragment", v4(protoUDP, 0x2001, 0, ports...), "udp", "192.0.2.7", 0},
		{"cut before ports", v4(protoUDP, 0, 0, 1, 2), "udp", "192.0.2.7", 0},
		{"icmp", v4(protoICMP, 0, 0, 8, 0, 1, 2), "icmp", "192.0.2.7", 0},
		{"sctp", v4(protoSCTP, 0, 0, ports...), "sctp", "192.0.2.7", 8080},
		{"gre", v4(47, 0, 0, ports...), "ip protocol 47", "192.0.2.7", 0},
		{"udp 6", v6(protoUDP, ports...), "udp", "2001:db8::7", 8080},
		{"icmp 6", v6(protoICMPv6, 128, 0, 0, 0), "icmpv6", "2001:db8::7", 0},
		{"extensions", v6(protoHopByHop, cat(ext(protoRouting, 1), ext(protoDestOpts, 0), ext(protoUDP, 2), ports, ports)...), "udp", "2001:db8::7", 8080},
		{"authentication", v6(protoAH, cat([]byte{protoUDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, ports, ports)...), "udp", "2001:db8::7", 8080},
		{"first fragment 6", v6(protoFragment, cat([]byte{protoUDP, 0, 0, 1, 0, 0, 0, 0}, ports, ports)...), "udp", "2001:db8::7", 8080},
		{"later fragment 6", v6(protoFragment, cat([]byte{protoUDP, 0, 0, 8, 0, 0, 0, 0}, ports, ports)...), "udp", "2001:db8::7", 0},
		{"extension cut off", v6(protoHopByHop, protoUDP, 200, 0, 0, 0, 0, 0, 0), "ip protocol 0", "2001:db8::7", 0},

		{"nothing", nil, "", "", 0},
		{"version 5", []byte{0x50, 0, 0, 0}, "", "", 0},
		{"short 4", v4(protoUDP, 0, 0)[:19], "", "", 0},
		{"header length 4", append([]byte{0x44}, make([]byte, 30)...), "", "", 0},
		{"short 6", v6(protoUDP)[:39], "", "", 0},
	} {
		k, err := parseIP(tt.b)
		if tt.protocol == "" {
			if err == nil {
				t.Errorf("%s: %+v", tt.name, k.packet())
			}
			continue
		}
		if p := k.packet(); err != nil || p.Protocol != tt.protocol || p.Dst.String() != tt.dst || p.Port != tt.port {
			t.Errorf("%s: %+v, %v", tt.name, p, err)
		}
	}
}

func FuzzMessages(f *testing.F) {
	ne := binary.NativeEndian
	payload := v6(protoHopByHop, protoUDP, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4)
	b := make([]byte, nlmsgHeader+nfgenHeader)
	b = ne.AppendUint16(b, 8)
	b = ne.AppendUint16(b, attrUID)
	b = append(b, 0, 0, 0, 9)
	b = ne.AppendUint16(b, uint16(attrHeader+len(payload)))
	b = ne.AppendUint16(b, attrPayload)
	b = append(b, payload...)
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], messagePacket)
	f.Add(b)
	f.Add(append(b, b...))
	f.Add(b[:nlmsgHeader+3])
	seeds := 0
	_ = messages(append(b, b...), func(_ uint16, _ uint32, body []byte) {
		if k, err := parseLogged(body); err == nil && k.uid == 9 && k.port == 0x0304 {
			seeds++
		}
	})
	if seeds != 2 {
		f.Fatalf("%d of 2 packets were read", seeds)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		_ = messages(b, func(_ uint16, _ uint32, body []byte) {
			total += nlmsgHeader + len(body)
			if k, err := parseLogged(body); err == nil && !k.dst.IsValid() {
				t.Fatalf("no destination in %x", body)
			}
		})
		if total > len(b) {
			t.Fatalf("%d bytes out of %d", total, len(b))
		}
	})
}
