package analyse

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
)

// The search for an address that one rule permits and another does not finds
// one wherever a sample does, and what it finds is one.
func TestNewlyDialled(t *testing.T) {
	ranges := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.168.0.0/16", "1.1.1.1/32", "8.0.0.0/8", "fd12::/32", "fd12:0:8000::/33", "2001:4860::/32", "100.64.0.0/10", "172.16.0.0/13", "172.24.0.0/13", "172.16.0.0/12", "168.63.128.0/20"}
	samples := []string{"10.0.0.1", "10.1.2.3", "10.1.0.9", "192.168.1.1", "1.1.1.1", "8.8.8.8", "127.0.0.1", "169.254.169.254", "fd12::1", "fd12:0:8001::1", "2001:4860::8888", "::1", "100.64.0.1", "172.20.0.1", "172.30.0.1", "224.0.0.1", "9.9.9.9", "168.63.129.16", "168.63.129.17"}
	found, none := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) netname.Destination {
			d := netname.Destination{Mode: rapid.SampledFrom([]netname.DestinationMode{netname.DefaultMode, netname.DeclaredHost, netname.AllowedIPs, netname.AllowedIPs, netname.LiteralIP}).Draw(t, name)}
			if d.Mode == netname.AllowedIPs {
				for _, s := range rapid.SliceOfN(rapid.SampledFrom(ranges), 1, 4).Draw(t, name+" ranges") {
					d.Allowed = append(d.Allowed, netip.MustParsePrefix(s))
				}
			}
			return d
		}
		from, to := draw("from"), draw("to")
		h, err := netname.ParseHost(rapid.SampledFrom([]string{"a.test", "10.1.2.3", "8.8.8.8", "metadata.google.internal"}).Draw(t, "host"))
		if err != nil {
			t.Fatal(err)
		}
		port := rapid.SampledFrom([]uint16{443, 6443}).Draw(t, "port")
		differs := func(a netip.Addr) bool {
			return to.Check(h, port, []netip.Addr{a}) == nil && from.Check(h, port, []netip.Addr{a}) != nil
		}
		a, some, exact := newlyDialled(from, to, h, port)
		if !exact {
			t.Fatalf("%v and %v: given up", from, to)
		}
		if some && !differs(a) {
			t.Fatalf("%v and %v: %s is no difference", from, to, a)
		}
		for _, s := range samples {
			if b := netip.MustParseAddr(s); !some && differs(b) {
				t.Fatalf("%v and %v: %s was not found", from, to, b)
			}
		}
		if some {
			found++
		} else {
			none++
		}
	})
	if found < 10 || none < 10 {
		t.Errorf("%d pairs differ and %d do not: one of them is not tested", found, none)
	}
}
