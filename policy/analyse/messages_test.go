package analyse_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/grpc"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// Documents of every protocol, and requests near them.
var (
	protocols  = []policy.Protocol{policy.REST, policy.WebSocket, policy.GraphQL, policy.JSONRPC, policy.MCP, policy.Git, policy.Package, policy.GRPC}
	fieldGlobs = []string{"a", "b", "a*", "*", "[ab]", "c?"}
	someFields = []string{"a", "b", "ab", "c", "cd"}
	toolGlobs  = []string{"a", "a*", "a.*", "*", "**", "b"}
	someTools  = []string{"a", "ab", "a.b", "b", "c", "a b", "", strings.Repeat("a", 129)}
	repoGlobs  = []string{"team/*", "team/app", "**", "*", "te*/**", "team/app*"}
	someRepos  = []string{"team/app", "team/docs", "app", "team/a/b", "other/x"}
	refGlobs   = []string{"refs/heads/main", "refs/heads/a/*", "refs/**", "refs/tags/*"}
	someRefs   = []string{"refs/heads/main", "refs/heads/a/x", "refs/tags/v1", "refs/heads/b"}
	pkgGlobs   = []string{"@acme/*", "left-pad", "**", "*", "l*"}
	somePkgs   = []string{"@acme/x", "left-pad", "lodash", "react"}
	argGlobs   = []string{"/work/**", "/work/*", "**", "*.md", "a{b,c}", "../**", "**%2e**", "", "/work/../**", "[!a]*"}
	someArgs   = []string{`"/work/a"`, `"/work/a/b"`, `"/work/../a"`, `"/work/%2E%2e/a"`, `"/work/%252e%252e/a"`, `"/work/%25252e"`, `"%2"`, `"a%2eb"`, `"x.md"`, `"ab"`, `""`, `"a\\..\\b"`, `"/work/a\u0000"`, `"a%00"`, `1`, `null`, `["/work/a"]`, `{"x":"/work/a"}`}
	argNames   = []string{"path", "Path", "mode", "a\x01", "x=y"}
	verGlobs   = []string{"1.*", "2.0.0", "*"}
	someVers   = []string{"1.0", "2.0.0", "3"}
	svcGlobs   = []string{"acme.v1.Echo", "acme.*.Echo", "acme.**", "**", "*", "acme.v1.{Echo,Store}", "**Echo"}
	callGlobs  = []string{"Say", "S*", "*", "{Say,Put}", "**"}
	someSvcs   = []string{"acme.v1.Echo", "acme.v2.Echo", "acme.v1.b.Store", "Echo", "acme.v1.Store", "acme..x", "1x"}
	someCalls  = []string{"Say", "Put", "Sa", "Say/x", ""}
	keysOf     = []string{"h1", "h2"}
	otherPaths = []string{"/simple", "/simple/", "/simple/lodash/", "/simple/_", "/packages/lodash-1.0.tar.gz", "/packages/left_pad-3-py3-none-any.whl", "/pypi/lodash/1.0/json", "/legacy/",
		"/host.test/l/@v/v1.0.zip", "/l/@v/list", "/l/@latest", "/!left/@v/2.0.0.info", "/config.json", "/api/v1/crates/lodash/1.0/download", "/crates/left_pad/left_pad-3.crate", "/lo/da/lodash", "/1/l",
		"/api/v1/crates/new", "/dists/stable/Release", "/pool/main/l/lodash_1.0_all.deb", "/pool/left-pad_2.0.0_arm64.deb"}
	now  = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	ends = []time.Time{now.Add(-time.Hour), now.Add(time.Hour), now.Add(48 * time.Hour)}
)

type drawn struct{ t *rapid.T }

func (d drawn) pick(label string, from []string) string {
	return rapid.SampledFrom(from).Draw(d.t, label)
}
func (d drawn) some(label string, from []string, most int) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, most, rapid.ID).Draw(d.t, label)
}
func (d drawn) once(n int, label string) bool { return rapid.IntRange(0, n-1).Draw(d.t, label) == 0 }

func (d drawn) rule(e *policy.Endpoint, deny bool) policy.RequestRule {
	var r policy.RequestRule
	operation := func() {
		r.OperationType = d.pick("type", []string{"query", "mutation", "subscription"})
		if e.Protocol == policy.WebSocket && d.once(4, "every type") {
			r.OperationType = "*"
		}
		if d.once(3, "named") {
			r.OperationName = d.pick("name", fieldGlobs)
		}
		r.Fields = d.some("fields", fieldGlobs, 2)
	}
	switch e.Protocol {
	case policy.REST:
		return drawRule(d.t, "rule")
	case policy.WebSocket:
		if d.once(2, "operations") {
			operation()
			break
		}
		r = drawRule(d.t, "rule")
		r.Method = d.pick("websocket method", []string{"GET", policy.MethodText, "*"})
	case policy.GraphQL:
		operation()
	case policy.JSONRPC:
		r.Method = d.pick("call", []string{"initialize", "tools/call", "a.b", "*"})
	case policy.MCP:
		r.Method = d.pick("call", []string{"initialize", "tools/call", "tools/*", "tools/list", ""})
		if (r.Method == "tools/call" || r.Method == "") && d.once(2, "tools") {
			if r.Tools = d.some("tools", toolGlobs, 2); r.Tools == nil {
				r.Tools = []string{}
			}
			for _, name := range d.some("arguments", argNames, 2) {
				r.Arguments = append(r.Arguments, policy.ArgumentRule{Name: name, Any: rapid.SliceOfN(rapid.SampledFrom(argGlobs), 1, 2).Draw(d.t, name)})
			}
		}
	case policy.Git:
		r.Operation, r.Repository = d.pick("operation", []string{"fetch", "push"}), d.pick("repository", repoGlobs)
		if r.Operation == "push" {
			r.Refs = rapid.SliceOfN(rapid.SampledFrom(refGlobs), 1, 2).Draw(d.t, "refs")
			if deny && d.once(3, "every ref") {
				r.Refs = nil
			}
			r.Force, r.Delete = d.once(3, "force"), d.once(3, "delete")
		}
	case policy.GRPC:
		r.Service, r.Method = d.pick("service", svcGlobs), d.pick("method of gRPC", callGlobs)
	case policy.Package:
		r.Package, r.Versions = d.pick("package", pkgGlobs), d.some("versions", verGlobs, 2)
		if d.once(3, "aged") {
			r.MinAge = rapid.SampledFrom([]time.Duration{time.Hour, 72 * time.Hour}).Draw(d.t, "age")
		}
		r.Publish = d.once(3, "publish")
	}
	return r
}

func (d drawn) endpoint() policy.Endpoint {
	e := policy.Endpoint{
		Host: d.pick("host", []string{"m.test", "m.test", "*.test"}), Ports: []uint16{443},
		Protocol:    rapid.SampledFrom(protocols).Draw(d.t, "protocol"),
		Path:        d.pick("selector", []string{"", "", "", "", "/v1/**", "/v1", "/team/**", "/acme.v1.Echo/**"}),
		Enforcement: rapid.SampledFrom([]policy.Enforcement{policy.Enforce, policy.Enforce, policy.Audit, policy.AskFirst}).Draw(d.t, "enforcement"),
	}
	if d.once(8, "plain") {
		e.Protocol, e.Path = policy.L4, ""
	}
	if d.once(4, "ends") {
		e.Expires = rapid.SampledFrom(ends).Draw(d.t, "end")
	}
	if d.once(6, "counted") {
		e.MaxUses = 3
	}
	e.Withdrawn = d.once(10, "withdrawn")
	switch e.Protocol {
	case policy.REST, policy.GraphQL, policy.WebSocket:
		if d.once(3, "preset") {
			e.Access = d.pick("access", []string{"read-only", "read-write", "full"})
		}
	case policy.MCP:
		e.MCP = policy.MCPOptions{LooseToolNames: d.once(3, "loose"), AllMethods: d.once(3, "all")}
	case policy.Package:
		e.Registry = rapid.SampledFrom([]registry.Kind{registry.NPM, registry.NPM, registry.NPM, registry.PyPI, registry.Go, registry.Cargo, registry.Debian}).Draw(d.t, "registry")
	}
	if (e.Protocol == policy.GraphQL || e.Protocol == policy.WebSocket) && d.once(2, "registered") {
		e.GraphQL.AllowRegistered = true
		for _, k := range d.some("keys", keysOf, 2) {
			e.GraphQL.Registry = append(e.GraphQL.Registry, policy.PersistedOperation{
				Key: k, Type: d.pick("type", []string{"query", "mutation"}), Name: d.pick("name", someFields), Fields: d.some("fields", someFields, 2)})
		}
	}
	if e.Protocol != policy.L4 {
		for range rapid.IntRange(0, 3).Draw(d.t, "allows") {
			e.Allow = append(e.Allow, d.rule(&e, false))
		}
		for range rapid.IntRange(0, 2).Draw(d.t, "denies") {
			e.Deny = append(e.Deny, d.rule(&e, true))
		}
	}
	return e
}

func (d drawn) document() *policy.Document {
	doc := &policy.Document{File: "random.yaml", Version: 2}
	kind := rapid.SampledFrom(protocols).Draw(d.t, "most")
	for i := range rapid.IntRange(1, 3).Draw(d.t, "networks") {
		n := policy.Network{Key: fmt.Sprint("net", i), AnyBinary: !d.once(3, "named")}
		if !n.AnyBinary {
			n.Binaries = []policy.Binary{{Path: d.pick("binary", []string{"/usr/bin/curl", "/usr/bin/git", "/usr/bin/*"})}}
		}
		if d.once(6, "network ends") {
			n.Expires = rapid.SampledFrom(ends).Draw(d.t, "end")
		}
		if d.once(8, "network counted") {
			n.MaxUses = 5
		}
		for range rapid.IntRange(1, 2).Draw(d.t, "endpoints") {
			e := d.endpoint()
			if e.Protocol != kind && e.Protocol != policy.L4 && !d.once(3, "another protocol") {
				e = d.endpoint()
			}
			n.Endpoints = append(n.Endpoints, e)
		}
		doc.Networks = append(doc.Networks, n)
	}
	return doc
}

// request draws one that a reader can have given: facts of Git and packages come
// from method and path, operations have root fields.
func (d drawn) request(e *policy.Engine, doc *policy.Document) policy.Request {
	n := doc.Networks[rapid.IntRange(0, len(doc.Networks)-1).Draw(d.t, "network")]
	about := n.Endpoints[rapid.IntRange(0, len(n.Endpoints)-1).Draw(d.t, "endpoint")]
	host, err := netname.ParseHost(d.pick("host", []string{"m.test", "m.test", "m.test", "x.test"}))
	if err != nil {
		d.t.Fatal(err)
	}
	r := policy.Request{Connection: policy.Connection{Host: host, Port: 443, Now: now, Uses: new(policy.Uses)}}
	if r.Binary = d.pick("binary", []string{"/usr/bin/curl", "/usr/bin/curl", "/usr/bin/git", "/opt/x", ""}); r.Binary != "" {
		r.KnownCaller = true
	}
	path := d.pick("path", []string{"/", "/v1", "/v1/a", "/v1/secret", "/graphql"})
	r.Method = d.pick("method", []string{"GET", "POST", "POST", "POST", "PUT", "HEAD", "get"})
	if about.Path != "" && d.once(2, "by selector") {
		path = strings.TrimSuffix(about.Path, "**") + d.pick("below", []string{"", "a"})
	}
	switch {
	case about.Protocol == policy.Git || d.once(8, "git"):
		path = "/" + d.pick("repository", someRepos) + d.pick("suffix", []string{"", ".git"}) +
			d.pick("service", []string{"/info/refs?service=git-upload-pack", "/info/refs?service=git-receive-pack", "/git-upload-pack", "/git-receive-pack", "/git-receive-pack", "/info/refs"})
		if strings.Contains(path, "/info/") {
			r.Method = "GET"
		}
	case about.Protocol == policy.GRPC || d.once(8, "gRPC"):
		path = "/" + d.pick("service", someSvcs) + "/" + d.pick("call", someCalls) + d.pick("query", []string{"", "", "", "", "?x=1"})
	case about.Protocol == policy.Package || d.once(8, "package"):
		name := d.pick("package", somePkgs)
		version := d.pick("version", someVers)
		path = "/" + name + d.pick("of it", []string{"", "/" + version, "/-/" + name[strings.IndexByte(name, '/')+1:] + "-" + version + ".tgz", "/-/x"})
		if about.Registry != registry.NPM || d.once(8, "another registry") {
			path = d.pick("path of a registry", otherPaths)
		}
		r.Method = d.pick("package method", []string{"GET", "GET", "HEAD", "PUT"})
	}
	if r.Target, err = target.Parse(path, true); err != nil {
		d.t.Fatal(err)
	}
	g := e.Governing(r.Connection, r.Target.Path)
	if g == nil {
		return r
	}
	if g.Protocol == policy.WebSocket {
		r.Method = "GET"
		if r.Text = d.once(2, "text"); r.Text {
			r.Method = ""
		}
	}
	if d.once(10, "not read") {
		return r
	}
	switch g.Protocol {
	case policy.GraphQL, policy.WebSocket:
		r.GraphQL = &graphql.Request{}
		for range rapid.IntRange(1, 2).Draw(d.t, "operations") {
			o := graphql.Operation{Type: d.pick("type", []string{"query", "mutation", "subscription"}), Fields: rapid.SliceOfNDistinct(rapid.SampledFrom(someFields), 1, 3, rapid.ID).Draw(d.t, "fields")}
			if d.once(2, "with a name") {
				o.Name = d.pick("name", someFields)
			}
			if d.once(5, "stored") {
				o.Type, o.Fields, o.Hash = "", nil, d.pick("hash", []string{"h1", "h2", "h3"})
			}
			if d.once(6, "id") {
				o.ID = d.pick("id", []string{"h1", "h2", "h3"})
			}
			r.GraphQL.Operations = append(r.GraphQL.Operations, o)
		}
	case policy.JSONRPC, policy.MCP:
		r.RPC, r.Method = &jsonrpc.Request{}, "POST"
		if g.Protocol == policy.MCP && d.once(8, "stream") {
			r.RPC.ReceiveStream, r.Method = true, "GET"
			break
		}
		if d.once(8, "end") {
			r.RPC.EndSession, r.Method = true, d.pick("method of an end", []string{"DELETE", "DELETE", "POST"})
			break
		}
		for range rapid.IntRange(0, 2).Draw(d.t, "calls") {
			c := jsonrpc.Call{Method: d.pick("call", []string{"initialize", "tools/call", "tools/call", "tools/list", "a.b", "x"})}
			if c.Method == "tools/call" && g.Protocol == policy.MCP {
				c = d.call(d.pick("tool", someTools))
			}
			r.RPC.Calls = append(r.RPC.Calls, c)
		}
		r.RPC.Response = d.once(6, "response")
	case policy.Git:
		if r.Git, err = git.ParseTarget(strings.ToUpper(r.Method), r.Target.Path, r.Target.Query); err == nil && r.Git.Push && !r.Git.Discovery {
			for _, ref := range d.some("refs", someRefs, 2) {
				u := git.Update{Ref: ref, Delete: d.once(4, "delete")}
				u.Forced = !u.Delete && d.once(3, "forced")
				r.Git.Updates = append(r.Git.Updates, u)
			}
		}
	case policy.GRPC:
		if c, err := grpc.Parse(strings.ToUpper(r.Method), r.Target.Path, r.Target.HasQuery); err == nil {
			r.GRPC = &c
		}
	case policy.Package:
		if r.Package, err = registry.Parse(g.Registry, g.RegistryPath, strings.ToUpper(r.Method), r.Target.Path); err == nil && d.once(2, "published") {
			r.Package.Published = now.Add(-rapid.SampledFrom([]time.Duration{0, time.Hour, 80 * time.Hour}).Draw(d.t, "age"))
		}
	}
	return r
}

// call is one of a tool as its reader gives it.
func (d drawn) call(tool string) jsonrpc.Call {
	members := []string{}
	for _, name := range d.some("arguments", []string{"path", "Path", "mode", "x=y", "other", "b\u0001"}, 3) {
		key, err := json.Marshal(name)
		if err != nil {
			d.t.Fatal(err)
		}
		members = append(members, string(key)+":"+d.pick("value", someArgs))
	}
	name, err := json.Marshal(tool)
	if err != nil {
		d.t.Fatal(err)
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%s,"arguments":{%s}}}`, name, strings.Join(members, ","))
	r, err := jsonrpc.ParseBody([]byte(body), jsonrpc.Options{MCP: true})
	if err != nil {
		return jsonrpc.Call{Method: "tools/call", Tool: tool} // a name that no reader gives
	}
	return r.Calls[0]
}

func grantOf(e *policy.Engine, r policy.Request) analyse.Grant {
	switch d := e.Request(r); {
	case d.Verdict != policy.Allow:
		return analyse.Denied
	case d.Audited:
		return analyse.Audited
	}
	return analyse.Allowed
}

// The set of a policy is what its engine lets through, whatever the protocol and
// in batches, too.
func TestSetIsTheEngineForMessages(t *testing.T) {
	granted := map[string]int{}
	check := func(t *rapid.T) {
		d := drawn{t}
		doc := d.document()
		e, err := policy.Compile(doc)
		if err != nil {
			t.Skip(err)
		}
		s, err := analyse.Reachable(doc, now)
		var many *analyse.TooManyError
		if errors.As(err, &many) {
			granted["bound"]++
			return
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
		if len(s.Unknown()) > 0 {
			granted["unknown"]++
			return
		}
		for range 40 {
			r := d.request(e, doc)
			want := grantOf(e, r)
			if got := s.Request(r); got != want {
				t.Fatalf("%s %s text %v graphql %+v rpc %+v git %+v package %+v: set says %s, engine %s: %+v", r.Method, r.Target.Path, r.Text, r.GraphQL, r.RPC, r.Git, r.Package, got, want, e.Request(r))
			}
			by := "none"
			if g := e.Governing(r.Connection, r.Target.Path); g != nil {
				by = string(g.Protocol)
			}
			granted[by+" "+want.String()]++
			granted["some "+want.String()]++
		}
	}
	var outcomes []string
	for _, p := range protocols {
		outcomes = append(outcomes, string(p)+" "+analyse.Denied.String(), string(p)+" "+analyse.Allowed.String())
	}
	enough(t, granted, 2, append(outcomes, "some audit"), func() { rapid.Check(t, check) })
}

// changed writes a document that differs in an endpoint, a rule or a key.
func (d drawn) changed(doc *policy.Document) *policy.Document {
	c := *doc
	c.Networks = slices.Clone(doc.Networks)
	for i := range c.Networks {
		n := &c.Networks[i]
		n.Endpoints = slices.Clone(n.Endpoints)
		for k := range n.Endpoints {
			e := &n.Endpoints[k]
			switch rapid.IntRange(0, 9).Draw(d.t, "change") {
			case 0:
				*e = d.endpoint()
			case 1:
				if len(e.Allow) > 0 {
					e.Allow = e.Allow[1:]
				}
			case 2:
				if e.Protocol != policy.L4 {
					e.Deny = append(slices.Clone(e.Deny), d.rule(e, true))
				}
			case 3:
				if e.Protocol != policy.L4 {
					e.Allow = append(slices.Clone(e.Allow), d.rule(e, false))
				}
			case 4:
				e.Expires = rapid.SampledFrom(append(slices.Clone(ends), time.Time{})).Draw(d.t, "another end")
			case 5:
				e.MCP.LooseToolNames = !e.MCP.LooseToolNames && e.Protocol == policy.MCP
			}
		}
	}
	return &c
}

// An empty difference means that no random request, at no time, tells the two
// apart; and Diff has confirmed the witnesses of one that is not.
func TestDiffOfMessagesIsExact(t *testing.T) {
	counts := map[string]int{}
	property := func(t *rapid.T) {
		d := drawn{t}
		a := d.document()
		b := d.changed(a)
		x, err1 := policy.Compile(a)
		y, err2 := policy.Compile(b)
		if err1 != nil || err2 != nil {
			t.Skip()
		}
		diff, err := analyse.Diff(a, b, now)
		var many *analyse.TooManyError
		if errors.As(err, &many) {
			return
		}
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, shown(a), shown(b))
		}
		if len(diff.Unknown) > 0 {
			return
		}
		if len(diff.Allowed)+len(diff.Denied)+len(diff.Recorded) > 0 {
			counts["different"]++
		} else {
			counts["equal"]++
		}
		for i, e := range []*policy.Engine{x, y} {
			for range 10 {
				r := d.request(e, []*policy.Document{a, b}[i])
				r.Now = rapid.SampledFrom([]time.Time{now, now.Add(2 * time.Hour), now.Add(72 * time.Hour)}).Draw(t, "when")
				if r.Package != nil && !r.Package.Published.IsZero() {
					r.Package.Published = r.Package.Published.Add(r.Now.Sub(now))
				}
				if !readAlike(x, y, &r) {
					continue
				}
				was, is := grantOf(x, r), grantOf(y, r)
				if was == is {
					continue
				}
				counts["told"]++
				if len(diff.Allowed)+len(diff.Denied)+len(diff.Recorded) == 0 {
					t.Fatalf("%s %s text %v graphql %+v rpc %+v git %+v package %+v: %s, then %s, and the difference is empty", r.Method, r.Target.Path, r.Text, r.GraphQL, r.RPC, r.Git, r.Package, was, is)
				}
			}
		}
	}
	enough(t, counts, 5, []string{"equal", "different", "told"}, func() { rapid.Check(t, property) })
}

// shown is a document for a failure.
func shown(doc *policy.Document) string {
	var b strings.Builder
	for _, n := range doc.Networks {
		fmt.Fprintf(&b, "%s %v %v expires %v uses %d\n", n.Key, n.AnyBinary, n.Binaries, n.Expires, n.MaxUses)
		for _, e := range n.Endpoints {
			fmt.Fprintf(&b, "  %+v\n", e)
		}
	}
	return b.String()
}

// readAlike: both policies read the request by one protocol.
func readAlike(x, y *policy.Engine, r *policy.Request) bool {
	a, b := x.Governing(r.Connection, r.Target.Path), y.Governing(r.Connection, r.Target.Path)
	return a == nil || b == nil || a.Protocol == b.Protocol
}
