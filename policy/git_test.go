package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

const ofCode = `version: 2
network_policies:
  code:
    endpoints:
      - host: git.test
        port: 443
        protocol: git
        rules:
          - allow: {operation: fetch, repository: "team/*"}
          - allow: {operation: push, repository: team/app, refs: ["agent/*"]}
          - allow: {operation: push, repository: team/docs, refs: ["refs/**"], force: true, delete: true}
        deny_rules:
          - {operation: push, repository: team/app, refs: [agent/protected]}
          - {operation: fetch, repository: team/secret}
      - host: packages.test
        port: 443
        protocol: package
        registry: npm
        rules:
          - allow: {package: "@acme/*", versions: ["1.*"], min_age: 72h}
          - allow: {package: left-pad}
          - allow: {package: right-pad}
          - allow: {package: "@acme/own", publish: true}
          - allow: {package: "{@acme/some,left-pad}", versions: ["1.*"], publish: true}
        deny_rules:
          - {package: left-pad, versions: ["6.6.6"]}
    binaries: any
`

func compiled(t *testing.T, text string) *Engine {
	t.Helper()
	doc, _, err := Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestGit(t *testing.T) {
	e := compiled(t, ofCode)
	host, err := netname.ParseHost("git.test")
	if err != nil {
		t.Fatal(err)
	}
	branch := func(u git.Update, refs ...string) (list []git.Update) {
		for _, r := range refs {
			u.Ref = r
			list = append(list, u)
		}
		return list
	}
	create := git.Update{Create: true}
	for _, tt := range []struct {
		name string
		git  *git.Request
		line int // of the rule; 0: none
		want Verdict
	}{
		{"fetch", &git.Request{Repository: "team/app"}, 9, Allow},
		{"refs of a fetch", &git.Request{Repository: "team/app", Discovery: true}, 9, Allow},
		{"fetch elsewhere", &git.Request{Repository: "other/app"}, 0, Deny},
		{"fetch below", &git.Request{Repository: "team/app/sub"}, 0, Deny},
		{"fetch denied", &git.Request{Repository: "team/secret"}, 14, Deny},
		{"refs of a push", &git.Request{Repository: "team/app", Push: true, Discovery: true}, 10, Allow},
		{"refs of a push elsewhere", &git.Request{Repository: "team/other", Push: true, Discovery: true}, 0, Deny},
		{"push", &git.Request{Repository: "team/app", Push: true, Updates: branch(create, "refs/heads/agent/x")}, 10, Allow},
		{"push of two", &git.Request{Repository: "team/app", Push: true, Updates: branch(create, "refs/heads/agent/x", "refs/heads/agent/y")}, 10, Allow},
		{"push of two, one not", &git.Request{Repository: "team/app", Push: true, Updates: branch(create, "refs/heads/agent/x", "refs/heads/main")}, 0, Deny},
		{"push to main", &git.Request{Repository: "team/app", Push: true, Updates: branch(git.Update{}, "refs/heads/main")}, 0, Deny},
		{"push of a tag", &git.Request{Repository: "team/app", Push: true, Updates: branch(create, "refs/tags/agent/x")}, 0, Deny},
		{"forced", &git.Request{Repository: "team/app", Push: true, Updates: branch(git.Update{Forced: true}, "refs/heads/agent/x")}, 0, Deny},
		{"removed", &git.Request{Repository: "team/app", Push: true, Updates: branch(git.Update{Delete: true}, "refs/heads/agent/x")}, 0, Deny},
		{"protected", &git.Request{Repository: "team/app", Push: true, Updates: branch(create, "refs/heads/agent/protected")}, 13, Deny},
		{"forced where it may", &git.Request{Repository: "team/docs", Push: true, Updates: branch(git.Update{Forced: true}, "refs/tags/v1")}, 11, Allow},
		{"removed where it may", &git.Request{Repository: "team/docs", Push: true, Updates: branch(git.Update{Delete: true}, "refs/heads/main")}, 11, Allow},
		{"push of nothing", &git.Request{Repository: "team/app", Push: true}, 5, Deny},
		{"not read", nil, 5, Deny},
		{"zero", &git.Request{}, 5, Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Request{Connection: Connection{Host: host, Port: 443}, Method: "POST", Target: target.Target{Path: "/team/app/git-receive-pack"}, Git: tt.git}
			d := e.Request(r)
			if d.Verdict != tt.want || d.Rule.At.Line != tt.line {
				t.Errorf("%v by line %d: %s", d.Verdict, d.Rule.At.Line, d.Reason)
			}
			if n := testing.AllocsPerRun(10, func() { e.Request(r) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestPackage(t *testing.T) {
	e := compiled(t, ofCode)
	host, err := netname.ParseHost("packages.test")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	of := func(a registry.Action, name, version string, age time.Duration) *registry.Request {
		r := &registry.Request{Kind: registry.NPM, Action: a, Name: name, Version: version}
		if age > 0 {
			r.Published = now.Add(-age)
		}
		return r
	}
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name string
		p    *registry.Request
		want Verdict
	}{
		{"index", of(registry.Index, "", "", 0), Allow},
		{"metadata", of(registry.Metadata, "@acme/app", "", 0), Allow},
		{"metadata of another", of(registry.Metadata, "other", "", 0), Deny},
		{"old enough", of(registry.Download, "@acme/app", "1.2.3", 4*day), Allow},
		{"too young", of(registry.Download, "@acme/app", "1.2.3", 2*day), Deny},
		{"age not known", of(registry.Download, "@acme/app", "1.2.3", 0), Deny},
		{"another version", of(registry.Download, "@acme/app", "2.0.0", 400*day), Deny},
		{"without an age", of(registry.Download, "left-pad", "1.0.0", 0), Allow},
		{"a version that is denied", of(registry.Download, "left-pad", "6.6.6", 0), Deny},
		{"publish", of(registry.Publish, "@acme/own", "", 0), Allow},
		{"publish another", of(registry.Publish, "@acme/app", "", 0), Deny},
		{"publish without a name", of(registry.Publish, "", "", 0), Deny},
		{"publish what is denied, or may be", of(registry.Publish, "left-pad", "", 0), Deny},
		{"publish of some versions, none named", of(registry.Publish, "@acme/some", "", 0), Deny},
		{"publish of some versions", of(registry.Publish, "@acme/some", "1.0", 0), Allow},
		{"another registry", &registry.Request{Kind: registry.PyPI, Action: registry.Metadata, Name: "left-pad"}, Deny},
		{"zero", &registry.Request{}, Deny},
		{"not read", nil, Deny},
	} {
		r := Request{Connection: Connection{Host: host, Port: 443, Now: now}, Method: "GET", Target: target.Target{Path: "/x"}, Package: tt.p}
		d := e.Request(r)
		if d.Verdict != tt.want {
			t.Errorf("%s: %v: %s", tt.name, d.Verdict, d.Reason)
		}
		// No rule about a package is the reason for what is about none.
		if tt.name == "index" && (d.Rule.At.Line != 15 || strings.Contains(d.Reason, "acme")) {
			t.Errorf("%s: by %v: %s", tt.name, d.Rule, d.Reason)
		}
		if n := testing.AllocsPerRun(10, func() { e.Request(r) }); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
		r.Now = time.Time{} // not told: nothing is old enough
		if d := e.Request(r); tt.name == "old enough" && d.Verdict != Deny {
			t.Errorf("%s, at no time: %v: %s", tt.name, d.Verdict, d.Reason)
		}
	}
}

func TestGitAndPackageFaults(t *testing.T) {
	const endpoint = "version: 2\nnetwork_policies: {k: {binaries: any, endpoints: [{host: a.test, port: 443, "
	for _, tt := range []struct{ text, want string }{
		{"protocol: git, rules: []", "at least one rule"},
		{"protocol: git, access: full", "access with protocol: git"},
		{"protocol: git, rules: [{allow: {repository: a}}]", "operation: missing"},
		{"protocol: git, rules: [{allow: {operation: clone, repository: a}}]", "fetch or push"},
		{"protocol: git, rules: [{allow: {operation: fetch}}]", "repository: missing"},
		{"protocol: git, rules: [{allow: {operation: fetch, repository: /a.git}}]", "without the slash"},
		{"protocol: git, rules: [{allow: {operation: fetch, repository: a, refs: [b]}}]", "belong to operation: push"},
		{"protocol: git, rules: [{allow: {operation: push, repository: a}}]", "refs: missing"},
		{"protocol: git, rules: [{allow: {operation: push, repository: a, refs: ['[']}}]", "well-formed glob"},
		{"protocol: git, rules: [{allow: {operation: push, repository: a, refs: [b]}}], deny_rules: [{operation: push, repository: a, force: true}]", "force in a deny rule"},
		{"protocol: git, rules: [{allow: {method: GET, path: /a}}]", "method in a rule of protocol: git"},
		{"protocol: rest, rules: [{allow: {method: GET, path: /a, repository: b}}]", "repository in a rule of protocol: rest"},
		{"protocol: package, rules: [{allow: {package: a}}]", "registry: missing"},
		{"protocol: package, registry: '', rules: [{allow: {package: a}}]", "registry: missing"},
		{"protocol: package, registry: nmp, rules: [{allow: {package: a}}]", "did you mean npm?"},
		{"protocol: package, registry: npm, registry_path: a/, rules: [{allow: {package: a}}]", "where the registry begins"},
		{"protocol: package, registry: npm, rules: [{allow: {versions: ['1']}}]", "package: missing"},
		{"protocol: package, registry: npm, rules: [{allow: {package: a, min_age: soon}}]", "a time like"},
		{"protocol: package, registry: npm, rules: [{allow: {package: a}}], deny_rules: [{package: a, publish: true}]", "publish in a deny rule"},
		{"protocol: rest, access: full, registry: npm", "registry on an endpoint of another protocol"},
	} {
		_, _, err := Parse("p.yaml", []byte(endpoint+tt.text+"}]}}"))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
		}
	}
	_, _, err := Parse("p.yaml", []byte("version: 1\nnetwork_policies: {k: {binaries: [{path: /a}], endpoints: [{host: a.test, port: 443, protocol: git, rules: [{allow: {operation: fetch, repository: a}}]}]}}"))
	if err == nil || !strings.Contains(err.Error(), "of version: 2") {
		t.Errorf("version 1: %v", err)
	}
	doc, _, err := Parse("p.yaml", []byte(ofCode))
	if err != nil {
		t.Fatal(err)
	}
	if f := Unenforced(doc); len(f) > 0 {
		t.Errorf("not enforced: %v", f)
	}
}

// What is denied names the nearest rule, and the rule that would allow it does.
func TestExplainGitAndPackage(t *testing.T) {
	e := compiled(t, ofCode)
	ask := func(host string, r Request) Explanation {
		h, err := netname.ParseHost(host)
		if err != nil {
			t.Fatal(err)
		}
		r.Connection = Connection{Host: h, Port: 443}
		return e.Explain(r.Connection, &r)
	}
	push := Request{Method: "POST", Target: target.Target{Path: "/team/app/git-receive-pack"},
		Git: &git.Request{Repository: "team/app", Push: true, Updates: []git.Update{{Ref: "refs/heads/main", Forced: true}}}}
	put := Request{Method: "PUT", Target: target.Target{Path: "/right-pad"}, Package: &registry.Request{Kind: registry.NPM, Action: registry.Publish, Name: "right-pad"}}
	for _, tt := range []struct {
		x          Explanation
		miss, rule string
	}{
		{ask("git.test", push), "refs/heads/agent/*", "operation: push, repository: team/app, refs: [refs/heads/main], force: true"},
		{ask("packages.test", put), "publish", "package: right-pad, min_age: 3d, publish: true"},
		{ask("packages.test", Request{Method: "GET", Target: target.Target{Path: "/other"}, Package: &registry.Request{Kind: registry.NPM, Action: registry.Metadata, Name: "other"}}),
			"package: other, want", "allow: {package: other, min_age: 3d}"},
		{ask("packages.test", Request{Method: "GET", Target: target.Target{Path: "/x"}, Package: &registry.Request{Kind: registry.NPM, Action: registry.Download, Name: "@acme/app", Version: "1.2.3"}}),
			"want at least 3d", "# the rule at p.yaml:20:20 allows it as soon as it is known to be 3d old; a rule without min_age"},
	} {
		text := ""
		for _, m := range tt.x.Misses {
			text += m.String() + "\n"
		}
		if !strings.Contains(text, tt.miss) || !strings.Contains(tt.x.Suggestion, tt.rule) {
			t.Errorf("misses %q, suggests %q; want %q, %q", text, tt.x.Suggestion, tt.miss, tt.rule)
		}
	}
}

// A suggestion demands an age also where no rule beside it does.
func TestSuggestedAge(t *testing.T) {
	e := compiled(t, strings.ReplaceAll(ofCode, ", min_age: 72h", ""))
	host, err := netname.ParseHost("packages.test")
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Method: "GET", Target: target.Target{Path: "/other"}, Package: &registry.Request{Kind: registry.NPM, Action: registry.Metadata, Name: "other"}}
	if x := e.Explain(Connection{Host: host, Port: 443}, &r); !strings.Contains(x.Suggestion, "{package: other, min_age: 7d}") {
		t.Errorf("suggests %q", x.Suggestion)
	}
}

// An encoded slash is suggested where the endpoint has to permit it, and no rule.
func TestSuggestEncodedSlash(t *testing.T) {
	e := compiled(t, ofCode)
	host, err := netname.ParseHost("packages.test")
	if err != nil {
		t.Fatal(err)
	}
	to, err := target.Parse("/@acme%2fapp", true)
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Method: "GET", Target: to, Package: &registry.Request{Kind: registry.NPM, Action: registry.Metadata, Name: "@acme/app"}}
	x := e.Explain(Connection{Host: host, Port: 443}, &r)
	if want := "# add to the endpoint at p.yaml:15:9:\n#   allow_encoded_slash: true\n# because npm asks"; x.Verdict != Deny || !strings.HasPrefix(x.Suggestion, want) {
		t.Errorf("%v, suggests %q", x.Verdict, x.Suggestion)
	}
}
