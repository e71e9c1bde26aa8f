package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/sandbox"
)

// ownState gives a test a state folder. Root's is fixed, so root's tests use a
// workspace of their own and leave a record behind only for it.
func ownState(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	ws := filepath.Join(dir, "ws")
	if err := os.Mkdir(ws, 0o755); err != nil {
		t.Fatal(err)
	}
	tr, err := trustOf(ws)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(tr.file) })
	return ws
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPolicyLeftByAnAgent: a policy that appeared or changed in a workspace
// after an agent worked there counts only when somebody names it.
func TestPolicyLeftByAnAgent(t *testing.T) {
	ws := ownState(t)
	own := filepath.Join(ws, policyName)
	run := func(o Options) error {
		o.Workspace = ws
		src, err := findPolicy(o)
		if err != nil {
			return err
		}
		s := &supervisor{o: o, source: src}
		return s.rememberPolicy()
	}
	found := Options{Policy: own, PolicyFound: true}
	if err := run(Options{}); err != nil { // the first run, without a policy of its own
		t.Fatal(err)
	}
	write(t, own, "version: 2\n")
	err := run(found)
	var f *fault.Error
	if !errors.As(err, &f) || f.Exit() != fault.Usage || !strings.Contains(err.Error(), "could be the agent's own") {
		t.Fatalf("a policy that appeared was taken: %v", err)
	}
	if err := run(Options{Policy: own}); err != nil { // named, so trusted
		t.Fatal(err)
	}
	if err := run(found); err != nil {
		t.Errorf("the trusted policy is refused: %v", err)
	}
	write(t, own, "version: 2\n# changed\n")
	if err := run(found); err == nil {
		t.Error("a policy that changed was taken")
	}
	// Another policy in use does not make the present one trusted.
	other := filepath.Join(t.TempDir(), "p.yaml")
	write(t, other, "version: 2\n")
	if err := run(Options{Policy: other}); err != nil {
		t.Fatal(err)
	}
	if err := run(found); err == nil {
		t.Error("a run with another policy made the changed one trusted")
	}
	if err := run(Options{Policy: own, PolicyFound: true, ReadOnly: true}); err != nil {
		t.Errorf("a read-only workspace needs no record: %v", err)
	}
}

func TestFaultyPolicyNamesAllFaults(t *testing.T) {
	p := filepath.Join(t.TempDir(), "p.yaml")
	write(t, p, "version: 2\nbogus: 1\nlandlock: {compatibility: maybe}\n")
	src, err := findPolicy(Options{Policy: p, ReadOnly: true, Workspace: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = src.compile(1)
	var bad *api.FaultyPolicy
	if !errors.As(err, &bad) || len(bad.Faults) != 2 || bad.Faults[0].Line != 2 || bad.Faults[1].Line != 3 {
		t.Fatalf("%#v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("CANARY_TOKEN", "secret")
	t.Setenv("LC_ALL", "C.UTF-8")
	t.Setenv("PATH", "/usr/bin:/hidden/bin:relative")
	visible := func(p string) bool { return within("/usr", p) }
	env := environment(person{name: "agent", home: "/home/agent"}, "box", visible, []string{"A=1", "A=2", "HOME=/elsewhere"})
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
	if got := resolver(ws)(link); got != "" {
		t.Errorf("a link in the workspace leads a rule to %s", got)
	}
	if got := resolver(ws)("/bin/sh"); got == "" || strings.Contains(got, "..") {
		t.Errorf("/bin/sh resolves to %q", got)
	}
}

func TestCommandErrors(t *testing.T) {
	for errno, want := range map[int]int{2: fault.NotFound, 20: fault.NotFound, 13: fault.NotExecutable, 8: fault.NotExecutable, 12: fault.Internal} {
		code, err := commandError(&sandbox.CommandError{Step: "exec", Errno: errno, Text: "x"})
		var f *fault.Error
		if code != want || !errors.As(err, &f) || f.Exit() != want {
			t.Errorf("errno %d: %d, %v", errno, code, err)
		}
	}
}

func TestSuggestions(t *testing.T) {
	doc, _, err := policy.Parse("p.yaml", []byte("version: 2\n"))
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{}
	s.rev.Store(&revision{number: 1, doc: doc, engine: engine})
	for _, tt := range []struct {
		e    audit.Entry
		want string
	}{
		{audit.Entry{Host: "a.test", Port: 443, Binary: "/usr/bin/curl"}, "host: a.test"},
		{audit.Entry{Host: "a.test", Port: 443, Layer: "address", Addr: "10.0.0.1", Rule: "r"}, `allowed_ips: ["10.0.0.1"]`},
		{audit.Entry{Host: "192.0.2.1", Port: 99, Protocol: "udp"}, ""},
		{audit.Entry{Host: "api.test", Port: 443, Layer: "inference"}, ""},
		{audit.Entry{Host: "\x1b[31m", Port: 443}, ""},
	} {
		got := s.suggest(tt.e)
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
	b := parse("version: 2\nfilesystem_policy: {read_only: [/usr, /opt]}\nprocess: {run_as_user: \"1000\"}\n")
	if got := static(a, b); !slices.Equal(got, []string{"filesystem_policy", "process"}) {
		t.Errorf("%q", got)
	}
	if got := static(a, a); got != nil {
		t.Errorf("%q", got)
	}
}
