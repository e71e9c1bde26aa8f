package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/policy"
)

func TestLimitsOfAConnection(t *testing.T) {
	e := engineOf(t, `version: 2
limits: {connections: 9}
network_policies:
  a:
    limits: {connections: 8}
    endpoints:
      - {host: api.zone.test, port: 443, protocol: rest, access: full, path: /v1/**, limits: {requests: {count: 7, per: 1m}}}
      - {host: "*.zone.test", port: 443, protocol: rest, access: full}
    binaries: [/usr/bin/curl]
  b:
    endpoints: [{host: other.zone.test, port: 443, limits: {connections: 6}}]
    binaries: [/usr/bin/wget]
`)
	names := func(host, path string) string {
		var list []string
		e.Limits(curl(t, host, 443), path, func(l *policy.Limited) {
			if name := l.Name; !slices.Contains(list, name) {
				list = append(list, name)
			}
		})
		return strings.Join(list, "; ")
	}
	const all = `the policy; network policy "a"`
	for _, tt := range [][3]string{
		{"api.zone.test", "", all + `; the endpoint "api.zone.test" port 443 of network policy "a"`},
		{"api.zone.test", "/v1/x", all + `; the endpoint "api.zone.test" port 443 of network policy "a"`},
		{"api.zone.test", "/v2", all},
		{"other.zone.test", "", all},
		{"other.example", "", "the policy"},
	} {
		if got := names(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s%s: %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
}

// TestOpaqueLimit: what nobody looks into has a bound on what goes out, unless the
// policy says one; version 1 keeps its meaning.
func TestOpaqueLimit(t *testing.T) {
	const rule = `network_policies:
  a:
    endpoints: [{host: pin.test, port: 443, tls: skip%s}, {host: seen.test, port: 443}]
    %s
`
	for _, tt := range []struct{ head, endpoint, network, want, seen string }{
		{"version: 2\n", "", "binaries: any", "67108864 in 1d", ""},
		{"version: 2\n", ", limits: {connections: 3}", "binaries: any", "67108864 in 1d", ""},
		{"version: 2\n", ", limits: {bytes_out: 5}", "binaries: any", "5", ""},
		{"version: 2\n", ", limits: {bytes_out: {size: 1G, per: 1h}}", "binaries: any", "1073741824 in 1h", ""},
		{"version: 2\n", "", "limits: {bytes_out: 6}\n    binaries: any", "6", "6"},
		{"version: 2\nlimits: {bytes_out: 7}\n", "", "binaries: any", "7", "7"},
		{"version: 1\n", "", "binaries: [{path: /usr/bin/curl}]", "", ""},
	} {
		e := engineOf(t, tt.head+fmt.Sprintf(rule, tt.endpoint, tt.network))
		out := func(host string) string {
			text := ""
			e.Limits(curl(t, host, 443), "", func(l *policy.Limited) {
				if q := l.Limits.BytesOut; q.Count > 0 {
					text = q.String()
				}
			})
			return text
		}
		if got, seen := out("pin.test"), out("seen.test"); got != tt.want || seen != tt.seen {
			t.Errorf("%q %q %q: %q and %q, want %q and %q", tt.head, tt.endpoint, tt.network, got, seen, tt.want, tt.seen)
		}
	}
}

func TestAcceptsType(t *testing.T) {
	l := policy.Limits{ResponseTypes: []string{"application/json", "text/*"}}
	for field, want := range map[string]bool{
		"application/json": true, "Application/JSON; charset=utf-8": true, "text/html": true, "application/jsonp": false,
		"": false, "text": false, "text/": false, ";": false, "application/octet-stream": false,
	} {
		if l.AcceptsType([]string{field}) != want {
			t.Errorf("%q: %v", field, !want)
		}
	}
	if l.AcceptsType(nil) || l.AcceptsType([]string{"text/html", "text/html"}) || !new(policy.Limits).AcceptsType(nil) {
		t.Error("no field, two fields, or no limit")
	}
}

// Limits above hold on below, whatever a layer restates.
func TestLimitsInLayers(t *testing.T) {
	const up = "version: 2\nlimits: {connections: 5, bytes_out: {size: 1M, per: 1h}, response_types: [\"text/*\"]}\n" +
		"network_policies: {a: {limits: {connections: 1}, endpoints: [{host: a.test, ports: [443, 444]}], binaries: any}}\n"
	for low, want := range map[string]string{
		"limits: {connections: 4, bytes_in: 5M}":           "",
		"limits: {bytes_out: 1M}":                          "",
		"limits: {bytes_out: {size: 1M, per: 2h}}":         "",
		"limits: {response_types: [text/html]}":            "",
		"limits: {connections: 6}":                         "limits.connections: connections of 6 instead of 5 is wider",
		"limits: {bytes_out: {size: 1M, per: 30m}}":        "limits.bytes_out: bytes_out of 1M in 30m instead of 1M in 1h is wider",
		"limits: {response_types: [text/html, image/png]}": "limits.response_types",
	} {
		doc, err := layered(t, up, below(low))
		if want == "" && (err != nil || doc.Limits.Connections > 5 || doc.Limits.BytesOut.Count != 1<<20) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", low, err)
		}
	}
	doc, err := layered(t, up, below("network_policies: {a: {endpoints: [{host: a.test, port: 443}], binaries: any}}"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	e.Limits(curl(t, "a.test", 443), "", func(l *policy.Limited) { found = found || l.Limits.Connections == 1 })
	if !found {
		t.Error("the limit above is gone")
	}
}

// Rules that end, are counted and limited cost no garbage either.
func TestBoundedDecisionsDoNotAllocate(t *testing.T) {
	e := engineOf(t, strings.Replace(lapsing, "version: 2", "version: 2\nlimits: {connections: 5}", 1))
	c := curl(t, "count.test", 443)
	c.Now, c.Uses = time.Now(), new(policy.Uses)
	r := ask(c, "GET", "/")
	n := 0
	count := func(*policy.Limited) { n++ }
	if got := testing.AllocsPerRun(100, func() { e.Connect(c); e.Request(r); e.Limits(c, "/", count) }); got != 0 || n == 0 {
		t.Errorf("%v allocations, %d limits", got, n)
	}
}

// FuzzLayers: whatever two layers are, merging ends, and what it gives compiles.
func FuzzLayers(f *testing.F) {
	f.Add([]byte(organisation), []byte(below("network_policies: {forge: {endpoints: [], binaries: any}}")))
	f.Add([]byte("version: 2\nopen: [network_policies, inference, \"resources.*\"]\nlimits: {connections: 1}\n"), []byte(below("inference: {model: x}")))
	f.Add([]byte("version: 2\nopen: [dns.hosts]\ndns: {upstream: host, hosts: {a.test: [10.0.0.5, 10.0.0.6]}}\n"), []byte(below("dns: {hosts: {a.test: [10.0.0.6], b.test: [10.0.0.7]}}")))
	f.Fuzz(func(t *testing.T, up, low []byte) {
		doc, _, err := policy.ParseLayers("low.yaml", low, func(_, name string) (string, []byte, error) { return name, up, nil })
		if err != nil {
			return
		}
		e, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		e.Connect(curl(t, "a.test", 443))
	})
}
