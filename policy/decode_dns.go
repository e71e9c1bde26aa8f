package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/netname"
)

// Bounds of dns.hosts: people write it, and each name is held against each rule.
const (
	maxFixedHosts = 256
	maxFixedAddrs = 16
)

// dns decodes who is asked what names mean, and what is asked of nobody.
func (d *decoder) dns(v value) DNS {
	out := DNS{At: d.at(v.n)}
	s, ok := d.section(v, "dns", dnsWords)
	if !ok {
		return out
	}
	if u, ok := s.get("upstream"); ok {
		out.At = d.at(u.n)
		if text, ok := d.text(u, netname.NameServerForms); ok {
			server, err := netname.ParseNameServer(text)
			if err != nil {
				d.fault(u, BadValue, show(text), netname.NameServerForms, serverHint(err))
			}
			out.Upstream = server
		}
	}
	if h, ok := s.get("hosts"); ok {
		out.Hosts = d.fixedHosts(h)
	}
	return out
}

// serverHint is what is wrong with a name server, unless that is what is wanted anyway.
func serverHint(err error) string {
	if err.Error() == "want "+netname.NameServerForms {
		return ""
	}
	return err.Error()
}

func (d *decoder) fixedHosts(v value) []FixedHost {
	const want = "a host name without wildcard, scheme or port"
	var hosts []FixedHost
	first := make(map[netname.Host]int)
	d.mapping(v, "of host names to lists of addresses", func(key *yaml.Node, val value) {
		k := value{key, val.path}
		h, err := netname.ParseHost(key.Value)
		switch {
		case err != nil:
			d.fault(k, BadValue, show(key.Value), want, "")
			return
		case h.IsAddr():
			d.fault(k, BadValue, "the address "+show(key.Value), want, "an address is dialled as it is: nothing looks it up")
			return
		case neverDialled(h):
			d.fault(k, Blocked, show(key.Value), "a host that a policy can open", "connections to it are refused wherever it leads")
			return
		case h.String() == inferenceHost:
			d.fault(k, BadValue, show(key.Value), want, "the inference route answers it")
			return
		case first[h] != 0:
			d.fault(k, Duplicate, fmt.Sprintf("key %s, first on line %d", show(key.Value), first[h]), "", "keep one of them")
			return
		}
		first[h] = key.Line
		hosts = append(hosts, FixedHost{Host: h, Addrs: d.fixedAddrs(val), At: d.at(key)})
	})
	if len(hosts) > maxFixedHosts {
		d.fault(v, TooMuch, fmt.Sprintf("%d names", len(hosts)), fmt.Sprintf("at most %d", maxFixedHosts), "ask a name server for them: upstream")
	}
	slices.SortFunc(hosts, func(a, b FixedHost) int { return cmp.Compare(a.Host.String(), b.Host.String()) })
	return hosts
}

func (d *decoder) fixedAddrs(v value) []netip.Addr {
	const want = "an address, like 192.0.2.10"
	var addrs []netip.Addr
	n := 0
	if !d.list(v, "addresses", func(_ int, item value) {
		n++
		text, ok := d.text(item, want)
		if !ok {
			return
		}
		h, err := netname.ParseHost(text)
		switch {
		case err != nil || !h.IsAddr():
			d.fault(item, BadValue, show(text), want, "")
		case netname.Classify(h.Addr()) == netname.AlwaysBlocked:
			d.fault(item, Blocked, show(text), "an address that may be dialled",
				"loopback, link-local, metadata, multicast, reserved and synthetic addresses never are; a service of your own is reached with: creel run --upstream HOST:PORT=ADDR:PORT")
		case slices.Contains(addrs, h.Addr()):
			d.fault(item, Duplicate, show(text), "each address once", "remove it")
		default:
			addrs = append(addrs, h.Addr())
		}
	}) {
		return nil
	}
	switch {
	case n == 0:
		d.fault(v, Missing, "", "at least one address", "a host that is not to be reached needs no rule that allows it")
	case n > maxFixedAddrs:
		d.fault(v, TooMuch, fmt.Sprintf("%d addresses", n), fmt.Sprintf("at most %d", maxFixedAddrs), "")
	}
	return addrs
}
