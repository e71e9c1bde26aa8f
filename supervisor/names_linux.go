package supervisor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/creel-run/creel/egress"
	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/egress/resolver"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// names is what chooses who is asked for the addresses of allowed hosts: --resolver
// if it is given, else the policy's dns.upstream, else the host's resolver. Who is
// chosen is asked alone: if he does not answer, the connection is refused.
type names struct {
	flag    netname.NameServer // zero: not given
	roots   *x509.CertPool
	parents *parent.Proxies // on the way to it
	told    atomic.Int32    // faults, for the operator
}

// chooser reads --resolver.
func (s *supervisor) chooser(p *prepared) (*names, error) {
	n := &names{roots: p.roots, parents: p.toNames}
	if s.o.Resolver == "" {
		return n, nil
	}
	var err error
	if n.flag, err = netname.ParseNameServer(s.o.Resolver); err != nil {
		return nil, fault.UsageError("read --resolver", err.Error(), "creel run --resolver tls://dns.test -- …", "creel run --resolver 192.0.2.53 -- …")
	}
	return n, nil
}

// server is who is asked under a policy, and whose word that is.
func (n *names) server(doc *policy.Document) (server netname.NameServer, says string) {
	switch {
	case n.flag.Way != netname.NoServer:
		return n.flag, "--resolver"
	case doc.DNS.Upstream.Way != netname.NoServer:
		return doc.DNS.Upstream, doc.DNS.At.String()
	}
	return netname.NameServer{Way: netname.HostServer}, ""
}

// resolver asks that server; nil: the host's own. One that is reached by name is so
// through the parent proxy, where there is one. The present resolver stays, with
// what it keeps, if it asks the same server.
func (n *names) resolver(doc *policy.Document, present *resolver.Resolver) (*resolver.Resolver, error) {
	server, says := n.server(doc)
	switch {
	case server.Way == netname.HostServer:
		return nil, nil
	case present != nil && present.Server() == server:
		return present, nil
	}
	r, err := resolver.New(resolver.Config{Server: server, RootCAs: n.roots, Dial: n.parents.DialContext})
	if err != nil {
		return nil, fault.Wrap(fmt.Errorf("%s: %w", says, err), "choose name server", fault.Usage)
	}
	return r, nil
}

// overruled says that the policy's word does not count, or nothing.
func (n *names) overruled(doc *policy.Document) string {
	theirs := doc.DNS.Upstream
	if n.flag.Way == netname.NoServer || theirs.Way == netname.NoServer || theirs == n.flag {
		return ""
	}
	return fmt.Sprintf("names are asked of %s (--resolver), and not of %s, as the policy says (%s)", n.flag, theirs, doc.DNS.At)
}

// note puts who is asked into the detail of an event; of the host's resolver nothing.
func (n *names) note(detail map[string]string, doc *policy.Document) {
	if server, _ := n.server(doc); server.Way != netname.HostServer {
		detail["resolver"] = server.String()
	}
}

// text is who is asked and by whose word, for the posture; empty: the host's resolver.
func (n *names) text(doc *policy.Document) string {
	server, says := n.server(doc)
	if server.Way == netname.HostServer {
		return ""
	}
	return server.String() + " (" + says + ")"
}

// lookup gives the addresses of a name by the revision in force. Those that the
// policy gives are asked of nobody, by a script neither.
func (s *supervisor) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	rev := s.rev.Load()
	for _, f := range rev.doc.DNS.Hosts {
		if f.Host.String() == name {
			return slices.Clone(f.Addrs), nil
		}
	}
	if rev.names == nil {
		return egress.ResolveHost(ctx, name)
	}
	addrs, err := rev.names.Lookup(ctx, name)
	if err != nil && ctx.Err() == nil {
		s.names.fault(err, rev.doc, s.o.Notice)
	}
	return addrs, err
}

// maxNameFaults is how often a run tells that the chosen name server is of no use.
const maxNameFaults = 3

// fault tells the operator why the chosen server gave nothing about a name, some
// times and not for each. A name that does not exist is an answer.
func (n *names) fault(err error, doc *policy.Document, notice func(string)) {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound || n.told.Add(1) > maxNameFaults {
		return
	}
	why := err.Error()
	if dns != nil {
		if why = dns.Err; dns.UnwrapErr != nil {
			why = dns.UnwrapErr.Error()
		}
	}
	server, says := n.server(doc)
	next := "look at the address, or ask the host's resolver: --resolver host"
	if n.flag.Way == netname.NoServer {
		next = "look at dns.upstream there, or start with --resolver host"
	}
	notice(fmt.Sprintf("names are asked of %s (%s), which gives no answer: %s; %s", server, says, why, next))
}

// closeNames drops the connections of a revision's resolver that the one in force
// does not use.
func (s *supervisor) closeNames(old *revision) {
	if old.names != nil && old.names != s.rev.Load().names {
		old.names.Close()
	}
}
