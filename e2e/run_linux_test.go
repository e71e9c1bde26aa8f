package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// TestVerdicts: the main job. One host allowed, one denied, one blocked by
// method; the sink and the audit agree, and the summary says how to allow.
func TestVerdicts(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		r := box{policy: restPolicy(), flags: join(s.upstreams("ok.test", "no.test"), []string{"--trust-ca", caFile(t)})}.run(t, "sh", "-c", `
			curl -sS https://ok.test/public/a && curl -sS http://ok.test/public/b
			curl -sS https://no.test/public/c; curl -sS http://no.test/public/c
			curl -sS -X DELETE https://ok.test/public/d; curl -sS -o /dev/null -w 'status %{http_code}\n' https://ok.test/secret`).want(t, 0)
		r.out(t, "sink GET ok.test /public/a", "sink GET ok.test /public/b",
			`"host": "no.test"`, `"error": "policy_denied"`, `"method": "DELETE"`, "status 403", `"agent_guidance"`)
		if len(s.requests()) != 2 || s.connections() != 2 {
			t.Errorf("the sink saw %d connections and %v", s.connections(), s.requests())
		}
		var allowed, denied int
		for _, e := range readEvents(t, r.audit) {
			if e.Kind == audit.Request && e.Verdict == "allow" {
				allowed++
				if e.Binary != "/usr/bin/curl" || e.Rule != "ok" || e.RuleAt == "" {
					t.Errorf("incomplete event: %+v", e)
				}
			}
			if e.Verdict == "deny" {
				denied++
				if e.Reason == "" || e.Binary != "/usr/bin/curl" {
					t.Errorf("incomplete event: %+v", e)
				}
			}
		}
		if allowed != 2 || denied != 4 {
			t.Errorf("%d allowed and %d denied events", allowed, denied)
		}
		r.err(t, "4 denied", "no.test:443", "/usr/bin/curl", "method: DELETE", "audit: "+r.audit)
		creelCmd(t, "audit", "verify", r.audit).want(t, 0)
	})
}

func TestExitStatus(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, c := range []struct {
			script string
			code   int
		}{{"exit 0", 0}, {"exit 7", 7}, {"kill -TERM $$", 128 + 15}, {"kill -KILL $$", 128 + 9}, {"kill -SEGV $$", 128 + 11}} {
			box{}.run(t, "sh", "-c", c.script).want(t, c.code)
		}
		box{}.run(t, "no-such-command-here").want(t, 127).err(t, "hint:", "filesystem_policy.read_only")
		box{}.run(t, "/etc/passwd").want(t, 126)
	})
}

func TestSignals(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGHUP} {
			b := box{}
			cmd, _, _ := b.setup(t, "sh", "-c", fmt.Sprintf(`trap 'echo caught; exit 42' %d; echo ready; while :; do sleep 0.05; done`, int(sig)))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, 6)
			if _, err := out.Read(line); err != nil || string(line) != "ready\n" {
				t.Fatalf("%q %v", line, err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			var rest bytes.Buffer
			_, _ = rest.ReadFrom(out)
			_ = cmd.Wait()
			if cmd.ProcessState.ExitCode() != 42 || rest.String() != "caught\n" {
				t.Errorf("%v: status %d, output %q", sig, cmd.ProcessState.ExitCode(), rest.String())
			}
		}
	})
}

// stubborn is an agent that says when it is ready and ends only as trap says.
func stubborn(trap string) []string {
	return []string{"sh", "-c", trap + "; echo ready; while :; do sleep 0.05; done"}
}

// TestStopKeepsTheStatus: an agent that ends by itself when it is asked to has the
// status that it chose, 0 too; one that has to be killed has the kill's.
func TestStopKeepsTheStatus(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for i, c := range []struct {
			trap string
			code int
		}{{"trap 'exit 0' TERM", 0}, {"trap 'exit 3' TERM", 3}, {"trap '' TERM HUP INT", 128 + 9}} {
			name := fmt.Sprintf("stop-%d-%d", os.Getpid(), i)
			b := box{name: name}
			cmd, log, _ := b.setup(t, stubborn(c.trap)...)
			begin(t, cmd)
			stop := exec.Command(creel, "stop", name)
			if err := stop.Start(); err != nil {
				t.Fatal(err)
			}
			if c.code > 128 { // sooner than after the time that it is given
				for deadline := time.Now().Add(10 * time.Second); lastEvent(t, log).Kind != audit.Operator && time.Now().Before(deadline); {
					time.Sleep(5 * time.Millisecond)
				}
				hurry(t, cmd)
			}
			_ = cmd.Wait()
			if err := stop.Wait(); err != nil {
				t.Errorf("%s: creel stop: %v", c.trap, err)
			}
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("%s: status %d, want %d", c.trap, code, c.code)
			}
			if e := lastEvent(t, log); e.Kind != audit.SandboxExit || e.Status != c.code {
				t.Errorf("%s: the log ends with %+v", c.trap, e)
			}
		}
	})
}

// TestFailedStart: of a command that never started there is no summary, only the
// error; no log stays empty, and one with lines is sound and has an end.
func TestFailedStart(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, c := range []struct {
			command string
			code    int
		}{{"no-such-command-here", 127}, {"/etc/passwd", 126}} {
			b := box{}
			cmd, log, _ := b.setup(t, c.command)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != c.code || !bytes.HasPrefix(out, []byte("creel: start command: ")) || bytes.Contains(out, []byte("audit:")) || bytes.Contains(out, []byte("denied")) {
				t.Errorf("%s: status %d, told %s", c.command, cmd.ProcessState.ExitCode(), out)
			}
			info, err := os.Stat(log)
			switch {
			case errors.Is(err, os.ErrNotExist):
			case err != nil || info.Size() == 0:
				t.Errorf("%s: the log is empty (%v)", c.command, err)
			default:
				creelCmd(t, "audit", "verify", log).want(t, 0).out(t, "ok:")
				if e := lastEvent(t, log); e.Kind != audit.SandboxExit || e.Status != c.code {
					t.Errorf("%s: the log ends with %+v", c.command, e)
				}
			}
		}
	})
}

// TestKilledSandbox: one that the operator kills with a third signal ends like a
// killed command; one whose process 1 somebody else kills is a failure of Creel's.
func TestKilledSandbox(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, c := range []struct {
			kill func(*exec.Cmd)
			code int
			text string
		}{
			{func(cmd *exec.Cmd) { hurry(t, cmd) }, 128 + 9, "creel: the sandbox was killed at the third signal\n"},
			{func(cmd *exec.Cmd) { _ = syscall.Kill(descendants(cmd.Process.Pid)[0].pid, syscall.SIGKILL) }, 125, "creel: process 1 of the sandbox was killed\n"},
		} {
			b := box{}
			cmd, log, _ := b.setup(t, stubborn("trap '' TERM HUP INT")...)
			var told bytes.Buffer
			cmd.Stderr = &told
			begin(t, cmd)
			c.kill(cmd)
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(told.String(), c.text) || strings.Contains(told.String(), "EOF") {
				t.Errorf("status %d, want %d, told %q", code, c.code, told.String())
			}
			if e := lastEvent(t, log); e.Kind != audit.SandboxExit || e.Status != c.code || e.Reason != strings.TrimSpace(strings.TrimPrefix(c.text, "creel: ")) {
				t.Errorf("the log ends with %+v", e)
			}
		}
	})
}

// begin starts a stubborn agent and returns when it is ready.
func begin(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 6)
	if _, err := out.Read(line); err != nil || string(line) != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
}

// hurry sends the three signals of which the last one kills. They differ: equal
// ones that wait are one.
func hurry(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
}

func lastEvent(t *testing.T, log string) audit.Event {
	t.Helper()
	_, last, err := audit.Ends(log)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// TestStreams: megabytes through all three streams arrive complete, apart and
// in order; end of input is passed on.
func TestStreams(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		r := box{flags: []string{"--quiet"}, stdin: bytes.NewReader(data)}.run(t, "sh", "-c", "tee /dev/stderr").want(t, 0)
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(r.stdout))); got != sum {
			t.Errorf("stdout: %d of %d bytes", len(r.stdout), len(data))
		}
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(r.stderr))); got != sum {
			t.Errorf("stderr: %d of %d bytes", len(r.stderr), len(data))
		}
		// A reader that goes away ends the writer.
		b := box{flags: []string{"--quiet"}}
		cmd, _, _ := b.setup(t, "sh", "-c", "yes; echo status $? >&2")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if _, err := out.Read(buf); err != nil {
			t.Fatal(err)
		}
		_ = out.Close()
		_ = cmd.Wait()
		if !strings.Contains(errs.String(), "status 141") {
			t.Errorf("yes was not ended by SIGPIPE: %q", errs.String())
		}
		// Files that the host's shell redirects to.
		dir := t.TempDir()
		sh := exec.Command("sh", "-c", `printf in >in; "$0" run --quiet --workspace ws -- sh -c 'cat; echo out; echo err >&2' <in >>out 2>>err`, creel)
		sh.Dir = dir
		if err := os.Mkdir(filepath.Join(dir, "ws"), 0o700); err != nil {
			t.Fatal(err)
		}
		finish(t, sh).want(t, 0)
		for name, want := range map[string]string{"out": "inout\n", "err": "err\n"} {
			if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
				t.Errorf("%s: %q", name, got)
			}
		}
	})
}

// TestBadInput: every fault at once, exit 2, nothing started.
func TestBadInput(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		mark := func(ws string) string { return filepath.Join(ws, "started") }
		never := func(t *testing.T, b box) result {
			t.Helper()
			dir := t.TempDir()
			b.workspace = filepath.Join(dir, "ws")
			if err := os.Mkdir(b.workspace, 0o700); err != nil {
				t.Fatal(err)
			}
			r := b.run(t, "touch", mark(b.workspace)).want(t, 2)
			if _, err := os.Lstat(mark(b.workspace)); err == nil {
				t.Errorf("the command ran in spite of exit 2: %s", r.stderr)
			}
			if _, err := os.Lstat(r.audit); err == nil {
				t.Errorf("an audit log was opened in spite of exit 2")
			}
			return r
		}
		r := never(t, box{policy: "version: 2\nfilesystem_policy:\n  read_only: [usr]\nnetwork_policies:\n  a:\n    endpoints:\n      - {host: \"ok..test\", port: 0, protocol: rset}\n    binaries: any\nextra: 1\n"})
		r.err(t, "policy.yaml:3:", "policy.yaml:7:", "policy.yaml:9:1")
		if n := strings.Count(r.stderr, "policy.yaml:"); n < 5 {
			t.Errorf("%d faults are named, want at least 5:\n%s", n, r.stderr)
		}
		never(t, box{policy: "version: 2\nnetwork_policies: {}\n" + strings.Repeat("# 0123456789\n", 1<<20/8)}).err(t, "policy.yaml")
		never(t, box{flags: []string{"--worspace", "x"}}).err(t, "--worspace", "--workspace")
		never(t, box{flags: []string{"--secret", "TOKEN=env:HOME"}}).err(t, "--secret")
		never(t, box{flags: []string{"--secret", "TOKEN=env:NO_SUCH_VARIABLE@ok.test"}}).err(t, "NO_SUCH_VARIABLE")
		never(t, box{flags: []string{"--inference", "ftp://x.test"}})
		never(t, box{flags: []string{"--upstream", "ok.test=127.0.0.1:1"}})
		never(t, box{flags: []string{"--name", "../x"}})
		creelCmd(t, "run", "--workspace", "/no/such/folder", "--", "true").want(t, 2).err(t, "/no/such/folder", "hint:")
		creelCmd(t, "run", "--workspace", "/", "--", "true").want(t, 2)
		creelCmd(t, "rnu").want(t, 2).err(t, "run")
		home := t.TempDir()
		if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(creel, "run", "--", "true")
		cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home)
		finish(t, cmd).want(t, 2).err(t, ".ssh")
	})
}

// TestAuditTampered: whoever changed the log afterwards is found out.
func TestAuditTampered(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		r := box{policy: restPolicy()}.run(t, "sh", "-c", "curl -s https://no.test/; curl -s https://also.test/; true").want(t, 0)
		creelCmd(t, "audit", "verify", r.audit).want(t, 0)
		text, err := os.ReadFile(r.audit)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		for what, changed := range map[string][]byte{
			"host":    bytes.Replace(text, []byte("no.test"), []byte("xx.test"), 1),
			"verdict": bytes.Replace(text, []byte(`"deny"`), []byte(`"allow"`), 1),
			"removed": append(append([]byte{}, bytes.Join(lines[:2], nil)...), bytes.Join(lines[3:], nil)...),
			"swapped": bytes.Join([][]byte{lines[0], lines[2], lines[1], bytes.Join(lines[3:], nil)}, nil),
		} {
			file := filepath.Join(t.TempDir(), what+".jsonl")
			write(t, file, string(changed))
			if got := creelCmd(t, "audit", "verify", file); got.code == 0 {
				t.Errorf("%s: not found: %s", what, got.stdout)
			}
		}
	})
}

// TestControl: ls, posture, reload and stop of a live sandbox.
func TestControl(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("e2e-%d", os.Getpid())
		l := box{policy: restPolicy(), name: name}.start(t)
		creelCmd(t, "ls").want(t, 0).out(t, name, l.box.workspace)
		creelCmd(t, "posture", name).want(t, 0).out(t, "LAYER", "namespaces", "enforced") // the whole of it: TestPostureOfEveryKind
		creelCmd(t, "run", "--name", name, "--workspace", t.TempDir(), "--", "true").want(t, 2).err(t, name)
		creelCmd(t, "reload", name).want(t, 0)
		creelCmd(t, "stop", name).want(t, 0)
		<-l.done
		if l.code != 128+15 && l.code != 0 {
			t.Errorf("stopped sandbox: status %d", l.code)
		}
		if out := creelCmd(t, "ls").want(t, 0); strings.Contains(out.stdout, name) {
			t.Errorf("ls still shows it: %s", out.stdout)
		}
		creelCmd(t, "stop", name).want(t, 2).err(t, name)
		creelCmd(t, "audit", "verify", l.audit).want(t, 0)
	})
}
