package sandbox

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/sandbox/spec"
)

// asUser is the variable that tells a re-executed test binary that it is the
// ordinary user's half of a test.
const asUser = "CREEL_TEST_AS_USER"

// bothUsers runs a test as the present user and, started as root, once more as
// an ordinary one: the two have different user mappings.
func bothUsers(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(asUser) != "" || os.Geteuid() != 0 {
		test(t)
		return
	}
	t.Run("root", test)
	t.Run("user", func(t *testing.T) {
		uid, gid := ordinaryUser(t)
		self := publicCopy(t)
		cmd := exec.Command(self, "-test.run", "^"+strings.Split(t.Name(), "/")[0]+"$", "-test.v")
		cmd.Env = append(os.Environ(), asUser+"=1", "HOME=/nonexistent", "TMPDIR=/tmp")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("as uid %d: %v\n%s", uid, err, out)
		}
		if !bytes.Contains(out, []byte("--- PASS")) {
			t.Fatalf("as uid %d nothing ran:\n%s", uid, out)
		}
	})
}

// ordinaryUser is the first user with a login id, else a free id: a namespace
// needs no entry in passwd.
func ordinaryUser(t *testing.T) (uid, gid uint32) {
	t.Helper()
	if u, err := user.LookupId("1001"); err == nil {
		g, _ := strconv.ParseUint(u.Gid, 10, 32)
		return 1001, uint32(g)
	}
	return 4242, 4242
}

// publicCopy puts the test binary where every user may run it.
func publicCopy(t *testing.T) string {
	t.Helper()
	f, err := os.CreateTemp("/tmp", "creel-test-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(f.Name()) })
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if _, err := io.Copy(f, self); err != nil {
		t.Fatal(err)
	}
	if err := f.Chmod(0o755); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// scratch is a folder that its owner alone can enter, like a real workspace.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "creel-ws-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func config(t *testing.T, command ...string) Config {
	t.Helper()
	return Config{
		Name: "test", Command: command,
		Env:       []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/home/x"},
		ReadOnly:  []Declared{{Path: "/usr"}, {Path: "/etc"}},
		Workspace: Workspace{Path: scratch(t), Write: true}, Home: "/home/x",
		Streams: [3]spec.StreamKind{spec.StreamPipe, spec.StreamPipe, spec.StreamPipe},
		Network: spec.Network{V4: netname.SandboxV4.String(), V6: netname.SandboxV6.String(), NameServer: netname.NameServerV4.String()},
	}
}

// start starts a sandbox up to its agent's exec.
func start(t *testing.T, c Config) *Sandbox {
	t.Helper()
	s, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// run runs a sandbox to its end.
func run(t *testing.T, c Config, input string) (stdout, stderr string, exit Exit) {
	t.Helper()
	s := start(t, c)
	var out, errs bytes.Buffer
	var wg sync.WaitGroup
	for _, p := range []struct {
		from *os.File
		to   *bytes.Buffer
	}{{s.Stdout, &out}, {s.Stderr, &errs}} {
		if p.from == nil {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, _ = io.Copy(p.to, p.from)
		}()
	}
	if err := s.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s.Stdin != nil {
		_, _ = io.WriteString(s.Stdin, input)
		_ = s.Stdin.Close()
	}
	exit, err := s.Wait(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	wg.Wait()
	return out.String(), errs.String(), exit
}

// sh runs a script and returns its trimmed output of both streams.
func sh(t *testing.T, c Config, script string) string {
	t.Helper()
	c.Command = []string{"/bin/sh", "-c", "exec 2>&1; " + script}
	out, _, _ := run(t, c, "")
	return strings.TrimSpace(out)
}
