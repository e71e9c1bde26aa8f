package analyse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

// Who is asked for addresses is compared as a setting, with its place, and so are
// the addresses that nobody is asked for; what rules let through is the same.
func TestDNSIsCompared(t *testing.T) {
	const rules = "network_policies:\n  db:\n    endpoints: [{host: db.test, port: 443, allowed_ips: [10.0.0.0/8]}, {host: a.test, port: 443}]\n    binaries: any\n"
	none := "version: 2\n" + rules
	asks := "version: 2\ndns: {upstream: \"tls://dns.test\"}\n" + rules
	for _, tt := range []struct {
		name, a, b string
		want       string
	}{
		{"the same server", asks, strings.Replace(asks, "tls://dns.test", "tls://DNS.test.:853", 1), ""},
		{"an empty section", none, "version: 2\ndns: {}\n" + rules, ""},
		{"a server", none, asks, `dns.upstream: "" "tls://dns.test" policy.yaml:2:17`},
		{"no server", asks, none, `dns.upstream: "tls://dns.test" "" policy.yaml:2:17`},
		{"another server", asks, strings.Replace(asks, "tls://dns.test", "192.0.2.53", 1), `dns.upstream: "tls://dns.test" "192.0.2.53" policy.yaml:2:17`},
		{"addresses", none, "version: 2\ndns: {hosts: {db.test: [10.0.0.5, 10.0.0.6]}}\n" + rules, `dns.hosts: "" "db.test 10.0.0.5 10.0.0.6" policy.yaml:2:15`},
		{"another address", "version: 2\ndns: {hosts: {db.test: [10.0.0.5], a.test: [198.51.101.7]}}\n" + rules,
			"version: 2\ndns:\n  hosts: {a.test: [198.51.101.7], db.test: [10.0.0.6]}\n" + rules,
			`dns.hosts: "db.test 10.0.0.5" "" policy.yaml:2:15; dns.hosts: "" "db.test 10.0.0.6" policy.yaml:3:35`},
	} {
		d, err := analyse.Diff(parse(t, tt.a), parse(t, tt.b), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range d.Sections {
			got = append(got, fmt.Sprintf("%s: %q %q %s", s.Key, s.Was, s.Is, s.At))
		}
		if text := strings.Join(got, "; "); text != tt.want || d.Equal() != (tt.want == "") || len(d.Allowed)+len(d.Denied)+len(d.Unknown) > 0 {
			t.Errorf("%s: got %s\nwant %s\n%+v", tt.name, text, tt.want, d)
		}
	}
}

// A difference in the addresses that rules permit is found at a name whose
// addresses are fixed as well, and confirmed.
func TestFixedHostsHideNothing(t *testing.T) {
	const fixed = "version: 2\ndns: {hosts: {db.test: [10.0.0.5]}}\nnetwork_policies: {p: {binaries: any, endpoints: [{host: db.test, port: 443, allowed_ips: [10.0.0.0/8]}]}}\n"
	d, err := analyse.Diff(parse(t, fixed), parse(t, strings.Replace(fixed, "[10.0.0.0/8]", "[10.0.0.0/7]", 1)), time.Time{})
	if err != nil || len(d.Allowed) == 0 || len(d.Denied)+len(d.Unknown) > 0 {
		t.Fatalf("%+v %v", d, err)
	}
}

// Places of a policy in layers are those of the layer that says it.
func TestReachTellsDNS(t *testing.T) {
	doc, _, err := policy.ParseLayers("sandbox.yaml", []byte("version: 2\nextends: [top.yaml]\ndns:\n  hosts: {db.test: [10.0.0.5]}\n"), func(_, name string) (string, []byte, error) {
		if name != "top.yaml" {
			return "", nil, errors.New("no such file")
		}
		return name, []byte("version: 2\nopen: [dns.hosts]\ndns: {upstream: \"https://dns.test\"}\nnetwork_policies: {p: {binaries: any, endpoints: [{host: db.test, port: 443}]}}\n"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := analyse.ReachOf(doc, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range r.DNS {
		got = append(got, s.Key+" "+s.Is+" "+s.At.String())
	}
	if text := strings.Join(got, "; "); text != "dns.upstream https://dns.test/dns-query top.yaml:3:17; dns.hosts db.test 10.0.0.5 sandbox.yaml:4:11" || len(r.Network) != 1 {
		t.Errorf("%s, %+v", text, r.Network)
	}
}
