package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/target"
)

const explained = `
version: 2
network_policies:
  api:
    endpoints:
      - host: api.a.test
        port: 443
        protocol: rest
        rules:
          - allow: {method: GET, path: "/repos/**"}
          - allow: {method: POST, path: /items, query: {draft: "yes-*"}}
        deny_rules:
          - {method: "*", path: "/repos/*/keys"}
      - {host: ro.a.test, port: 443, protocol: rest, access: read-only, path: "/v1/**"}
    binaries: [{path: /usr/bin/curl}]
  db:
    endpoints: [{host: db.a.test, port: 5432, protocol: tcp}]
    binaries: [{path: /usr/bin/psql}]
  opaque:
    endpoints: [{host: mail.b.test, port: 993, tls: skip}]
    binaries: [{path: /usr/bin/mail}]
  internal:
    endpoints: [{host: "*.corp.test", port: 443, protocol: rest, access: read-only, allowed_ips: [10.0.0.0/8]}]
    binaries: [{path: /usr/bin/curl}]
`

func TestExplain(t *testing.T) {
	e := compile(t, explained)
	for _, c := range []struct {
		name, host, binary string
		port               uint16
		method, path       string
		query              map[string][]string
		verdict            policy.Verdict
		line               int // of the rule that decided, or of the nearest
		misses             string
		unfixable          bool
	}{
		{name: "allowed", host: "api.a.test", port: 443, method: "GET", path: "/repos/x", verdict: policy.Allow, line: 10},
		{name: "connection alone", host: "api.a.test", port: 443, verdict: policy.Allow, line: 6},
		{name: "port", host: "api.a.test", port: 80, line: 6, misses: "port: 80, want 443"},
		{name: "binary", host: "api.a.test", port: 443, binary: "/usr/bin/wget", line: 6, misses: "binary: /usr/bin/wget, want /usr/bin/curl"},
		{name: "host", host: "www.a.test", port: 443, line: 6, misses: "host: www.a.test, want api.a.test"},
		{name: "host and binary", host: "d.b.test", port: 993, line: 20, misses: "host: d.b.test, want mail.b.test; binary: /usr/bin/curl, want /usr/bin/mail"},
		{name: "nothing near", host: "x.example", port: 443},
		{name: "method", host: "api.a.test", port: 443, method: "DELETE", path: "/repos/x", line: 10, misses: "method: DELETE, want GET"},
		{name: "path", host: "api.a.test", port: 443, method: "POST", path: "/item", line: 11, misses: "path: /item, want /items; query: draft is absent, want draft = yes-*"},
		{name: "query absent", host: "api.a.test", port: 443, method: "POST", path: "/items", line: 11, misses: "query: draft is absent, want draft = yes-*", unfixable: true},
		{name: "query", host: "api.a.test", port: 443, method: "POST", path: "/items", query: map[string][]string{"draft": {"no-secret"}}, line: 11, misses: "query: draft has another value, want draft = yes-*", unfixable: true},
		{name: "preset", host: "ro.a.test", port: 443, method: "POST", path: "/v1/x", line: 14, misses: "method: POST, want GET, HEAD, OPTIONS (access: read-only)"},
		{name: "endpoint path", host: "ro.a.test", port: 443, method: "GET", path: "/v2", line: 14, misses: "endpoint path: /v2, want /v1/**"},
		{name: "deny rule", host: "api.a.test", port: 443, method: "GET", path: "/repos/x/keys", line: 13, unfixable: true},
		{name: "tcp", host: "db.a.test", port: 5432, line: 17, misses: "binary: /usr/bin/curl, want /usr/bin/psql"},
		{name: "tls skip", host: "mail.b.test", port: 993, line: 20, misses: "binary: /usr/bin/curl, want /usr/bin/mail"},
		{name: "allowed_ips", host: "x.corp.test", port: 443, method: "PUT", path: "/a*b", line: 23, misses: "method: PUT, want GET, HEAD, OPTIONS (access: read-only)"},
		{name: "loopback", host: "127.0.0.1", port: 443, unfixable: true},
		{name: "metadata", host: "169.254.169.254", port: 80, unfixable: true},
		{name: "odd binary", host: "new.test", port: 443, binary: "/tmp/a b*", method: "GET", path: "/x?y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := curl(t, c.host, c.port)
			if c.binary != "" {
				conn.Binary = c.binary
			}
			var req *policy.Request
			if c.method != "" {
				req = &policy.Request{Method: c.method, Target: target.Target{Path: c.path, Query: c.query}}
			}
			x := e.Explain(conn, req)
			line := x.Rule.At.Line
			if line == 0 && x.Nearest != nil {
				line = x.Nearest.At.Line
			}
			var misses []string
			for _, m := range x.Misses {
				misses = append(misses, m.String())
			}
			if got := strings.Join(misses, "; "); x.Verdict != c.verdict || line != c.line || got != c.misses {
				t.Errorf("%v, line %d, %q; want %v, line %d, %q", x.Verdict, line, got, c.verdict, c.line, c.misses)
			}
			if strings.Contains(fmt.Sprint(x), "no-secret") {
				t.Error("the explanation repeats a query value")
			}
			checkSuggestion(t, x, conn, req, c.unfixable)
		})
	}
}

// checkSuggestion merges the suggested lines into the policy: they have to
// load, and then they have to allow what was denied, and not its neighbours.
func checkSuggestion(t *testing.T, x policy.Explanation, conn policy.Connection, req *policy.Request, unfixable bool) {
	t.Helper()
	switch {
	case x.Verdict == policy.Allow && x.Suggestion != "", x.Verdict != policy.Allow && x.Suggestion == "":
		t.Errorf("suggestion %q for %v", x.Suggestion, x.Verdict)
		return
	case x.Verdict == policy.Allow:
		return
	case unfixable:
		if !strings.HasPrefix(x.Suggestion, "# ") || strings.Count(x.Suggestion, "\n") != 1 {
			t.Errorf("suggestion for what cannot be allowed: %q", x.Suggestion)
		}
		return
	}
	lines, ok := strings.CutPrefix(x.Suggestion, "network_policies:\n")
	if !ok {
		t.Fatalf("suggestion: %q", x.Suggestion)
	}
	merged := compile(t, explained+lines)
	if d := merged.Connect(conn); d.Verdict != policy.Allow {
		t.Errorf("still denied: %s\n%s", d.Reason, lines)
	}
	other := conn
	other.Binary = "/usr/bin/other"
	if d := merged.Connect(other); d.Verdict == policy.Allow {
		t.Errorf("another program is allowed by\n%s", lines)
	}
	if req == nil {
		return
	}
	r := *req
	r.Connection = conn
	if d := merged.Request(r); d.Verdict != policy.Allow || d.Audited {
		t.Errorf("request still denied: %s\n%s", d.Reason, lines)
	}
	r.Target.Path += "z"
	if d := merged.Request(r); d.Verdict == policy.Allow {
		t.Errorf("another path is allowed by\n%s", lines)
	}
}

// Lines for a rest rule would let more through than a push or a call, and beside
// an endpoint of another protocol they would be a fault: none are suggested.
func TestNothingWiderIsSuggested(t *testing.T) {
	doc, _, err := policy.Parse("p.yaml", []byte(`version: 2
network_policies:
  code:
    endpoints: [{host: git.test, port: 443, protocol: git, rules: [{allow: {operation: fetch, repository: "**"}}]}]
    binaries: [/usr/bin/git]
`))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	path, err := target.Parse("/a", false)
	if err != nil {
		t.Fatal(err)
	}
	call := &jsonrpc.Request{Calls: []jsonrpc.Call{{Method: "tools/call", Tool: "read"}}}
	for _, tt := range []struct {
		host, binary string
		r            *policy.Request
		want         string
	}{
		{"mcp.test", "/bin/a", &policy.Request{Method: "POST", Target: path, RPC: call}, "protocol: mcp or json-rpc"},
		{"hub.test", "/bin/a", &policy.Request{Method: "POST", Target: path, Git: &git.Request{}}, "protocol: git"},
		{"git.test", "/bin/ssh", &policy.Request{Method: "GET", Target: path}, "reads this as protocol: git"},
		{"git.test", "/bin/ssh", nil, "reads this as protocol: git"},
	} {
		host, err := netname.ParseHost(tt.host)
		if err != nil {
			t.Fatal(err)
		}
		x := e.Explain(policy.Connection{Host: host, Port: 443, Binary: tt.binary, KnownCaller: true}, tt.r)
		if !strings.HasPrefix(x.Suggestion, "# no lines") || !strings.Contains(x.Suggestion, tt.want) {
			t.Errorf("%s: %q, want %q", tt.host, x.Suggestion, tt.want)
		}
	}
}

func TestSuggestUnknownCaller(t *testing.T) {
	conn := policy.Connection{Host: host(t, "a.test"), Port: 443}
	e := compile(t, "version: 2\n")
	if got := e.Suggest(conn, "", ""); !strings.Contains(got, "binaries: any") {
		t.Errorf("version 2: %s", got)
	}
	if d := compile(t, "version: 2\n"+e.Suggest(conn, "", "")).Connect(conn); d.Verdict != policy.Allow {
		t.Errorf("still denied: %+v", d)
	}
	if got := compile(t, "version: 1\n").Suggest(conn, "", ""); !strings.HasPrefix(got, "# ") {
		t.Errorf("version 1: %s", got)
	}
	// A rule with the suggested name is there already.
	e = compile(t, "version: 2\nnetwork_policies: {allow_a_test_443: {endpoints: [], binaries: any}}\n")
	if got := e.Suggest(conn, "", ""); !strings.Contains(got, "allow_a_test_443_2:") {
		t.Errorf("name taken: %s", got)
	}
}

func TestExplainAudited(t *testing.T) {
	e := compile(t, `
version: 2
network_policies:
  k:
    endpoints: [{host: a.test, port: 80, protocol: rest, access: read-only, enforcement: audit}]
    binaries: [/usr/bin/curl]
`)
	r := request(curl(t, "a.test", 80), "POST", "/x")
	x := e.Explain(r.Connection, &r)
	if x.Verdict != policy.Allow || !x.Audited || x.Suggestion == "" || len(x.Misses) != 1 || x.Rule.Policy != "k" {
		t.Errorf("%+v", x)
	}
}
