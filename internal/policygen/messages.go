package policygen

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

var (
	types  = []string{"query", "mutation", "subscription"}
	names  = []string{"a", "b", "a*", "*", "[ab]", "{a,b}"}
	hashes = []string{"h1", "h2"}
	calls  = []string{"initialize", "tools/list", "tools/call", "a.b"}
	tools  = []string{"a", "ab", "a*", "*", "a.b", "a.*", "**", "?"}

	arguments     = []string{"path", "Path", "mode"}
	argumentGlobs = []string{"/a/**", "/a/*", "**", "a*", "*b", "../**", "**%2e**"}
)

// operation draws a rule about GraphQL operations.
func (g *gen) operation() string {
	text := "operation_type: " + g.pick("operation type", types...)
	if g.chance("operation name", 3) {
		text += fmt.Sprintf(", operation_name: %q", g.pick("name", names...))
	}
	if g.chance("fields", 2) {
		text += ", fields: [" + quoted(rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 2, rapid.ID).Draw(g.t, "fields")) + "]"
	}
	return text
}

func (g *gen) registry() {
	if g.agreed("registry", "no", "no", "yes") == "no" {
		return
	}
	if g.chance("registered", 2) {
		g.line(6, "persisted_queries: allow_registered")
	}
	g.line(6, "graphql_persisted_queries:")
	for _, h := range rapid.SliceOfNDistinct(rapid.SampledFrom(hashes), 1, 2, rapid.ID).Draw(g.t, "registry") {
		g.line(8, "%s: {operation_type: %s, operation_name: %q, fields: [%q]}", h, g.pick("operation type", types...), g.pick("name", "a", "b"), g.pick("field", "a", "b"))
	}
}

func (g *gen) websocket(about string) {
	opening := func() string {
		return fmt.Sprintf("method: %q, path: %q", g.pick("method", "GET", "WEBSOCKET_TEXT", "*"), g.path())
	}
	denial := func() string {
		return fmt.Sprintf("method: %q, path: %q", g.pick("method", "GET", "WEBSOCKET_TEXT"), g.path())
	}
	if g.agreed("operations on websockets "+about, "no", "yes") == "no" {
		g.rules(opening, denial, true)
		return
	}
	g.line(6, "rules:")
	g.line(6, "- allow: {method: %q, path: %q}", g.pick("method", "GET", "*"), g.path())
	for range rapid.IntRange(1, 3).Draw(g.t, "operations") {
		g.line(6, "- allow: {%s}", g.operation())
	}
	if g.chance("denies", 2) {
		g.line(6, "deny_rules:")
		g.line(6, "- {%s}", g.operation())
	}
}

func (g *gen) mcp(about string) {
	var options []string
	all := g.agreed("all methods "+about, "no", "no", "yes") == "yes"
	if all {
		options = append(options, "allow_all_known_mcp_methods: true")
	}
	loose := g.agreed("loose "+about, "no", "no", "no", "yes") == "yes"
	if loose {
		options = append(options, "strict_tool_names: false")
	}
	if len(options) > 0 {
		g.line(6, "mcp: {%s}", strings.Join(options, ", "))
	}
	list := tools
	if loose { // wildcards need strict names
		list = []string{"a", "ab", "a.b"}
	}
	byTool := func() string {
		if g.chance("any", 3) {
			return fmt.Sprintf("method: tools/call, tool: {any: [%s]}", quoted(rapid.SliceOfN(rapid.SampledFrom(list), 1, 2).Draw(g.t, "tools")))
		}
		if all && g.chance("without method", 2) {
			return fmt.Sprintf("tool: %q", g.pick("tool", list...))
		}
		return fmt.Sprintf("method: tools/call, tool: %q", g.pick("tool", list...))
	}
	ofMethods := func() string { return fmt.Sprintf("method: %q", g.pick("call", "initialize", "tools/list", "a.b")) }
	denial := func() string {
		if g.chance("by tool", 2) {
			return byTool()
		}
		return ofMethods()
	}
	rule := func() string {
		text := denial()
		if g.version == 2 && strings.Contains(text, "tool:") && g.chance("arguments", 3) {
			var clauses []string
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(arguments), 1, 2, rapid.ID).Draw(g.t, "arguments") {
				clauses = append(clauses, fmt.Sprintf("%s: {any: [%s]}", name, quoted(rapid.SliceOfN(rapid.SampledFrom(argumentGlobs), 1, 2).Draw(g.t, "globs of an argument"))))
			}
			text += ", arguments: {" + strings.Join(clauses, ", ") + "}"
		}
		return text
	}
	if g.chance("by method alone", 4) {
		rule = func() string {
			return fmt.Sprintf("method: %q", g.pick("call", "initialize", "tools/*", "tools/call", "tools/l*"))
		}
		denial = rule
	}
	g.rules(rule, denial, false)
}

// message draws what was read from the body of a request to an endpoint, or
// the text of a message on its WebSocket.
func message(t *rapid.T, e policy.Endpoint, r *policy.Request) {
	switch e.Protocol {
	case policy.GraphQL:
		r.Method = rapid.SampledFrom([]string{"POST", "GET"}).Draw(t, "method of GraphQL")
		r.GraphQL = operations(t, e)
	case policy.WebSocket:
		r.Method = "GET"
		if r.Text = rapid.Bool().Draw(t, "text"); r.Text && rapid.IntRange(0, 3).Draw(t, "operation") > 0 {
			r.GraphQL = operations(t, e)
		}
		if once(t, 8, "no upgrade") {
			r.Method = rapid.SampledFrom([]string{"POST", "HEAD", policy.MethodText}).Draw(t, "method")
		}
	case policy.JSONRPC, policy.MCP:
		r.Method = "POST"
		if once(t, 8, "no POST") {
			r.Method = rapid.SampledFrom([]string{"GET", "PUT", "DELETE"}).Draw(t, "method")
		}
		if r.RPC = callsOf(t, e); r.RPC.ReceiveStream {
			r.Method = "GET"
		}
		if e.Protocol == policy.MCP && once(t, 12, "end") {
			r.Method, r.RPC = "DELETE", &jsonrpc.Request{EndSession: true}
			if once(t, 6, "another method of an end") {
				r.Method = "POST"
			}
		}
	case policy.Git:
		r.Method, r.Git = gitOf(t, e)
	case policy.Package:
		r.Package = packageOf(t, e, r.Now)
	case policy.GRPC:
		r.Method, r.GRPC = grpcOf(t, e)
		if to, err := target.Parse("/"+r.GRPC.Service+"/"+r.GRPC.Method, false); err == nil && rapid.Bool().Draw(t, "by its path") {
			r.Target = to
		}
	default:
		return
	}
	if once(t, 10, "not read") {
		r.GraphQL, r.RPC, r.Git, r.Package, r.GRPC = nil, nil, nil, nil, nil
	}
}

func gitOf(t *rapid.T, e policy.Endpoint) (method string, r *git.Request) {
	rule := policy.RequestRule{Repository: "team/app", Refs: []string{"refs/heads/main"}}
	if all := append(append([]policy.RequestRule{}, e.Allow...), e.Deny...); len(all) > 0 {
		rule = rapid.SampledFrom(all).Draw(t, "rule about git")
	}
	if len(rule.Refs) == 0 {
		rule.Refs = []string{"refs/heads/main"}
	}
	r = &git.Request{Repository: Instance(t, rule.Repository, '/'), Push: rule.Operation == "push", Discovery: once(t, 4, "discovery")}
	if once(t, 6, "other repository") {
		r.Repository = rapid.SampledFrom([]string{"team/app", "team/docs", "other/a", ""}).Draw(t, "repository")
	}
	if once(t, 6, "other operation") {
		r.Push = !r.Push
	}
	method = "POST"
	if r.Discovery {
		method = "GET"
	}
	if once(t, 20, "other method of git") {
		method = rapid.SampledFrom([]string{"PUT", "HEAD", "GET"}).Draw(t, "method")
	}
	if !r.Push || r.Discovery || once(t, 12, "no update") {
		return method, r
	}
	for range rapid.IntRange(1, 2).Draw(t, "updates") {
		u := git.Update{Ref: Instance(t, rapid.SampledFrom(rule.Refs).Draw(t, "refs"), '/')}
		if once(t, 5, "other ref") {
			u.Ref = rapid.SampledFrom([]string{"refs/heads/main", "refs/heads/agent/x", "refs/tags/v1"}).Draw(t, "ref")
		}
		switch rapid.IntRange(0, 4).Draw(t, "kind of update") {
		case 0, 1:
			u.Create = true
		case 2:
			u.Delete = true
		case 3:
			u.Forced = true
		}
		r.Updates = append(r.Updates, u)
	}
	return method, r
}

func packageOf(t *rapid.T, e policy.Endpoint, now time.Time) *registry.Request {
	var rule policy.RequestRule
	if all := append(append([]policy.RequestRule{}, e.Allow...), e.Deny...); len(all) > 0 {
		rule = rapid.SampledFrom(all).Draw(t, "rule about packages")
	}
	r := &registry.Request{Kind: e.Registry, Action: registry.Action(rapid.IntRange(int(registry.Index), int(registry.Publish)).Draw(t, "action"))}
	if once(t, 15, "other registry") {
		r.Kind = registry.Cargo
	}
	if once(t, 30, "no action") {
		r.Action = registry.Unknown
	}
	if r.Action == registry.Index {
		return r
	}
	r.Name = Instance(t, rule.Package, '/')
	if once(t, 6, "other package") {
		r.Name = rapid.SampledFrom([]string{"left-pad", "@acme/app", "x"}).Draw(t, "package")
	}
	if r.Action == registry.Publish && once(t, 5, "package that is not named") {
		r.Name = ""
		return r
	}
	if r.Action == registry.Download || rapid.Bool().Draw(t, "of a version") {
		r.Version = rapid.SampledFrom([]string{"1.2.3", "2.0", "1.0-rc.1"}).Draw(t, "version")
		if len(rule.Versions) > 0 && !once(t, 3, "other version") {
			r.Version = Instance(t, rapid.SampledFrom(rule.Versions).Draw(t, "versions"), '.')
		}
	}
	if r.Action == registry.Download && r.Version == "" {
		r.Version = "1.2.3"
	}
	if !now.IsZero() && !once(t, 4, "published at no known time") {
		r.Published = now.Add(-rapid.SampledFrom([]time.Duration{-time.Hour, 0, time.Hour - 1, time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 400 * 24 * time.Hour}).Draw(t, "age"))
	}
	return r
}

func operations(t *rapid.T, e policy.Endpoint) *graphql.Request {
	rules := append(append([]policy.RequestRule{}, e.Allow...), e.Deny...)
	var list []graphql.Operation
	for range rapid.IntRange(1, 2).Draw(t, "operations") {
		o := graphql.Operation{Type: rapid.SampledFrom(types).Draw(t, "type")}
		if len(rules) > 0 {
			r := rapid.SampledFrom(rules).Draw(t, "rule")
			if r.OperationType != "" && r.OperationType != "*" && !once(t, 5, "other type") {
				o.Type = r.OperationType
			}
			o.Name = Instance(t, r.OperationName, '.')
			for _, f := range r.Fields {
				o.Fields = append(o.Fields, Instance(t, f, '.'))
			}
		}
		if once(t, 3, "another field") {
			o.Fields = append(o.Fields, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "field"))
		}
		if once(t, 5, "persisted") {
			o = graphql.Operation{Name: o.Name}
			if rapid.Bool().Draw(t, "by id") {
				o.ID = rapid.SampledFrom(append(hashes, "none")).Draw(t, "id")
			} else {
				o.Hash = rapid.SampledFrom(append(hashes, "none")).Draw(t, "hash")
			}
		}
		if once(t, 10, "id beside it") {
			o.ID = rapid.SampledFrom(append(hashes, "none")).Draw(t, "another id")
		}
		if o.Type != "" && once(t, 10, "hash beside it") {
			o.Hash = rapid.SampledFrom(hashes).Draw(t, "another hash")
		}
		list = append(list, o)
	}
	return &graphql.Request{Operations: list}
}

func callsOf(t *rapid.T, e policy.Endpoint) *jsonrpc.Request {
	rules := append(append([]policy.RequestRule{}, e.Allow...), e.Deny...)
	r := &jsonrpc.Request{Response: once(t, 10, "response"), ReceiveStream: e.Protocol == policy.MCP && once(t, 12, "stream")}
	for range rapid.IntRange(0, 2).Draw(t, "calls") {
		c := jsonrpc.Call{Method: rapid.SampledFrom(calls).Draw(t, "call")}
		if len(rules) > 0 {
			rule := rapid.SampledFrom(rules).Draw(t, "rule")
			if rule.Method != "" && rule.Method != "*" && !once(t, 5, "other call") {
				c.Method = Instance(t, rule.Method, '.')
			}
			if len(rule.Tools) > 0 {
				c.Method = "tools/call"
				c.Tool = Instance(t, rapid.SampledFrom(rule.Tools).Draw(t, "tool"), '.')
			}
		}
		if c.Method == "tools/call" && (c.Tool == "" || once(t, 6, "other tool")) && !once(t, 10, "no tool") {
			c.Tool = rapid.SampledFrom([]string{"a", "b", "ab", "a.b", "a/b"}).Draw(t, "other tool's name")
		}
		if c.Method != "tools/call" {
			c.Tool = ""
		}
		if c.Tool != "" && e.Protocol == policy.MCP {
			c.Arguments = argumentsOf(t, rules)
		}
		r.Calls = append(r.Calls, c)
	}
	r.Batch = len(r.Calls) > 1 || len(r.Calls) == 1 && (r.Response || once(t, 4, "batch of one"))
	if r.ReceiveStream {
		r.Calls, r.Batch, r.Response = nil, false, false
	}
	return r
}

// argumentsOf draws arguments near the rules about them.
func argumentsOf(t *rapid.T, rules []policy.RequestRule) *jsonrpc.Arguments {
	texts := map[string]string{}
	for _, r := range rules {
		for _, a := range r.Arguments {
			if len(a.Any) > 0 && !once(t, 6, "argument is not there") {
				texts[a.Name] = Instance(t, rapid.SampledFrom(a.Any).Draw(t, "glob of an argument"), '/')
			}
		}
	}
	if once(t, 4, "other argument") {
		texts[rapid.SampledFrom(arguments).Draw(t, "argument")] = rapid.SampledFrom([]string{"/a/../b", "/a/%2e%2E/b", "/a/%252e", "/a/%25252e", `/a\..\b`, "/a/\x00", "/a/b", ""}).Draw(t, "text")
	}
	if len(texts) == 0 {
		return nil
	}
	return jsonrpc.TextArguments(texts)
}
