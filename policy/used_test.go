package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
)

// Of several rules that allow the same, the first one by name that has not ended
// is used, and no other.
func TestFirstRuleIsUsed(t *testing.T) {
	const text = `version: 2
network_policies:
  a_pattern:
    endpoints:
      - {host: "*.zone.test", port: 443, protocol: rest, access: read-only, max_uses: 1}
      - {host: "*.rpc.test", port: 443, protocol: mcp, rules: [{allow: {method: tools/list}}], max_uses: 1}
    binaries: any
  b_name:
    endpoints:
      - {host: api.zone.test, port: 443, protocol: rest, access: full, max_uses: 2}
      - {host: api.rpc.test, port: 443, protocol: mcp, rules: [{allow: {method: tools/list}}, {allow: {method: initialize}}], max_uses: 2}
    binaries: any
`
	list := jsonrpc.Call{Method: "tools/list"}
	for host, body := range map[string]*jsonrpc.Request{"api.zone.test": nil, "api.rpc.test": {Calls: []jsonrpc.Call{list}}} {
		e := engineOf(t, text)
		c := curl(t, host, 443)
		c.Uses = new(policy.Uses)
		r := ask(c, "GET", "/")
		if body != nil {
			r.Method, r.RPC = "POST", body
		}
		for i, rule := range []string{"a_pattern", "b_name", "b_name", ""} {
			d := e.Request(r)
			switch {
			case rule == "" && d.Verdict == policy.Deny:
			case rule == "" || d.Verdict != policy.Allow || d.Rule.Policy != rule || d.Uses == nil || !c.Uses.Take(d.Uses):
				t.Fatalf("%s, request %d: %+v, want %q", host, i, d, rule)
			}
		}
	}
	// Two parts that two counted rules allow are not allowed together.
	e := engineOf(t, text)
	c := curl(t, "api.rpc.test", 443)
	c.Uses = new(policy.Uses)
	r := ask(c, "POST", "/")
	r.RPC = &jsonrpc.Request{Batch: true, Calls: []jsonrpc.Call{list, {Method: "initialize"}}}
	if d := e.Request(r); d.Verdict != policy.Deny || !strings.Contains(d.Reason, "several rules with max_uses") {
		t.Errorf("%+v", d)
	}
}

// An endpoint of another protocol does not allow what the governing one reads.
func TestAnotherProtocolAllowsNoOperation(t *testing.T) {
	e := engineOf(t, `version: 2
network_policies:
  live:
    endpoints: [{host: api.test, port: 443, protocol: websocket, rules: [{allow: {operation_type: query}}]}]
    binaries: any
  api:
    endpoints: [{host: api.test, port: 443, protocol: graphql, path: "/v1/**", access: full}]
    binaries: any
`)
	r := ask(curl(t, "api.test", 443), "POST", "/v1/a")
	r.GraphQL = ops(graphql.Operation{Type: "query"})
	if d := e.Request(r); d.Verdict != policy.Allow || d.Rule.Policy != "api" {
		t.Errorf("%+v", d)
	}
	r.Target.Path = "/v1" // governed by api, which allows nothing there
	if d := e.Request(r); d.Verdict != policy.Deny {
		t.Errorf("%+v", d)
	}
}

// A digest is of the caller alone, and hides no parent.
func TestAncestorsBesideDigests(t *testing.T) {
	sum := strings.Repeat("1", 64)
	e := engineOf(t, `version: 2
network_policies:
  k:
    ancestors: true
    endpoints: [{host: api.test, port: 443}]
    binaries: [/usr/bin/make, {path: /usr/bin/git, sha256: "`+sum+`"}]
`)
	for _, tt := range []struct {
		binary, parent string
		want           policy.Verdict
	}{
		{"/usr/bin/sh", "/usr/bin/make", policy.Allow},
		{"/usr/bin/git", "/usr/bin/sh", policy.Allow},
		{"/usr/bin/sh", "/usr/bin/git", policy.Deny},
	} {
		c := curl(t, "api.test", 443)
		c.Binary, c.Ancestors, c.SHA256 = tt.binary, []string{tt.parent}, sum
		if d := e.Connect(c); d.Verdict != tt.want {
			t.Errorf("%+v: %v: %s", tt, d.Verdict, d.Reason)
		}
	}
}

// More endpoints for one host than there is room for on the stack are all looked at.
func TestManyEndpointsForOneHost(t *testing.T) {
	text := "version: 2\nnetwork_policies:\n"
	for i := range 40 {
		text += fmt.Sprintf("  k%02d: {binaries: any, endpoints: [{host: api.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /%d}}]}]}\n", i, i)
	}
	e := engineOf(t, text)
	for _, i := range []int{0, 15, 16, 39} {
		if d := e.Request(ask(curl(t, "api.test", 443), "GET", fmt.Sprintf("/%d", i))); d.Verdict != policy.Allow || d.Rule.Policy != fmt.Sprintf("k%02d", i) {
			t.Errorf("%d: %+v", i, d)
		}
	}
	if d := e.Request(ask(curl(t, "api.test", 443), "GET", "/40")); d.Verdict != policy.Deny {
		t.Errorf("%+v", d)
	}
}
