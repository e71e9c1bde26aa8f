package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/netname"
)

// upstreamError is an upstream that cannot be reached. Its text goes to the
// agent: it names no resolver and no route of the host.
type upstreamError struct{ reason string }

func (e *upstreamError) Error() string { return e.reason }

// ResolveHost asks the host's resolver for the addresses of a name without a final
// dot; one is added, which keeps search lists out.
func ResolveHost(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name+".")
}

func dialHost(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

// unseen stands for the address of an upstream whose name a proxy resolves. No
// address rule ever lets it pass as an address.
func unseen(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Unspecified(), port) }

// dial resolves a name, checks every answer, and connects to one that was
// checked, over the ways out that there are for it, one after the other. A name
// whose addresses the policy gives is asked of nobody, a proxy included. The
// address is given apart from the connection, because it is the
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
	ways, err := s.conf.Parent.For(ctx, host.String(), port)
	if err != nil {
		return nil, netip.AddrPort{}, &upstreamError{"connect: " + dialReason(err)}
	}
	try := &attempt{s: s, host: host, port: port, rule: rule}
	for i, w := range ways {
		nc, to, err := try.dial(ctx, w)
		if err == nil {
			return nc, to, nil
		}
		if failed := (*dialError)(nil); !errors.As(err, &failed) {
			return nil, netip.AddrPort{}, err
		} else if i == len(ways)-1 || !w.Gone(failed.cause) || ctx.Err() != nil {
			return nil, netip.AddrPort{}, &upstreamError{"connect: " + dialReason(failed.cause)}
		}
	}
	return nil, netip.AddrPort{}, &upstreamError{"connect: no way out"}
}

// attempt is what is dialled, over one way or several.
type attempt struct {
	s     *Server
	host  netname.Host
	port  uint16
	rule  netname.Destination
	addrs []netip.Addr // checked; nil: not resolved yet
}

// dialError is a way that made no connection to what may be dialled; what must not
// be dialled is another error, and no other way is tried.
type dialError struct{ cause error }

func (e *dialError) Error() string { return e.cause.Error() }

func (t *attempt) dial(ctx context.Context, w parent.Way) (net.Conn, netip.AddrPort, error) {
	if t.rule.Fixed == nil && w.Proxy.ByName() && !t.host.IsAddr() {
		if err := t.rule.CheckName(t.host, t.port); err != nil {
			return nil, netip.AddrPort{}, err
		}
		nc, err := w.Proxy.Dial(ctx, net.JoinHostPort(t.host.String(), strconv.Itoa(int(t.port))))
		if err != nil {
			return nil, netip.AddrPort{}, &dialError{err}
		}
		return nc, unseen(t.port), nil
	}
	if t.addrs == nil {
		addrs, err := t.s.checked(ctx, t.host, t.port, t.rule)
		if err != nil {
			return nil, netip.AddrPort{}, err
		}
		t.addrs = alternate(addrs, maxAttempts)
	}
	dial := t.s.conf.Dial
	if w.Proxy != nil {
		dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) { return w.Proxy.Dial(ctx, to.String()) }
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, to, err := race(ctx, t.addrs, t.port, dial)
	if err != nil {
		return nil, netip.AddrPort{}, &dialError{err}
	}
	return nc, to, nil
}

// checked gives the addresses of a host, all of which the rule lets be dialled.
func (s *Server) checked(ctx context.Context, host netname.Host, port uint16, rule netname.Destination) ([]netip.Addr, error) {
	addrs := rule.Fixed
	if addrs == nil {
		var err error
		if addrs, err = s.resolve(ctx, host); err != nil {
			return nil, err
		}
	}
	if err := rule.Check(host, port, addrs); err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if netname.Synthetic(a) || s.own(netip.AddrPortFrom(a, port)) {
			return nil, &netname.AddressError{Host: host, Addr: a, Reason: "the address belongs to the sandbox itself"}
		}
	}
	return addrs, nil
}

// clientCerts is what the operator proves himself with to a host: one certificate,
// sent if the host asks for it, or none.
func (s *Server) clientCerts(host netname.Host, port uint16) []tls.Certificate {
	if s.conf.ClientCert == nil {
		return nil
	}
	if c := s.conf.ClientCert(host, port); c != nil {
		return []tls.Certificate{*c}
	}
	return nil
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
	if to == unseen(port) && !host.IsAddr() && s.conf.Parent.ByName() {
		return rule.CheckName(host, port)
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
		} else if away := (*net.OpError)(nil); errors.As(err, &away) {
			reason = "the name server cannot be reached"
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
	var proxy *parent.Error
	switch {
	case errors.As(err, &proxy):
		return proxy.Reason
	case errors.As(err, &no):
		return no.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return "no connection"
}
