package analyse_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/glob"
	"github.com/creel-run/creel/policy/registry"
)

// holds draws what an assertion describes of messages.
func (d drawn) holds() analyse.Holds {
	switch rapid.IntRange(0, 9).Draw(d.t, "described") {
	case 0:
		return analyse.Holds{Tool: d.pick("tool", toolGlobs)}
	case 1:
		return analyse.Holds{Argument: "path=" + d.pick("argument", []string{"/work/**", "/work/*", "**", "*.md"})}
	case 2:
		return analyse.Holds{Ends: true}
	case 3:
		return analyse.Holds{Stream: true}
	case 4:
		return analyse.Holds{Response: true}
	case 5:
		return analyse.Holds{Service: d.pick("service", svcGlobs), GRPCMethod: d.pick("method of gRPC", []string{"", "Say", "S*"})}
	case 6:
		return analyse.Holds{Fetch: true, Repository: d.pick("repository", []string{"", "team/*", "other/x"})}
	case 7:
		return analyse.Holds{Package: d.pick("package", pkgGlobs), Version: d.pick("version", []string{"", "1.*", "3"}), Registry: d.pick("registry", []string{"npm", "npm", "pypi", "go"})}
	case 8:
		return analyse.Holds{Registry: "npm", Younger: d.pick("younger", []string{"1h", "3d"})}
	}
	return analyse.Holds{Registry: d.pick("registry", []string{"npm", "pypi", "cargo", "debian"}), Publish: true}
}

// describes is a second reading of what is described, of a request that was read.
func describes(t *rapid.T, h analyse.Holds, r *policy.Request, g *policy.Endpoint) bool {
	match := func(pattern, text string, sep byte) bool {
		c, err := glob.Compile(pattern, sep)
		if err != nil {
			t.Fatal(err)
		}
		return pattern == "" || c.Match(text)
	}
	switch {
	case h.Ends:
		return r.RPC != nil && r.RPC.EndSession && r.Method == "DELETE" && g.Protocol == policy.MCP
	case h.Stream:
		return r.RPC != nil && r.RPC.ReceiveStream
	case h.Response:
		return r.RPC != nil && r.RPC.Response
	case h.Tool != "" || h.Argument != "":
		if r.RPC == nil || len(r.RPC.Calls) != 1 || r.RPC.Calls[0].Tool == "" {
			return false
		}
		name, pattern, _ := strings.Cut(h.Argument, "=")
		text, ok := r.RPC.Calls[0].Arguments.Text(name)
		return match(h.Tool, r.RPC.Calls[0].Tool, '.') && (h.Argument == "" || ok && match(pattern, text, '/'))
	case h.Service != "":
		return r.GRPC != nil && match(h.Service, r.GRPC.Service, '.') && match(h.GRPCMethod, r.GRPC.Method, '/')
	case h.Fetch:
		return r.Git != nil && !r.Git.Push && match(h.Repository, r.Git.Repository, '/')
	}
	p := r.Package
	if p == nil || string(p.Kind) != h.Registry || p.Action == registry.Index || !match(h.Package, p.Name, '/') || h.Publish && p.Action != registry.Publish ||
		h.Version != "" && (p.Version == "" || !match(h.Version, p.Version, '/')) {
		return false
	}
	if h.Younger == "" {
		return true
	}
	least, ok := policy.ParseDuration(h.Younger)
	if !ok {
		t.Fatal(h.Younger)
	}
	return p.Action == registry.Download && (p.Published.IsZero() || now.Sub(p.Published) < least)
}

// What is proved of messages holds for random requests; and every counterexample was
// confirmed by the engine.
func TestProveOfMessagesIsExact(t *testing.T) {
	counts := map[string]int{}
	property := func(t *rapid.T) {
		d := drawn{t}
		doc := d.document()
		e, err := policy.Compile(doc)
		if err != nil {
			t.Skip(err)
		}
		a := analyse.Assertion{Word: rapid.SampledFrom([]analyse.Word{analyse.Never, analyse.Only, analyse.Never}).Draw(t, "word"), Host: "m.test", Port: 443, Holds: d.holds()}
		got, err := analyse.Prove(doc, []analyse.Assertion{a}, now)
		var many *analyse.TooManyError
		if errors.As(err, &many) {
			return
		}
		if err != nil || len(got[0].Unknown) > 0 {
			t.Fatalf("%s: %v, %v\n%s", a, err, got, shown(doc))
		}
		counts[string(a.Word)+map[bool]string{true: " holds", false: " is broken"}[got[0].Holds]]++
		for range 20 {
			r := d.request(e, doc)
			g := e.Governing(r.Connection, r.Target.Path)
			if r.Host.String() != "m.test" || g == nil || r.RPC != nil && len(r.RPC.Calls) > 1 {
				continue
			}
			in, let := describes(t, a.Holds, &r, g), grantOf(e, r) != analyse.Denied
			if in {
				counts["described"]++
			}
			if got[0].Holds && let && in == (a.Word == analyse.Never) {
				t.Fatalf("%s is said to hold, and the engine lets through: %s %s rpc %+v git %+v package %+v grpc %+v\n%s", a, r.Method, r.Target.Path, r.RPC, r.Git, r.Package, r.GRPC, shown(doc))
			}
		}
	}
	enough(t, counts, 3, []string{"never holds", "never is broken", "only holds", "only is broken", "described"}, func() { rapid.Check(t, property) })
}
