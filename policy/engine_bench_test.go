package policy_test

import (
	"fmt"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// bigPolicy is a document of n rules: nine of ten name one host, the tenth all
// hosts of a domain. Documents of that size are made by a gateway, not written.
func bigPolicy(t testing.TB, n int) *policy.Engine {
	t.Helper()
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
					{Method: "GET", Path: "/repos/**"},
					{Method: "POST", Path: "/repos/*/*/issues", Query: []policy.QueryRule{{Key: "draft", Any: []string{"t*"}}}},
				},
				Deny: []policy.RequestRule{{Method: "*", Path: "/repos/*/*/keys"}},
			}},
			Binaries: []policy.Binary{{Path: "/usr/bin/curl"}, {Path: "/opt/tools/**"}},
		})
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func bigRequests(t testing.TB, n int) map[string]policy.Request {
	query := map[string][]string{"draft": {"true"}}
	at := func(name string) policy.Request {
		return policy.Request{Connection: curl(t, name, 443), Method: "POST", Target: target.Target{Path: "/repos/o/r/issues", Query: query}}
	}
	literal := at(fmt.Sprintf("host%d.zone%d.test", n/2, n/2%97))
	if n/2%10 == 9 {
		literal = at(fmt.Sprintf("host%d.zone%d.test", n/2-1, (n/2-1)%97))
	}
	return map[string]policy.Request{
		"literal":  literal,
		"wildcard": at(fmt.Sprintf("x.domain%d.test", n-1)),
		"denied":   at("nothing.of.that.example"),
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		e := bigPolicy(b, n)
		for name, r := range bigRequests(b, n) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					e.Request(r)
				}
			})
		}
	}
}

func BenchmarkConnect(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		e := bigPolicy(b, n)
		for name, r := range bigRequests(b, n) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					e.Connect(r.Connection)
				}
			})
		}
	}
}

// Decisions are made for every request and must not make garbage.
func TestDecisionsDoNotAllocate(t *testing.T) {
	const n = 1000
	e := bigPolicy(t, n)
	for name, r := range bigRequests(t, n) {
		want := policy.Allow
		if name == "denied" {
			want = policy.Deny
		}
		if d := e.Request(r); d.Verdict != want {
			t.Errorf("%s: %+v", name, d)
		}
		if got := testing.AllocsPerRun(100, func() { e.Connect(r.Connection); e.Request(r) }); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
