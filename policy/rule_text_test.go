package policy

import (
	"strings"
	"testing"
	"time"
)

// Every word that a rule may have is in its text.
func TestRuleTexts(t *testing.T) {
	const head = "version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 443, protocol: "
	for _, tt := range []struct{ endpoint, want string }{
		{"rest, rules: [{allow: {method: GET, path: /a/**}}]", "allow GET /a/**"},
		{`rest, rules: [{allow: {method: "*", path: /a, query: {x: "1"}}}]`, "allow * /a with a query condition"},
		{`git, rules: [{allow: {operation: fetch, repository: "team/*"}}]`, "allow fetch team/*"},
		{`git, rules: [{allow: {operation: push, repository: t/a, refs: ["agent/*", "refs/tags/v1"], force: true, delete: true}}]`,
			"allow push t/a to refs/heads/agent/* or refs/tags/v1, force, delete"},
		{`package, registry: npm, rules: [{allow: {package: left-pad, versions: ["1.*", "2.0.0"], min_age: 168h, publish: true}}]`,
			"allow package left-pad, versions 1.* or 2.0.0, min_age 7d, publish"},
		{`package, registry: npm, rules: [{allow: {package: "**", min_age: 36h}}]`, "allow package **, min_age 36h"},
		{`mcp, path: /mcp, rules: [{allow: {method: tools/call, tool: {any: ["read_*", list]}}}]`, "allow tools/call, tool read_* or list"},
		{`mcp, path: /mcp, rules: [{allow: {method: tools/call, tool: read, arguments: {path: {any: ["/a/**", /b]}}}}]`, "allow tools/call, tool read, argument path /a/** or /b"},
		{`mcp, path: /mcp, rules: [{allow: {method: resources/list}}]`, "allow resources/list"},
		{`json-rpc, path: /rpc, rules: [{allow: {method: eth_call}}]`, "allow eth_call"},
		{`graphql, path: /g, rules: [{allow: {operation_type: mutation, operation_name: "Make*", fields: [createIssue, "close*"]}}]`,
			"allow mutation Make*, fields createIssue or close*"},
		{`graphql, path: /g, rules: [{allow: {operation_type: query}}]`, "allow query"},
	} {
		doc, _, err := Parse("p", []byte(head+tt.endpoint+"}]}}\n"))
		if err != nil {
			t.Errorf("%s: %v", tt.endpoint, err)
			continue
		}
		rules := doc.Rules()
		protocol, _, _ := strings.Cut(tt.endpoint, ",")
		if len(rules) != 2 || rules[1].Rule != tt.want || !strings.Contains(rules[0].Rule, "protocol "+protocol) {
			t.Errorf("%s: %v, want %q", tt.endpoint, rules, tt.want)
		}
	}
}

// What is written for people is what a policy may say.
func TestQuantityTexts(t *testing.T) {
	for text, n := range map[string]int64{"1": 1, "1023": 1023, "4K": 4096, "10M": 10 << 20, "1536M": 3 << 29, "4G": 4 << 30, "3T": 3 << 40, "1024T": 1 << 50} {
		if got := SizeText(n); got != text {
			t.Errorf("%d: %s, want %s", n, got, text)
		}
		if back, err := parseSize(SizeText(n), 1, ""); err != nil || back != n {
			t.Errorf("%s: %d, %v", text, back, err)
		}
	}
	if got := SizeText(0); got != "0" {
		t.Errorf("nothing is %s", got)
	}
	for text, n := range map[string]int64{"2": 2000, "0.5": 500, "1.25": 1250, "0.01": 10} {
		if back, err := ParseCPU(CPUText(n)); CPUText(n) != text || err != nil || back != n {
			t.Errorf("%d: %s, %v", n, CPUText(n), err)
		}
	}
	for text, d := range map[string]time.Duration{"7d": 168 * time.Hour, "36h": 36 * time.Hour, "90s": 90 * time.Second, "2m": 2 * time.Minute} {
		if got := DurationText(d); got != text {
			t.Errorf("%v: %s, want %s", d, got, text)
		}
	}
}
