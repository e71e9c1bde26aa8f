package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/creel-run/creel/agents"
	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/sandbox"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPolicyLeftByAnAgent: a policy that appeared or changed where an agent could
// write counts only when somebody names it.
func TestPolicyLeftByAnAgent(t *testing.T) {
	tr := trust{t.TempDir()}
	ws := t.TempDir()
	own := filepath.Join(ws, policyName)
	run := func(o Options) error {
		if o.Workspace == "" {
			o.Workspace = ws
		}
		src, err := findPolicy(o, tr)
		if err != nil {
			return err
		}
		rev, _, err := src.compile(1)
		if err != nil {
			return err
		}
		if err := src.modest(rev.doc); err != nil {
			return err
		}
		s := &supervisor{o: o, source: src, trust: tr, areas: writableAreas(o, rev.doc)}
		if err := src.expose(s.areas); err != nil {
			return err
		}
		return s.rememberPolicy()
	}
	found := Options{Policy: own, PolicyFound: true}
	if err := run(Options{}); err != nil { // the first run, without a policy of its own
		t.Fatal(err)
	}
	const good = "version: 2\nfilesystem_policy: {include_workdir: true}\n"
	write(t, own, good)
	err := run(found)
	var f *fault.Error
	if !errors.As(err, &f) || f.Exit() != fault.Usage || !strings.Contains(err.Error(), "could be the agent's own") {
		t.Fatalf("a policy that appeared was taken: %v", err)
	}
	if err := run(Options{Policy: own, PolicyFound: true, ReadOnly: true}); err == nil {
		t.Error("a read-only run took a policy that appeared")
	}
	if err := run(Options{Policy: own}); err != nil { // named, so trusted
		t.Fatal(err)
	}
	if err := run(found); err != nil {
		t.Errorf("the trusted policy is refused: %v", err)
	}
	// A self-test works elsewhere, with the policy of the current folder.
	if err := run(Options{Policy: own, PolicyFound: true, Workspace: t.TempDir(), Program: "/creel"}); err != nil {
		t.Errorf("the trusted policy is refused where another folder is the workspace: %v", err)
	}
	write(t, own, good+"# changed\n")
	if err := run(found); err == nil {
		t.Error("a policy that changed was taken")
	}
	// Another policy in use does not make the present one trusted.
	other := filepath.Join(t.TempDir(), "p.yaml")
	write(t, other, good)
	if err := run(Options{Policy: other}); err != nil {
		t.Fatal(err)
	}
	if err := run(found); err == nil {
		t.Error("a run with another policy made the changed one trusted")
	}
	// A folder below one that an agent could write.
	sub := filepath.Join(ws, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(sub, policyName), good)
	if err := run(Options{Workspace: sub, Policy: filepath.Join(sub, policyName), PolicyFound: true}); err == nil {
		t.Error("a policy below a folder that an agent could write was taken")
	}
	// A second name of the file is not protected by a mount over the first.
	if err := os.Link(own, filepath.Join(ws, "other-name")); err != nil {
		t.Fatal(err)
	}
	if err := run(Options{Policy: own}); err == nil {
		t.Error("a policy with a second name was taken")
	}
	// A link would bring another folder's policy, with the trust that it has there.
	_ = os.Remove(own)
	if err := os.Symlink(other, own); err != nil {
		t.Fatal(err)
	}
	if err := run(found); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link to another policy was taken: %v", err)
	}
	// A pipe must not hold the start up.
	_ = os.Remove(own)
	if err := syscall.Mkfifo(own, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(found); err == nil {
		t.Error("a pipe was taken as policy")
	}
}

// TestNamedPolicyOutsideOfTheWorkspace: a policy that is named is trusted where it
// lies. That makes its folder none that an agent could write, and takes nothing
// from what is known of one that an agent could.
func TestNamedPolicyOutsideOfTheWorkspace(t *testing.T) {
	tr := trust{t.TempDir()}
	home := t.TempDir()
	const good = "version: 2\nfilesystem_policy: {include_workdir: true}\n"
	run := func(o Options) error {
		src, err := findPolicy(o, tr)
		if err != nil {
			return err
		}
		rev, _, err := src.compile(1)
		if err != nil {
			return err
		}
		s := &supervisor{o: o, source: src, trust: tr, areas: writableAreas(o, rev.doc), mode: workspaceMode(o, rev.doc)}
		return s.rememberPolicy()
	}
	folder := func(name, text string) string {
		dir := filepath.Join(home, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if text != "" {
			write(t, filepath.Join(dir, policyName), text)
		}
		return dir
	}
	found := func(dir string) Options {
		return Options{Workspace: dir, Policy: filepath.Join(dir, policyName), PolicyFound: true}
	}
	own := filepath.Join(home, policyName)
	write(t, own, good)
	named := Options{Workspace: folder("job", ""), Policy: own}
	if err := run(named); err != nil {
		t.Fatal(err)
	}
	if err := run(found(folder("new", good))); err != nil {
		t.Errorf("a policy below the folder of a named one is refused: %v", err)
	}
	// What the agent of the first run could write stays what it was.
	if err := run(found(folder("job/sub", good))); err == nil {
		t.Error("a policy below a workspace was taken")
	}
	// The record of the named file holds for that text alone.
	write(t, own, good+"# changed\n")
	if err := run(found(home)); err == nil {
		t.Error("a named policy that changed was taken")
	}
	// An agent that works in the home itself can leave policies below it.
	write(t, own, good)
	if err := run(found(home)); err != nil {
		t.Fatalf("a policy that was named is refused: %v", err)
	}
	if err := run(found(folder("left", good))); err == nil {
		t.Error("a policy below a folder that an agent could write was taken")
	}
	// Also when the folder's own policy was not the one in force, and when it is
	// named again later.
	home = t.TempDir()
	write(t, filepath.Join(home, policyName), good)
	named = Options{Workspace: folder("job", ""), Policy: filepath.Join(home, policyName)}
	for _, o := range []Options{named, {Workspace: home}, named} {
		if err := run(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(found(folder("left", good))); err == nil {
		t.Error("naming a policy made its folder one that no agent could write")
	}
	// Changes of a copy-on-write workspace come into it when they are applied.
	home = t.TempDir()
	write(t, filepath.Join(home, policyName), good)
	if err := run(Options{Workspace: home, Policy: filepath.Join(home, policyName), CopyOnWrite: true}); err != nil {
		t.Fatal(err)
	}
	if err := run(found(folder("applied", good))); err == nil {
		t.Error("a policy below a copy-on-write workspace was taken")
	}
}

// TestPolicyThatCameWithTheFolder: a policy that nobody has named may open hosts,
// but take no secret and show no path of its own.
func TestPolicyThatCameWithTheFolder(t *testing.T) {
	tr := trust{t.TempDir()}
	for _, tt := range []struct {
		text string
		want string // of the error; empty: taken
	}{
		{"version: 2\nfilesystem_policy: {include_workdir: true, read_only: [/usr, /etc, /usr/bin], read_write: [/tmp]}\n" +
			"network_policies:\n  a:\n    endpoints: [{host: a.test, port: 443}]\n    binaries: any\n", ""},
		{"version: 2\ninference: {backend: \"https://evil.test\", key: \"env:HOME\"}\n", "backend or a key"},
		{"version: 2\ndns: {upstream: host}\n", ""},
		{"version: 2\ndns: {upstream: \"tls://evil.test\"}\n", "chooses who is asked for names ("},
		{"version: 2\ndns: {hosts: {a.test: [198.51.101.7]}}\n", "gives names addresses of its own choice ("},
		{"version: 2\nfilesystem_policy: {read_only: [/usr, /root]}\n", "shows the agent /root"},
		{"version: 2\nfilesystem_policy: {read_write: [/usr/local]}\n", "lets the agent write /usr/local"},
		{"version: 2\nprocess: {run_as_user: \"1000\"}\n", "chooses the user"},
		{"version: 2\nnetwork_policies:\n  a:\n    endpoints: [{host: a.test, port: 443, allowed_ips: [10.0.0.0/8]}]\n    binaries: any\n", "addresses of its own choice"},
		{"version: 2\nnetwork_policies:\n  a:\n    endpoints: [{host: 10.0.0.1, port: 443}]\n    binaries: any\n", "addresses of its own choice"},
		{"version: 1\nnetwork_policies:\n  a:\n    endpoints: [{host: a.test, port: 443}]\n    binaries: [{path: /usr/bin/curl}]\n", "internal addresses"},
	} {
		ws := t.TempDir()
		own := filepath.Join(ws, policyName)
		write(t, own, tt.text)
		load := func(found bool) error {
			src, err := findPolicy(Options{Workspace: ws, Policy: own, PolicyFound: found}, tr)
			if err != nil {
				return err
			}
			rev, _, err := src.compile(1)
			if err != nil {
				return err
			}
			if err := src.modest(rev.doc); err != nil {
				return err
			}
			s := &supervisor{source: src, trust: tr}
			return s.rememberPolicy()
		}
		err := load(true)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.text, err)
		}
		if err := load(false); err != nil {
			t.Errorf("%s: named, and refused: %v", tt.text, err)
		}
		if err := load(true); err != nil {
			t.Errorf("%s: named before, and refused: %v", tt.text, err)
		}
	}
}

// TestOwnFoldersStayApart: an agent that could write Creel's folders could answer
// for its supervisor, or trust a policy.
func TestOwnFoldersStayApart(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root's folders are fixed: e2e covers them")
	}
	base := t.TempDir()
	for _, tt := range []struct {
		area, state, runtime string
		want                 bool
	}{
		{"ws", "state", "run", true},
		{"ws", "ws/state", "run", false},
		{"ws", "state", "ws/run", false},
		{"state/creel/audit", "state", "run", false},
		{"run/creel/other", "state", "run", false},
	} {
		root, err := os.MkdirTemp(base, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{tt.area, tt.state, tt.runtime} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("XDG_STATE_HOME", filepath.Join(root, tt.state))
		t.Setenv("XDG_RUNTIME_DIR", filepath.Join(root, tt.runtime))
		tr, err := openTrust()
		if err != nil {
			t.Fatal(err)
		}
		s := &supervisor{trust: tr, areas: areas{realPath(filepath.Join(root, tt.area))}}
		if err := s.keepApart(); (err == nil) != tt.want {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestWritableAreas(t *testing.T) {
	base := t.TempDir()
	real := filepath.Join(base, "real")
	link := filepath.Join(base, "link")
	if err := os.Mkdir(real, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	doc, _, err := policy.Parse("p", []byte("version: 2\nfilesystem_policy: {include_workdir: true, read_write: [/tmp, "+link+"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := writableAreas(Options{Workspace: link}, doc)
	for path, want := range map[string]bool{
		filepath.Join(link, "x/y"): true, filepath.Join(real, "x"): true, base: false, real + "er": false, "/etc/passwd": false,
	} {
		if got := a.holding(path) != ""; got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if a := writableAreas(Options{Workspace: real, ReadOnly: true}, &policy.Document{}); len(a) != 0 {
		t.Errorf("read-only run writes %v", a)
	}
}

func TestFaultyPolicyNamesAllFaults(t *testing.T) {
	p := filepath.Join(t.TempDir(), "p.yaml")
	write(t, p, "version: 2\nbogus: 1\nlandlock: {compatibility: maybe}\n")
	src, err := findPolicy(Options{Policy: p, ReadOnly: true, Workspace: t.TempDir()}, trust{t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = src.compile(1)
	var bad *api.FaultyPolicy
	if !errors.As(err, &bad) || len(bad.Faults) != 2 || bad.Faults[0].Line != 2 || bad.Faults[1].Line != 3 {
		t.Fatalf("%#v", err)
	}
	// What a fault means depends on whether something runs.
	_, _, later := src.compile(2)
	if !strings.Contains(err.Error(), "2 faults, nothing was started") || later == nil || !strings.Contains(later.Error(), "2 faults, nothing was changed") {
		t.Errorf("at the start %v, later %v", err, later)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("CANARY_TOKEN", "secret")
	t.Setenv("LC_ALL", "C.UTF-8")
	t.Setenv("PATH", "/usr/bin:/hidden/bin:relative")
	visible := func(p string) bool { return within("/usr", p) }
	env := environment(person{name: "agent", home: "/home/agent"}, "box", nil, visible, []string{"A=1", "A=2", "HOME=/elsewhere"})
	for _, want := range []string{"A=2", "HOME=/elsewhere", "LC_ALL=C.UTF-8", "USER=agent", "SSL_CERT_FILE=" + bundleFile, "CREEL_SANDBOX=box"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing in %q", want, env)
		}
	}
	for _, e := range env {
		if strings.Contains(e, "secret") {
			t.Errorf("leaks %s", e)
		}
		if p, ok := strings.CutPrefix(e, "PATH="); ok && (strings.Contains(p, "hidden") || strings.Contains(p, "relative") || !strings.HasPrefix(p, "/usr/bin:")) {
			t.Errorf("PATH is %s", p)
		}
	}
}

func TestParseUpstreams(t *testing.T) {
	all, err := parseUpstreams([]string{"Api.Test:443=127.0.0.1:8443", "six.test:80=[::1]:80"})
	if err != nil || len(all) != 2 {
		t.Fatal(all, err)
	}
	for _, bad := range []string{"", "api.test", "api.test=127.0.0.1:1", "api.test:0=127.0.0.1:1", "api.test:443=host:1", "api.test:443=127.0.0.1", "a b:443=127.0.0.1:1", "api.test:443=127.0.0.1:0"} {
		var f *fault.Error
		if _, err := parseUpstreams([]string{bad}); !errors.As(err, &f) || f.Exit() != fault.Usage || len(f.Hints) == 0 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestResolverStaysOutOfWritableFolders(t *testing.T) {
	ws := t.TempDir()
	link := filepath.Join(ws, "tool")
	if err := os.Symlink("/bin/sh", link); err != nil {
		t.Fatal(err)
	}
	// Ways there: a link outside that leads in, and a folder that the policy lets the agent write.
	outside := filepath.Join(t.TempDir(), "way")
	if err := os.Symlink(ws, outside); err != nil {
		t.Fatal(err)
	}
	own := t.TempDir()
	if err := os.Symlink("/bin/sh", filepath.Join(own, "tool")); err != nil {
		t.Fatal(err)
	}
	doc := &policy.Document{Filesystem: policy.Filesystem{ReadWrite: []policy.Path{{Path: own}}}}
	follow := followLinks(ws, doc)
	for _, path := range []string{link, filepath.Join(outside, "tool"), filepath.Join(own, "tool"), filepath.Join(own, "absent")} {
		if got := follow(path); got != "" {
			t.Errorf("%s leads a rule to %s", path, got)
		}
	}
	real, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if got := follow("/bin/sh"); got != real {
		t.Errorf("/bin/sh resolves to %q, want %q", got, real)
	}
}

func TestCommandErrors(t *testing.T) {
	for errno, want := range map[int]int{2: fault.NotFound, 20: fault.NotFound, 13: fault.NotExecutable, 8: fault.NotExecutable, 12: fault.Internal} {
		code, err := commandError(&sandbox.CommandError{Step: "exec", Errno: errno, Text: "x"}, "no-such-program", "/")
		var f *fault.Error
		if code != want || !errors.As(err, &f) || f.Exit() != want {
			t.Errorf("errno %d: %d, %v", errno, code, err)
		}
	}
}

func TestSuggestions(t *testing.T) {
	doc, _, err := policy.Parse("p.yaml", []byte(`version: 2
network_policies:
  by_now:
    endpoints:
      - {host: now.test, port: 22, protocol: tcp}
      - {host: now.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: "/a/**"}}]}
    binaries: any
`))
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{o: Options{Agent: &agents.Launch{Title: "Claw", Contacts: []agents.Contact{{Host: "skills.test", Why: "skills"}}}}}
	s.rev.Store(&revision{number: 1, doc: doc, engine: engine})
	for _, tt := range []struct {
		e    audit.Entry
		want string
	}{
		{audit.Entry{Host: "a.test", Port: 443, Binary: "/usr/bin/curl"}, "host: a.test"},
		{audit.Entry{Host: "skills.test", Port: 443, Binary: "/usr/bin/node"}, "# skills.test: Claw calls it by itself for skills, and works without"},
		{audit.Entry{Host: "a.test", Port: 443, Layer: "address", Addr: "10.0.0.1", Rule: "r"}, `allowed_ips: ["10.0.0.1"]`},
		{audit.Entry{Host: "192.0.2.1", Port: 99, Protocol: "udp"}, ""},
		{audit.Entry{Host: "api.test", Port: 443, Layer: "inference"}, ""},
		{audit.Entry{Host: "\x1b[31m", Port: 443}, ""},
		// denied before a reload, allowed since
		{audit.Entry{Host: "now.test", Port: 22, Layer: "connection"}, ""},
		{audit.Entry{Host: "now.test", Port: 443, Layer: "request", Method: "GET", Path: "/a/b"}, ""},
		{audit.Entry{Host: "now.test", Port: 443, Layer: "request", Method: "POST", Path: "/a/b"}, "method: POST"},
		{audit.Entry{Host: "now.test", Port: 443, Layer: "request", Method: "GET", Path: "/b"}, "path: /b"},
		// denied by a message
		{audit.Entry{Host: "git.test", Port: 443, Layer: "request", Method: "POST", Path: "/a", Asked: "git push a refs/heads/b", RuleMissing: "# add\n#   - allow: {}\n"}, "# add\n#   - allow: {}"},
		{audit.Entry{Host: "git.test", Port: 443, Layer: "request", Method: "POST", Path: "/a", Asked: "git push a refs/heads/b"}, "# git push a refs/heads/b: no lines are suggested"},
	} {
		got := s.suggest(tt.e).Lines()
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %q", tt.e, got)
		}
	}
}

func TestStaticPartsAreNamed(t *testing.T) {
	parse := func(text string) *policy.Document {
		doc, _, err := policy.Parse("p", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	a := parse("version: 2\nfilesystem_policy: {read_only: [/usr]}\n")
	b := parse("version: 2\nfilesystem_policy: {read_only: [/usr, /opt]}\nprocess: {run_as_user: \"1000\"}\ndns: {upstream: 192.0.2.53}\n")
	if got := static(a, b); !slices.Equal(got, []string{"filesystem_policy", "process"}) {
		t.Errorf("%q", got)
	}
	if got := static(a, a); got != nil {
		t.Errorf("%q", got)
	}
}
