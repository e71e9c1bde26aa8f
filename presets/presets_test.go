package presets

import (
	"strings"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// used gives a preset values for all that it may want.
func used(t *testing.T, name string) *Rules {
	t.Helper()
	return usedAt(t, name, "https://packages.example/base")
}

func usedAt(t *testing.T, name, url string) *Rules {
	t.Helper()
	p, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseHost(url, "test")
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Rules(Options{Repo: "acme/widgets", Sources: []Source{s}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every preset says what it opens and what its risks are, judges every request,
// and is a policy without warnings.
func TestPresets(t *testing.T) {
	names := Names()
	if len(names) < 14 {
		t.Fatalf("only %v", names)
	}
	for _, name := range names {
		p, err := Load(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if p.Title == "" || p.About == "" || len(p.Opens) == 0 || len(p.Risks) == 0 {
			t.Errorf("%s: no title, description, list of what it opens, or risks", name)
		}
		r := used(t, name)
		if strings.Contains(r.Text, "${") {
			t.Errorf("%s: a value is missing:\n%s", name, r.Text)
		}
		doc, warnings, err := policy.Parse(name, []byte("version: 2\nnetwork_policies:\n  "+strings.ReplaceAll(r.Text, "\n", "\n  ")))
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, warnings %v\n%s", name, err, warnings, r.Text)
			continue
		}
		for _, n := range doc.Networks {
			for _, e := range n.Endpoints {
				if e.Protocol != policy.REST || len(e.Allow) == 0 || e.Access != "" || e.Enforcement != policy.Enforce {
					t.Errorf("%s: %s does not judge requests by rules", name, e.Host)
				}
				for _, a := range e.Allow {
					if a.Method == "*" || a.Path == "**" {
						t.Errorf("%s: %s allows %s %s", name, e.Host, a.Method, a.Path)
					}
				}
			}
		}
	}
}

// All presets fit into one policy, the packages of all clients from one host.
func TestAllPresetsTogether(t *testing.T) {
	text := []byte("version: 2\n")
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		url := "https://" + name + ".example"
		if p.Registry != "" {
			url = "https://packages.example/" + name
		}
		if text, err = Merge("all.yaml", text, usedAt(t, name, url), policy.Parse); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if _, warnings, err := policy.Parse("all.yaml", text); err != nil || len(warnings) > 0 {
		t.Error(err, warnings)
	}
}

// What the presets are for is allowed, and what they say is denied is denied.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		preset, host, method, path string
		allow                      bool
	}{
		{"github-read", "github.com", "GET", "/acme/widgets.git/info/refs?service=git-upload-pack", true},
		{"github-read", "github.com", "POST", "/acme/widgets.git/git-upload-pack", true},
		{"github-read", "github.com", "GET", "/acme/widgets.git/info/refs?service=git-receive-pack", false},
		{"github-read", "github.com", "POST", "/acme/widgets.git/git-receive-pack", false},
		{"github-read", "github.com", "GET", "/acme/widgets/settings", false},
		{"github-read", "api.github.com", "GET", "/repos/acme/widgets/issues", true},
		{"github-read", "api.github.com", "POST", "/repos/acme/widgets/issues", false},
		{"github-read", "api.github.com", "POST", "/graphql", false},
		{"github-repo", "github.com", "GET", "/acme/widgets/info/refs?service=git-receive-pack", true},
		{"github-repo", "github.com", "POST", "/acme/widgets.git/git-receive-pack", true},
		{"github-repo", "github.com", "POST", "/acme/other/git-receive-pack", false},
		{"github-repo", "github.com", "GET", "/acme/other/info/refs?service=git-upload-pack", false},
		{"github-repo", "api.github.com", "POST", "/repos/acme/widgets/pulls", true},
		{"github-repo", "api.github.com", "PUT", "/repos/acme/widgets/pulls/1/merge", false},
		{"github-repo", "api.github.com", "GET", "/repos/acme/widgets/actions/secrets/public-key", false},
		{"github-repo", "api.github.com", "GET", "/repos/acme/widgets/keys", false},
		{"github-repo", "api.github.com", "POST", "/repos/acme/widgets/keys", false},
		{"github-repo", "api.github.com", "DELETE", "/repos/acme/widgets", false},
		{"github-repo", "api.github.com", "GET", "/repos/acme/widgets2", false},
		{"gitlab", "packages.example", "GET", "/api/v4/projects/group%2Fproject/issues", true},
		{"gitlab", "packages.example", "GET", "/api/v4/projects/1/variables", false},
		{"gitlab", "packages.example", "POST", "/api/v4/projects", false},
		{"slack", "slack.com", "POST", "/api/chat.postMessage", true},
		{"slack", "slack.com", "POST", "/api/files.upload", false},
		{"slack", "slack.com", "POST", "/api/admin.users.list", false},
		{"discord", "discord.com", "POST", "/api/v10/channels/1/messages", true},
		{"discord", "discord.com", "POST", "/api/v10/channels/1/webhooks", false},
		{"discord", "discord.com", "GET", "/api/v10/channels/1/webhooks", false},
		{"discord", "discord.com", "PUT", "/api/v10/guilds/1/bans/2", false},
		{"telegram", "api.telegram.org", "POST", "/bot1:token/sendMessage", true},
		{"telegram", "api.telegram.org", "POST", "/bot1:token/setWebhook", false},
		{"jira", "packages.example", "POST", "/rest/api/3/issue/A-1/comment", true},
		{"jira", "packages.example", "GET", "/rest/api/2/issue/A-1", true},
		{"jira", "packages.example", "DELETE", "/rest/api/3/issue/A-1", false},
		{"huggingface", "huggingface.co", "GET", "/acme/model/resolve/main/config.json", true},
		{"huggingface", "huggingface.co", "HEAD", "/acme/model/resolve/main/config.json", true},
		{"huggingface", "huggingface.co", "POST", "/api/repos/create", false},
		{"docker-registry", "packages.example", "GET", "/base/v2/acme/app/manifests/latest", true},
		{"docker-registry", "packages.example", "POST", "/base/v2/acme/app/blobs/uploads/", false},
		{"npm", "packages.example", "GET", "/base/@acme%2fwidgets", true},
		{"npm", "packages.example", "GET", "/elsewhere", false},
		{"npm", "packages.example", "PUT", "/base/widgets", false},
		{"pypi", "packages.example", "GET", "/base/simple/widgets/", true},
		{"pypi", "packages.example", "POST", "/base/legacy/", false},
		{"go", "packages.example", "GET", "/base/acme.example/widgets/@v/list", true},
		{"go", "packages.example", "GET", "/base/acme.example/!widgets/v2/@latest", true},
		{"go", "packages.example", "GET", "/base/sumdb/sum.example/supported", true},
		{"go", "packages.example", "GET", "/base/admin", false},
		{"crates", "packages.example", "GET", "/base/wi/dg/widgets", true},
		{"crates", "packages.example", "PUT", "/base/api/v1/crates/new", false},
		{"debian", "packages.example", "GET", "/base/dists/stable/InRelease", true},
		{"debian", "packages.example", "GET", "/base/pool/main/w/widgets_1_all.deb", true},
		{"debian", "packages.example", "GET", "/other/pool/x", false},
	} {
		doc, _, err := policy.Parse(c.preset, []byte("version: 2\nnetwork_policies:\n  "+strings.ReplaceAll(used(t, c.preset).Text, "\n", "\n  ")))
		if err != nil {
			t.Fatal(err)
		}
		for i := range doc.Networks {
			doc.Networks[i].AnyBinary, doc.Networks[i].Binaries = true, nil
		}
		engine, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		host, err := netname.ParseHost(c.host)
		if err != nil {
			t.Fatal(err)
		}
		conn := policy.Connection{Host: host, Port: 443}
		where, err := target.Parse(c.path, engine.Connect(conn).AllowEncodedSlash)
		if err != nil {
			t.Fatal(err)
		}
		got := engine.Request(policy.Request{Connection: conn, Method: c.method, Target: where})
		if (got.Verdict == policy.Allow) != c.allow {
			t.Errorf("%s: %s %s%s is %v (%s)", c.preset, c.method, c.host, c.path, got.Verdict, got.Reason)
		}
	}
}

func TestRulesRefuse(t *testing.T) {
	for _, c := range []struct{ preset, repo, want string }{
		{"github-repo", "", "OWNER/REPO"},
		{"github-repo", "acme", "OWNER/REPO"},
		{"github-repo", "acme/*", "OWNER/REPO"},
		{"github-repo", "acme/../x", "OWNER/REPO"},
		{"github-repo", "acme/..", "OWNER/REPO"},
		{"jira", "", "--host"},
		{"npm", "", "--host"},
	} {
		p, err := Load(c.preset)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Rules(Options{Repo: c.repo}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v", c.preset, c.repo, err)
		}
	}
	// A host that is never dialled is no host for a rule.
	p, err := Load("npm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Rules(Options{Sources: []Source{{Host: "127.0.0.1", Port: 4873}}}); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("loopback: %v", err)
	}
}

func TestParseHost(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Source // zero: refused
	}{
		{"packages.example", Source{Host: "packages.example", Port: 443}},
		{"packages.example:8443", Source{Host: "packages.example", Port: 8443}},
		{"http://packages.example/", Source{Host: "packages.example", Port: 80}},
		{"https://user:secret@Packages.EXAMPLE/a/b/", Source{Host: "packages.example", Port: 443, Path: "/a/b"}},
		{"https://packages.example/?token=x", Source{Host: "packages.example", Port: 443}},
		{"ftp://packages.example", Source{}},
		{"https://user:secret@packages.example:port/", Source{}},
		{"https://packages.example/a/../b", Source{}},
		{"*.example", Source{}},
		{"", Source{}},
		{"a b", Source{}},
		{"packages.example:0", Source{}},
		{"packages.example:99999", Source{}},
	} {
		got, err := ParseHost(c.in, "")
		if got != c.want || (err != nil) != (c.want == Source{}) {
			t.Errorf("%q: got %+v, %v", c.in, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the password is repeated: %v", c.in, err)
		}
	}
}
