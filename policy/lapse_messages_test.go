package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/target"
)

// Rules about operations and calls end, are counted and ask like others.
func TestMessagesOfRulesThatEnd(t *testing.T) {
	e := engineOf(t, `version: 2
network_policies:
  calls:
    endpoints:
      - host: rpc.test
        port: 443
        protocol: json-rpc
        path: /rpc
        expires_at: 2030-01-01T00:00:00Z
        rules: [{allow: {method: read}}]
      - host: rpc.test
        port: 443
        protocol: json-rpc
        path: /rpc
        max_uses: 1
        rules: [{allow: {method: write}}]
      - host: rpc.test
        port: 443
        protocol: json-rpc
        path: /rpc
        max_uses: 2
        rules: [{allow: {method: list}}]
    binaries: any
  graph:
    endpoints:
      - {host: graph.test, port: 443, protocol: graphql, access: read-only, enforcement: ask, expires_at: 2030-01-01T00:00:00Z}
    binaries: any
`)
	uses := new(policy.Uses)
	at := func(host string, year int) policy.Request {
		c := curl(t, host, 443)
		c.Now, c.Uses = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), uses
		return policy.Request{Connection: c, Method: "POST", Target: target.Target{Path: "/rpc"}}
	}
	rpc := func(year int, methods ...string) policy.Decision {
		r := at("rpc.test", year)
		r.RPC = &jsonrpc.Request{Batch: len(methods) > 1}
		for _, m := range methods {
			r.RPC.Calls = append(r.RPC.Calls, jsonrpc.Call{Method: m})
		}
		return e.Request(r)
	}
	graph := func(year int, kind string) policy.Decision {
		r := at("graph.test", year)
		r.GraphQL = &graphql.Request{Operations: []graphql.Operation{{Type: kind, Fields: []string{"a"}}}}
		return e.Request(r)
	}
	wantOf := func(name string, d policy.Decision, want policy.Verdict, reason string) {
		t.Helper()
		if d.Verdict != want || !strings.Contains(d.Reason, reason) {
			t.Errorf("%s: %v %s, want %v %s", name, d.Verdict, d.Reason, want, reason)
		}
	}
	wantOf("in time", rpc(2029, "read"), policy.Allow, "allows")
	wantOf("over", rpc(2030, "read"), policy.Deny, "and that is over")
	wantOf("a batch that is over in part", rpc(2030, "write", "read"), policy.Deny, "")
	wantOf("several counts", rpc(2029, "write", "list"), policy.Deny, "several rules with max_uses")
	d := rpc(2029, "read", "write")
	wantOf("a count", d, policy.Allow, "")
	if d.Uses == nil || !uses.Take(d.Uses) {
		t.Error("a batch is not counted")
	}
	wantOf("used up", rpc(2029, "write"), policy.Deny, "used up")
	wantOf("used up in part", rpc(2029, "read", "write"), policy.Deny, "")
	wantOf("a query", graph(2029, "query"), policy.Allow, "")
	wantOf("a mutation is asked about", graph(2029, "mutation"), policy.Ask, "enforcement is ask")
	wantOf("a query later", graph(2030, "query"), policy.Deny, "over")
}
