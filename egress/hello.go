package egress

import (
	"errors"
	"fmt"
	"net"

	"github.com/creel-run/creel/netname"
)

// hello is what is needed of a ClientHello (RFC 8446 §4.1.2).
type hello struct {
	hasSNI bool
	sni    netname.Host
	ech    bool // encrypted_client_hello or its forerunner: the true name may be hidden
}

// errMore says that the bytes are a good beginning.
var errMore = errors.New("need more bytes")

const (
	recordHandshake = 0x16
	typeClientHello = 1

	extServerName = 0
	extECH        = 0xfe0d
	extESNI       = 0xffce
)

// parseHello reads a ClientHello from the first bytes of a connection, over as
// many records as it takes. It is strict where TLS stacks may differ (repeated
// extensions, several names, bytes behind the message): two readings of one
// hello would let the name that was checked differ from the one that is used.
func parseHello(b []byte) (hello, error) {
	var msg []byte
	for {
		need := 4
		if len(msg) >= 4 {
			if msg[0] != typeClientHello {
				return hello{}, fmt.Errorf("handshake message %d comes first", msg[0])
			}
			need = 4 + int(msg[1])<<16 + int(msg[2])<<8 + int(msg[3])
			switch {
			case need > maxHello:
				return hello{}, fmt.Errorf("message of %d bytes, at most %d are taken", need, maxHello)
			case len(msg) > need:
				return hello{}, errors.New("bytes behind the message in its record")
			case len(msg) == need:
				return parseHelloBody(msg[4:])
			}
		}
		if len(b) < 5 {
			if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
				return hello{}, errors.New("not a handshake record")
			}
			return hello{}, errMore
		}
		length := int(b[3])<<8 | int(b[4])
		switch {
		case b[0] != recordHandshake || b[1] != 3 || b[2] > 4:
			return hello{}, errors.New("not a handshake record")
		case length == 0 || length > 1<<14:
			return hello{}, fmt.Errorf("record of %d bytes", length)
		case len(b) < 5+length:
			// What is there is looked at, so that garbage is refused early.
			if len(msg) == 0 && len(b) > 5 && b[5] != typeClientHello {
				return hello{}, fmt.Errorf("handshake message %d comes first", b[5])
			}
			return hello{}, errMore
		}
		msg = append(msg, b[5:5+length]...)
		b = b[5+length:]
	}
}

// cursor reads TLS vectors; after a fault it gives nothing.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || len(c.b) < n {
		c.bad = true
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) u8() int {
	if v := c.take(1); v != nil {
		return int(v[0])
	}
	return 0
}

func (c *cursor) u16() int {
	if v := c.take(2); v != nil {
		return int(v[0])<<8 | int(v[1])
	}
	return 0
}

func parseHelloBody(b []byte) (hello, error) {
	var h hello
	malformed := errors.New("malformed message")
	c := &cursor{b: b}
	c.take(2 + 32) // legacy_version, random
	if n := c.u8(); n > 32 || c.take(n) == nil && n > 0 {
		return h, malformed
	}
	if n := c.u16(); n < 2 || n%2 != 0 || c.take(n) == nil {
		return h, malformed
	}
	if n := c.u8(); n < 1 || c.take(n) == nil {
		return h, malformed
	}
	if c.bad {
		return h, malformed
	}
	if len(c.b) == 0 {
		return h, nil // no extensions
	}
	if c.u16() != len(c.b) || c.bad {
		return h, malformed
	}
	seen := make(map[int]bool, 24)
	for len(c.b) > 0 {
		kind := c.u16()
		body := c.take(c.u16())
		if c.bad {
			return h, malformed
		}
		if seen[kind] {
			return h, fmt.Errorf("extension %d stands twice", kind)
		}
		seen[kind] = true
		switch kind {
		case extServerName:
			name, err := parseServerName(body)
			if err != nil {
				return h, err
			}
			h.hasSNI, h.sni = true, name
		case extECH, extESNI:
			h.ech = true
		}
	}
	return h, nil
}

// parseServerName takes a list of exactly one host name (RFC 6066 §3).
func parseServerName(b []byte) (netname.Host, error) {
	c := &cursor{b: b}
	if n := c.u16(); c.bad || n != len(c.b) || c.u8() != 0 {
		return netname.Host{}, errors.New("malformed server name")
	}
	name := c.take(c.u16())
	if c.bad || len(c.b) != 0 || len(name) == 0 {
		return netname.Host{}, errors.New("malformed server name")
	}
	h, err := netname.ParseHost(string(name))
	if err != nil {
		return netname.Host{}, errors.New("the server name is not a host name")
	}
	return h, nil
}

// check says whether a hello belongs to the name of its connection. through
// means that it goes on to the upstream as it is; a hello that is answered here
// may carry ECH, because nothing that is hidden in it is ever opened (browsers
// always send a meaningless one).
func (h hello) check(host netname.Host, through bool) error {
	switch {
	case through && h.ech:
		return errors.New("the ClientHello hides its server name (ECH)")
	case !h.hasSNI && !host.IsAddr():
		return errors.New("the ClientHello names no server")
	case h.hasSNI && h.sni != host:
		return fmt.Errorf("the ClientHello names %s, the connection goes to %s", h.sni, host)
	}
	return nil
}

// readHello reads until the hello is complete; buf holds what was read so far
// and the result all of it. The caller sets the deadline.
func readHello(c net.Conn, buf []byte) ([]byte, hello, error) {
	for {
		h, err := parseHello(buf)
		if !errors.Is(err, errMore) {
			return buf, h, err
		}
		if len(buf) >= maxHello {
			return buf, h, fmt.Errorf("longer than %d bytes", maxHello)
		}
		// maxHello bounds the buffer: read at most up to it.
		if cap(buf)-len(buf) < 512 {
			grown := make([]byte, len(buf), min(2*cap(buf)+2048, maxHello))
			copy(grown, buf)
			buf = grown
		}
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil {
			return buf, h, fmt.Errorf("incomplete: %w", err)
		}
	}
}
