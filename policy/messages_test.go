package policy_test

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
)

// several protocols on one host and port, each with its own path.
const mixed = `version: 2
network_policies:
  api:
    endpoints:
      - host: api.test
        port: 443
        protocol: rest
        access: full
        deny_rules:
          - {method: POST, path: /graphql/locked}
          - {method: POST, path: /mcp/locked}
      - host: api.test
        port: 443
        path: "/graphql/**"
        protocol: graphql
        persisted_queries: allow_registered
        graphql_persisted_queries:
          h1: {operation_type: query, operation_name: Viewer, fields: [viewer]}
          h2: {operation_type: mutation, fields: [drop]}
        rules:
          - allow: {operation_type: query, fields: [viewer, "repo*"]}
          - allow: {operation_type: mutation, operation_name: "Issue*", fields: [createIssue]}
        deny_rules:
          - {operation_type: query, operation_name: Bad}
      - host: api.test
        port: 443
        path: "/mcp/**"
        protocol: mcp
        mcp: {allow_all_known_mcp_methods: true}
        rules:
          - allow: {tool: {any: [read, "list_*"]}}
        deny_rules:
          - {tool: list_secrets}
          - {method: resources/read}
      - host: api.test
        port: 443
        path: "/rpc/**"
        protocol: json-rpc
        rules:
          - allow: {method: a.read}
        deny_rules:
          - {method: a.drop}
      - host: api.test
        port: 443
        path: "/ws/**"
        protocol: websocket
        rules:
          - allow: {method: GET, path: "/ws/**"}
          - allow: {method: WEBSOCKET_TEXT, path: /ws/chat}
      - host: api.test
        port: 443
        path: "/live/**"
        protocol: websocket
        rules:
          - allow: {method: GET, path: "/live/**"}
          - allow: {operation_type: subscription, fields: [added]}
        deny_rules:
          - {operation_type: "*", fields: ["secret*"]}
      - {host: api.test, port: 443, path: "/rest/%2F/**", protocol: rest, access: full, allow_encoded_slash: true}
    binaries: [/usr/bin/curl]
`

func ops(list ...graphql.Operation) *graphql.Request { return &graphql.Request{Operations: list} }

func rpcCalls(list ...jsonrpc.Call) *jsonrpc.Request { return &jsonrpc.Request{Calls: list} }

type message struct {
	name, method, path string
	text               bool
	graphql            *graphql.Request
	rpc                *jsonrpc.Request
	want               string // allow or deny, the line of the rule, a part of the reason
	line               int
	reason             string
}

var messages = []message{
	{name: "rest", method: "POST", path: "/other", want: "allow", line: 5},
	{name: "query", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"repository", "viewer"}}), want: "allow", line: 21},
	{name: "query by GET", method: "GET", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}}), want: "allow", line: 21},
	{name: "by PUT", method: "PUT", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}}), want: "deny", line: 12, reason: "GET or POST"},
	{name: "one field too many", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"admin", "viewer"}}), want: "deny", reason: "this GraphQL operation"},
	{name: "no fields", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query"}), want: "deny", reason: "this GraphQL operation"},
	{name: "rest does not open graphql", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "subscription", Fields: []string{"x"}}), want: "deny", reason: "this GraphQL operation"},
	{name: "not read", method: "POST", path: "/graphql/x", want: "deny", line: 12, reason: "could be read"},
	{name: "no operations", method: "POST", path: "/graphql/x", graphql: ops(), want: "deny", line: 12, reason: "could be read"},
	{name: "type unknown", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "Query", Fields: []string{"viewer"}}), want: "deny", reason: "this GraphQL operation"},
	{name: "named", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "mutation", Name: "IssueNew", Fields: []string{"createIssue"}}), want: "allow", line: 22},
	{name: "named otherwise", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "mutation", Name: "New", Fields: []string{"createIssue"}}), want: "deny", reason: "this GraphQL operation"},
	{name: "one of a batch", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}}, graphql.Operation{Type: "query", Fields: []string{"admin"}}), want: "deny", reason: "this GraphQL operation"},
	{name: "deny rule", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Name: "Bad", Fields: []string{"viewer"}}), want: "deny", line: 24, reason: "denies"},
	{name: "deny rule in a batch", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}}, graphql.Operation{Type: "query", Name: "Bad", Fields: []string{"viewer"}}), want: "deny", line: 24, reason: "denies"},
	{name: "deny rule of rest", method: "POST", path: "/graphql/locked", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}}), want: "deny", line: 10, reason: "denies"},
	{name: "persisted", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Hash: "h1"}), want: "allow", line: 21},
	{name: "persisted by id", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{ID: "h1", Name: "Other"}), want: "allow", line: 21},
	{name: "persisted, not allowed", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Hash: "h2"}), want: "deny", reason: "this GraphQL operation"},
	{name: "persisted, unknown", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Hash: "h3"}), want: "deny", reason: "not registered"},
	{name: "two hashes", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Hash: "h1", ID: "h2"}), want: "deny", reason: "not registered"},
	{name: "a document with its hash", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}, Hash: "own"}), want: "allow", line: 21},
	{name: "a document with a saved id", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}, ID: "h1"}), want: "allow", line: 21},
	{name: "a document with the id of another", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}, ID: "h2"}), want: "deny", reason: "this GraphQL operation"},
	{name: "a document with an unknown id", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}, ID: "7"}), want: "deny", reason: "not registered"},
	{name: "neither document nor hash", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{}), want: "deny", reason: "not registered"},
	{name: "a document beside an unknown id", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}, ID: "other"}), want: "deny", reason: "not registered"},
	{name: "a batch with an unknown hash", method: "POST", path: "/graphql/x", graphql: ops(graphql.Operation{Type: "query", Fields: []string{"viewer"}}, graphql.Operation{Hash: "h3"}), want: "deny", reason: "not registered"},

	{name: "tool", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "tools/call", Tool: "list_all"}), want: "allow", line: 31},
	{name: "other tool", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "tools/call", Tool: "write"}), want: "deny", reason: "this method or tool"},
	{name: "denied tool", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "tools/call", Tool: "list_secrets"}), want: "deny", line: 33, reason: "denies"},
	{name: "odd tool name", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "tools/call", Tool: "list_\u00e4"}), want: "deny", line: 25, reason: "strict_tool_names"},
	{name: "long tool name", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "tools/call", Tool: "list_" + strings.Repeat("a", 124)}), want: "deny", line: 25, reason: "strict_tool_names"},
	{name: "no tool", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "tools/call"}), want: "deny", line: 25, reason: "name of a tool"},
	{name: "profile", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "initialize"}, jsonrpc.Call{Method: "tools/list"}), want: "allow", line: 25},
	{name: "profile, denied method", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "initialize"}, jsonrpc.Call{Method: "resources/read"}), want: "deny", line: 34, reason: "denies"},
	{name: "no method", method: "POST", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{}), want: "deny", reason: "this method or tool"},
	{name: "mcp not read", method: "POST", path: "/mcp/x", want: "deny", line: 25, reason: "could be read"},
	{name: "mcp by DELETE", method: "DELETE", path: "/mcp/x", rpc: rpcCalls(jsonrpc.Call{Method: "initialize"}), want: "deny", reason: "POST"},
	{name: "stream", method: "GET", path: "/mcp/x", rpc: &jsonrpc.Request{ReceiveStream: true}, want: "allow", line: 25},
	{name: "stream by POST", method: "POST", path: "/mcp/x", rpc: &jsonrpc.Request{ReceiveStream: true}, want: "deny", line: 25, reason: "stream"},
	{name: "stream with a call", method: "GET", path: "/mcp/x", rpc: &jsonrpc.Request{ReceiveStream: true, Calls: []jsonrpc.Call{{Method: "initialize"}}}, want: "deny", line: 25, reason: "stream"},
	{name: "stream of json-rpc", method: "GET", path: "/rpc/x", rpc: &jsonrpc.Request{ReceiveStream: true}, want: "deny", line: 35, reason: "stream"},
	{name: "answer", method: "POST", path: "/mcp/x", rpc: &jsonrpc.Request{Response: true}, want: "allow", line: 25},
	{name: "answer and a refused call", method: "POST", path: "/mcp/x", rpc: &jsonrpc.Request{Response: true, Batch: true, Calls: []jsonrpc.Call{{Method: "tools/call", Tool: "write"}}}, want: "deny", reason: "this method or tool"},
	{name: "answer by json-rpc", method: "POST", path: "/rpc/x", rpc: &jsonrpc.Request{Response: true}, want: "deny", line: 35, reason: "no responses"},
	{name: "deny rule of rest on mcp", method: "POST", path: "/mcp/locked", rpc: rpcCalls(jsonrpc.Call{Method: "initialize"}), want: "deny", line: 11, reason: "denies"},
	{name: "call", method: "POST", path: "/rpc/x", rpc: rpcCalls(jsonrpc.Call{Method: "a.read"}), want: "allow", line: 40},
	{name: "call in another case", method: "POST", path: "/rpc/x", rpc: rpcCalls(jsonrpc.Call{Method: "A.read"}), want: "deny", reason: "this method or tool"},
	{name: "denied call", method: "POST", path: "/rpc/x", rpc: rpcCalls(jsonrpc.Call{Method: "a.read"}, jsonrpc.Call{Method: "a.drop"}), want: "deny", line: 42, reason: "denies"},

	{name: "handshake", method: "GET", path: "/ws/x", want: "allow", line: 48},
	{name: "no handshake", method: "POST", path: "/ws/x", want: "deny", line: 43, reason: "opens it"},
	{name: "text", text: true, path: "/ws/chat", want: "allow", line: 49},
	{name: "text elsewhere", text: true, path: "/ws/x", want: "deny", reason: "text messages"},
	{name: "text as a method", method: "WEBSOCKET_TEXT", path: "/ws/chat", want: "deny", reason: "no method"},
	{name: "text as a method of rest", method: "websocket_text", path: "/other", want: "deny", reason: "no method"},
	{name: "live handshake", method: "GET", path: "/live/x", want: "allow", line: 55},
	{name: "subscription", text: true, path: "/live/x", graphql: ops(graphql.Operation{Type: "subscription", Fields: []string{"added"}}), want: "allow", line: 56},
	{name: "raw text", text: true, path: "/live/x", want: "deny", line: 50, reason: "could be read"},
	{name: "secret field", text: true, path: "/live/x", graphql: ops(graphql.Operation{Type: "subscription", Fields: []string{"added", "secretAdded"}}), want: "deny", line: 58, reason: "denies"},

	{name: "encoded slash elsewhere", method: "GET", path: "/a%2Fb", want: "deny", line: 5, reason: "encoded slash"},
	{name: "encoded slash", method: "GET", path: "/rest/%2F/x", want: "allow", line: 5},
}

func (m message) request(t *testing.T) policy.Request {
	r := policy.Request{Connection: curl(t, "api.test", 443), Method: m.method, Text: m.text, GraphQL: m.graphql, RPC: m.rpc}
	r.Target.Path = m.path
	return r
}

func TestMessages(t *testing.T) {
	e := compile(t, mixed)
	for _, m := range messages {
		t.Run(m.name, func(t *testing.T) {
			d := e.Request(m.request(t))
			if d.Verdict.String() != m.want || d.Rule.At.Line != m.line || !strings.Contains(d.Reason, m.reason) || d.Reason == "" || d.Audited {
				t.Errorf("%+v, want %s, line %d, %q", d, m.want, m.line, m.reason)
			}
			other := m.request(t)
			other.Binary = "/usr/bin/other"
			if d := e.Request(other); d.Verdict != policy.Deny {
				t.Errorf("another program: %+v", d)
			}
		})
	}
}

// Audit forwards what no rule allows, and never what could not be read.
func TestMessagesAudited(t *testing.T) {
	text := strings.ReplaceAll(mixed, "        port: 443\n", "        port: 443\n        enforcement: audit\n")
	e := compile(t, strings.ReplaceAll(text, "{host: api.test, port: 443,", "{host: api.test, port: 443, enforcement: audit,"))
	for _, m := range messages {
		d := e.Request(m.request(t))
		hard := m.want == "deny" && m.line != 0 && m.reason != "denies" || m.reason == "no method"
		switch {
		case hard && d.Verdict != policy.Deny:
			t.Errorf("%s: forwarded: %+v", m.name, d)
		case !hard && d.Verdict != policy.Allow:
			t.Errorf("%s: denied: %+v", m.name, d)
		case d.Audited == (m.want == "allow") && !hard:
			t.Errorf("%s: audited %v", m.name, d.Audited)
		case d.Audited && (d.Rule.Policy == "" || !strings.Contains(d.Reason, "forwarded")):
			t.Errorf("%s: %+v", m.name, d)
		}
	}
}

func TestMessagesDoNotAllocate(t *testing.T) {
	e := compile(t, mixed)
	for _, m := range messages {
		r := m.request(t)
		if got := testing.AllocsPerRun(20, func() { e.Request(r) }); got != 0 {
			t.Errorf("%s: %v allocations", m.name, got)
		}
		if got := testing.AllocsPerRun(20, func() { e.Governing(r.Connection, r.Target.Path) }); got != 0 {
			t.Errorf("governing: %v allocations", got)
		}
	}
}

func TestGoverning(t *testing.T) {
	e := compile(t, mixed)
	for path, want := range map[string]policy.Protocol{
		"/": policy.REST, "/graphql/x": policy.GraphQL, "/graphql": policy.GraphQL, "/graphqlx": policy.REST, "/mcp/a/b": policy.MCP,
		"/rpc/": policy.JSONRPC, "/ws/x": policy.WebSocket, "/live/x": policy.WebSocket,
	} {
		g := e.Governing(curl(t, "api.test", 443), path)
		if g == nil || g.Protocol != want {
			t.Errorf("%s: %+v", path, g)
			continue
		}
		if g.GraphQLMessages() != strings.HasPrefix(path, "/live") || g.BodyLimit() != policy.DefaultMaxBody {
			t.Errorf("%s: %v, %d", path, g.GraphQLMessages(), g.BodyLimit())
		}
	}
	other := curl(t, "api.test", 443)
	other.Binary = "/bin/other"
	if g := e.Governing(other, "/"); g != nil {
		t.Errorf("another program: %+v", g)
	}
}

// An endpoint of graphql has the last word about its path: what another one
// allows there does not count.
func TestGraphQLIsAuthoritative(t *testing.T) {
	e := compile(t, `version: 2
network_policies:
  a:
    endpoints: [{host: api.test, port: 443, protocol: graphql, rules: [{allow: {operation_type: query}}]}]
    binaries: any
  b:
    endpoints: [{host: api.test, port: 443, protocol: graphql, path: /graphql, access: full}]
    binaries: [/usr/bin/curl]
`)
	for kind, want := range map[string]policy.Verdict{"query": policy.Allow, "mutation": policy.Deny} {
		r := message{method: "POST", path: "/graphql", graphql: ops(graphql.Operation{Type: kind, Fields: []string{"x"}})}.request(t)
		if d := e.Request(r); d.Verdict != want {
			t.Errorf("%s: %+v", kind, d)
		}
	}
}

// Explanations of messages name what differs and what to add.
func TestExplainMessages(t *testing.T) {
	e := compile(t, mixed)
	for _, c := range []struct{ name, misses, suggestion string }{
		{"one field too many", "field: admin, want viewer, repo*", "fields: [admin, viewer]"},
		{"named otherwise", "operation name: New, want Issue*", "operation_type: mutation, operation_name: New, fields: [createIssue]"},
		{"persisted, unknown", "persisted query: h3, want one of the 2 in graphql_persisted_queries", "graphql_persisted_queries"},
		{"other tool", "tool: write, want read, list_*", "method: tools/call, tool: write"},
		{"call in another case", "method: A.read, want a.read", "method: A.read"},
		{"text elsewhere", "path: /ws/x, want /ws/chat", "method: WEBSOCKET_TEXT, path: /ws/x"},
		{"denied tool", "", "deny rule at creel.yaml:33"},
		{"not read", "", "no policy can allow this"},
		{"deny rule of rest on mcp", "", "deny rule at creel.yaml:11"},
		{"mcp by DELETE", "", "calls come with POST alone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, m := range messages {
				if m.name != c.name {
					continue
				}
				r := m.request(t)
				x := e.Explain(r.Connection, &r)
				var misses []string
				for _, m := range x.Misses {
					misses = append(misses, m.String())
				}
				if got := strings.Join(misses, "; "); got != c.misses || !strings.Contains(x.Suggestion, c.suggestion) {
					t.Errorf("%q, %q; want %q, %q", got, x.Suggestion, c.misses, c.suggestion)
				}
				for l := range strings.Lines(x.Suggestion) {
					if !strings.HasPrefix(l, "#") {
						t.Errorf("a line that would be merged: %q", l)
					}
				}
				return
			}
			t.Error("no such message")
		})
	}
}

// A deny rule counts for every request that it can be read in, whichever
// endpoint governs.
func TestDenyRulesOfOtherProtocols(t *testing.T) {
	e := compile(t, `version: 2
network_policies:
  k:
    endpoints:
      - {host: a.test, port: 1, protocol: json-rpc, rules: [{allow: {method: "*"}}], deny_rules: [{method: drop}]}
      - {host: a.test, port: 1, path: /mcp, protocol: mcp, mcp: {allow_all_known_mcp_methods: true}}
      - {host: a.test, port: 2, protocol: mcp, mcp: {allow_all_known_mcp_methods: true}, deny_rules: [{method: drop}]}
      - {host: a.test, port: 2, path: /rpc, protocol: json-rpc, rules: [{allow: {method: "*"}}]}
      - {host: a.test, port: 3, protocol: websocket, rules: [{allow: {operation_type: query}}], deny_rules: [{operation_type: query, fields: [drop]}]}
      - {host: a.test, port: 3, path: /graphql, protocol: graphql, access: full}
      - {host: a.test, port: 4, protocol: graphql, access: read-only}
      - {host: a.test, port: 4, path: /live, protocol: websocket, rules: [{allow: {operation_type: "*"}}]}
      - {host: a.test, port: 5, protocol: rest, access: full}
      - {host: a.test, port: 5, path: /mcp, protocol: mcp, rules: [{allow: {method: initialize}}]}
      - {host: a.test, port: 5, path: /ws, protocol: websocket, access: read-only}
    binaries: any
`)
	query, drop, mutation := graphql.Operation{Type: "query", Fields: []string{"a"}}, graphql.Operation{Type: "query", Fields: []string{"drop"}}, graphql.Operation{Type: "mutation", Fields: []string{"a"}}
	for _, c := range []struct {
		port uint16
		message
	}{
		{1, message{path: "/mcp", rpc: rpcCalls(jsonrpc.Call{Method: "x"}), want: "allow"}},
		{1, message{path: "/mcp", rpc: rpcCalls(jsonrpc.Call{Method: "drop"}), want: "deny"}},
		{1, message{path: "/mcp", rpc: &jsonrpc.Request{Response: true}, want: "deny"}},
		{2, message{path: "/rpc", rpc: rpcCalls(jsonrpc.Call{Method: "x"}), want: "allow"}},
		{2, message{path: "/rpc", rpc: rpcCalls(jsonrpc.Call{Method: "drop"}), want: "deny"}},
		{3, message{path: "/graphql", graphql: ops(query), want: "allow"}},
		{3, message{path: "/graphql", graphql: ops(drop), want: "deny"}},
		{3, message{path: "/graphql", graphql: ops(mutation), want: "deny"}},
		{4, message{path: "/live", text: true, graphql: ops(query), want: "allow"}},
		{4, message{path: "/live", text: true, graphql: ops(mutation), want: "deny"}},
		{5, message{path: "/mcp", rpc: rpcCalls(jsonrpc.Call{Method: "initialize"}), want: "allow"}},
		{5, message{path: "/mcp", rpc: rpcCalls(jsonrpc.Call{Method: "x"}), want: "deny"}},
		{5, message{path: "/ws", text: true, want: "deny"}},
	} {
		c.method = "POST"
		r := c.request(t)
		r.Host, r.Port = host(t, "a.test"), c.port
		if d, x := e.Request(r), e.Explain(r.Connection, &r); d.Verdict.String() != c.want || x.Verdict != d.Verdict {
			t.Errorf("%d %s %v %v: %+v", c.port, c.path, c.graphql, c.rpc, d)
		}
	}
}
