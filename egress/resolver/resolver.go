package resolver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"github.com/creel-run/creel/netname"
)

const (
	// lookupTimeout bounds one name, exchangeTimeout one question: of a server that
	// is silent it is asked again.
	lookupTimeout   = 10 * time.Second
	exchangeTimeout = 3 * time.Second
	attempts        = 3

	// maxAlias is how many aliases in a row are followed, as many as common
	// resolvers do.
	maxAlias = 16

	// maxAnswer bounds an answer, in bytes: what a message can have.
	maxAnswer = 64 << 10
)

// Config is how a server is reached.
type Config struct {
	// Server is any but the host's own.
	Server netname.NameServer
	// RootCAs verify it; nil: the system's.
	RootCAs *x509.CertPool
	// Dial reaches what is asked over TLS or HTTPS, by name; nil: net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Resolver asks one server.
type Resolver struct {
	server netname.NameServer
	ask    func(context.Context, *dns.Msg) (*dns.Msg, error)
	close  func()
	cache  *cache
	once   singleflight.Group
}

// New makes a Resolver; it sends nothing.
func New(c Config) (*Resolver, error) {
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	r := &Resolver{server: c.Server, cache: newCache(time.Now), close: func() {}}
	switch c.Server.Way {
	case netname.PlainServer:
		r.ask = plain(c.Server.Addr)
	case netname.TLSServer:
		host := c.Server.Host.String()
		s := &secured{addr: net.JoinHostPort(host, strconv.Itoa(int(c.Server.Port))), dial: c.Dial, conf: &tls.Config{
			ServerName: host, RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12, NextProtos: []string{"dot"},
		}}
		r.ask, r.close = s.ask, s.close
	case netname.HTTPSServer:
		t := &http.Transport{
			DialContext: c.Dial, TLSClientConfig: &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: exchangeTimeout, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: idleTime, MaxResponseHeaderBytes: 16 << 10,
		}
		r.ask, r.close = overHTTPS(c.Server.String(), t), t.CloseIdleConnections
	default:
		return nil, errors.New("make resolver: no name server")
	}
	return r, nil
}

// Server is who is asked.
func (r *Resolver) Server() netname.NameServer { return r.server }

// Close drops idle connections. A question that is being asked is answered.
func (r *Resolver) Close() { r.close() }

// Lookup gives the addresses of a name without a final dot, of IPv6 first.
func (r *Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	name = dns.Fqdn(strings.ToLower(name))
	if addrs, ok := r.cache.get(name); ok {
		return r.result(name, addrs, nil)
	}
	// Whoever asked first may give up; the others still want to know.
	ch := r.once.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return r.both(ctx, name)
	})
	select {
	case <-ctx.Done():
		return nil, &net.DNSError{Err: "no answer", Name: name, IsTimeout: true}
	case got := <-ch:
		addrs, _ := got.Val.([]netip.Addr)
		return r.result(name, addrs, got.Err)
	}
}

func (r *Resolver) result(name string, addrs []netip.Addr, err error) ([]netip.Addr, error) {
	switch {
	case err != nil:
		return nil, err
	case len(addrs) == 0:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return append([]netip.Addr(nil), addrs...), nil
}

// both asks for the addresses of both families; one is enough.
func (r *Resolver) both(ctx context.Context, name string) ([]netip.Addr, error) {
	type part struct {
		found
		err error
	}
	parts := map[uint16]chan part{dns.TypeAAAA: make(chan part, 1), dns.TypeA: make(chan part, 1)}
	for qtype, ch := range parts {
		go func() {
			f, err := r.one(ctx, name, qtype)
			ch <- part{f, err}
		}()
	}
	six, four := <-parts[dns.TypeAAAA], <-parts[dns.TypeA]
	addrs := append(six.addrs, four.addrs...)
	switch {
	case len(addrs) == 0 && four.err != nil:
		return nil, four.err
	case len(addrs) == 0 && six.err != nil:
		return nil, six.err
	case four.err == nil && six.err == nil:
		r.cache.put(name, addrs, min(six.keep, four.keep))
	}
	return addrs, nil
}

// one asks for the addresses of one family; none is no error.
func (r *Resolver) one(ctx context.Context, name string, qtype uint16) (found, error) {
	var last error
	for range attempts {
		q := new(dns.Msg)
		q.SetQuestion(name, qtype)
		q.SetEdns0(udpSize, false)
		actx, cancel := context.WithTimeout(ctx, exchangeTimeout)
		m, err := r.asked(actx, q)
		cancel()
		if err == nil {
			if err = fits(q, m); err == nil {
				return read(m, name, qtype)
			}
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	out := &net.DNSError{Err: "no answer", UnwrapErr: last, Name: name, IsTemporary: true}
	var wait net.Error
	out.IsTimeout = ctx.Err() != nil || errors.Is(last, context.DeadlineExceeded) || errors.As(last, &wait) && wait.Timeout()
	return found{}, out
}

// asked is ask, where a fault in the reading of an answer is no answer: what stands
// in it is the choice of whoever owns the name.
func (r *Resolver) asked(ctx context.Context, q *dns.Msg) (m *dns.Msg, err error) {
	defer func() {
		if v := recover(); v != nil {
			m, err = nil, errors.New("read dns answer: it cannot be read")
		}
	}()
	return r.ask(ctx, q)
}

// fits checks that m is an answer to q.
func fits(q, m *dns.Msg) error {
	if !m.Response || m.Id != q.Id || m.Opcode != q.Opcode || len(m.Question) != 1 ||
		!strings.EqualFold(m.Question[0].Name, q.Question[0].Name) || m.Question[0].Qtype != q.Question[0].Qtype || m.Question[0].Qclass != q.Question[0].Qclass {
		return errors.New("read dns answer: it answers another question")
	}
	return nil
}

// found is what a name has, and how long it may be kept.
type found struct {
	addrs []netip.Addr
	keep  time.Duration
}

// read follows the aliases of an answer; records of other names are not looked at.
func read(m *dns.Msg, name string, qtype uint16) (found, error) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return found{}, &net.DNSError{Err: "the server answers " + dns.RcodeToString[m.Rcode], Name: name, IsTemporary: true}
	}
	f := found{keep: maxKeep}
	shorten := func(ttl uint32) { f.keep = min(f.keep, time.Duration(ttl)*time.Second) }
	for range maxAlias {
		next := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, name) {
				continue
			}
			var a netip.Addr
			switch rr := rr.(type) {
			case *dns.A:
				a, _ = netip.AddrFromSlice(rr.A.To4())
			case *dns.AAAA:
				a, _ = netip.AddrFromSlice(rr.AAAA)
			case *dns.CNAME:
				if next == "" {
					next = rr.Target
					shorten(h.Ttl)
				}
				continue
			}
			if h.Rrtype == qtype && a.IsValid() {
				f.addrs = append(f.addrs, a)
				shorten(h.Ttl)
			}
		}
		if len(f.addrs) > 0 {
			return f, nil
		}
		if next == "" {
			f.keep = min(f.keep, negative(m))
			return f, nil
		}
		name = next
	}
	return found{}, &net.DNSError{Err: "too many aliases", Name: name, IsTemporary: true}
}

// negative is how long "there is none" holds (RFC 2308 §5); without the record that
// says so it is not kept.
func negative(m *dns.Msg) time.Duration {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second, maxKeepNone)
		}
	}
	return 0
}
