package policy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

// texts is a Resolver of files that are not there.
type texts map[string]string

func (t texts) read(_, name string) (string, []byte, error) {
	if text, ok := t[name]; ok {
		return name, []byte(text), nil
	}
	return "", nil, errors.New("there is no such file")
}

const organisation = `version: 2
open: [network_policies.team_*, resources.memory, filesystem_policy.read_only]
filesystem_policy: {include_workdir: true, read_only: [/usr, /etc], read_write: [/tmp]}
resources: {memory: 1G, pids: 100}
syscalls: {ptrace_children: true}
network_policies:
  forge:
    endpoints:
      - host: "**.forge.test"
        port: 443
        protocol: rest
        rules:
          - allow: {method: GET, path: /**}
          - allow: {method: POST, path: /api/**}
        deny_rules: [{method: "*", path: /**/keys}]
    binaries: [/usr/bin/git, /usr/bin/curl]
  mirror:
    endpoints:
      - {host: mirror.test, port: 443, protocol: rest, access: full, max_uses: 5, expires_at: 2030-01-01T00:00:00Z}
    binaries: any
  line:
    endpoints: [{host: db.test, ports: [5432, 5433]}]
    binaries: any
`

func layered(t *testing.T, layers ...string) (*policy.Document, error) {
	t.Helper()
	files := texts{}
	for i, text := range layers[:len(layers)-1] {
		files[fmt.Sprintf("layer%d.yaml", i)] = text
	}
	doc, _, err := policy.ParseLayers("sandbox.yaml", []byte(layers[len(layers)-1]), files.read)
	return doc, err
}

func below(text string) string { return "version: 2\nextends: [layer0.yaml]\n" + text }

// A layer tightens freely and loosens nothing that is not open.
func TestLayers(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // part of the fault; empty: it is taken
	}{
		{"nothing", "", ""},
		{"fewer methods", "network_policies: {forge: {endpoints: [{host: a.forge.test, port: 443, protocol: rest, access: read-only}], binaries: [/usr/bin/git]}}",
			"rule OPTIONS **"},
		{"a rule inside of one", "network_policies: {forge: {endpoints: [{host: a.forge.test, port: 443, protocol: rest, rules: [{allow: {method: HEAD, path: /a/*}}]}], binaries: [/usr/bin/git]}}", ""},
		{"a new name, no wider", "network_policies: {mine: {endpoints: [{host: \"*.a.forge.test\", port: 443, protocol: rest, rules: [{allow: {method: POST, path: /api/issues}}]}], binaries: [/usr/bin/git]}}", ""},
		{"a wider path", "network_policies: {forge: {endpoints: [{host: a.forge.test, port: 443, protocol: rest, rules: [{allow: {method: POST, path: /**}}]}], binaries: [/usr/bin/git]}}",
			`"a.forge.test" port 443 is wider than what "forge" allows (layer0.yaml:9:9): rule POST /**`},
		{"another host", "network_policies: {forge: {endpoints: [{host: forge.test.example, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /**}}]}], binaries: [/usr/bin/git]}}",
			`"forge.test.example" port 443 is allowed by no layer above`},
		{"another port", "network_policies: {line: {endpoints: [{host: db.test, port: 5434}], binaries: any}}", "no layer above"},
		{"fewer ports", "network_policies: {line: {endpoints: [{host: db.test, port: 5433}], binaries: any}}", ""},
		{"inspected", "network_policies: {line: {endpoints: [{host: db.test, port: 5433, protocol: rest, access: full}], binaries: any}}", ""},
		{"more programs", "network_policies: {forge: {endpoints: [{host: a.forge.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /a}}]}], binaries: any}}", "binaries"},
		{"not inspected", "network_policies: {forge: {endpoints: [{host: a.forge.test, port: 443}], binaries: [/usr/bin/git]}}", "protocol"},
		{"audit", "network_policies: {forge: {endpoints: [{host: a.forge.test, port: 443, protocol: rest, enforcement: audit, rules: [{allow: {method: GET, path: /a}}]}], binaries: [/usr/bin/git]}}", "enforcement"},
		{"ask", "network_policies: {forge: {endpoints: [{host: a.forge.test, port: 443, protocol: rest, unmatched: ask, rules: [{allow: {method: GET, path: /a}}]}], binaries: [/usr/bin/git]}}", "unmatched"},
		{"without an end", "network_policies: {mirror: {endpoints: [{host: mirror.test, port: 443, protocol: rest, access: full, max_uses: 5}], binaries: any}}", "expires_at"},
		{"a later end", "network_policies: {mirror: {endpoints: [{host: mirror.test, port: 443, protocol: rest, access: full, max_uses: 5, expires_at: 2030-01-01T00:00:00-01:00}], binaries: any}}", "expires_at"},
		{"an earlier end", "network_policies: {mirror: {expires_at: 2029-01-01T00:00:00Z, endpoints: [{host: mirror.test, port: 443, protocol: rest, access: full, max_uses: 4}], binaries: any}}", ""},
		{"more uses", "network_policies: {mirror: {expires_at: 2029-01-01T00:00:00Z, endpoints: [{host: mirror.test, port: 443, protocol: rest, access: full, max_uses: 6}], binaries: any}}", "max_uses"},
		{"uses under another name", "network_policies: {mine: {expires_at: 2029-01-01T00:00:00Z, endpoints: [{host: mirror.test, port: 443, protocol: rest, access: full, max_uses: 5}], binaries: any}}", "max_uses"},
		{"internal addresses", "network_policies: {line: {endpoints: [{host: db.test, port: 5432, internal_addresses: true}], binaries: any}}", "internal_addresses"},
		{"models", "network_policies: {line: {endpoints: [{host: db.test, port: 5432, models: allow}], binaries: any}}", "models"},
		{"listed addresses", "network_policies: {line: {endpoints: [{host: db.test, port: 5432, allowed_ips: [10.0.0.0/8]}], binaries: any}}", "allowed_ips"},
		{"an open name", "network_policies: {team_chat: {endpoints: [{host: chat.test, port: 443}], binaries: any}}", ""},
		{"open memory", "resources: {memory: 4G, pids: 50}", ""},
		{"more processes", "resources: {pids: 200}", "resources.pids: pids of 200 instead of 100 is wider"},
		{"best effort", "landlock: {compatibility: best_effort}", "landlock.compatibility: best_effort is wider"},
		{"open paths", "filesystem_policy: {read_only: [/usr, /opt/tools]}", ""},
		{"paths to write", "filesystem_policy: {read_write: [/tmp/a, /var/tmp]}", `filesystem_policy.read_write: "/var/tmp" is wider`},
		{"a system call", "syscalls: {perf: true}", "syscalls.perf: perf: true is wider"},
		{"a system call less", "syscalls: {ptrace_children: false, memfd_exec: false}", ""},
		{"asking", "unmatched: ask", "sandbox.yaml:3:1: unmatched: unmatched: ask is wider"},
		{"a backend", "inference: {backend: https://models.test}", "inference.backend"},
		{"a name server", "dns: {upstream: \"tls://dns.test\"}", "dns.upstream"},
		{"a user", "process: {run_as_user: \"1000\"}", "process.run_as_user"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := layered(t, organisation, below(tt.text))
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q", err, tt.want)
			case tt.want != "" && !strings.HasPrefix(err.Error(), "sandbox.yaml:3:"):
				t.Errorf("the fault stands elsewhere: %v", err)
			}
		})
	}
}

// What a layer restates keeps the deny rules above, also for other rules.
func TestLayersKeepWhatDenies(t *testing.T) {
	doc, err := layered(t, organisation, below(`filesystem_policy: {hidden: [secrets]}
network_policies:
  forge:
    endpoints: [{host: a.forge.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /**}}]}]
    binaries: [/usr/bin/git]
  team_all:
    endpoints: [{host: a.forge.test, port: 443, protocol: rest, access: full}]
    binaries: [/usr/bin/curl]
`))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	by := func(binary, host string) policy.Connection {
		c := curl(t, host, 443)
		c.Binary = binary
		return c
	}
	tests := []struct {
		binary, host, method, path string
		want                       policy.Verdict
		at                         string
	}{
		{"/usr/bin/git", "a.forge.test", "GET", "/x", policy.Allow, "sandbox.yaml:6:"},
		{"/usr/bin/git", "a.forge.test", "POST", "/api/x", policy.Deny, "layer0.yaml:14:"},
		{"/usr/bin/git", "b.forge.test", "GET", "/x", policy.Deny, "layer0.yaml:9:"},
		{"/usr/bin/curl", "a.forge.test", "PUT", "/x", policy.Allow, "sandbox.yaml:9:"},
		{"/usr/bin/curl", "a.forge.test", "GET", "/x/keys", policy.Deny, "layer0.yaml:15:"},
	}
	for _, tt := range tests {
		d := e.Request(ask(by(tt.binary, tt.host), tt.method, tt.path))
		if d.Verdict != tt.want || !strings.HasPrefix(d.Rule.At.String(), tt.at) {
			t.Errorf("%v: %v at %v: %s", tt, d.Verdict, d.Rule.At, d.Reason)
		}
	}
	if len(doc.Files) != 2 || doc.Files[0].File != "layer0.yaml" || doc.Files[1].File != "sandbox.yaml" || doc.File != "sandbox.yaml" {
		t.Errorf("files %v", doc.Files)
	}
	if len(doc.Filesystem.Hidden) != 1 || len(doc.Filesystem.ReadOnly) != 2 || !doc.Filesystem.IncludeWorkdir || doc.Resources.PIDs != 100 {
		t.Errorf("%+v", doc)
	}
}

// What is open to the middle layer is open to the last only if both say so.
func TestOpenIsPassedDown(t *testing.T) {
	sandbox := func(extends string) string {
		return "version: 2\nextends: [" + extends + "]\nnetwork_policies: {team_chat: {endpoints: [{host: chat.test, port: 443}], binaries: any}}\n"
	}
	for name, tt := range map[string]struct {
		team string
		ok   bool
	}{
		"silent": {"version: 2\nextends: [layer0.yaml]\n", true},
		"closed": {"version: 2\nextends: [layer0.yaml]\nopen: []\n", false},
		"same":   {"version: 2\nextends: [layer0.yaml]\nopen: [network_policies]\n", true},
		"other":  {"version: 2\nextends: [layer0.yaml]\nopen: [network_policies.other]\n", false},
	} {
		if _, err := layered(t, organisation, tt.team, sandbox("layer1.yaml")); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A key that only the team opens stays closed.
	text := "version: 2\nextends: [layer1.yaml]\nresources: {pids: 200}\n"
	if _, err := layered(t, organisation, "version: 2\nextends: [layer0.yaml]\nopen: [resources]\n", text); err == nil {
		t.Error("the team opened what the organisation closed")
	}
}

func TestLayerFaults(t *testing.T) {
	deep := texts{}
	for i := range 20 {
		deep[fmt.Sprintf("d%d", i)] = fmt.Sprintf("version: 2\nextends: [d%d]\n", i+1)
	}
	for name, tt := range map[string]struct {
		files texts
		text  string
		want  string
	}{
		"missing":    {nil, "version: 2\nextends: [no.yaml]\n", `sandbox.yaml:2:11: extends[0]: found "no.yaml" (there is no such file), want a policy file`},
		"cycle":      {texts{"a": "version: 2\nextends: [b]\n", "b": "version: 2\nextends: [a]\n"}, "version: 2\nextends: [a]\n", `b:2:11: extends[0]: "a" extends itself: a → b → a`},
		"depth":      {deep, "version: 2\nextends: [d0]\n", "want at most 16 files, 8 deep"},
		"version 1":  {texts{"a": "version: 1\n"}, "version: 2\nextends: [a]\n", "a:1:1: version: a layer of version 1"},
		"a fault":    {texts{"a": "version: 2\nopne: []\n"}, "version: 2\nextends: [a]\n", `a:2:1: opne: unknown key "opne"`},
		"no text":    {nil, "version: 2\nextends: [\"\"]\n", "want the name of a policy file"},
		"no list":    {nil, "version: 2\nextends: base.yaml\n", "want a list of policy files"},
		"open typo":  {nil, "version: 2\nopen: [network_policy]\n", "did you mean network_policies?"},
		"open key":   {nil, "version: 2\nopen: [resources.memroy]\n", "did you mean memory?"},
		"open glob":  {nil, "version: 2\nopen: [\"network_policies.[\"]\n", "open[0]"},
		"in version": {nil, "version: 1\nextends: [a]\n", "is a word of version 2"},
	} {
		if tt.files == nil {
			tt.files = texts{}
		}
		_, _, err := policy.ParseLayers("sandbox.yaml", []byte(tt.text), tt.files.read)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, _, err := policy.Parse("stdin", []byte("version: 2\nextends: [a]\n")); err == nil || !strings.Contains(err.Error(), "where no other layer is read") {
		t.Error(err)
	}
}

func TestLoadLayers(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path, text string) string {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	org := write(filepath.Join(outside, "org.yaml"), organisation)
	write(filepath.Join(dir, "shared", "team.yaml"), "version: 2\nextends: ["+org+"]\n")
	if err := os.Symlink(org, filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ extends, want string }{
		"below":         {"shared/team.yaml", ""},
		"absolute":      {org, ""},
		"out":           {"../" + filepath.Base(outside) + "/org.yaml", "leads out of the folder"},
		"a link out":    {"link.yaml", "a link leads out of the folder"},
		"a folder":      {"shared", "not a regular file"},
		"missing":       {"none.yaml", "there is no such file"},
		"through a way": {"shared/../../x", "leads out of the folder"},
	} {
		doc, _, err := policy.Load(write(filepath.Join(dir, "sandbox.yaml"), "version: 2\nextends: ["+tt.extends+"]\n"))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		case tt.want == "" && (len(doc.Files) < 2 || doc.Networks[0].At.File == doc.File):
			t.Errorf("%s: %v, %v", name, doc.Files, doc.Networks[0].At)
		}
	}
}

// What a layer took away, and what is used up, are sentences: neither is a part of
// what was asked.
func TestMissesOfGrantsThatEnded(t *testing.T) {
	doc, err := layered(t, organisation, below(`network_policies:
  forge:
    endpoints: [{host: a.forge.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: /**}}]}]
    binaries: [/usr/bin/git]
`))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	c := curl(t, "b.forge.test", 443)
	c.Binary = "/usr/bin/git"
	x := e.Explain(c, nil)
	if x.Verdict == policy.Allow || len(x.Misses) != 1 || x.Misses[0].Sentence() != "a layer below restates this network policy: the rule grants only what that layer allows" {
		t.Errorf("%+v", x)
	}
	used := compile(t, "version: 2\nnetwork_policies: {used: {max_uses: 1, binaries: any, endpoints: [{host: b.forge.test, port: 443}]}}\n")
	spent := c
	spent.Uses = nil
	if x := used.Explain(spent, nil); x.Verdict == policy.Allow || len(x.Misses) != 1 || x.Misses[0].Sentence() != "all of its uses are used up: the rule grants nothing more" {
		t.Errorf("%+v", x)
	}
	if got := (policy.Miss{What: "method", Want: "GET"}).Sentence(); got != "method is unknown, the rule wants GET" {
		t.Error(got)
	}
}
