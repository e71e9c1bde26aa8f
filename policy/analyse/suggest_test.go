package analyse_test

import (
	"strings"
	"testing"
	"time"

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

const (
	gitRules  = "protocol: git\n        rules:\n          - allow: {operation: push, repository: team/app, refs: [\"agent/*\"]}\n"
	mcpRules  = "protocol: mcp\n        rules:\n          - allow: {method: tools/call, tool: \"read_*\", arguments: {path: \"/workspace/**\"}}\n          - allow: {method: tools/call, tool: search}\n"
	looseMCP  = "protocol: mcp\n        mcp: {strict_tool_names: false}\n        rules:\n          - allow: {method: tools/call, tool: search}\n"
	manyRules = mcpRules + "          - allow: {method: tools/call, tool: read_file, arguments: {mode: w, path: \"/tmp/**\"}}\n"
	rpcRules  = "protocol: json-rpc\n        rules:\n          - allow: {method: sum}\n"
	gqlRules  = "protocol: graphql\n        persisted_queries: allow_registered\n        graphql_persisted_queries: {h1: {operation_type: mutation}}\n" +
		"        rules:\n          - allow: {operation_type: query, operation_name: \"Get*\", fields: [viewer]}\n"
	grpcRule = "protocol: grpc\n        rules:\n          - allow: {service: acme.v1.Greeter, method: SayHello}\n"
	pkgRules = "protocol: package\n        registry: npm\n        rules:\n          - allow: {package: left-pad, versions: [\"1.*\"], min_age: 3d}\n"
)

func oneEndpoint(rules string) string {
	return "version: 2\nnetwork_policies:\n  k:\n    endpoints:\n      - host: a.test\n        port: 443\n        " + rules + "    binaries: any\n"
}

// pasted is a policy with the suggested rules below those of its endpoint.
func pasted(t *testing.T, rules, suggestion string) string {
	t.Helper()
	for l := range strings.Lines(suggestion) {
		if rule, ok := strings.CutPrefix(l, "#   - allow: "); ok {
			rules += "          - allow: " + rule
		} else if !strings.HasPrefix(l, "# add to the rules of the endpoint at ") {
			t.Errorf("a line of another kind: %q", l)
		}
	}
	return oneEndpoint(rules)
}

// What is suggested for a message allows that message, and as far as the language
// can say it nothing besides; what it could not say so is not suggested.
func TestSuggestionsOpenNoMore(t *testing.T) {
	calls := func(tool, arguments string) *policy.Request {
		r, err := jsonrpc.ParseBody([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`"`+arguments+`}}`), jsonrpc.Options{MCP: true, LaxToolNames: true})
		if err != nil {
			t.Fatal(err)
		}
		return &policy.Request{RPC: &r}
	}
	method := func(m string) *policy.Request {
		return &policy.Request{RPC: &jsonrpc.Request{Calls: []jsonrpc.Call{{Method: m}}}}
	}
	push := func(u ...git.Update) *policy.Request {
		return &policy.Request{Git: &git.Request{Repository: "team/app", Push: true, Updates: u}}
	}
	main, moved := git.Update{Ref: "refs/heads/main"}, git.Update{Ref: "refs/heads/main", Forced: true}
	unread := git.Update{Ref: "refs/heads/main", Forced: true, Unproved: true}
	gone := git.Update{Ref: "refs/heads/agent/x", Delete: true}
	op := func(kind, name string, fields ...string) *policy.Request {
		return &policy.Request{GraphQL: &graphql.Request{Operations: []graphql.Operation{{Type: kind, Name: name, Fields: fields}}}}
	}
	old := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pkg := func(a registry.Action, name, version string) *policy.Request {
		return &policy.Request{Package: &registry.Request{Kind: registry.NPM, Action: a, Name: name, Version: version, Published: old}}
	}
	for _, tt := range []struct {
		name, rules string
		r           *policy.Request
		want        string // the rule, several between "; ", or with "# " a part of why there is none
		opened      string // the messages that are newly allowed
		denied      []*policy.Request
	}{
		{"a push", gitRules, push(main), "operation: push, repository: team/app, refs: [refs/heads/main]",
			"push of refs/heads/main", []*policy.Request{push(moved), push(git.Update{Ref: main.Ref, Delete: true})}},
		{"a push not looked at", gitRules, push(unread), "operation: push, repository: team/app, refs: [refs/heads/main]",
			"push of refs/heads/main", []*policy.Request{push(moved)}},
		{"a forced push", gitRules, push(moved), "operation: push, repository: team/app, refs: [refs/heads/main], force: true",
			"push of refs/heads/main or forced push of refs/heads/main", nil},
		{"a push and a deletion", gitRules, push(unread, gone, git.Update{Ref: "refs/heads/agent/y"}),
			"operation: push, repository: team/app, refs: [refs/heads/main]; operation: push, repository: team/app, refs: [refs/heads/agent/x], delete: true",
			"push of refs/heads/main or deletion of refs/heads/agent/x", []*policy.Request{push(git.Update{Ref: main.Ref, Delete: true}), push(moved)}},
		{"a push that is allowed if it is proved", gitRules, push(git.Update{Ref: "refs/heads/agent/x", Forced: true, Unproved: true}),
			"# no lines are suggested: the rules allow it if it leaves no commits behind", "", nil},
		{"what comes before a push", strings.ReplaceAll(gitRules, "team/app", "team/docs"), &policy.Request{Git: &git.Request{Repository: "team/app", Push: true, Discovery: true}},
			"# no lines are suggested: which refs would be pushed is not known yet", "", nil},
		{"a push of what", gitRules, push(), "# which refs the push changes is not known: say them to creel policy explain, with --ref", "", nil},
		{"a fetch", gitRules, &policy.Request{Git: &git.Request{Repository: "team/a*b"}}, `operation: fetch, repository: "team/a\\*b"`,
			"question before a fetch; fetch", []*policy.Request{{Git: &git.Request{Repository: "team/app"}}, push(main)}},

		{"another argument", mcpRules, calls("read_file", `,"arguments":{"path":"/other/a","limit":3}`), "method: tools/call, tool: read_file, arguments: {path: /other/a}",
			"call of tool read_file with argument path /other/a", []*policy.Request{calls("read_file", `,"arguments":{"path":"/other/b"}`), calls("read_file", ""), calls("read_all", `,"arguments":{"path":"/other/a"}`)}},
		{"signs of globs", mcpRules, calls("read_file", `,"arguments":{"path":"/o/*/[x]{a,b}?\\ \u0085\u2028😀\"#: y"}`),
			`method: tools/call, tool: read_file, arguments: {path: "/o/\\*/\\[x\\]\\{a,b\\}\\?\\\\ \u0085\u2028\U0001f600\"#: y"}`,
			"call of tool read_file with argument path /o/\\*/\\[x\\]\\{a,b\\}\\?\\\\ \u0085\u2028😀\"#: y", []*policy.Request{calls("read_file", `,"arguments":{"path":"/o/c/[x]{a,b}?\\ \u0085\u2028😀\"#: y"}`)}},
		{"a climb", mcpRules, calls("read_file", `,"arguments":{"path":"/workspace/../etc/passwd"}`), `# no lines are suggested: the argument "path" leads elsewhere`, "", nil},
		{"an encoded climb", mcpRules, calls("read_file", `,"arguments":{"path":"/workspace/%252e%252e/etc"}`), "leads elsewhere", "", nil},
		{"a NUL", mcpRules, calls("read_file", `,"arguments":{"path":"/workspace/a\u0000"}`), "leads elsewhere", "", nil},
		{"no argument", mcpRules, calls("read_file", ""), "# no lines are suggested: the rule at policy.yaml:9:20 is about arguments of this tool that the call does not give", "", nil},
		{"an argument that is no text", mcpRules, calls("read_file", `,"arguments":{"path":["/other/a"]}`), `the argument "path" is no text`, "", nil},
		{"an argument that is null", mcpRules, calls("read_file", `,"arguments":{"path":null}`), `the argument "path" is no text`, "", nil},
		{"two arguments in one", mcpRules, calls("read_file", `,"arguments":{"path":"/other/a","PATH":"/etc/shadow"}`), `the argument "path" is no text`, "", nil},
		{"an empty argument", mcpRules, calls("read_file", `,"arguments":{"path":""}`), "is empty", "", nil},
		{"a long argument", mcpRules, calls("read_file", `,"arguments":{"path":"/`+strings.Repeat("a", 1024)+`"}`), "is longer than 1024 bytes", "", nil},
		{"arguments of two rules", manyRules, calls("read_file", `,"arguments":{"path":"/other/a","mode":"r"}`), "method: tools/call, tool: read_file, arguments: {mode: r, path: /other/a}",
			"call of tool read_file with argument mode r with argument path /other/a", []*policy.Request{calls("read_file", `,"arguments":{"path":"/other/a","mode":"rb"}`), calls("read_file", `,"arguments":{"path":"/other/a"}`)}},
		{"arguments of one of two rules", manyRules, calls("read_file", `,"arguments":{"path":"/other/a"}`), "method: tools/call, tool: read_file, arguments: {path: /other/a}", "call of tool read_file with argument path /other/a", nil},
		{"another tool", mcpRules, calls("write_file", `,"arguments":{"path":"/etc/passwd","text":"x"}`), "method: tools/call, tool: write_file, arguments: {path: /etc/passwd}",
			"call of tool write_file with argument path /etc/passwd", []*policy.Request{calls("write_file", `,"arguments":{"path":"/other/b"}`)}},
		{"another tool without it", mcpRules, calls("date", ""), "method: tools/call, tool: date", "call of tool date", []*policy.Request{calls("dates", "")}},
		{"a loose tool", looseMCP, calls("a b", ""), `method: tools/call, tool: "a b"`, "call of tool a b", []*policy.Request{calls("a  b", "")}},
		{"a tool that is a glob", looseMCP, calls("*", ""), "# no lines are suggested: a rule for the tool", "", nil},
		{"a method", mcpRules, method("resources/list"), "method: resources/list", "call of resources/list", []*policy.Request{method("resources/read")}},
		{"a method that is a glob", mcpRules, method("tools/*"), `method: "tools/\\*"`, "call of tools/\\*", []*policy.Request{calls("date", ""), method("tools/list")}},
		{"a method that is every one", mcpRules, method("*"), "# no lines are suggested: a rule for the method", "", nil},
		{"json-rpc", rpcRules, method("drop"), "method: drop", "call of drop", []*policy.Request{method("drops")}},
		{"json-rpc, every method", rpcRules, method("*"), "# no lines are suggested: a rule for the method", "", nil},
		{"json-rpc, a glob", rpcRules, method("a*"), "# no lines are suggested: a rule for the method", "", nil},

		{"an operation", gqlRules, op("mutation", "New", "createIssue"), "operation_type: mutation, operation_name: New, fields: [createIssue]",
			"mutation named New with root fields createIssue", []*policy.Request{op("mutation", "Other", "createIssue"), op("mutation", "New", "createIssue", "drop"), op("query", "New", "createIssue")}},
		{"an operation by another name", gqlRules, op("query", "Put", "viewer"), "operation_type: query, operation_name: Put, fields: [viewer]",
			"query named Put with root fields viewer", []*policy.Request{op("query", "Puts", "viewer"), op("query", "", "viewer")}},
		{"an operation without a name", gqlRules, op("mutation", "", "a"), "operation_type: mutation, fields: [a]", "mutation with root fields a", []*policy.Request{op("mutation", "", "b")}},
		{"a stored operation whose fields are not known", gqlRules, &policy.Request{GraphQL: &graphql.Request{Operations: []graphql.Operation{{Hash: "h1"}}}},
			"# no lines are suggested: the operation names no root fields", "", nil},

		{"a gRPC call", grpcRule, &policy.Request{GRPC: &grpc.Request{Service: "acme.v1.Greeter", Method: "Forget"}}, "service: acme.v1.Greeter, method: Forget",
			"gRPC call", []*policy.Request{{GRPC: &grpc.Request{Service: "acme.v1.Greeter", Method: "ForgetAll"}}, {GRPC: &grpc.Request{Service: "acme.v1.other.Greeter", Method: "Forget"}}}},

		{"a version", pkgRules, pkg(registry.Download, "right-pad", "2.0.0"), `package: right-pad, versions: ["2.0.0"], min_age: 3d`,
			"metadata of right-pad or metadata of right-pad version 2.0.0 or download of right-pad version 2.0.0 at least 3d old", []*policy.Request{pkg(registry.Download, "right-pad", "2.0.1"), pkg(registry.Publish, "right-pad", "2.0.0"), pkg(registry.Download, "right-pads", "2.0.0")}},
		// No rule can say less of a publication that names no version.
		{"a publication", pkgRules, pkg(registry.Publish, "right-pad", ""), "package: right-pad, min_age: 3d, publish: true",
			"metadata of right-pad or download of right-pad at least 3d old; publish of right-pad", []*policy.Request{pkg(registry.Publish, "left-pad", "")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ask := func(r *policy.Request) policy.Request {
				q := *r
				host, err := netname.ParseHost("a.test")
				if err != nil {
					t.Fatal(err)
				}
				q.Connection = policy.Connection{Host: host, Port: 443, Now: old.AddDate(0, 6, 0)}
				if q.Target, err = target.Parse("/x", false); err != nil {
					t.Fatal(err)
				}
				q.Method = "POST"
				return q
			}
			before := parse(t, oneEndpoint(tt.rules))
			e := compile(t, before)
			r := ask(tt.r)
			x := e.Explain(r.Connection, &r)
			if x.Verdict != policy.Deny {
				t.Fatalf("%v: %s", x.Verdict, x.Reason)
			}
			why, ok := strings.CutPrefix(tt.want, "# ")
			if ok || !strings.Contains(x.Suggestion, "- allow:") {
				if !strings.Contains(x.Suggestion, why) || strings.Contains(x.Suggestion, "- allow:") || strings.Count(x.Suggestion, "\n") != 1 {
					t.Errorf("suggests %q, want %q", x.Suggestion, tt.want)
				}
				return
			}
			text := pasted(t, tt.rules, x.Suggestion)
			if want := pasted(t, tt.rules, "#   - allow: {"+strings.ReplaceAll(tt.want, "; ", "}\n#   - allow: {")+"}\n"); text != want {
				t.Errorf("suggests %q, want %q", x.Suggestion, tt.want)
			}
			after := parse(t, text)
			wider := compile(t, after)
			proved := r
			if r.Git != nil { // as the proxy asks when it has looked
				g := *r.Git
				g.Updates = nil
				for _, u := range r.Git.Updates {
					u.Forced = u.Forced && !u.Unproved
					g.Updates = append(g.Updates, u)
				}
				proved.Git = &g
			}
			if d := wider.Request(proved); d.Verdict != policy.Allow {
				t.Errorf("still denied: %s", d.Reason)
			}
			for i, other := range tt.denied {
				q := ask(other)
				if was := e.Request(q); was.Verdict != policy.Deny {
					t.Errorf("request %d was allowed before", i)
				}
				if d := wider.Request(q); d.Verdict != policy.Deny {
					t.Errorf("request %d is allowed, too: %s", i, d.Reason)
				}
			}
			d, err := analyse.Diff(before, after, r.Now)
			if err != nil {
				t.Fatal(err)
			}
			var opened []string
			for _, c := range d.Allowed {
				opened = append(opened, strings.Join(c.Messages, " or "))
			}
			got := strings.Join(opened, "; ")
			if len(d.Denied)+len(d.Recorded)+len(d.Sections)+len(d.Unknown) > 0 || len(d.Allowed) == 0 || got != tt.opened {
				t.Errorf("opens %q, want %q; %+v", got, tt.opened, d)
			}
		})
	}
}

// Beside a rule that asks for a query no line undoes it: what is suggested has the
// keys and not the values, and filled in it allows just that query.
func TestSuggestionsBesideQueries(t *testing.T) {
	const (
		rest   = "protocol: rest\n        rules:\n          - allow: {method: GET, path: /search, query: {q: \"safe*\"}}\n          - allow: {method: GET, path: /free}\n"
		socket = "protocol: websocket\n        rules:\n          - allow: {method: GET, path: /search, query: {q: \"safe*\"}}\n          - allow: {method: WEBSOCKET_TEXT, path: /search, query: {q: \"safe*\"}}\n"
		denied = "protocol: rest\n        access: read-only\n        deny_rules: [{method: GET, path: /search, query: {q: evil}}]\n"
	)
	for _, tt := range []struct {
		name, rules, method, path, suggests string
		filled                              string // the rule with its value
		allowed, still                      string // paths that then may and may not pass
	}{
		{"another query", rest, "GET", "/search?q=other", "write one beside it with the values that may pass, like - allow: {method: GET, path: /search, query: {q: …}}",
			"{method: GET, path: /search, query: {q: other}}", "/search?q=other", "/search?q=others /search /search?q=other&q=x"},
		{"HEAD", rest, "HEAD", "/search?q=other", "like - allow: {method: HEAD, path: /search, query: {q: …}}", "", "", ""},
		{"no query", rest, "GET", "/search", "takes some queries alone here", "", "", ""},
		{"another method", rest, "POST", "/search?q=other", "- allow: {method: POST, path: /search}", "", "", ""},
		{"another path", rest, "GET", "/searches", "- allow: {method: GET, path: /searches}", "", "", ""},
		{"a denied query", denied, "GET", "/search?q=evil", "# the deny rule at policy.yaml:9:22 wins over every allow rule", "", "", ""},
		{"the opening of a WebSocket", socket, "GET", "/search?q=other", "like - allow: {method: GET, path: /search, query: {q: …}}",
			"{method: GET, path: /search, query: {q: other}}", "/search?q=other", "/search?q=others /search"},
		{"a message of one", socket, "", "/search?q=other", "like - allow: {method: WEBSOCKET_TEXT, path: /search, query: {q: …}}",
			"{method: WEBSOCKET_TEXT, path: /search, query: {q: other}}", "/search?q=other", "/search?q=others /search"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, err := netname.ParseHost("a.test")
			if err != nil {
				t.Fatal(err)
			}
			ask := func(path string) policy.Request {
				to, err := target.Parse(path, false)
				if err != nil {
					t.Fatal(err)
				}
				return policy.Request{Connection: policy.Connection{Host: host, Port: 443, Now: time.Now()}, Method: tt.method, Text: tt.method == "", Target: to}
			}
			e := compile(t, parse(t, oneEndpoint(tt.rules)))
			r := ask(tt.path)
			x := e.Explain(r.Connection, &r)
			if x.Verdict != policy.Deny || !strings.Contains(x.Suggestion, tt.suggests) || strings.Contains(x.Suggestion, "other") || strings.Contains(tt.suggests, "…") && strings.Count(x.Suggestion, "\n") != 1 {
				t.Fatalf("%v: suggests %q, want %q", x.Verdict, x.Suggestion, tt.suggests)
			}
			if tt.filled == "" {
				return
			}
			before, after := parse(t, oneEndpoint(tt.rules)), parse(t, oneEndpoint(tt.rules+"          - allow: "+tt.filled+"\n"))
			wider := compile(t, after)
			if d := wider.Request(ask(tt.allowed)); d.Verdict != policy.Allow {
				t.Errorf("still denied: %s", d.Reason)
			}
			for path := range strings.FieldsSeq(tt.still) {
				if d := wider.Request(ask(path)); d.Verdict != policy.Deny {
					t.Errorf("%s is allowed, too: %s", path, d.Reason)
				}
			}
			d, err := analyse.Diff(before, after, r.Now)
			if err != nil {
				t.Fatal(err)
			}
			if len(d.Denied)+len(d.Recorded)+len(d.Sections)+len(d.Unknown) > 0 || len(d.Allowed) != 1 {
				t.Errorf("%+v", d)
			}
		})
	}
}
