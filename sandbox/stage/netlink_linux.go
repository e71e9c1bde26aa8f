package stage

import "encoding/binary"

// message is a netlink message under construction (netlink(7)).
type message []byte

// begin appends a header and the family's own fixed part to buf.
func begin(buf []byte, typ, flags uint16, fixed []byte) message {
	m := binary.NativeEndian.AppendUint32(buf, 0)
	m = binary.NativeEndian.AppendUint16(m, typ)
	m = binary.NativeEndian.AppendUint16(m, flags)
	m = append(m, make([]byte, 8)...) // sequence and port: one answer at a time is awaited
	return append(m, fixed...)
}

// end sets the length of the message that begins at start.
func (m message) end(start int) message {
	binary.NativeEndian.PutUint32(m[start:], uint32(len(m)-start))
	return m
}

// attr appends an attribute.
func (m message) attr(typ uint16, value []byte) message {
	m = binary.NativeEndian.AppendUint16(m, uint16(4+len(value)))
	m = binary.NativeEndian.AppendUint16(m, typ)
	m = append(m, value...)
	return append(m, make([]byte, -len(value)&3)...)
}

func (m message) text(typ uint16, s string) message { return m.attr(typ, append([]byte(s), 0)) }

// be32 appends a number in network order, as nftables wants them.
func (m message) be32(typ uint16, v uint32) message {
	return m.attr(typ, binary.BigEndian.AppendUint32(nil, v))
}

func (m message) u32(typ uint16, v uint32) message {
	return m.attr(typ, binary.NativeEndian.AppendUint32(nil, v))
}

// nest appends an attribute that holds others.
func (m message) nest(typ uint16, fill func(message) message) message {
	start := len(m)
	m = binary.NativeEndian.AppendUint16(m, 0)
	m = binary.NativeEndian.AppendUint16(m, typ|nested)
	m = fill(m)
	binary.NativeEndian.PutUint16(m[start:], uint16(len(m)-start))
	return m
}

const nested = 1 << 15 // NLA_F_NESTED
