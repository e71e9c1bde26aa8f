package analyse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/policy/analyse"
)

// Every protocol is told, and what is put into requests; rules that end are told
// for a time.
func TestReachOfEveryProtocol(t *testing.T) {
	doc := parse(t, `version: 2
limits: {requests: {count: 100, per: 1m}}
network_policies:
  api:
    endpoints: [{host: api.test, port: 443, protocol: rest, path: "/v1/**", rules: [{allow: {method: POST, path: /v1/items}}], credential_binding: {provider: acme}}]
    binaries: any
  gql:
    endpoints: [{host: api.test, port: 443, protocol: graphql, path: /graphql, rules: [{allow: {operation_type: query, fields: ["a*", b]}}], deny_rules: [{operation_type: query, fields: [ab]}]}]
    binaries: any
  calls:
    endpoints: [{host: mcp.test, port: 443, protocol: mcp, path: /mcp, rules: [{allow: {method: initialize}}, {allow: {method: tools/call, tool: {any: ["read_*", list]}}}]}]
    binaries: any
  code:
    endpoints: [{host: git.test, port: 443, protocol: git, rules: [{allow: {operation: fetch, repository: "team/*"}}, {allow: {operation: push, repository: team/app, refs: ["agent/*"]}}]}]
    binaries: any
  packages:
    endpoints: [{host: npm.test, port: 443, protocol: package, registry: npm, rules: [{allow: {package: "@acme/*", versions: ["1.*"], min_age: 72h}}]}]
    binaries: any
  brief:
    endpoints: [{host: brief.test, ports: [80, 443], expires_at: 2030-01-01T00:00:00Z}]
    binaries: any
`)
	r, err := analyse.ReachOf(doc, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Unknown) > 0 || r.Until.Year() != 2030 {
		t.Errorf("%v, until %v", r.Unknown, r.Until)
	}
	var lines []string
	for _, a := range r.Network {
		lines = append(lines, strings.Join(a.Hosts, " ")+" "+strings.Join(a.Methods, ",")+" "+strings.Join(a.Paths, ",")+": "+strings.Join(a.Messages, "; ")+strings.Join(a.Credentials, ","))
	}
	got := strings.Join(lines, "\n")
	want := []string{
		"api.test POST /v1/items: bound to provider acme",
		"api.test GET,POST /graphql: query with root fields",
		"brief.test",
		"mcp.test POST /mcp: call of initialize; call of tool read_*, list; responses to the server",
		"mcp.test GET /mcp: the server's stream",
		"git.test POST /team/app/git-receive-pack: push of refs/heads/agent/*",
		"git.test POST /team/*/git-upload-pack: fetch",
		"npm.test GET,HEAD",
		"download of @acme/* version 1.* at least 3d old",
	}
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%q is not in\n%s", w, got)
		}
	}
	r, err = analyse.ReachOf(doc, time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil || strings.Contains(strings.Join(r.Network[0].Hosts, " "), "brief") || !r.Until.IsZero() {
		t.Errorf("%+v, %v", r.Network[0], err)
	}
}
