package analyse_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

// Whatever document was parsed: no panic, no witness that an engine does not
// confirm, no difference from itself, and bounds end in an error.
func FuzzAnalyse(f *testing.F) {
	other := parse(f, provedPolicy)
	f.Add([]byte(provedPolicy))
	f.Add([]byte(provedMessages))
	f.Add([]byte(rest("access: full, models: allow}\n      - {host: mcp.test, port: 443, protocol: mcp, mcp: {pins: {a: any}}, rules: [{allow: {method: tools/call, tool: a*, arguments: {path: /w/**, x: {any: [a, '**']}}}}]")))
	f.Add([]byte(rest("access: full}\n      - {host: grpc.test, port: 443, protocol: grpc, rules: [{allow: {service: 'a.**', method: S*}}], deny_rules: [{service: a.B}]}\n      - {host: api.openai.com, port: 443, tls: skip")))
	f.Add([]byte(rest("access: read-only, enforcement: audit, path: /v1/**")))
	f.Add([]byte(rest("allow_encoded_slash: true, rules: [{allow: {method: GET, path: '/[!a]{b,*}/**', query: {k: {any: ['a*', '?']}}}}]")))
	f.Add([]byte("version: 2\ndns: {upstream: \"tls://dns.test\", hosts: {api.test: [10.0.0.5], db.test: [198.51.101.7]}}\n" + rest("access: full, allowed_ips: [10.0.0.0/8]")[len("version: 2\n"):]))
	files, err := filepath.Glob("../testdata/corpus/openshell/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		doc, _, err := policy.Parse("fuzz.yaml", data)
		if err != nil {
			return
		}
		var unconfirmed *analyse.UnconfirmedError
		r, err := analyse.ReachOf(doc, time.Time{})
		if errors.As(err, &unconfirmed) {
			t.Fatal(err)
		}
		if err == nil && len(r.Unknown) == 0 && len(r.Network) > 0 && len(doc.Networks) == 0 {
			t.Fatal("no rule, and something is reached")
		}
		if d, err := analyse.Diff(doc, doc, time.Time{}); err == nil && !d.Equal() {
			t.Fatalf("differs from itself: %+v", d)
		}
		if _, err := analyse.Diff(doc, other, time.Time{}); errors.As(err, &unconfirmed) {
			t.Fatal(err)
		}
		list := []analyse.Assertion{{Word: analyse.Only, Host: "**.test", Method: "GET"}, {Word: analyse.Never, Host: "**"}, {Word: analyse.Always, Host: "api.test", Path: "/v1/**"},
			{Word: analyse.Never, Holds: analyse.Holds{Tool: "a*"}}, {Word: analyse.Only, Host: "api.test", Holds: analyse.Holds{GraphQL: "query:a,b*"}}, {Word: analyse.Never, Holds: analyse.Holds{Ref: "main", Force: true}},
			{Word: analyse.Always, Host: "npm.test", Holds: analyse.Holds{Package: "@acme/*"}}}
		if _, err := analyse.Prove(doc, list, time.Time{}); errors.As(err, &unconfirmed) {
			t.Fatal(err)
		}
	})
}
