package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// patience bounds every wait of these tests; reaching it is a failure.
const patience = 30 * time.Second

// policyHead opens every policy of these tests: the system and the probe.
func policyHead() string {
	return fmt.Sprintf(`version: 2
filesystem_policy:
  include_workdir: true
  read_only:
    - /usr
    - /etc
    - %s
  read_write: [/tmp]
`, filepath.Join(os.Getenv(shared), "inside"))
}

// restPolicy allows ok.test: GET and POST below /public and /x, nothing else.
func restPolicy() string {
	return policyHead() + `network_policies:
  ok:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: rest
        rules:
          - allow: {method: GET, path: "/public/**"}
          - allow: {method: GET, path: "/x/**"}
          - allow: {method: GET, path: "/redirect"}
          - allow: {method: POST, path: "/public/**"}
    binaries: any
`
}

// box is how a sandbox is to be started.
type box struct {
	policy    string // text; empty: no --policy
	flags     []string
	env       []string // of creel
	stdin     io.Reader
	workspace string // empty: a new one
	name      string
	own       bool   // the probe lies in the workspace: the built-in policy shows nothing else
	instances string // of inotify, that its user may have; empty: what the machine gives
}

// setup writes the policy and gives the command.
func (b *box) setup(t *testing.T, argv ...string) (cmd *exec.Cmd, audit, policy string) {
	t.Helper()
	dir := t.TempDir()
	if b.workspace == "" {
		b.workspace = filepath.Join(dir, "ws")
		if err := os.Mkdir(b.workspace, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	audit = filepath.Join(dir, "audit.jsonl")
	args := []string{"run", "--workspace", b.workspace, "--audit", audit}
	if b.name != "" {
		args = append(args, "--name", b.name)
	}
	if b.policy != "" {
		policy = filepath.Join(dir, "policy.yaml")
		if err := os.WriteFile(policy, []byte(b.policy), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--policy", policy)
	}
	args = append(append(append(args, b.flags...), "--env", quickRace, "--"), argv...)
	cmd = exec.Command(creel, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if b.instances != "" {
		limited(cmd, b.instances)
	}
	cmd.Dir = b.workspace
	cmd.Env = append(withoutProxies(os.Environ()), b.env...)
	cmd.Stdin = b.stdin
	return cmd, audit, policy
}

// withoutProxies leaves out what would lead the tests' connections out of the machine.
func withoutProxies(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		key, _, _ := strings.Cut(kv, "=")
		return strings.HasSuffix(strings.ToUpper(key), "_PROXY")
	})
}

// result is a sandbox that has ended.
type result struct {
	code           int
	stdout, stderr string
	audit          string
}

// run runs a command in a sandbox to its end.
func (b box) run(t *testing.T, argv ...string) result {
	t.Helper()
	cmd, log, _ := b.setup(t, argv...)
	r := finish(t, cmd)
	r.audit = log
	return r
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	return finishIn(t, cmd, 2*patience)
}

func finishIn(t *testing.T, cmd *exec.Cmd, most time.Duration) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	timer := time.AfterFunc(most, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return r
}

// creelCmd runs another command of creel.
func creelCmd(t *testing.T, args ...string) result {
	t.Helper()
	return finish(t, exec.Command(creel, args...))
}

func (r result) want(t *testing.T, code int) result {
	t.Helper()
	if r.code != code {
		t.Fatalf("status %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.stdout, r.stderr)
	}
	return r
}

func (r result) contains(t *testing.T, where, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%s does not contain %q:\n%s", where, p, text)
		}
	}
}

func (r result) err(t *testing.T, parts ...string) result {
	t.Helper()
	r.contains(t, "stderr", r.stderr, parts...)
	return r
}

func (r result) out(t *testing.T, parts ...string) result {
	t.Helper()
	r.contains(t, "stdout", r.stdout, parts...)
	return r
}

// live is a running sandbox whose agent takes orders.
type live struct {
	t      *testing.T
	cmd    *exec.Cmd
	audit  string
	policy string
	box    box
	stdin  io.WriteCloser
	line   *line // of the attack catalogue, while one is tried

	mu     sync.Mutex
	next   int
	wait   map[int]chan answer
	stderr safeBuffer
	done   chan struct{}
	code   int
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start starts a sandbox and waits until its agent takes orders.
func (b box) start(t *testing.T) *live {
	t.Helper()
	program := probePath()
	if b.own {
		program = "./probe"
	}
	cmd, log, policy := b.setup(t, program, "probe", "agent")
	if b.own {
		if err := install(probePath(), filepath.Join(b.workspace, "probe")); err != nil {
			t.Fatal(err)
		}
	}
	l := &live{t: t, cmd: cmd, audit: log, policy: policy, box: b, wait: map[int]chan answer{}, done: make(chan struct{})}
	var err error
	if l.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &l.stderr
	ready := make(chan answer, 1)
	l.wait[0] = ready
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d := json.NewDecoder(bufio.NewReader(out))
		for {
			var a answer
			if d.Decode(&a) != nil {
				break
			}
			l.mu.Lock()
			c := l.wait[a.ID]
			delete(l.wait, a.ID)
			l.mu.Unlock()
			if c != nil {
				c <- a
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		l.code = cmd.ProcessState.ExitCode()
		close(l.done)
	}()
	t.Cleanup(func() { l.end() })
	select {
	case <-ready:
	case <-l.done:
		t.Fatalf("the sandbox ended with %d:\n%s", l.code, l.stderr.String())
	case <-time.After(patience):
		t.Fatalf("the sandbox does not start:\n%s", l.stderr.String())
	}
	return l
}

// end closes the agent's input and waits for the sandbox's end.
func (l *live) end() int {
	_ = l.stdin.Close()
	select {
	case <-l.done:
	case <-time.After(patience):
		_ = l.cmd.Process.Kill()
		<-l.done
		l.t.Errorf("the sandbox did not end:\n%s", l.stderr.String())
	}
	return l.code
}

// send starts a command inside.
func (l *live) send(o order) <-chan answer {
	l.t.Helper()
	c := make(chan answer, 1)
	l.mu.Lock()
	l.next++
	o.ID = l.next
	l.wait[o.ID] = c
	line, err := json.Marshal(o)
	if err == nil {
		_, err = l.stdin.Write(append(line, '\n'))
	}
	l.mu.Unlock()
	if err != nil {
		l.t.Fatalf("send order: %v\n%s", err, l.stderr.String())
	}
	return c
}

func (l *live) receive(c <-chan answer) answer {
	l.t.Helper()
	select {
	case a := <-c:
		return a
	case <-l.done:
		l.t.Fatalf("the sandbox ended with %d:\n%s", l.code, l.stderr.String())
	case <-time.After(patience):
		l.t.Fatalf("the command inside does not end:\n%s", l.stderr.String())
	}
	return answer{}
}

// do runs a command inside to its end.
func (l *live) do(argv ...string) answer {
	l.t.Helper()
	return l.receive(l.send(order{Argv: argv}))
}

// sh runs a script inside and gives its trimmed output of both streams.
func (l *live) sh(script string) string {
	l.t.Helper()
	a := l.do("/bin/sh", "-c", "exec 2>&1; "+script)
	return strings.TrimSpace(string(a.Stdout))
}

// probe runs a probe inside.
func (l *live) probe(args ...string) answer {
	l.t.Helper()
	return l.do(append([]string{probePath(), "probe"}, args...)...)
}

// events are what the audit log holds by now.
func (l *live) events() []audit.Event { return readEvents(l.t, l.audit) }

func readEvents(t *testing.T, path string) []audit.Event {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []audit.Event
	for _, line := range bytes.SplitAfter(b, []byte("\n")) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			continue // being written
		}
		var e audit.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("audit line %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// event waits for an event that matches, among those after mark.
func (l *live) event(mark int, what string, match func(audit.Event) bool) audit.Event {
	l.t.Helper()
	var found audit.Event
	ok := eventually(func() bool {
		all := l.events()
		for _, e := range all[min(mark, len(all)):] {
			if match(e) {
				found = e
				return true
			}
		}
		return false
	})
	if !ok {
		all := l.events()
		l.t.Fatalf("no audit event: %s; there are:\n%s", what, show(all[min(mark, len(all)):]))
	}
	return found
}

// denied waits for a denial after mark. Equal ones beyond a rate are counted
// only, in the next event.
func (l *live) denied(mark int) audit.Event {
	l.t.Helper()
	return l.event(mark, "a denial with a reason", func(e audit.Event) bool {
		return e.Verdict == "deny" && e.Reason != "" || e.Detail[audit.NotRecorded] != ""
	})
}

func show(list []audit.Event) string {
	var b strings.Builder
	for _, e := range list {
		line, _ := json.Marshal(e)
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// eventually polls until ok, bounded.
func eventually(ok func() bool) bool {
	for deadline := time.Now().Add(patience); ; {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// join makes one list of flags.
func join(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
