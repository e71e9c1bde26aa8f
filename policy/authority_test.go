package policy_test

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
)

// What an endpoint denies is denied, also where an endpoint of another protocol
// governs the path (openshell-v1.md, A7 and A9).
func TestDenialsOfOtherProtocols(t *testing.T) {
	const messages = `version: 2
network_policies:
  chat:
    endpoints:
      - host: api.test
        port: 443
        protocol: websocket
        path: /ws
        rules:
          - allow: {method: GET, path: /ws}
          - allow: {operation_type: query}
          - allow: {operation_type: mutation}
    binaries: any
  all:
    endpoints:
      - {host: api.test, port: 443, protocol: graphql, access: ACCESS, deny_rules: [{operation_type: mutation, fields: [drop]}]}
    binaries: any
`
	const calls = `version: 2
network_policies:
  tools:
    endpoints:
      - host: api.test
        port: 443
        protocol: mcp
        path: /mcp
        enforcement: ENFORCEMENT
        mcp: {allow_all_known_mcp_methods: true}
    binaries: any
  all:
    endpoints:
      - host: api.test
        port: 443
        protocol: json-rpc
        rules: [{allow: {method: "*"}}]
        deny_rules: [{method: tools/call}]
    binaries: any
`
	operation := func(kind, field string) policy.Request {
		r := request(curl(t, "api.test", 443), "GET", "/ws")
		r.Text, r.GraphQL = true, &graphql.Request{Operations: []graphql.Operation{{Type: kind, Fields: []string{field}}}}
		return r
	}
	rpc := func(method string, body jsonrpc.Request) policy.Request {
		r := request(curl(t, "api.test", 443), method, "/mcp")
		r.RPC = &body
		return r
	}
	call := func(method, tool string) jsonrpc.Request {
		return jsonrpc.Request{Calls: []jsonrpc.Call{{Method: method, Tool: tool}}}
	}
	tests := []struct {
		name, text, word, value string
		r                       policy.Request
		want                    policy.Verdict
	}{
		{"both allow the operation", messages, "ACCESS", "full", operation("mutation", "add"), policy.Allow},
		{"a graphql endpoint denies the operation", messages, "ACCESS", "full", operation("mutation", "drop"), policy.Deny},
		{"a graphql endpoint does not allow the operation", messages, "ACCESS", "read-only", operation("mutation", "add"), policy.Deny},
		{"both allow the call", calls, "ENFORCEMENT", "enforce", rpc("POST", call("tools/list", "")), policy.Allow},
		{"a json-rpc endpoint denies the call", calls, "ENFORCEMENT", "enforce", rpc("POST", call("tools/call", "a")), policy.Deny},
		{"a json-rpc endpoint takes no answers", calls, "ENFORCEMENT", "enforce", rpc("POST", jsonrpc.Request{Response: true}), policy.Deny},
		{"nor does audit let one through", calls, "ENFORCEMENT", "audit", rpc("POST", jsonrpc.Request{Response: true}), policy.Deny},
		{"audit lifts a wrong method", calls, "ENFORCEMENT", "audit", rpc("PUT", call("tools/call", "a")), policy.Allow},
		{"and no name that two readers may take for two", calls, "ENFORCEMENT", "audit", rpc("PUT", call("tools/call", "a/b")), policy.Deny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := compile(t, strings.ReplaceAll(tt.text, tt.word, tt.value))
			if d := e.Request(tt.r); d.Verdict != tt.want {
				t.Errorf("%+v, want %v", d, tt.want)
			}
		})
	}
}

// An endpoint that takes what is below a path has no say about operations on that
// path itself, stored ones as little as others.
func TestBarePathHasNoSay(t *testing.T) {
	e := compile(t, `version: 2
network_policies:
  g:
    endpoints:
      - {host: api.test, port: 443, protocol: graphql, path: "/*/**", access: read-only}
      - host: api.test
        port: 443
        protocol: graphql
        path: /graphql
        access: full
        persisted_queries: allow_registered
        graphql_persisted_queries:
          h1: {operation_type: mutation}
    binaries: any
`)
	for _, o := range []graphql.Operation{{Type: "mutation"}, {Hash: "h1"}} {
		r := request(curl(t, "api.test", 443), "POST", "/graphql")
		r.GraphQL = &graphql.Request{Operations: []graphql.Operation{o}}
		if d := e.Request(r); d.Verdict != policy.Allow {
			t.Errorf("%+v: %+v", o, d)
		}
	}
	r := request(curl(t, "api.test", 443), "POST", "/a/graphql")
	r.GraphQL = &graphql.Request{Operations: []graphql.Operation{{Hash: "h1"}}}
	if d := e.Request(r); d.Verdict != policy.Deny {
		t.Errorf("below the path: %+v", d)
	}
}
