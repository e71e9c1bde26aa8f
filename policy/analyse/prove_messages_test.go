package analyse_test

import (
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/policy/analyse"
)

const provedMessages = `version: 2
network_policies:
  graph:
    binaries: [/usr/bin/curl]
    endpoints:
      - host: graph.test
        port: 443
        protocol: graphql
        path: /graphql
        rules: [{allow: {operation_type: query}}, {allow: {operation_type: mutation, fields: ["add*", rename]}}]
        deny_rules: [{operation_type: mutation, fields: [addOwner]}]
        persisted_queries: allow_registered
        graphql_persisted_queries: {h1: {operation_type: mutation, fields: [rename]}}
  tools:
    binaries: [/usr/bin/curl]
    endpoints:
      - {host: mcp.test, port: 443, protocol: mcp, path: /mcp, rules: [{allow: {method: initialize}}, {allow: {method: tools/call, tool: "read_*"}}]}
  code:
    binaries: [/usr/bin/git]
    endpoints:
      - host: git.test
        port: 443
        protocol: git
        rules:
          - allow: {operation: fetch, repository: "team/*"}
          - allow: {operation: push, repository: team/app, refs: ["agent/*"], force: true}
          - allow: {operation: push, repository: team/docs, refs: ["refs/**"], delete: true}
        deny_rules: [{operation: push, repository: "**", refs: [main]}]
  packages:
    binaries: [/usr/bin/npm]
    endpoints:
      - {host: npm.test, port: 443, protocol: package, registry: npm, rules: [{allow: {package: "@acme/*", min_age: 72h}}, {allow: {package: left-pad, versions: ["1.*"]}}, {allow: {package: "@acme/own", publish: true}}]}
  brief:
    binaries: [/usr/bin/ssh]
    endpoints: [{host: brief.test, port: 22, expires_at: 2030-01-01T00:00:00Z}]
  echo:
    binaries: [/usr/bin/curl]
    endpoints: [{host: grpc.test, port: 443, protocol: grpc, rules: [{allow: {service: "acme.**", method: "Get*"}}], deny_rules: [{service: acme.v1.Admin, method: "*"}]}]
  files:
    binaries: [/usr/bin/curl]
    endpoints:
      - {host: files.test, port: 443, protocol: mcp, path: /mcp, rules: [{allow: {method: tools/call, tool: read, arguments: {path: "/work/**"}}}, {allow: {method: tools/list}}]}
  plain:
    binaries: [/usr/bin/wget]
    endpoints: [{host: rest.test, port: 443, protocol: rest, access: full}]
`

func TestProveMessages(t *testing.T) {
	doc := parse(t, provedMessages)
	for text, want := range map[string]string{
		`never: {host: graph.test, graphql: "mutation:delete*"}`:                                                                         "holds",
		`never: {host: graph.test, graphql: "mutation:addOwner"}`:                                                                        "holds",
		`never: {host: graph.test, graphql: "mutation:add*"}`:                                                                            "/usr/bin/curl → graph.test:443 GET /graphql with mutation:add",
		`never: {host: graph.test, graphql: subscription}`:                                                                               "holds",
		`never: {host: graph.test, graphql: "mutation:rename", operation: x}`:                                                            "/usr/bin/curl → graph.test:443 GET /graphql with mutation:rename named x",
		`never: {host: graph.test, graphql: "hash:h1"}`:                                                                                  "/usr/bin/curl → graph.test:443 GET /graphql with hash:h1",
		`never: {host: graph.test, graphql: "hash:h2"}`:                                                                                  "holds",
		`always: {host: graph.test, port: 443, binary: /usr/bin/curl, path: /graphql, method: POST, graphql: query}`:                     "holds",
		`always: {host: graph.test, port: 443, binary: /usr/bin/curl, path: /graphql, method: POST, graphql: "mutation:rename,addUser"}`: "holds",
		`never: {host: mcp.test, tool: "delete_*"}`:                                                                                      "holds",
		`never: {host: mcp.test, tool: "*"}`:                                                                                             "/usr/bin/curl → mcp.test:443 POST /mcp calling tools/call of tool read_",
		`never: {host: mcp.test, rpc_method: "tools/list"}`:                                                                              "holds",
		`never: {host: mcp.test, rpc_method: initialize}`:                                                                                "/usr/bin/curl → mcp.test:443 POST /mcp calling initialize",
		`always: {host: mcp.test, port: 443, binary: /usr/bin/curl, path: /mcp, method: POST, tool: read_file}`:                          "holds",
		`never: {host: git.test, ref: main}`:                                                                                             "holds",
		`never: {host: git.test, ref: "refs/heads/**", repository: team/app}`:                                                            "/usr/bin/git → git.test:443 POST /team/app/git-receive-pack changing refs/heads/agent/a",
		`never: {host: git.test, force: true, repository: team/docs}`:                                                                    "holds",
		`never: {host: git.test, force: true}`:                                                                                           "/usr/bin/git → git.test:443 POST /team/app/git-receive-pack forcing refs/heads/agent/a",
		`never: {host: git.test, delete: true, ref: "refs/tags/*"}`:                                                                      "/usr/bin/git → git.test:443 POST /team/docs/git-receive-pack deleting refs/tags/a",
		`never: {host: git.test, repository: "other/**"}`:                                                                                "holds",
		`never: {host: npm.test, package: lodash}`:                                                                                       "holds",
		`never: {host: npm.test, package: left-pad, version: "6.*"}`:                                                                     "holds",
		`never: {host: npm.test, package: left-pad, version: "1.0"}`:                                                                     "/usr/bin/npm → npm.test:443 GET /left-pad/1.0",
		`never: {host: npm.test, publish: true, package: left-pad}`:                                                                      "holds",
		`never: {host: npm.test, publish: true}`:                                                                                         "/usr/bin/npm → npm.test:443 POST /@acme/own",
		`always: {host: brief.test, port: 22, binary: /usr/bin/ssh}`:                                                                     "/usr/bin/ssh → brief.test:22 at 2030-01-01T00:00:00Z",
		`never: {host: rest.test, ref: main}`:                                                                                            "/usr/bin/wget → rest.test:443 POST /a/git-receive-pack changing refs/heads/main",
		`never: {host: rest.test, tool: "delete_*"}`:                                                                                     "/usr/bin/wget → rest.test:443 POST / calling tools/call of tool delete_",
		`never: {host: rest.test, package: lodash}`:                                                                                      "/usr/bin/wget → rest.test:443 GET /lodash",
		`never: {host: rest.test, package: requests, registry: pypi}`:                                                                    "/usr/bin/wget → rest.test:443 GET /requests-a.tgz",
		`never: {host: git.test, package: lodash}`:                                                                                       "holds",
		`never: {host: npm.test, package: "@acme/*", registry: pypi}`:                                                                    "holds",
		`always: {host: rest.test, port: 443, binary: /usr/bin/wget, registry: cargo}`:                                                   "holds",
		`only: {host: npm.test, port: 443, package: "{@acme/*,left-pad}"}`:                                                               "/usr/bin/npm → npm.test:443 GET /",
		`never: {host: npm.test, package: "@acme/x", younger: 3d}`:                                                                       "holds",
		`never: {host: npm.test, package: "@acme/x", younger: 4d}`:                                                                       "/usr/bin/npm → npm.test:443 GET /@acme/x/-/x-a.tgz published 2029-12-28T23:59:59Z",
		`never: {host: npm.test, package: left-pad, younger: 1h}`:                                                                        "/usr/bin/npm → npm.test:443 GET /left-pad/-/left-pad-1..tgz published 2029-12-31T23:59:59Z",
		`never: {host: grpc.test, service: acme.v1.Admin}`:                                                                               "holds",
		`never: {host: grpc.test, grpc_method: "Put*"}`:                                                                                  "holds",
		`never: {host: grpc.test, service: "acme.v2.*"}`:                                                                                 "/usr/bin/curl → grpc.test:443 POST /acme.v2.a/Get as a gRPC call",
		`always: {host: grpc.test, port: 443, binary: /usr/bin/curl, service: acme.v1.Echo, grpc_method: GetAll}`:                        "holds",
		`only: {host: grpc.test, service: "acme.**", grpc_method: "Get*"}`:                                                               "holds",
		`only: {host: grpc.test, service: "acme.**", grpc_method: "Gets"}`:                                                               "/usr/bin/curl → grpc.test:443 POST /acme.a/Get as a gRPC call",
		`never: {host: files.test, tool: read, argument: "path=/etc/**"}`:                                                                "holds",
		`never: {host: files.test, argument: "path=/work/secret"}`:                                                                       "/usr/bin/curl → files.test:443 POST /mcp calling tools/call of tool read with path=\"/work/secret\"",
		`always: {host: files.test, port: 443, binary: /usr/bin/curl, path: /mcp, method: POST, tool: read, argument: "path=/work/*"}`:   "holds",
		`never: {host: files.test, ends: true}`:                                                                                          "/usr/bin/curl → files.test:443 DELETE /mcp to end the session",
		`never: {host: files.test, stream: true}`:                                                                                        "/usr/bin/curl → files.test:443 GET /mcp for the server's stream",
		`never: {host: files.test, response: true}`:                                                                                      "/usr/bin/curl → files.test:443 POST /mcp with a response to the server",
		`never: {host: grpc.test, ends: true}`:                                                                                           "holds",
		`never: {host: git.test, fetch: true, repository: team/app}`:                                                                     "/usr/bin/git → git.test:443 GET /team/app/info/refs?service=git-upload-pack",
		`never: {host: git.test, fetch: true, repository: "other/*"}`:                                                                    "holds",
		`always: {host: git.test, binary: /usr/bin/git, port: 443, text: true}`:                                                          "/usr/bin/git → git.test:443 text message on /",
		`always: {host: nowhere.test, port: 443, path: /ws, text: true}`:                                                                 "a program that is not known → nowhere.test:443 text message on /ws",
		`always: {host: brief.test, binary: /usr/bin/ssh, port: 22, text: true}`:                                                         "/usr/bin/ssh → brief.test:22 text message on / at 2030-01-01T00:00:00Z",
		`never: {host: git.test, text: true}`:                                                                                            "holds",
	} {
		list, err := analyse.ParseAssertions("a.yaml", []byte("- "+text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := analyse.Prove(doc, list, time.Time{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		have := "holds"
		switch {
		case got[0].Counterexample != nil:
			have = got[0].Counterexample.String()
			have, _ = strings.CutSuffix(have, " at 2029-12-31T23:59:59Z")
		case !got[0].Holds:
			have = "not told"
		}
		if have != want {
			t.Errorf("%s\n got %s\nwant %s", text, have, want)
		}
	}
	for text, want := range map[string]string{
		"- never: {graphql: querry}":                  "an operation like query",
		"- never: {graphql: 'mutation:'}":             "an operation like query",
		"- never: {tool: '[a'}":                       "a well-formed glob",
		"- never: {repository: team/app.git}":         "without the slash before it",
		"- never: {force: no}":                        "want true",
		"- never: {force: 'true'}":                    "want true",
		"- never: {tool: a, ref: main}":               "keys of several protocols in one description",
		"- never: {text: true, tool: a}":              "text with keys that are about requests",
		"- never: {text: true, method: GET}":          "text with a method",
		"- never: {graphql: 'id:x', operation: name}": "beside the key of a stored one",
		"- never: {registry: maven}":                  "cargo, debian, go, npm, pypi",
		"- never: {younger: 1w}":                      "a time like 12h or 7d",
		"- never: {younger: 1h, publish: true}":       "younger, which is about downloads",
		"- never: {argument: path}":                   "an argument like path=/work/**",
		"- never: {argument: 'path=[a'}":              "a well-formed glob",
		"- never: {ends: true, stream: true}":         "keys of several protocols",
		"- never: {service: a, tool: b}":              "keys of several protocols",
		"- never: {fetch: true, ref: main}":           "fetch with keys that are about pushes",
	} {
		if _, err := analyse.ParseAssertions("a.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// What lets nothing through by itself is compared, too, with its place.
func TestDiffOfKeys(t *testing.T) {
	base := "version: 2\nnetwork_policies:\n  api:\n    binaries: any\n    endpoints:\n      - {host: api.test, port: 443, protocol: rest, access: full}\n"
	with := func(keys string) string { return strings.Replace(base, "access: full", "access: full, "+keys, 1) }
	for _, c := range []struct{ a, b, want string }{
		{base, with("limits: {requests: {count: 5, per: 1m}}"), "limits.requests of api.test:443 for any program: \"\" \"5 in 1m\" policy.yaml:6"},
		{with("max_uses: 3"), with("max_uses: 4"), "max_uses of api.test:443 for any program: \"3\" \"4\" policy.yaml:6"},
		{with("max_uses: 3"), strings.Replace(with("max_uses: 3"), "  api:", "  renamed:", 1), ""},
		{with("credential_binding: {provider: acme}"), base, "credentials of api.test:443 for any program: \"bound to provider acme\" \"\" policy.yaml:6"},
		{base, strings.Replace(base, "version: 2\n", "version: 2\nlimits: {connections: 2}\n", 1), "limits.connections: \"\" \"2\" policy.yaml:2"},
		{strings.Replace(base, "rest, access", "graphql, access", 1), strings.Replace(with("graphql_max_body_bytes: 1000"), "rest, access", "graphql, access", 1),
			"body limit of api.test:443 for any program: \"\" \"1000\" policy.yaml:6"},
	} {
		d, err := analyse.Diff(parse(t, c.a), parse(t, c.b), time.Time{})
		if err != nil {
			t.Errorf("%s\n%v", c.b, err)
			continue
		}
		var lines []string
		for _, s := range d.Sections {
			lines = append(lines, s.Key+": "+quoted(s.Was)+" "+quoted(s.Is)+" "+strings.Join(strings.Split(s.At.String(), ":")[:2], ":"))
		}
		if got := strings.Join(lines, "\n"); got != c.want || len(d.Allowed)+len(d.Denied)+len(d.Recorded)+len(d.Unknown) > 0 || d.Equal() != (c.want == "") {
			t.Errorf("%s\n%s\n got %s\nwant %s\n%+v", c.a, c.b, got, c.want, d)
		}
	}
}

func quoted(s string) string { return `"` + s + `"` }

// A rule that ends is compared in every part of the time.
func TestDiffInTime(t *testing.T) {
	base := "version: 2\nnetwork_policies:\n  api:\n    binaries: any\n    endpoints:\n      - {host: api.test, port: 443, expires_at: 2030-01-01T00:00:00Z}\n"
	later := strings.Replace(base, "2030", "2031", 1)
	at := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	d, err := analyse.Diff(parse(t, base), parse(t, later), at(2026))
	if err != nil || len(d.Allowed) != 1 || len(d.Denied) != 0 || !d.Allowed[0].From.Equal(at(2030)) || !d.Allowed[0].Until.Equal(at(2031)) {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = analyse.Diff(parse(t, base), parse(t, later), at(2031)); err != nil || !d.Equal() {
		t.Errorf("%+v, %v", d, err)
	}
	never := strings.Replace(base, ", expires_at: 2030-01-01T00:00:00Z", "", 1)
	d, err = analyse.Diff(parse(t, never), parse(t, later), at(2026))
	if err != nil || len(d.Denied) != 1 || !d.Denied[0].From.Equal(at(2031)) || !d.Denied[0].Until.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	other := strings.Replace(later, "port: 443", "port: 444", 1)
	d, err = analyse.Diff(parse(t, base), parse(t, other), at(2026))
	if err != nil || len(d.Denied) != 1 || !d.Denied[0].From.IsZero() || !d.Denied[0].Until.Equal(at(2030)) || len(d.Allowed) != 1 || !d.Allowed[0].Until.Equal(at(2031)) {
		t.Errorf("%+v, %v", d, err)
	}
}

// An assertion about packages wants to know which registry it speaks of.
func TestProvePackagesWithoutARegistry(t *testing.T) {
	doc := parse(t, "version: 2\nnetwork_policies:\n  api:\n    binaries: any\n    endpoints: [{host: api.test, port: 443, protocol: rest, access: read-only}]\n")
	list, err := analyse.ParseAssertions("a.yaml", []byte("- never: {package: lodash}\n- never: {package: lodash, registry: npm}\n"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "a.yaml:1:3: never: missing, want registry, because no endpoint of the policy has protocol: package\n  hint: say which registry the hosts are looked at as: registry: cargo, debian, go, npm, pypi"
	if _, err := analyse.Prove(doc, list, time.Time{}); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	got, err := analyse.Prove(doc, list[1:], time.Time{})
	if err != nil || got[0].Counterexample == nil || !strings.HasSuffix(got[0].Counterexample.String(), "api.test:443 GET /lodash") {
		t.Errorf("%v, %v", got, err)
	}
}
