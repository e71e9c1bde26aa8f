package analyse_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/automaton"
	"github.com/creel-run/creel/policy/grpc"
	"github.com/creel-run/creel/policy/target"
)

// services draws a document about gRPC, with REST for some paths beside it.
func (d drawn) services() *policy.Document {
	n := policy.Network{Key: "net", AnyBinary: true}
	for range rapid.IntRange(1, 2).Draw(d.t, "endpoints") {
		e := policy.Endpoint{Host: "m.test", Ports: []uint16{443}, Protocol: policy.GRPC, Enforcement: rapid.SampledFrom([]policy.Enforcement{policy.Enforce, policy.Enforce, policy.Audit}).Draw(d.t, "enforcement"),
			Path: d.pick("selector", []string{"", "", "/acme.v1.Echo/**", "/acme.v1.Echo/S*"})}
		if d.once(4, "rest") {
			e.Protocol, e.Path = policy.REST, d.pick("selector of REST", []string{"/acme.v1.Echo/*", "/acme.v1.Store/**"})
			e.Allow = []policy.RequestRule{{Method: "POST", Path: d.pick("path", []string{"**", "/acme.v1.Echo/Say"})}}
			if d.once(2, "query") {
				e.Allow[0].Query = []policy.QueryRule{{Key: "k", Any: []string{"*"}}}
			}
			n.Endpoints = append(n.Endpoints, e)
			continue
		}
		for range rapid.IntRange(1, 3).Draw(d.t, "rules") {
			e.Allow = append(e.Allow, policy.RequestRule{Service: d.pick("service", svcGlobs), Method: d.pick("method", callGlobs)})
		}
		for range rapid.IntRange(0, 1).Draw(d.t, "denies") {
			e.Deny = append(e.Deny, policy.RequestRule{Service: d.pick("service", svcGlobs), Method: d.pick("method", callGlobs)})
		}
		n.Endpoints = append(n.Endpoints, e)
	}
	return &policy.Document{File: "random.yaml", Version: 2, Networks: []policy.Network{n}}
}

func TestServicesAreTheEngine(t *testing.T) {
	near := func(d drawn, doc *policy.Document) *policy.Document {
		c := copied(doc)
		e := &c.Networks[0].Endpoints[0]
		if r := &e.Allow[0]; e.Protocol == policy.GRPC && d.once(2, "other rule") {
			r.Service, r.Method = d.pick("service", svcGlobs), d.pick("method", callGlobs)
		} else {
			e.Path = d.pick("selector", []string{"", "/acme.v1.Echo/**"})
		}
		return c
	}
	treatAlike(t, drawn.services, near, func(d drawn, r *policy.Request) {
		path := "/" + d.pick("service", someSvcs) + "/" + d.pick("call", someCalls) + d.pick("query", []string{"", "", "", "?k=1"})
		to, err := target.Parse(path, true)
		if err != nil {
			d.t.Fatal(err)
		}
		r.Target, r.Method = to, d.pick("method of HTTP", []string{"POST", "POST", "POST", "GET"})
		if c, err := grpc.Parse(r.Method, to.Path, to.HasQuery); err == nil && !d.once(8, "not read") {
			r.GRPC = &c
		}
	})
}

// The paths of calls are those that package grpc reads.
func TestGRPCPathsAreWhatIsRead(t *testing.T) {
	pieces := []string{"/", "/", "a", "A.b", "_", "1", ".", "-", "Say", "%2F", "é"}
	counts := map[string]int{}
	enough(t, counts, 20, []string{"in", "out"}, func() {
		rapid.Check(t, func(t *rapid.T) {
			for range 10 {
				path := "/"
				for range rapid.IntRange(0, 5).Draw(t, "pieces") {
					path += rapid.SampledFrom(pieces).Draw(t, "piece")
				}
				_, err := grpc.Parse("POST", path, false)
				if in := automaton.GRPCPaths().Match(path); in != (err == nil) {
					t.Fatalf("%q: set %v, reader %v", path, in, err)
				} else if in {
					counts["in"]++
				} else {
					counts["out"]++
				}
			}
		})
	})
}

func TestServicesInReach(t *testing.T) {
	doc, _, err := policy.Parse("p.yaml", []byte(`version: 2
network_policies:
  services:
    binaries: any
    endpoints:
    - {host: api.example, port: 443, protocol: grpc, rules: [{allow: {service: acme.v1.Echo, method: "S*"}}], deny_rules: [{service: acme.v1.Echo, method: Stop}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := analyse.ReachOf(doc, now)
	if err != nil || len(r.Unknown) > 0 || len(r.Network) != 1 {
		t.Fatal(err, r)
	}
	a := r.Network[0]
	if got := a.Witness.String(); got != "a program that is not known → api.example:443 POST /acme.v1.Echo/S as a gRPC call" {
		t.Error(got)
	}
	if len(a.Paths) != 1 || a.Paths[0] != "/acme.v1.Echo/S* but not /acme.v1.Echo/Stop" || len(a.Messages) != 1 || a.Messages[0] != "gRPC call" {
		t.Errorf("%q %q", a.Paths, a.Messages)
	}
}
