package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/creel-run/creel/netname"
)

// upstreamError is an upstream that cannot be reached. Its text goes to the
// agent: it names no resolver and no route of the host.
type upstreamError struct{ reason string }

func (e *upstreamError) Error() string { return e.reason }

// resolveHost asks the host's resolver; the final dot keeps search lists out.
func resolveHost(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name+".")
}

func dialHost(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

// dial resolves a name, checks every answer, and connects to one that was
// checked. The address is given apart from the connection, because it is the
// one that was judged.
func (s *Server) dial(ctx context.Context, host netname.Host, port uint16, rule netname.Destination) (net.Conn, netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout+dialTimeout)
	defer cancel()
	if to, ok := s.operators(host, port); ok {
		if s.own(to) {
			return nil, netip.AddrPort{}, &netname.AddressError{Host: host, Addr: to.Addr(), Reason: "the address belongs to the sandbox itself"}
		}
		nc, err := s.conf.Dial(ctx, to)
		if err != nil {
			return nil, netip.AddrPort{}, &upstreamError{"connect: " + dialReason(err)}
		}
		return nc, to, nil
	}
	addrs, err := s.resolve(ctx, host)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	if err := rule.Check(host, port, addrs); err != nil {
		return nil, netip.AddrPort{}, err
	}
	for _, a := range addrs {
		if netname.Synthetic(a) || s.own(netip.AddrPortFrom(a, port)) {
			return nil, netip.AddrPort{}, &netname.AddressError{Host: host, Addr: a, Reason: "the address belongs to the sandbox itself"}
		}
	}
	addrs = addrs[:min(len(addrs), maxAttempts)]
	for i, a := range addrs {
		to := netip.AddrPortFrom(a, port)
		limit := dialTimeout
		if i < len(addrs)-1 {
			limit = attemptTimeout
		}
		actx, acancel := context.WithTimeout(ctx, limit)
		var nc net.Conn
		nc, err = s.conf.Dial(actx, to)
		acancel()
		if err == nil {
			return nc, to, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, netip.AddrPort{}, &upstreamError{"connect: " + dialReason(err)}
}

// operators gives the operator's own address for a name, if there is one.
func (s *Server) operators(host netname.Host, port uint16) (netip.AddrPort, bool) {
	if s.conf.Upstream == nil {
		return netip.AddrPort{}, false
	}
	return s.conf.Upstream(host, port)
}

// mayDial says whether an address that was dialled is one that is in force now.
func (s *Server) mayDial(host netname.Host, rule netname.Destination, port uint16, to netip.AddrPort) error {
	if own, ok := s.operators(host, port); ok {
		if own == to {
			return nil
		}
		return &netname.AddressError{Host: host, Addr: to.Addr(), Reason: "the operator serves this name elsewhere now"}
	}
	return rule.Check(host, port, []netip.Addr{to.Addr()})
}

func (s *Server) resolve(ctx context.Context, host netname.Host) ([]netip.Addr, error) {
	if host.IsAddr() {
		return []netip.Addr{host.Addr()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := s.conf.Resolve(ctx, host.String())
	if err != nil {
		reason := "the name cannot be resolved"
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) && dns.IsNotFound {
			reason = "the name does not exist"
		} else if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &dns) && dns.IsTimeout {
			reason = "the name server does not answer"
		}
		return nil, &upstreamError{"resolve: " + reason}
	}
	addrs := make([]netip.Addr, 0, len(found))
	for _, a := range found {
		addrs = append(addrs, a.Unmap())
	}
	return addrs, nil
}

func dialReason(err error) string {
	var no syscall.Errno
	switch {
	case errors.As(err, &no):
		return no.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return "no connection"
}

// dial connects to an upstream, and checks its certificate.
func (u *upstreams) dial(ctx context.Context, spec *upstreamSpec) (*upstreamConn, error) {
	u.mu.Lock()
	revision := u.revision
	u.mu.Unlock()
	nc, to, err := u.s.dial(ctx, spec.host, spec.port, spec.rule)
	if err != nil {
		return nil, err
	}
	c := &upstreamConn{Conn: nc, below: nc, to: to, u: u, key: spec.key(), revision: revision}
	u.mu.Lock()
	closed := u.ctx.Err() != nil
	if !closed {
		u.open[c] = struct{}{}
	}
	u.mu.Unlock()
	if closed {
		_ = nc.Close()
		return nil, net.ErrClosed
	}
	if spec.tls {
		tc := tls.Client(nc, &tls.Config{
			ServerName: spec.host.String(),
			RootCAs:    u.s.conf.RootCAs,
			NextProtos: []string{"http/1.1"},
			MinVersion: tls.VersionTLS12,
		})
		hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		if err := tc.HandshakeContext(hctx); err != nil {
			_ = c.Close()
			return nil, &upstreamError{"TLS with the server: " + handshakeReason(err)}
		}
		u.mu.Lock()
		c.Conn = tc
		u.mu.Unlock()
	}
	c.in = newStream(c.Conn, nil, nil)
	return c, nil
}

// handshakeReason keeps to errors whose text says what is wrong with the server.
func handshakeReason(err error) string {
	var cert *tls.CertificateVerificationError
	var alert tls.AlertError
	switch {
	case errors.As(err, &cert):
		return "its certificate is not accepted: " + cert.Err.Error()
	case errors.As(err, &alert):
		return alert.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return "handshake broken off"
}
