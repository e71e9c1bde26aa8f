package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// dial connects to an upstream for HTTP/1, and checks its certificate.
func (u *upstreams) dial(ctx context.Context, spec *upstreamSpec) (*upstreamConn, error) {
	c, err := u.connect(ctx, spec)
	if err != nil {
		return nil, err
	}
	if spec.tls {
		tc, err := u.handshake(ctx, c.Conn, spec, "http/1.1")
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		u.mu.Lock()
		c.Conn = tc
		u.mu.Unlock()
	}
	c.in = newStream(c.Conn, nil, nil)
	return c, nil
}

// connect dials an upstream, without TLS.
func (u *upstreams) connect(ctx context.Context, spec *upstreamSpec) (*upstreamConn, error) {
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
	return c, nil
}

// handshake begins TLS and checks the certificate.
func (u *upstreams) handshake(ctx context.Context, nc net.Conn, spec *upstreamSpec, protocols ...string) (*tls.Conn, error) {
	conf := &tls.Config{
		ServerName: spec.host.String(),
		RootCAs:    u.s.conf.RootCAs,
		NextProtos: protocols,
		MinVersion: tls.VersionTLS12,

		Certificates: u.s.clientCerts(spec.host, spec.port),
	}
	// The cache knows names alone. A session that proved who the operator is would
	// prove it on every port of the host.
	if len(conf.Certificates) == 0 {
		conf.ClientSessionCache = u.sessions
	}
	tc := tls.Client(nc, conf)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, &upstreamError{"TLS with the server: " + handshakeReason(err)}
	}
	return tc, nil
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
