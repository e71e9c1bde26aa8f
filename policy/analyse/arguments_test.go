package analyse_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/target"
)

// toolbox draws a document whose rules are about arguments of tools.
func (d drawn) toolbox() *policy.Document {
	doc := &policy.Document{File: "random.yaml", Version: 2}
	n := policy.Network{Key: "net", AnyBinary: true}
	for range rapid.IntRange(1, 2).Draw(d.t, "endpoints") {
		e := policy.Endpoint{Host: "m.test", Ports: []uint16{443}, Protocol: policy.MCP, Enforcement: rapid.SampledFrom([]policy.Enforcement{policy.Enforce, policy.Enforce, policy.Audit}).Draw(d.t, "enforcement")}
		for range rapid.IntRange(1, 3).Draw(d.t, "rules") {
			r := policy.RequestRule{Method: "tools/call", Tools: []string{d.pick("tool", []string{"a", "a*", "b"})}}
			for _, name := range d.some("arguments", []string{"path", "path", "Path", "mode", "a\x01", "x=y"}, 2) {
				r.Arguments = append(r.Arguments, policy.ArgumentRule{Name: name, Any: rapid.SliceOfN(rapid.SampledFrom(argGlobs), 1, 2).Draw(d.t, name)})
			}
			e.Allow = append(e.Allow, r)
		}
		if d.once(4, "deny") {
			e.Deny = []policy.RequestRule{{Method: "tools/call", Tools: []string{"ab"}}}
		}
		n.Endpoints = append(n.Endpoints, e)
	}
	doc.Networks = []policy.Network{n}
	return doc
}

// TestArgumentsAreTheEngine: with arguments as their reader gives them.
func TestArgumentsAreTheEngine(t *testing.T) {
	near := func(d drawn, doc *policy.Document) *policy.Document {
		c, other := copied(doc), d.toolbox()
		c.Networks[0].Endpoints[0].Allow[0].Arguments = other.Networks[0].Endpoints[0].Allow[0].Arguments
		return c
	}
	treatAlike(t, drawn.toolbox, near, func(d drawn, r *policy.Request) {
		r.Method, r.RPC = "POST", &jsonrpc.Request{}
		for range rapid.IntRange(1, 2).Draw(d.t, "calls") {
			r.RPC.Calls = append(r.RPC.Calls, d.call(d.pick("tool", []string{"a", "ab", "b"})))
		}
	})
}

// copied is a document whose endpoints and rules can be changed.
func copied(doc *policy.Document) *policy.Document {
	c := *doc
	c.Networks = slices.Clone(doc.Networks)
	for i := range c.Networks {
		n := &c.Networks[i]
		n.Endpoints = slices.Clone(n.Endpoints)
		for k := range n.Endpoints {
			n.Endpoints[k].Allow, n.Endpoints[k].Deny = slices.Clone(n.Endpoints[k].Allow), slices.Clone(n.Endpoints[k].Deny)
		}
	}
	return &c
}

// treatAlike draws two documents about m.test: the set of each is what its engine
// lets through, what reach lists is confirmed by it, nothing is unknown, and if the
// two have no difference then no request tells them apart.
func treatAlike(t *testing.T, draw func(d drawn) *policy.Document, near func(d drawn, doc *policy.Document) *policy.Document, ask func(d drawn, r *policy.Request)) {
	host, err := netname.ParseHost("m.test")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	property := func(t *rapid.T) {
		d := drawn{t}
		docs := []*policy.Document{draw(d), nil}
		if rapid.Bool().Draw(t, "near") {
			docs[1] = near(d, docs[0])
		} else {
			docs[1] = draw(d)
		}
		engines, sets := make([]*policy.Engine, 2), make([]*analyse.Set, 2)
		for i, doc := range docs {
			engines[i] = compile(t, doc)
			if sets[i], err = analyse.Reachable(doc, now); err != nil {
				t.Fatalf("%v", err)
			}
			if u := sets[i].Unknown(); len(u) > 0 {
				t.Fatalf("%v", u)
			}
			if _, err := analyse.ReachOf(doc, now); err != nil {
				t.Fatalf("%v\n%s", err, shown(doc))
			}
		}
		diff, err := analyse.Diff(docs[0], docs[1], now)
		if err != nil {
			t.Fatalf("%v\n%s%s", err, shown(docs[0]), shown(docs[1]))
		}
		if diff.Equal() {
			counts["equal"]++
		}
		for range 30 {
			r := policy.Request{Connection: policy.Connection{Host: host, Port: 443, Now: now, Uses: new(policy.Uses)}, Target: target.Target{Path: "/"}}
			ask(d, &r)
			var grants []analyse.Grant
			for i := range docs {
				asked := readFor(engines[i], r)
				want := grantOf(engines[i], asked)
				if got := sets[i].Request(asked); got != want {
					t.Fatalf("%s %s %+v %+v: set says %s, engine %s\n%s", r.Method, r.Target.Path, asked.RPC, asked.GRPC, got, want, shown(docs[i]))
				}
				grants = append(grants, want)
				counts[want.String()]++
			}
			if grants[0] != grants[1] {
				counts["told apart"]++
				if diff.Equal() {
					t.Fatalf("%s %s %+v %+v: %v, and the difference is empty", r.Method, r.Target.Path, r.RPC, r.GRPC, grants)
				}
			}
		}
	}
	enough(t, counts, 5, []string{"deny", "audit", "allow", "equal", "told apart"}, func() { rapid.Check(t, property) })
}

// enough runs a property until each of some outcomes was counted often enough. What
// does not come in many runs does not come.
func enough(t *testing.T, counts map[string]int, least int, outcomes []string, run func()) {
	t.Helper()
	missing := func() (list []string) {
		for _, o := range outcomes {
			if counts[o] < least {
				list = append(list, o)
			}
		}
		return list
	}
	const runs = 50
	for n := 0; n == 0 || n < runs && len(missing()) > 0 && !t.Failed(); n++ {
		run()
	}
	if list := missing(); len(list) > 0 {
		t.Errorf("not %d times: %v, of %v", least, list, counts)
	}
	t.Log(counts)
}

// readFor is a request with what an endpoint of gRPC reads of it.
func readFor(e *policy.Engine, r policy.Request) policy.Request {
	if g := e.Governing(r.Connection, r.Target.Path); g == nil || g.Protocol != policy.GRPC {
		r.GRPC = nil
	}
	return r
}

func TestArgumentsInReach(t *testing.T) {
	doc, _, err := policy.Parse("p.yaml", []byte(`version: 2
network_policies:
  tools:
    binaries: any
    endpoints:
    - host: mcp.example
      port: 443
      protocol: mcp
      mcp: {pins: {read: any}}
      rules:
      - allow: {method: tools/call, tool: read, arguments: {path: "/work/**", mode: {any: [r, rb]}}}
      - allow: {method: tools/call, tool: list}
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := analyse.ReachOf(doc, now)
	if err != nil || len(r.Unknown) > 0 {
		t.Fatal(err, r.Unknown)
	}
	var messages []string
	for _, a := range r.Network {
		messages = append(messages, a.Messages...)
	}
	for _, want := range []string{"call of tool read with argument mode r or rb with argument path /work/**", "call of tool list", "the end of a session"} {
		if !slices.Contains(messages, want) {
			t.Errorf("no %q in %q", want, messages)
		}
	}
	w := analyse.Witness{Traffic: analyse.HTTP, Host: "mcp.example", Port: 443, Method: "POST", Path: "/", RPC: []string{"tools/call"}, Tool: "read", Arguments: map[string]string{"path": "/work/a", "mode": "r"}}
	if g, err := analyse.Judge(compile(t, doc), w); err != nil || g != analyse.Allowed {
		t.Error(g, err)
	}
	if got, want := w.String(), `a program that is not known → mcp.example:443 POST / calling tools/call of tool read with mode="r" and path="/work/a"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	same := *doc
	same.Networks = append([]policy.Network{}, doc.Networks...)
	same.Networks[0].Endpoints = append([]policy.Endpoint{}, doc.Networks[0].Endpoints...)
	same.Networks[0].Endpoints[0].ToolPins = []policy.ToolPin{{Tool: "read", SHA256: digest1}}
	d, err := analyse.Diff(doc, &same, now)
	if err != nil {
		t.Fatal(err)
	}
	if d.Equal() || len(d.Sections) != 1 || fmt.Sprint(d.Sections[0].Key, d.Sections[0].Was, d.Sections[0].Is) != "mcp.pins of mcp.example:443 for any program"+"read: any"+"read: "+digest1 {
		t.Errorf("%+v", d)
	}
}
