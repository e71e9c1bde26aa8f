package analyse_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

// bigDocument has n rules, each with hosts, programs and paths of its own: nine
// of ten name one host, the tenth all hosts of a domain.
func bigDocument(n int) *policy.Document {
	doc := &policy.Document{Version: 2}
	for i := range n {
		name := fmt.Sprintf("host%d.zone%d.test", i, i%97)
		if i%10 == 9 {
			name = fmt.Sprintf("*.domain%d.test", i)
		}
		doc.Networks = append(doc.Networks, policy.Network{
			Key: fmt.Sprintf("rule%06d", i),
			Endpoints: []policy.Endpoint{{
				Host: name, Ports: []uint16{443}, Protocol: policy.REST,
				Allow: []policy.RequestRule{
					{Method: "GET", Path: fmt.Sprintf("/repos/team%d/**", i)},
					{Method: "POST", Path: fmt.Sprintf("/repos/team%d/*/issues", i), Query: []policy.QueryRule{{Key: "draft", Any: []string{"t*"}}}},
				},
				Deny: []policy.RequestRule{{Method: "*", Path: "/repos/*/*/keys"}},
			}},
			Binaries: []policy.Binary{{Path: "/usr/bin/curl"}, {Path: fmt.Sprintf("/opt/tools%d/**", i%50)}},
		})
	}
	return doc
}

// oneHost has n rules for paths of one host.
func oneHost(n int) *policy.Document {
	ep := policy.Endpoint{Host: "api.test", Ports: []uint16{443}, Protocol: policy.REST}
	for i := range n {
		ep.Allow = append(ep.Allow, policy.RequestRule{Method: "GET", Path: fmt.Sprintf("/repos/team%d/**", i)})
	}
	return &policy.Document{Version: 2, Networks: []policy.Network{{Key: "api", Binaries: []policy.Binary{{Path: "/usr/bin/curl"}}, Endpoints: []policy.Endpoint{ep}}}}
}

// changed is a copy in which every nth rule allows one method more.
func changed(doc *policy.Document, every int) *policy.Document {
	c := *doc
	c.Networks = slices.Clone(doc.Networks)
	for i := 0; i < len(c.Networks); i += every {
		n := &c.Networks[i]
		n.Endpoints = slices.Clone(n.Endpoints)
		n.Endpoints[0].Allow = append(slices.Clone(n.Endpoints[0].Allow), policy.RequestRule{Method: "DELETE", Path: "/repos/*/*"})
	}
	return &c
}

// BenchmarkDiff1000 is B14: the exact difference of two policies of 1,000 rules
// that differ in one, in ten and in all of them.
func BenchmarkDiff1000(b *testing.B) {
	doc := bigDocument(1000)
	for _, c := range []struct {
		name  string
		every int
		want  int
	}{{"one", 2000, 1}, {"ten", 100, 10}, {"all", 1, 1000}} {
		other := changed(doc, c.every)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				d, err := analyse.Diff(doc, other, time.Time{})
				if err != nil {
					b.Fatal(err)
				}
				if len(d.Allowed) != c.want || len(d.Denied) != 0 {
					b.Fatalf("%d classes newly allowed, %d denied", len(d.Allowed), len(d.Denied))
				}
			}
		})
	}
	b.Run("one-host", func(b *testing.B) {
		one := oneHost(1000)
		more := changed(one, 1)
		for b.Loop() {
			d, err := analyse.Diff(one, more, time.Time{})
			if err != nil {
				b.Fatal(err)
			}
			if len(d.Allowed) != 1 || len(d.Denied) != 0 {
				b.Fatalf("%d classes newly allowed, %d denied", len(d.Allowed), len(d.Denied))
			}
		}
	})
}
