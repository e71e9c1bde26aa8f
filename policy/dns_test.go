package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// Addresses that the policy gives a name are the only ones that it has, whichever
// rule allows it, and stand under what that rule says of addresses.
func TestFixedHosts(t *testing.T) {
	e := compile(t, `version: 2
dns:
  hosts:
    db.test: [10.0.0.5, 10.0.0.6]
    www.wild.test: [198.51.101.7]
    inner.wild.test: [10.0.0.5]
network_policies:
  p:
    endpoints:
      - {host: db.test, port: 443, allowed_ips: [10.0.0.0/8]}
      - {host: "*.wild.test", port: 443}
    binaries: any
`)
	for _, tt := range []struct {
		host, addr string
		want       string // the reason of the refusal
	}{
		{"db.test", "10.0.0.5", ""},
		{"db.test", "10.0.0.6", ""},
		{"db.test", "10.0.0.7", netname.ReasonNotFixed},
		{"db.test", "198.51.101.7", netname.ReasonNotFixed},
		{"www.wild.test", "198.51.101.7", ""},
		{"www.wild.test", "::ffff:198.51.101.7", ""},
		{"www.wild.test", "198.51.101.8", netname.ReasonNotFixed},
		{"other.wild.test", "198.51.101.8", ""},
		{"inner.wild.test", "10.0.0.5", netname.ReasonInternal},
	} {
		d := e.Connect(curl(t, tt.host, 443))
		if d.Verdict != policy.Allow {
			t.Fatalf("%s: %+v", tt.host, d)
		}
		got := ""
		if err := d.Destination.Check(host(t, tt.host), 443, []netip.Addr{netip.MustParseAddr(tt.addr)}); err != nil {
			got = err.(*netname.AddressError).Reason
		}
		if got != tt.want {
			t.Errorf("%s at %s: %q, want %q", tt.host, tt.addr, got, tt.want)
		}
	}
	if d := e.Connect(curl(t, "not.test", 443)); d.Verdict != policy.Deny {
		t.Errorf("%+v", d)
	}
}

// A name in dns.hosts allows nothing.
func TestFixedHostsAllowNothing(t *testing.T) {
	e := compile(t, "version: 2\ndns: {hosts: {db.test: [10.0.0.5]}}\n")
	if d := e.Connect(curl(t, "db.test", 443)); d.Verdict != policy.Deny || d.Destination.Fixed != nil {
		t.Errorf("%+v", d)
	}
}

// A document that was built by hand has no name without addresses: it would look
// like one that is looked up.
func TestFixedHostsByHand(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.5")
	for _, hosts := range [][]policy.FixedHost{
		{{Host: host(t, "db.test")}},
		{{Addrs: []netip.Addr{a}}},
		{{Host: host(t, "10.0.0.5"), Addrs: []netip.Addr{a}}},
		{{Host: host(t, "db.test"), Addrs: []netip.Addr{a}}, {Host: host(t, "db.test"), Addrs: []netip.Addr{a}}},
	} {
		if _, err := policy.Compile(&policy.Document{Version: 2, DNS: policy.DNS{Hosts: hosts}}); err == nil {
			t.Errorf("%v was taken", hosts)
		}
	}
}

// Who is asked, and what is asked of nobody, is the upper layers' but where they
// open it; each keeps the place that it comes from.
func TestDNSLayers(t *testing.T) {
	const rule = "network_policies: {p: {endpoints: [{host: db.test, port: 443}, {host: a.test, port: 443}], binaries: any}}\n"
	silent := "version: 2\n" + rule
	asking := "version: 2\ndns: {upstream: \"tls://dns.test\", hosts: {db.test: [10.0.0.5, 10.0.0.6]}}\n" + rule
	hosting := "version: 2\ndns: {upstream: host}\n" + rule
	for _, tt := range []struct {
		name, above, low string
		want             string // part of the fault, or else what comes of it
	}{
		{"nothing", asking, "", "tls://dns.test layer0.yaml:2:17; db.test 10.0.0.5 10.0.0.6 layer0.yaml:2:43"},
		{"an empty section", asking, "dns: {}", "tls://dns.test layer0.yaml:2:17; db.test 10.0.0.5 10.0.0.6 layer0.yaml:2:43"},
		{"the same server, written otherwise", asking, "dns: {upstream: \"tls://DNS.test:853\"}", "tls://dns.test sandbox.yaml:3:17; db.test 10.0.0.5 10.0.0.6 layer0.yaml:2:43"},
		{"another server", asking, "dns: {upstream: \"tls://else.test\"}", "sandbox.yaml:3:17: dns.upstream: upstream tls://else.test is wider than what the layer above allows"},
		{"the host instead", asking, "dns: {upstream: host}", "sandbox.yaml:3:17: dns.upstream: upstream host is wider"},
		{"a server where none is named", silent, "dns: {upstream: \"tls://else.test\"}", "sandbox.yaml:3:17: dns.upstream: upstream tls://else.test is wider"},
		{"the host where none is named", silent, "dns: {upstream: host}", "host sandbox.yaml:3:17"},
		{"a server instead of the host", hosting, "dns: {upstream: 192.0.2.53}", "sandbox.yaml:3:17: dns.upstream: upstream 192.0.2.53 is wider"},
		{"an open server", "open: [dns.upstream]\n" + asking, "dns: {upstream: 192.0.2.53}", "192.0.2.53 sandbox.yaml:3:17; db.test 10.0.0.5 10.0.0.6 layer0.yaml:3:43"},
		{"an open server, where none is named", "open: [dns]\n" + silent, "dns: {upstream: 192.0.2.53}", "192.0.2.53 sandbox.yaml:3:17"},
		{"fewer addresses", asking, "dns: {hosts: {DB.test: [10.0.0.6]}}", "tls://dns.test layer0.yaml:2:17; db.test 10.0.0.6 sandbox.yaml:3:15"},
		{"another address", asking, "dns: {hosts: {db.test: [10.0.0.6, 10.0.0.7]}}", "sandbox.yaml:3:15: dns.hosts: db.test is wider"},
		{"another name", asking, "dns: {hosts: {a.test: [10.0.0.5]}}", "sandbox.yaml:3:15: dns.hosts: a.test is wider"},
		{"a name where none is", silent, "dns: {hosts: {a.test: [10.0.0.5]}}", "layer0.yaml would have to say open: [dns.hosts]"},
		{"open names", "open: [dns.hosts]\n" + asking, "dns: {hosts: {a.test: [10.0.0.7], db.test: [10.0.0.7]}}",
			"tls://dns.test layer0.yaml:3:17; a.test 10.0.0.7 sandbox.yaml:3:15; db.test 10.0.0.7 sandbox.yaml:3:35"},
		{"open names are no open server", "open: [dns.hosts]\n" + asking, "dns: {upstream: 192.0.2.53}", "dns.upstream: upstream 192.0.2.53 is wider"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			above := tt.above
			if open, rest, ok := strings.Cut(above, "version: 2\n"); ok && open != "" {
				above = "version: 2\n" + open + rest
			}
			doc, err := layered(t, above, below(tt.low))
			got := fmt.Sprint(err)
			if err == nil {
				var parts []string
				if s := doc.DNS.Upstream.String(); s != "" {
					parts = append(parts, s+" "+doc.DNS.At.String())
				}
				for _, h := range doc.DNS.Hosts {
					parts = append(parts, h.String()+" "+h.At.String())
				}
				if got = strings.Join(parts, "; "); got != tt.want {
					t.Errorf("got %s\nwant %s", got, tt.want)
				}
			} else if !strings.Contains(got, tt.want) {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}
