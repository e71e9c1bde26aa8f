package policy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// lint gives the checks that find something, each with its line, in order.
func lint(t *testing.T, text string, o policy.LintOptions) string {
	t.Helper()
	doc, warns, err := policy.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var found []string
	for _, w := range policy.Lint(doc, warns, o) {
		if w.Check == "" {
			continue
		}
		if w.At.Line < 1 || w.Text == "" || w.Hint == "" || w.Path == "" {
			t.Errorf("without place, reason or fix: %+v", w)
		}
		found = append(found, fmt.Sprintf("%d:%s", w.At.Line, w.Check))
	}
	return strings.Join(found, " ")
}

func TestLint(t *testing.T) {
	// Every document begins with two lines; rule a begins on line 3.
	doc := func(rules ...string) string { return "version: 2\nnetwork_policies:\n" + strings.Join(rules, "\n") }
	rule := func(key, binaries, endpoint string) string {
		return "  " + key + ": {binaries: " + binaries + ", endpoints: [" + endpoint + "]}"
	}
	const git, rest = "[/usr/bin/git]", "{host: a.x.test, port: 443, protocol: rest, "
	tests := []struct{ name, text, want string }{
		{"clean", doc(rule("a", git, rest+"access: read-only}")), ""},
		{"audit", doc(rule("a", git, rest+"access: read-only, enforcement: audit}")), "3:audit-only"},

		{"rented", doc(rule("a", git, `{host: "*.github.io", port: 443}`)), "3:shared-hosting"},
		{"rented in a region", doc(rule("a", git, `{host: "*.s3.eu-west-1.amazonaws.com", port: 443}`)), "3:shared-hosting"},
		{"own below a rented domain", doc(rule("a", git, `{host: me.github.io, port: 443}`)), ""},

		{"uninspected for another program", doc(rule("a", git, rest+"access: read-only}"), rule("b", "[/usr/bin/curl]", "{host: a.x.test, port: 443}")), "4:uninspected"},
		{"uninspected by wildcard", doc(rule("a", git, rest+"access: read-only}"), rule("b", "[/usr/bin/curl]", `{host: "*.x.test", ports: [80, 443]}`)), "4:uninspected"},
		{"uninspected on another port", doc(rule("a", git, rest+"access: read-only}"), rule("b", "[/usr/bin/curl]", "{host: a.x.test, port: 8443}")), ""},
		{"uninspected on another host", doc(rule("a", git, rest+"access: read-only}"), rule("b", "[/usr/bin/curl]", "{host: b.test, port: 443}")), ""},

		{"model host that Parse knows", doc(rule("a", git, "{host: api.openai.com, port: 443}")), "3:model-host"},
		{"model host of the list", doc(rule("a", git, "{host: model.x.test, port: 443}")), "3:model-host"},
		{"model host by wildcard", doc(rule("a", git, `{host: "*.x.test", port: 443}`)), "3:model-host"},
		{"claimed", doc(rule("a", git, "{host: claimed.x.test, port: 443}")), "3:unused"},

		{"echo", doc(rule("a", git, "{host: webhook.site, port: 443, protocol: rest, access: read-only}")), "3:echo-host"},
		{"echo below", doc(rule("a", git, `{host: "*.m.pipedream.net", port: 443}`)), "3:echo-host"},
		{"echo by wildcard", doc(rule("a", git, `{host: "**.github.com", port: 443}`)), "3:echo-host"},
		{"echo, written only", doc(rule("a", git, "{host: httpbin.org, port: 443, protocol: rest, rules: [{allow: {method: DELETE, path: /x}}]}")), ""},

		{"any writes", doc(rule("a", "any", rest+"access: read-write}")), "3:any-writes"},
		{"any, opaque", doc(rule("a", "any", "{host: a.x.test, port: 22}")), "3:any-writes"},
		{"any reads", doc(rule("a", "any", rest+"access: read-only}")), ""},

		{"interpreter", doc(rule("a", "[/usr/bin/python3.12]", rest+"access: read-only}")), "3:interpreter"},
		{"shell", doc(rule("a", "[/bin/bash, /usr/bin/git]", rest+"access: read-only}")), "3:interpreter"},
		{"glob over interpreters", doc(rule("a", `["/usr/bin/*"]`, rest+"access: read-only}")), "3:interpreter"},
		{"glob over others", doc(rule("a", `["/usr/lib/git-core/*"]`, rest+"access: read-only}")), ""},

		{"allow inside another", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "/a/**"}},`+"\n {allow: {method: GET, path: /a/b}}]}")), "4:shadowed"},
		{"HEAD inside GET", doc(rule("a", git, rest+`rules: [{allow: {method: HEAD, path: "/a/*"}},`+"\n {allow: {method: GET, path: \"/a/*\"}}]}")), "3:shadowed"},
		{"the same twice", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: /a}},`+"\n {allow: {method: GET, path: /a}}]}")), "4:shadowed"},
		{"all methods", doc(rule("a", git, rest+`rules: [{allow: {method: PUT, path: /a/b}},`+"\n {allow: {method: \"*\", path: \"**\"}}]}")), "3:shadowed"},
		{"with a query condition", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "/a/**", query: {k: v}}},`+"\n {allow: {method: GET, path: /a/b}}]}")), ""},
		{"a condition inside none", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "/a/**"}},`+"\n {allow: {method: GET, path: /a/b, query: {k: v}}}]}")), "4:shadowed"},
		{"overlapping, not inside", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "/a/*/c"}}, {allow: {method: GET, path: "/a/b/*"}}]}`)), ""},
		{"star does not cross", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "/a/*"}}, {allow: {method: GET, path: "/a/**"}}]}`)), "3:shadowed"},
		{"glob inside a glob", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "/*/b/*"}}, {allow: {method: GET, path: "/a/b/x*"}}]}`)), "3:shadowed"},

		{"allow inside a deny", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "**"}}, {allow: {method: PUT, path: /a/b}}], deny_rules: [{method: PUT, path: "/a/**"}]}`)), "3:unused"},
		{"empty alternative", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "/a{.json,}"}}]}`)), "3:empty-alternative"},
		{"empty alternative in a deny rule", doc(rule("a", git, rest+`access: read-only, deny_rules: [{method: GET, path: "/a{.json,}"}]}`)), "3:empty-alternative"},
		{"empty alternative of a value", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: /a, query: {k: {any: ["x{,y}"]}}}}]}`)), "3:empty-alternative"},
		{"empty alternative of a program", doc(rule("a", `["/usr/lib/*/x{,y}"]`, rest+"access: read-only}")), "3:empty-alternative"},
		{"full alternatives", doc(rule("a", git, rest+`rules: [{allow: {method: GET, path: "/a{.json,.xml}"}}]}`)), ""},

		{"idle deny", doc(rule("a", git, rest+`access: read-only, deny_rules: [{method: POST, path: /a}]}`)), "3:idle-deny"},
		{"deny that works", doc(rule("a", git, rest+`access: read-only, deny_rules: [{method: GET, path: /a}]}`)), ""},
		{"deny of what another rule allows", doc(rule("a", git, rest+`access: read-only, deny_rules: [{method: POST, path: /a}]}`), rule("b", git, `{host: "*.x.test", port: 443, protocol: rest, rules: [{allow: {method: POST, path: "/*"}}]}`)), ""},
		{"deny inside a deny", doc(rule("a", git, rest+`access: full, deny_rules: [{method: "*", path: "/a/**"}, {method: GET, path: /a/b}]}`)), "3:shadowed"},
		{"beside the endpoint's path", doc(rule("a", git, rest+`path: "/v1/**", rules: [{allow: {method: GET, path: /v1/a}}, {allow: {method: GET, path: /v2/a}}]}`)), "3:unused"},

		{"endpoint inside another", doc(rule("a", git, `{host: "**.b.test", ports: [22, 443]}`), rule("b", git, "{host: a.b.test, port: 22}")), "4:unused"},
		{"wildcard inside another", doc(rule("a", git, `{host: "**.b.test", port: 22}`), rule("b", git, `{host: "*.b.test", port: 22}`)), "4:unused"},
		{"the same endpoint twice", doc(rule("a", git, "{host: b.test, port: 22}"), rule("b", git, "{host: b.test, port: 22}")), "4:unused"},
		{"for fewer programs", doc(rule("a", "any", rest+"access: read-only}"), rule("b", git, rest+"access: read-only}")), "4:unused"},
		{"for other programs", doc(rule("a", git, "{host: b.test, port: 22}"), rule("b", "[/usr/bin/ssh]", "{host: b.test, port: 22}")), ""},
		{"requests inside another", doc(rule("a", git, rest+"access: read-only}"), rule("b", git, rest+`rules: [{allow: {method: GET, path: "/x/*"}}]}`)), "4:unused"},
		{"more requests", doc(rule("a", git, rest+"access: read-only}"), rule("b", git, rest+`rules: [{allow: {method: PUT, path: "/x/*"}}]}`)), ""},
		{"its denials count", doc(rule("a", git, rest+"access: read-only}"), rule("b", git, rest+`access: read-only, deny_rules: [{method: GET, path: /x}]}`)), "3:unused"},
	}
	o := policy.LintOptions{
		ModelHosts: []string{"model.x.test", "api.openai.com", "not a host", "*.x.test"},
		Claimed:    func(h netname.Host, _ uint16) bool { return h.String() == "claimed.x.test" },
	}
	for _, tt := range tests {
		opts := o
		if !strings.Contains(tt.name, "model") && !strings.Contains(tt.name, "claimed") {
			opts = policy.LintOptions{}
		}
		if got := lint(t, tt.text, opts); got != tt.want {
			t.Errorf("%s: %q, want %q\n%s", tt.name, got, tt.want, tt.text)
		}
	}
}

// The workspace as read_only contradicts include_workdir, unless the policy lets
// nobody write there; what lies above or below it does not.
func TestLintWorkspace(t *testing.T) {
	in := policy.LintOptions{Workspace: func(path string) bool { return path == "/w" }}
	for _, tt := range []struct{ version, fs, want string }{
		{"2", "include_workdir: true, read_only: [/usr, /w]", "2:workspace-path"},
		{"2", "include_workdir: true, read_only: [/w], workspace: copy-on-write", "2:workspace-path"},
		{"1", "include_workdir: true, read_only: [/w]", "2:workspace-path"},
		{"2", "include_workdir: true, read_only: [/w], workspace: read-only", ""},
		{"2", "include_workdir: false, read_only: [/w]", ""},
		{"2", "include_workdir: true, read_only: [/, /w/a, /wx]", ""},
	} {
		text := "version: " + tt.version + "\nfilesystem_policy: {" + tt.fs + "}\n"
		if got := lint(t, text, in); got != tt.want {
			t.Errorf("%s: %q, want %q", text, got, tt.want)
		}
		if got := lint(t, text, policy.LintOptions{}); got != "" {
			t.Errorf("%s without a workspace: %q", text, got)
		}
	}
}

// A literal host of version 1 may be internal, one by pattern may not: neither
// makes the other needless. Audit by default is found once.
func TestLintVersion1(t *testing.T) {
	const text = `version: 1
landlock: {compatibility: hard_requirement}
network_policies:
  a: {endpoints: [{host: "*.b.test", port: 22}], binaries: [{path: /usr/bin/git}]}
  b: {endpoints: [{host: a.b.test, port: 22}], binaries: [{path: /usr/bin/git}]}
  c: {endpoints: [{host: c.test, port: 443, protocol: rest, access: read-only}], binaries: [{path: /usr/bin/git}]}
`
	if got := lint(t, text, policy.LintOptions{}); got != "5:internal-host 6:audit-only 6:internal-host" {
		t.Error(got)
	}
}

// What Lint calls without effect makes no difference to any request that is
// asked here, when it is taken away; and a document without findings stays so.
func TestLintUnusedMakesNoDifference(t *testing.T) {
	hosts := []string{"a.x.test", "*.x.test", "**.x.test", "b.a.x.test"}
	paths := []string{"/a", "/a/*", "/a/**", "**", "/a/b", "/*/b"}
	methods := []string{"GET", "HEAD", "PUT", "*"}
	seed := uint32(1)
	pick := func(list []string) string {
		seed = seed*1664525 + 1013904223
		return list[int(seed>>16)%len(list)]
	}
	endpoint := func() string {
		if pick([]string{"l4", "rest", "rest"}) == "l4" {
			return fmt.Sprintf("{host: %q, port: 443}", pick(hosts))
		}
		rules := fmt.Sprintf("{allow: {method: %q, path: %q}}, {allow: {method: %q, path: %q}}", pick(methods), pick(paths), pick(methods), pick(paths))
		deny := pick([]string{"", fmt.Sprintf(", deny_rules: [{method: %q, path: %q}]", pick(methods), pick(paths))})
		return fmt.Sprintf("{host: %q, port: 443, protocol: rest, rules: [%s]%s}", pick(hosts), rules, deny)
	}
	tried := 0
	for range 700 {
		list := []string{endpoint(), endpoint(), endpoint()}
		bins := []string{pick([]string{"[/a]", "[/a, /b]", "any"}), pick([]string{"[/a]", "[/b]"}), pick([]string{"[/a]", "any"})}
		text := func(skip int) string {
			var b strings.Builder
			b.WriteString("version: 2\nnetwork_policies:\n  z: {endpoints: [], binaries: any}\n")
			for i, e := range list {
				if i != skip {
					fmt.Fprintf(&b, "  r%d: {binaries: %s, endpoints: [%s]}\n", i, bins[i], e)
				}
			}
			return b.String()
		}
		doc, warns, err := policy.Parse("p", []byte(text(-1)))
		if err != nil {
			continue // endpoints that contradict each other
		}
		for _, w := range policy.Lint(doc, warns, policy.LintOptions{}) {
			if w.Check != policy.Unused || !strings.Contains(w.Text, "makes no difference") {
				continue
			}
			tried++
			full, less := compile(t, text(-1)), compile(t, text(w.At.Line-4))
			for _, h := range []string{"a.x.test", "b.a.x.test", "x.test"} {
				for _, bin := range []string{"/a", "/b", "/c"} {
					for _, m := range []string{"GET", "HEAD", "PUT", "POST"} {
						for _, p := range []string{"/", "/a", "/a/b", "/a/c", "/a/b/c", "/x/b", "/a/"} {
							c := curl(t, h, 443)
							c.Binary = bin
							x, y := full.Connect(c), less.Connect(c)
							r := request(c, m, p)
							if a, b := full.Request(r), less.Request(r); a.Verdict != b.Verdict || a.Audited != b.Audited || x.Verdict != y.Verdict || x.Inspect != y.Inspect {
								t.Fatalf("%s\n%s %s %s%s: %v, without it %v\n%s", w, bin, m, h, p, a, b, text(-1))
							}
						}
					}
				}
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d findings were tried", tried)
	}
}

// Many rules for one host end in bounded work, and it is said.
func TestLintIsBounded(t *testing.T) {
	doc := &policy.Document{File: "p", Version: 2}
	p, err := netname.ParsePattern("*.a.x.test")
	if err != nil {
		t.Fatal(err)
	}
	n := policy.Network{Key: "k", AnyBinary: true}
	for range 6000 {
		n.Endpoints = append(n.Endpoints, policy.Endpoint{Host: "*.a.x.test", Pattern: p, Ports: []uint16{443}, Protocol: policy.REST, Access: "full"})
	}
	doc.Networks = []policy.Network{n}
	warns := policy.Lint(doc, nil, policy.LintOptions{})
	said := false
	for _, w := range warns {
		said = said || w.Kind == policy.TooMuch
	}
	if !said || len(warns) > 250 {
		t.Errorf("%d findings, the bound told: %t", len(warns), said)
	}
	if policy.Lint(nil, nil, policy.LintOptions{}) != nil {
		t.Error("findings about nothing")
	}
}

func TestPlaces(t *testing.T) {
	for name, want := range map[string]bool{
		"/usr/bin/python3.12": true, "/usr/bin/python": true, "/bin/sh": true, "/opt/node": true, "/usr/bin/lua5.4": true, "/usr/bin/perl5.36-x": false,
		"/usr/bin/git": false, "/usr/bin/shred": false, "/usr/bin/curl": false, "": false,
	} {
		if policy.Interpreter(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

// Every check is documented.
func TestLintIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/policy/lint.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range policy.Checks() {
		if !strings.Contains(string(text), "\n| `"+string(c)+"` |") {
			t.Errorf("docs/policy/lint.md has no line for %s", c)
		}
	}
}

// Whatever a document says, its findings have a place and a reason on one line.
func FuzzLint(f *testing.F) {
	f.Add([]byte(explained))
	f.Add([]byte("version: 1\nnetwork_policies: {a: {endpoints: [{host: \"**.x.test\", port: 443, protocol: rest, access: full, deny_rules: [{method: GET, path: \"/{a,b}/[c]\"}]}], binaries: [{path: /bin/sh}]}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, warns, err := policy.Parse("f", data)
		if err != nil {
			t.Skip()
		}
		for _, w := range policy.Lint(doc, warns, policy.LintOptions{ModelHosts: []string{"a.test"}}) {
			if w.At.Line < 1 || w.Text == "" || strings.ContainsAny(w.Text, "\n\x00\x1b") {
				t.Errorf("%+v", w)
			}
		}
	})
}
