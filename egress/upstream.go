package egress

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"sync"
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

// upstreams are the connections of inspected requests. They are pooled per
// host, port, scheme and address rule: a connection that was dialled under one
// rule never serves a request that is under another.
type upstreams struct {
	s   *Server
	ctx context.Context // ends every dial
	end context.CancelFunc

	mu      sync.Mutex
	current *http.Transport
	open    map[*upstreamConn]struct{}
}

// upstreamSpec is all that decides where a pooled connection goes.
type upstreamSpec struct {
	host netname.Host
	port uint16
	rule netname.Destination
	tls  bool
}

type specKey struct{}

// key stands for the spec in the pool of http.Transport, which knows hosts only.
func (p *upstreamSpec) key() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s|%d|%t|%d|%v", p.host, p.port, p.tls, p.rule.Mode, p.rule.Allowed)
	return hex.EncodeToString(sum.Sum(nil)[:16]) + ":" + strconv.Itoa(int(p.port))
}

// upstreamConn remembers the address that was checked.
type upstreamConn struct {
	net.Conn
	to netip.AddrPort
	u  *upstreams
}

func (c *upstreamConn) NetConn() net.Conn { return c.Conn }

func (c *upstreamConn) Close() error {
	c.u.mu.Lock()
	delete(c.u.open, c)
	c.u.mu.Unlock()
	return c.Conn.Close()
}

func newUpstreams(s *Server) *upstreams {
	u := &upstreams{s: s, open: make(map[*upstreamConn]struct{})}
	u.ctx, u.end = context.WithCancel(context.Background())
	u.current = u.transport()
	return u
}

func (u *upstreams) transport() *http.Transport {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		spec, ok := ctx.Value(specKey{}).(*upstreamSpec)
		if !ok {
			return nil, errors.New("dial upstream: no destination")
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(u.ctx, cancel)()
		return u.dial(ctx, spec)
	}
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            dial,
		DialTLSContext:         dial,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
		DisableCompression:     true,
		MaxIdleConns:           maxAllIdle,
		MaxIdleConnsPerHost:    maxUpstreamIdle,
		IdleConnTimeout:        upstreamIdle,
		ExpectContinueTimeout:  continueTimeout,
		MaxResponseHeaderBytes: maxResponseHead,
	}
}

func (u *upstreams) dial(ctx context.Context, spec *upstreamSpec) (net.Conn, error) {
	nc, to, err := u.s.dial(ctx, spec.host, spec.port, spec.rule)
	if err != nil {
		return nil, err
	}
	up := &upstreamConn{Conn: nc, to: to, u: u}
	u.mu.Lock()
	closed := u.ctx.Err() != nil
	if !closed {
		u.open[up] = struct{}{}
	}
	u.mu.Unlock()
	if closed {
		_ = nc.Close()
		return nil, net.ErrClosed
	}
	if !spec.tls {
		return up, nil
	}
	tc := tls.Client(up, &tls.Config{
		ServerName: spec.host.String(),
		RootCAs:    u.s.conf.RootCAs,
		NextProtos: []string{"http/1.1"},
		MinVersion: tls.VersionTLS12,
	})
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := tc.HandshakeContext(hctx); err != nil {
		_ = up.Close()
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

// roundTrip sends one request. Its URL names the authority; the pool key takes
// that place only here.
func (u *upstreams) roundTrip(x *exchange, req *http.Request, spec *upstreamSpec) (*http.Response, error) {
	ctx := context.WithValue(req.Context(), specKey{}, spec)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		// Last look before a byte is written: a revision may have come between
		// the verdict and the connection. A closed one carries nothing.
		up := below(i.Conn)
		if up == nil || x.dialled(up.to) != nil {
			_ = i.Conn.Close()
		}
	}})
	out := req.WithContext(ctx)
	url := *req.URL
	url.Host = spec.key()
	out.URL = &url
	u.mu.Lock()
	t := u.current
	u.mu.Unlock()
	return t.RoundTrip(out)
}

func below(nc net.Conn) *upstreamConn {
	if tc, ok := nc.(*tls.Conn); ok {
		nc = tc.NetConn()
	}
	up, _ := nc.(*upstreamConn)
	return up
}

// renew makes later requests dial anew; connections in use are closed when
// their request is over.
func (u *upstreams) renew() {
	u.mu.Lock()
	old := u.current
	u.current = u.transport()
	u.mu.Unlock()
	old.CloseIdleConnections() // and those that become idle later
}

// abort resets all connections.
func (u *upstreams) abort() {
	u.renew()
	u.mu.Lock()
	list := make([]*upstreamConn, 0, len(u.open))
	for c := range u.open {
		list = append(list, c)
	}
	u.mu.Unlock()
	for _, c := range list {
		abort(c)
		_ = c.Close()
	}
}

func (u *upstreams) close() {
	u.end()
	u.renew()
	u.mu.Lock()
	list := make([]*upstreamConn, 0, len(u.open))
	for c := range u.open {
		list = append(list, c)
	}
	u.mu.Unlock()
	for _, c := range list {
		_ = c.Close()
	}
}
