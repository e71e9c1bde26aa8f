package expect_test

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/expect"
)

const subject = `version: 2
network_policies:
  api:
    endpoints:
      - {host: api.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: "/v1/**"}}, {allow: {method: POST, path: /v1/x, query: {dry: "true"}}}], deny_rules: [{method: "*", path: /v1/secret}]}
      - {host: audit.test, port: 443, protocol: rest, enforcement: audit, access: read-only}
    binaries: [/usr/bin/curl]
  messages:
    endpoints:
      - {host: hub.test, port: 443, protocol: graphql, path: /graphql, rules: [{allow: {operation_type: query, fields: [viewer]}}]}
      - {host: hub.test, port: 443, protocol: mcp, path: /mcp, rules: [{allow: {method: tools/call, tool: "read_*"}}, {allow: {method: tools/call, tool: open, arguments: {path: "/work/**"}}}]}
    binaries: any
  code:
    endpoints:
      - {host: git.test, port: 443, protocol: git, rules: [{allow: {operation: fetch, repository: "team/*"}}, {allow: {operation: push, repository: team/app, refs: ["agent/*"]}}]}
      - {host: pip.test, port: 443, protocol: package, registry: pypi, rules: [{allow: {package: requests}}, {allow: {package: aged, min_age: 3d}}]}
      - {host: grpc.test, port: 443, protocol: grpc, rules: [{allow: {service: acme.v1.Echo, method: "Get*"}}]}
    binaries: any
  short:
    expires_at: 2026-01-01T00:00:00Z
    endpoints: [{host: brief.test, port: 443}]
    binaries: any
  raw:
    endpoints: [{host: db.test, port: 5432}]
    binaries: any
`

func engine(t testing.TB) *policy.Engine {
	t.Helper()
	doc, _, err := policy.Parse("p.yaml", []byte(subject))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRun(t *testing.T) {
	tests := []struct {
		expectation string
		problems    string // joined; empty: as wanted
	}{
		{"{host: api.test, binary: /usr/bin/curl, want: allow}", ""},
		{"{host: api.test, binary: /usr/bin/curl, want: deny}", "wanted deny, got allow"},
		{"{host: api.test, want: deny}", ""},
		{"{host: api.test, port: 80, binary: /usr/bin/curl, want: deny, rule: \"\"}", ""},
		{"{host: api.test, binary: /usr/bin/curl, method: GET, path: /v1/a, want: allow, rule: api, audited: false}", ""},
		{"{host: api.test, binary: /usr/bin/curl, method: GET, path: /v1/a, want: allow, rule: raw}", "wanted the rule raw to decide, got the rule api"},
		{"{host: api.test, binary: /usr/bin/curl, method: GET, path: /v1/a, want: allow, rule: \"\"}", "wanted no rule to decide, got the rule api"},
		{"{host: api.test, binary: /usr/bin/curl, method: POST, path: \"/v1/x?dry=true\", want: allow}", ""},
		{"{host: api.test, binary: /usr/bin/curl, method: POST, path: \"/v1/x?dry=no\", want: allow}", "wanted allow, got deny"},
		{"{host: api.test, binary: /usr/bin/curl, method: GET, path: /v1/secret, want: deny, rule: api}", ""},
		{"{host: api.test, binary: /usr/bin/curl, method: GET, path: /v1/../../etc, want: deny, rule: \"\"}", ""}, // no canonical form
		{"{host: audit.test, binary: /usr/bin/curl, method: POST, path: /x, want: allow, audited: true}", ""},
		{"{host: audit.test, binary: /usr/bin/curl, method: POST, path: /x, want: allow, audited: false}", "wanted audited: false, got true"},
		{"{host: audit.test, binary: /usr/bin/curl, method: GET, path: /x, want: allow, audited: true}", "wanted audited: true, got false"},
		{"{host: db.test, port: 5432, want: allow, rule: raw}", ""},
		{"{host: db.test, port: 5432, method: GET, path: /%zz, want: allow, rule: raw}", ""}, // nothing reads it there
		{"{host: hub.test, path: /graphql, graphql: [\"query:viewer\"], want: allow, rule: messages}", ""},
		{"{host: hub.test, path: /graphql, graphql: [\"query:viewer\", \"mutation:x\"], want: allow}", "wanted allow, got deny"},
		{"{host: hub.test, path: /graphql, method: POST, want: deny}", ""}, // a body that tells no operation
		{"{host: hub.test, path: /mcp, tool: read_file, want: allow}", ""},
		{"{host: hub.test, path: /mcp, rpc_method: [tools/call], tool: write_file, want: deny}", ""},
		{"{host: hub.test, path: /mcp, tool: open, argument: [path=/work/a=b], want: allow}", ""},
		{"{host: hub.test, path: /mcp, tool: open, argument: [path=/etc/shadow], want: deny}", ""},
		{"{host: hub.test, path: /mcp, tool: open, want: deny}", ""},
		{"{host: git.test, method: GET, path: \"/team/app/info/refs?service=git-upload-pack\", want: allow, rule: code}", ""},
		{"{host: git.test, method: POST, path: /team/app/git-receive-pack, ref: [refs/heads/agent/x], want: allow}", ""},
		{"{host: git.test, method: POST, path: /team/app/git-receive-pack, ref: [refs/heads/agent/x, refs/heads/main], want: deny}", ""},
		{"{host: git.test, method: POST, path: /team/app/git-receive-pack, ref: [refs/heads/agent/x], force: true, want: deny}", ""},
		{"{host: git.test, method: POST, path: /team/app/git-receive-pack, ref: [refs/heads/agent/x], delete: true, want: deny}", ""},
		{"{host: git.test, method: POST, path: /team/app/git-receive-pack, want: deny}", ""}, // no command
		{"{host: git.test, method: GET, path: /team/app, want: deny}", ""},
		{"{host: pip.test, method: GET, path: /simple/requests/, want: allow, rule: code}", ""},
		{"{host: pip.test, method: GET, path: /simple/other/, want: deny}", ""},
		{"{host: pip.test, method: GET, path: /packages/aged-1.0.tar.gz, want: deny}", ""}, // nobody says when it was published
		{"{host: pip.test, method: GET, path: /packages/aged-1.0.tar.gz, published: 2026-01-01T00:00:00Z, at: 2026-01-03T23:59:59Z, want: deny}", ""},
		{"{host: pip.test, method: GET, path: /packages/aged-1.0.tar.gz, published: 2026-01-01T00:00:00Z, at: 2026-01-04T00:00:00Z, want: allow, rule: code}", ""},
		{"{host: grpc.test, service: acme.v1.Echo, grpc_method: GetAll, want: allow, rule: code}", ""},
		{"{host: grpc.test, service: acme.v1.Echo, grpc_method: Put, want: deny}", ""},
		{"{host: grpc.test, service: acme.v1.Other, grpc_method: Get, want: deny}", ""},
		{"{host: hub.test, path: /mcp, ends: true, want: allow, rule: messages}", ""},
		{"{host: hub.test, path: /mcp, stream: true, want: allow, rule: messages}", ""},
		{"{host: hub.test, path: /mcp, response: true, want: allow, rule: messages}", ""},
		{"{host: hub.test, path: /mcp, method: POST, ends: true, want: deny}", ""}, // a session ends with DELETE
		{"{host: hub.test, path: /other, ends: true, want: deny}", ""},
		{"{host: brief.test, at: 2025-12-31T23:59:59Z, want: allow}", ""},
		{"{host: brief.test, at: 2026-01-01T00:00:00Z, want: deny}", ""},
		{"{host: model.test, want: reroute}", ""},
		{"{host: model.test, want: deny, rule: api}", "wanted deny, got reroute; wanted the rule api to decide, got no rule"},
		{"{host: api.test, want: ask}", "wanted ask, got deny"},
	}
	for _, tt := range tests {
		cases, err := expect.Parse("e.yaml", []byte("- "+tt.expectation))
		if err != nil {
			t.Errorf("%s: %v", tt.expectation, err)
			continue
		}
		r := expect.Run(engine(t), modelRoute{}, cases)[0]
		if got := strings.Join(r.Problems, "; "); got != tt.problems || r.OK() != (tt.problems == "") {
			t.Errorf("%s: %q, want %q", tt.expectation, got, tt.problems)
		}
	}
}

func TestFaults(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "e.yaml:1:1: missing, want a list of expectations; the file is empty\n  hint: begin with"},
		{"[]", "e.yaml:1:1: missing, want at least one expectation"},
		{"host: a.test", "e.yaml:1:1: found a mapping, want a list of expectations"},
		{"- a", "found the text \"a\", want a mapping (an expectation)"},
		{"- ", "found nothing, want a mapping (an expectation)"},
		{"- {host: a.test}", "e.yaml:1:3: [0].want: missing, want allow, deny, ask or reroute"},
		{"- {want: deny}", "e.yaml:1:3: [0].host: missing"},
		{"- {host: a.test, want: Deny}", "e.yaml:1:24: [0].want: found \"Deny\", want allow, deny, ask or reroute\n  hint: did you mean deny?"},
		{"- {host: a.test, want: deny, methd: GET}", "unknown key \"methd\" of an expectation\n  hint: did you mean method?"},
		{"- {host: a.test, want: deny, method: GET}", "[0].path: missing"},
		{"- {host: a.test, want: deny, path: /a}", "[0].method: missing"},
		{"- {host: a.test, want: deny, method: \"*\", path: /a}", "hint: an expectation is one request"},
		{"- {host: \"*.test\", want: deny}", "hint: an expectation is one request"},
		{"- {host: \"a.test:1\", want: deny}", "hint: write the port under port:"},
		{"- {host: a.test, port: 70000, want: deny}", "found \"70000\", want a port of 1..65535"},
		{"- {host: a.test, binary: curl, want: deny}", "hint: callers have absolute paths"},
		{"- {host: a.test, ancestors: [/bin/sh], want: deny}", "ancestors without binary"},
		{"- {host: a.test, sha256: ab, want: deny}", "want 64 hexadecimal digits"},
		{"- {host: a.test, method: GET, path: a, want: deny}", `a path begins with "/"`},
		{"- {host: a.test, path: /g, graphql: [viewer], want: deny}", `no operation: "viewer"`},
		{"- {host: a.test, path: /g, graphql: [\"query: ,\"], want: deny}", `no operation: "query: ,"`},
		{"- {host: a.test, path: /g, graphql: [], want: deny}", "[0].graphql: found none, want one or more"},
		{"- {host: a.test, path: /g, graphql: query, want: deny}", "[0].graphql: found the text"},
		{"- {host: a.test, path: /g, graphql: [query], tool: a, want: deny}", "cannot be in one request"},
		{"- {host: a.test, tool: a, want: deny}", "[0].path: missing"},
		{"- {host: a.test, path: /g, tool: \"\", want: deny}", "found an empty text"},
		{"- {host: a.test, path: /g, tool: a, rpc_method: [initialize], want: deny}", "a tool belongs to the call tools/call"},
		{"- {host: a.test, path: /g, operation: a, method: GET, want: deny}", "belongs to a GraphQL operation"},
		{"- {host: a.test, path: /g, text: true, method: GET, want: deny}", "a text message has no method"},
		{"- {host: a.test, path: /g, text: true, tool: a, want: deny}", "calls come in requests"},
		{"- {host: a.test, path: /g, argument: [a=b], want: deny}", "an argument belongs to a tool"},
		{"- {host: a.test, path: /g, tool: a, argument: [a], want: deny}", "NAME=TEXT"},
		{"- {host: a.test, path: /g, ends: true, stream: true, want: deny}", "come in requests of their own"},
		{"- {host: a.test, path: /g, ends: true, tool: a, want: deny}", "come in requests of their own"},
		{"- {host: a.test, path: /g, stream: true, text: true, want: deny}", "and not in text messages"},
		{"- {host: a.test, ends: true, want: deny}", "[0].path: missing"},
		{"- {host: a.test, service: a, want: deny}", "service and grpc_method belong together"},
		{"- {host: a.test, path: /a, service: a, grpc_method: b, want: deny}", "they are its path"},
		{"- {host: a.test, published: yesterday, method: GET, path: /a, want: deny}", "want a time like"},
		{"- {host: a.test, ref: [refs/heads/a], want: deny}", "a ref belongs to a Git push, whose method"},
		{"- {host: a.test, path: /g, method: POST, force: true, want: deny}", "force and delete belong to a push"},
		{"- {host: a.test, path: /g, tool: a, ref: [refs/heads/a], want: deny}", "a ref belongs to a Git push"},
		{"- {host: a.test, at: 2026-01-01, want: deny}", "want a time like"},
		{"- {host: a.test, path: /g, tool: a, want: deny}\n- {host: a.test, path: /g, tool: a, want: allow}", "for what line 1 wants to deny"},
		{"- {host: a.test, audited: true, want: deny}", "audited: true with another verdict"},
		{"- {host: a.test, audited: 1, want: allow}", "want true or false"},
		{"- {host: a.test, want: deny, want: deny}", "duplicate key"},
		{"- {host: a.test, want: deny}\n- {host: A.test., port: 443, want: allow}", "e.yaml:2:3: [1]: want: allow for what line 1 wants to deny"},
		{"- {host: a.test, want: deny}\n---\n", "a second document"},
		{"- [\n", "e.yaml:"},
	}
	for _, tt := range tests {
		_, err := expect.Parse("e.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
	// All of them at once, in the order of the file.
	_, err := expect.Parse("e.yaml", []byte("- {host: 1, want: x}\n- {hst: a, port: 0}\n"))
	if faults, ok := err.(policy.Faults); !ok || len(faults) != 6 || faults[5].At.Line != 2 {
		t.Errorf("%d faults: %v", len(faults), err)
	}
}

// What is asked is in the name of a test.
func TestNameOfBody(t *testing.T) {
	cases, err := expect.Parse("e", []byte("- {host: a.test, path: /mcp, tool: read, want: deny}\n- {host: a.test, path: /ws, text: true, graphql: [\"query:a,b\"], want: allow}\n- {host: a.test, method: POST, path: /r/git-receive-pack, force: true, ref: [refs/heads/x], want: deny}"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"deny tool read a.test:443/mcp", "allow text message query:a,b a.test:443/ws", "deny POST force refs/heads/x a.test:443/r/git-receive-pack"} {
		if cases[i].Name != want {
			t.Errorf("%q, want %q", cases[i].Name, want)
		}
	}
}

// Names of tests go into logs, so a query does not.
func TestNameWithoutQuery(t *testing.T) {
	cases, err := expect.Parse("e", []byte("- {host: a.test, method: GET, path: \"/x?token=abc\", binary: /bin/c, want: deny}\n- {host: \"::1\", want: deny, name: own}\n- {host: \"2001:db8::1\", want: deny}"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"deny GET a.test:443/x by /bin/c", "own", "deny [2001:db8::1]:443"} {
		if cases[i].Name != want {
			t.Errorf("%q, want %q", cases[i].Name, want)
		}
	}
}

// Whatever the bytes are: cases or faults with places, never both and never a
// panic; every case can be run.
func FuzzParse(f *testing.F) {
	f.Add([]byte("- {host: hub.test, path: /graphql, graphql: [\"query:viewer\"], operation: x, want: allow}\n- {host: hub.test, path: /mcp, rpc_method: [tools/call], tool: a, want: deny}\n"))
	f.Add([]byte("- {host: git.test, at: 2026-01-01T00:00:00Z, method: POST, path: /a/git-receive-pack, ref: [refs/heads/x], force: true, want: deny}\n- {host: a.test, path: /ws, text: true, want: deny}\n"))
	f.Add([]byte("- {host: api.test, port: 443, binary: /usr/bin/curl, ancestors: [/bin/sh], method: GET, path: /v1/a?b=c, want: allow, rule: api, audited: false}\n"))
	f.Add([]byte("- name: x\n  host: \"::1\"\n  sha256: \"" + strings.Repeat("a", 64) + "\"\n  want: reroute\n"))
	f.Add([]byte("- &a {host: a.test, want: deny}\n- *a\n"))
	f.Add([]byte("a: [b\n"))
	e := engine(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		cases, err := expect.Parse("f", data)
		if err != nil {
			faults, ok := err.(policy.Faults)
			if !ok || len(faults) == 0 || cases != nil {
				t.Fatalf("%v, %T %v", cases, err, err)
			}
			for _, one := range faults {
				if one.At.Line < 1 || one.At.Column < 1 || strings.ContainsAny(one.Error(), "\n\x00\x1b") {
					t.Errorf("fault: %+v", one)
				}
			}
			return
		}
		if len(cases) == 0 {
			t.Fatal("neither cases nor faults")
		}
		for _, r := range expect.Run(e, nil, cases) {
			if r.Got.Verdict == policy.Allow && r.Connection.Host.IsZero() {
				t.Errorf("a request to no host is allowed: %+v", r.Case)
			}
		}
	})
}

// modelRoute claims model.test, and serves chat completions.
type modelRoute struct{}

func (modelRoute) Claims(h netname.Host, _ uint16) bool { return h.String() == "model.test" }
func (modelRoute) Serves(path string) bool              { return path == "/v1/chat/completions" }
