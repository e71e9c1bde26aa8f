package analyse_test

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/internal/naive"
	"github.com/creel-run/creel/internal/policygen"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/grpc"
	"github.com/creel-run/creel/policy/registry"
)

// The set of a policy that a document wrote is what the engine lets through, and
// what the evaluator does that shares no code with either.
func TestSetIsNaive(t *testing.T) {
	counts := map[string]int{}
	property := func(t *rapid.T) {
		doc, text, err := policygen.Draw(t, policygen.Of{})
		if err != nil {
			counts["refused documents"]++
			return
		}
		e := compile(t, doc)
		plain, err := naive.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		sets := map[time.Time]*analyse.Set{}
		for range 10 {
			r := policygen.Question(t, doc)
			when := r.Now
			if when.IsZero() {
				when = now
			}
			if r.Now, r.Uses = when, new(policy.Uses); sets[when] == nil {
				s, err := analyse.Reachable(doc, when)
				var many *analyse.TooManyError
				if errors.As(err, &many) {
					counts["bounds"]++
					return
				}
				if err != nil {
					t.Fatalf("%v", err)
				}
				if len(s.Unknown()) > 0 {
					counts["not told"]++
					return
				}
				sets[when] = s
			}
			if slices.ContainsFunc(append([]string{r.Binary}, r.Ancestors...), func(p string) bool { return p != path.Clean(p) || p == "/" || p == "." }) {
				counts["no program"]++
				continue
			}
			conn, want := e.Connect(r.Connection), sets[when].Connect(r.Connection, analyse.Connection)
			if (conn.Verdict == policy.Allow) != (want == analyse.Allowed) || (conn.Verdict == policy.Allow) != naive.Judge(plain, unused(naive.FromConnection(r.Connection))).Allowed {
				t.Fatalf("connection %+v: engine %+v, set %s, naive %+v\n%s", r.Connection, conn, want, naive.Judge(plain, unused(naive.FromConnection(r.Connection))), text)
			}
			if !readable(e, &r) {
				counts["not what a reader gives"]++
				continue
			}
			got, of := sets[when].Request(r), naive.Judge(plain, unused(naive.FromRequest(r)))
			plainly := analyse.Denied
			switch {
			case of.Audited:
				plainly = analyse.Audited
			case of.Allowed:
				plainly = analyse.Allowed
			}
			if have := grantOf(e, r); got != have || got != plainly {
				t.Fatalf("%s %s text %v graphql %+v rpc %+v git %+v package %+v: set %s, engine %s, naive %s\n%s", r.Method, r.Target.Path, r.Text, r.GraphQL, r.RPC, r.Git, r.Package, got, have, plainly, text)
			}
			counts[got.String()]++
		}
	}
	enough(t, counts, 20, []string{"deny", "audit", "allow"}, func() { rapid.Check(t, property) })
}

// unused: of no rule anything was used before.
func unused(q naive.Question) naive.Question {
	q.Used = map[string]int64{}
	return q
}

// readable reports whether a request is one that its reader can have given: what
// is told from the path is, fields and operations have names, and a batch of JSON-RPC
// is a POST. What is beside the governing protocol is taken away.
func readable(e *policy.Engine, r *policy.Request) bool {
	g := e.Governing(r.Connection, r.Target.Path)
	if g == nil {
		return true
	}
	switch g.Protocol {
	case policy.JSONRPC, policy.MCP:
		if r.RPC == nil {
			return true
		}
		if r.RPC.ReceiveStream {
			return g.Protocol == policy.MCP && r.Method == "GET"
		}
		for i, c := range r.RPC.Calls {
			if g.Protocol == policy.JSONRPC {
				r.RPC.Calls[i].Tool = ""
			}
			if c.Method == "" {
				return false
			}
		}
		return r.Method == "POST"
	case policy.GraphQL, policy.WebSocket:
		if r.GraphQL == nil {
			return true
		}
		for _, o := range r.GraphQL.Operations {
			if o.Type != "" && (len(o.Fields) == 0 || !isName(o.Name) && o.Name != "") {
				return false
			}
			for _, f := range o.Fields {
				if !isName(f) {
					return false
				}
			}
		}
	case policy.Git:
		return r.Git == nil || fromPath(r, g)
	case policy.Package:
		return r.Package == nil || fromPath(r, g)
	case policy.GRPC:
		if r.GRPC == nil {
			return true
		}
		c, err := grpc.Parse(strings.ToUpper(r.Method), r.Target.Path, r.Target.HasQuery)
		return err == nil && c == *r.GRPC
	}
	return true
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}

// fromPath reports whether what was read of Git or a package is what method, path
// and query say, and refs are refs.
func fromPath(r *policy.Request, g *policy.Endpoint) bool {
	method := strings.ToUpper(r.Method)
	if g.Protocol == policy.Package {
		p, err := registry.Parse(g.Registry, g.RegistryPath, method, r.Target.Path)
		return err == nil && p.Kind == r.Package.Kind && p.Action == r.Package.Action && p.Name == r.Package.Name && p.Version == r.Package.Version
	}
	want, err := git.ParseTarget(method, r.Target.Path, r.Target.Query)
	if err != nil || want.Repository != r.Git.Repository || want.Push != r.Git.Push || want.Discovery != r.Git.Discovery {
		return false
	}
	for _, u := range r.Git.Updates {
		if !strings.HasPrefix(u.Ref, "refs/") || strings.HasSuffix(u.Ref, "/") || strings.Contains(u.Ref, "//") || strings.Contains(u.Ref, "..") {
			return false
		}
	}
	return true
}
