package egress

import (
	"io"
	"net"
	"net/netip"
	"time"
)

// prefixed gives back bytes that were read ahead, before the rest.
type prefixed struct {
	net.Conn
	ahead []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.ahead) > 0 {
		n := copy(b, p.ahead)
		p.ahead = p.ahead[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

func (p *prefixed) CloseWrite() error { return closeWrite(p.Conn) }

// NetConn is the connection below, as of tls.Conn.
func (p *prefixed) NetConn() net.Conn { return p.Conn }

// closeWrite half-closes what can be, else it does nothing: the full close follows.
func closeWrite(c net.Conn) error {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// abort makes close throw away what the kernel has not sent and reset the
// connection. It gives the socket below.
func abort(c net.Conn) net.Conn {
	for {
		if l, ok := c.(interface{ SetLinger(int) error }); ok {
			_ = l.SetLinger(0)
			return c
		}
		below, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = below.NetConn()
	}
}

// lingeringClose ends a connection after an answer without a reset that would
// overtake it: what the client still sends is read for a moment.
func lingeringClose(c net.Conn) {
	_ = closeWrite(c)
	_ = c.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.CopyN(io.Discard, c, 256<<10)
	_ = c.Close()
}

// addrPort is the canonical form of a TCP address.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	t, ok := a.(*net.TCPAddr)
	if !ok || t == nil {
		return netip.AddrPort{}, false
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), ap.Addr().IsValid()
}
