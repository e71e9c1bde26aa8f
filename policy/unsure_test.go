package policy_test

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

// What a record lacks is named exactly where it could turn the verdict.
func TestUnsure(t *testing.T) {
	const one = `version: 1
network_policies:
  a:
    endpoints: [{host: a.test, port: 443, protocol: rest, enforcement: enforce, rules: [{allow: {method: GET, path: /q, query: {k: v}}}, {allow: {method: GET, path: /p}}], deny_rules: [{method: POST, path: /d, query: {k: v}}]}]
    binaries: [{path: /usr/bin/curl}]
  b:
    endpoints: [{host: b.test, port: 443}]
    binaries: [{path: /usr/bin/git}]
`
	const two = `version: 2
network_policies:
  a:
    endpoints: [{host: a.test, port: 443, protocol: rest, rules: [{allow: {method: "*", path: /q}}], deny_rules: [{method: POST, path: /q, query: {k: v}}]}]
    binaries: [/usr/bin/curl, {path: /usr/bin/git, sha256: "` + "0000000000000000000000000000000000000000000000000000000000000000" + `"}]
  b:
    endpoints: [{host: b.test, port: 443}]
    binaries: [/usr/bin/git]
`
	tests := []struct{ doc, host, binary, method, path, want string }{
		{one, "a.test", "/usr/bin/curl", "GET", "/p", ""},
		{one, "a.test", "/usr/bin/curl", "GET", "/q", "query"},
		{one, "a.test", "/usr/bin/curl", "GET", "/other", ""},
		{one, "a.test", "/usr/bin/curl", "POST", "/q", ""},
		{one, "a.test", "/usr/bin/curl", "POST", "/d", "query"},
		{one, "a.test", "/usr/bin/curl", "", "", ""},
		{one, "a.test", "/usr/bin/wget", "GET", "/p", "parents"},
		{one, "a.test", "", "GET", "/p", ""}, // a caller that is not known has no parents that are
		{one, "b.test", "/usr/bin/wget", "", "", "parents"},
		{one, "c.test", "/usr/bin/wget", "", "", ""},
		{two, "a.test", "/usr/bin/curl", "POST", "/q", "query"},
		{two, "a.test", "/usr/bin/curl", "GET", "/q", ""},
		{two, "a.test", "/usr/bin/git", "", "", "digest"},
		{two, "a.test", "/usr/bin/wget", "", "", ""},
		{two, "b.test", "/usr/bin/wget", "", "", ""},
	}
	for _, tt := range tests {
		e := compile(t, tt.doc)
		c := curl(t, tt.host, 443)
		c.Binary, c.KnownCaller = tt.binary, tt.binary != ""
		r := policy.Request{Connection: c, Method: tt.method}
		r.Target.Path = tt.path
		if got := e.Unsure(r); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	if got := (*policy.Engine)(nil).Unsure(policy.Request{}); got != "" {
		t.Errorf("no engine: %q", got)
	}
}
