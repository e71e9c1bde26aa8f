package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/creel-run/creel/netname"
)

// DNS is version 2's dns section: how the names of allowed connections are looked
// up outside. What a sandbox's own name server answers is not its matter. The
// zero DNS says nothing: it is the command line's, or the host's.
type DNS struct {
	Upstream netname.NameServer // zero: not written
	Hosts    []FixedHost        // sorted by Host; these are asked of nobody
	At       Position           // of upstream, or of the section without one; zero: the section is absent
}

// FixedHost is a name with the addresses that it has by the policy.
type FixedHost struct {
	Host  netname.Host // a name
	Addrs []netip.Addr // in order; at least one
	At    Position
}

func (f FixedHost) String() string {
	parts := []string{f.Host.String()}
	for _, a := range f.Addrs {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, " ")
}

// asked is who is asked as far as the document says: the host's resolver if it
// says nothing.
func (d *DNS) asked() netname.NameServer {
	if d.Upstream.Way == netname.NoServer {
		return netname.NameServer{Way: netname.HostServer}
	}
	return d.Upstream
}

// fixedAddrs makes what an engine looks names up in; nil: there are none.
func fixedAddrs(list []FixedHost) (map[netname.Host][]netip.Addr, error) {
	if len(list) == 0 {
		return nil, nil
	}
	m := make(map[netname.Host][]netip.Addr, len(list))
	for _, f := range list {
		switch {
		case f.Host.IsZero() || f.Host.IsAddr():
			return nil, errors.New("dns.hosts: an entry without a name")
		case len(f.Addrs) == 0:
			return nil, fmt.Errorf("dns.hosts: %s has no address", f.Host)
		case m[f.Host] != nil:
			return nil, fmt.Errorf("dns.hosts: %s is there twice", f.Host)
		}
		addrs := make([]netip.Addr, 0, len(f.Addrs))
		for _, a := range f.Addrs {
			addrs = append(addrs, a.Unmap())
		}
		m[f.Host] = addrs
	}
	return m, nil
}

// dns: who is asked is no tighter for being another one, and neither is an
// address that the layer above does not give a name. Fewer addresses are.
func (m *merger) dns(up, low *DNS) DNS {
	d := *up
	if d.At.Line == 0 {
		d.At = low.At
	}
	if low.Upstream.Way != netname.NoServer &&
		(low.Upstream == up.asked() || m.may(low.At, "dns", "upstream", "upstream "+low.Upstream.String())) {
		d.Upstream, d.At = low.Upstream, low.At
	}
	d.Hosts = slices.Clone(up.Hosts)
	for _, f := range low.Hosts {
		i := slices.IndexFunc(d.Hosts, func(u FixedHost) bool { return u.Host == f.Host })
		if (i < 0 || !subset(f.Addrs, d.Hosts[i].Addrs)) && !m.may(f.At, "dns", "hosts", f.Host.String()) {
			continue
		}
		if i < 0 {
			d.Hosts = append(d.Hosts, f)
		} else {
			d.Hosts[i] = f
		}
	}
	slices.SortFunc(d.Hosts, func(a, b FixedHost) int { return cmp.Compare(a.Host.String(), b.Host.String()) })
	return d
}

// lintFixed tells of names that are fixed for nothing, and of addresses that every
// rule about the name refuses.
func (d *decoder) lintFixed(doc *Document) {
	for _, f := range doc.DNS.Hosts {
		path := pathKey("dns.hosts", f.Host.String())
		named, refused, hint := false, error(nil), ""
		taken := slices.ContainsFunc(doc.Networks, func(n Network) bool {
			return slices.ContainsFunc(n.Endpoints, func(e Endpoint) bool {
				if e.Withdrawn || e.Host != "" && !e.Pattern.Match(f.Host) {
					return false
				}
				named = true
				rule := destinationOf(doc.Version, &e, e.Pattern)
				return slices.ContainsFunc(e.Ports, func(port uint16) bool {
					refused = rule.Check(f.Host, port, f.Addrs)
					return refused == nil
				})
			})
		})
		switch {
		case taken || !named && doc.Unmatched == Ask:
		case !named:
			d.find(Unused, f.At, path, NoOperation, "no network policy names "+f.Host.String()+", so that nothing uses its addresses", "remove it, or name the host in a rule")
		default:
			var why *netname.AddressError
			if errors.As(refused, &why) && (why.Reason == netname.ReasonInternal || why.Reason == netname.ReasonOutside) {
				hint = "write allowed_ips at its endpoint, with these addresses"
			}
			d.find(Unused, f.At, path, Conflict, "no rule lets "+f.Host.String()+" lead there: "+refused.Error(), hint)
		}
	}
}
