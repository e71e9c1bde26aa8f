package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/cow"
	"github.com/creel-run/creel/fault"
)

// box is a supervisor that does nothing, on a real control socket.
type box struct {
	name, log string
	policy    string // its file
	stopped   atomic.Bool
	asked     atomic.Value // policy of the last reload
	end       func()       // gives the name back
}

func (b *box) Sandbox(context.Context) (api.Sandbox, error) {
	return api.Sandbox{Name: b.name, PID: 7, Command: []string{"evil\x1b[2J"}, Started: time.Now(), Workspace: "/w",
		Policy: b.policy, Revision: 3, Audit: b.log, Counts: api.Counts{Allowed: 11, Denied: 22, Rerouted: 33}}, nil
}

func (b *box) Posture(context.Context) (api.Posture, error) {
	return api.Posture{Layers: []api.Layer{
		{Name: "user", State: api.Enforced, Detail: "uid 1000"},
		{Name: "landlock", State: api.Degraded, Detail: "ABI 3", Want: "Linux 6.12", Fix: "creel doctor"},
		{Name: "odd", State: "wonderful"},
	}}, nil
}

func (b *box) Reload(_ context.Context, policy string) (api.Reloaded, error) {
	b.asked.Store(policy)
	if strings.HasSuffix(policy, "bad.yaml") {
		return api.Reloaded{}, api.NewFaultyPolicy("nothing was changed", []api.Fault{{File: policy, Line: 1, Column: 1, Message: "unknown key"}})
	}
	return api.Reloaded{Revision: 4, Closed: 2, Changed: policy != ""}, nil
}

func (b *box) Apply(context.Context, cow.Options) ([]cow.Result, error) { return nil, nil }

func (b *box) Stop(context.Context) error {
	b.stopped.Store(true)
	go b.end() // after the answer, as a supervisor does
	return nil
}

// start serves a box under a name of this test's own.
func start(t *testing.T) *box {
	t.Helper()
	if os.Geteuid() != 0 {
		dir, err := os.MkdirTemp("", "crl") // short: a socket's path is bounded
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		t.Setenv("XDG_RUNTIME_DIR", dir)
	}
	b := &box{name: fmt.Sprintf("clitest-%d", os.Getpid()), log: filepath.Join(t.TempDir(), "audit.jsonl")}
	l, err := audit.Open(b.log, b.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(audit.Event{Kind: audit.SandboxStart}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := api.Listen(b.name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	b.end = cancel
	go func() {
		err := api.Serve(ctx, s, b)
		_ = s.Close() // as a supervisor does when all has ended
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = s.Close()
	})
	return b
}

// command runs a command line against real sockets.
func command(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), args, IO{In: strings.NewReader(""), Out: &o, Err: &e, Getenv: os.LookupEnv})
	return code, o.String(), e.String()
}

func TestControlOfARunningSandbox(t *testing.T) {
	b := start(t)
	code, out, _ := command(t, "ls")
	for _, want := range []string{b.name, "11", "22", "33", `evil\x1b[2J`, "/w"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("ls: %d, no %q in\n%s", code, want, out)
		}
	}
	code, out, _ = command(t, "ls", "--json")
	var list []api.Sandbox
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || len(list) == 0 {
		t.Errorf("ls --json: %d, %v\n%s", code, err, out)
	}

	code, out, _ = command(t, "posture", b.name)
	for _, want := range []string{"user      enforced  uid 1000", "landlock  degraded  ABI 3", "odd       absent", "landlock wants: Linux 6.12", "hint: creel doctor"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("posture: %d, no %q in\n%s", code, want, out)
		}
	}

	if code, out, _ = command(t, "__complete", "stop", ""); code != 0 || !strings.Contains(out, b.name+"\n") {
		t.Errorf("completion: %d %s", code, out)
	}

	if code, out, _ = command(t, "reload", b.name); code != 0 || !strings.Contains(out, "nothing changed") || b.asked.Load() != "" {
		t.Errorf("reload: %d %s %v", code, out, b.asked.Load())
	}
	if code, out, _ = command(t, "reload", b.name, "--policy", "good.yaml"); code != 0 || !strings.Contains(out, "revision 4 is in force, 2 connections closed") {
		t.Errorf("reload: %d %s", code, out)
	}
	if p, _ := b.asked.Load().(string); !filepath.IsAbs(p) {
		t.Errorf("the supervisor was given %q", p)
	}
	code, _, errs := command(t, "reload", b.name, "--policy", "bad.yaml")
	if code != fault.Usage || !strings.Contains(errs, "bad.yaml:1:1: unknown key") || !strings.Contains(errs, "nothing was changed") {
		t.Errorf("reload of a faulty policy: %d %s", code, errs)
	}

	if code, out, _ = command(t, "audit", "verify", b.name); code != 0 || !strings.Contains(out, "ok: 1 event") {
		t.Errorf("audit verify NAME: %d %s", code, out)
	}
	if code, _, errs = command(t, "posture", b.name+"x"); code != fault.Usage || !strings.Contains(errs, "did you mean: "+b.name) {
		t.Errorf("misspelt name: %d %s", code, errs)
	}
	if code, _, _ = command(t, "stop", b.name); code != 0 || !b.stopped.Load() {
		t.Errorf("stop: %d %v", code, b.stopped.Load())
	}
}

func TestNewestLog(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a-20260101T000000.000", "a-20260202T000000.000", "a-b-20260303T000000.000", "a-zzz"} {
		if err := os.WriteFile(filepath.Join(dir, name+".jsonl"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"a": "a-20260202T000000.000.jsonl", "a-b": "a-b-20260303T000000.000.jsonl"} {
		if got, err := newestLog(dir, name); err != nil || filepath.Base(got) != want {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if got, err := newestLog(dir, "c"); err == nil {
		t.Errorf("c: %s", got)
	}
}

func TestTailFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := audit.Open(path, "box")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Record(audit.Event{Kind: audit.SandboxStart}); err != nil {
		t.Fatal(err)
	}
	out := &lineWriter{lines: make(chan string, 10)}
	var said strings.Builder
	done := make(chan error, 1)
	go func() { done <- runAuditTail(t.Context(), path, 5, true, false, IO{Out: out, Err: &said}) }()
	if got := <-out.lines; !strings.Contains(got, "sandbox.start") {
		t.Errorf("first %q", got)
	}
	if err := l.Record(audit.Event{Kind: audit.SandboxExit}); err != nil {
		t.Fatal(err)
	}
	if got := <-out.lines; !strings.Contains(got, "sandbox.exit") {
		t.Errorf("then %q", got)
	}
	// It ends by itself, and at once for a log that has ended.
	if err := <-done; err != nil || !strings.Contains(said.String(), "has ended") {
		t.Errorf("%v, said %q", err, said.String())
	}
	for _, n := range []int{0, 1} {
		if err := runAuditTail(t.Context(), path, n, true, false, IO{Out: io.Discard, Err: &said}); err != nil {
			t.Error(err)
		}
	}
}

type lineWriter struct{ lines chan string }

func (w *lineWriter) Write(p []byte) (int, error) { w.lines <- string(p); return len(p), nil }

// TestShowOfWaitingPolicy: a file that allows what was denied, and is not what holds,
// is no reason to show nothing.
func TestShowOfWaitingPolicy(t *testing.T) {
	b := start(t)
	file := filepath.Join(t.TempDir(), "p.yaml")
	b.policy = file
	text := []byte("version: 2\nnetwork_policies:\n  a:\n    endpoints: [{host: a.test, port: 22, protocol: tcp}]\n    binaries: any\n")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	record := func(hash string) {
		l, err := audit.Open(b.log, b.name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, e := range []audit.Event{
			{Kind: audit.PolicyLoad, Detail: map[string]string{"policy": file, "policy_sha256": hash}},
			{Kind: audit.Connect, Verdict: "deny", Host: "a.test", Port: 22, Binary: "/usr/bin/ssh"},
		} {
			if err := l.Record(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	record("of another text")
	_, out, errs := command(t, "audit", "show", b.name)
	if !strings.Contains(out, "add what you agree with to "+file) || !strings.Contains(out, "\nnetwork_policies:\n") {
		t.Errorf("no lines: %s", out)
	}
	if want := "hint: " + file + " allows these, but is not in force: creel reload " + b.name + " --policy " + file; !strings.Contains(errs, want) {
		t.Errorf("got %q, want %q", errs, want)
	}
	record(fmt.Sprintf("%x", sha256.Sum256(text)))
	if _, out, errs = command(t, "audit", "show", b.name); strings.Contains(out, "network_policies:") || errs != "" {
		t.Errorf("in force: %s%s", out, errs)
	}
}
