package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	// hoard opens connections, says how many in a file, and keeps them until another file is there.
	probes["hoard"] = func(args []string) error {
		want, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		var all []net.Conn
		for range want {
			c, err := net.DialTimeout("tcp", args[0], time.Second)
			if err != nil {
				break
			}
			all = append(all, c)
		}
		if err := os.WriteFile("hoarded", []byte(strconv.Itoa(len(all))), 0o600); err != nil {
			return err
		}
		for range 600 {
			if _, err := os.Stat("enough"); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		for _, c := range all {
			_ = c.Close()
		}
		return nil
	}
}

// TestOperatorIsNotKeptOut: whatever the agent or a stuck reader does, the
// operator reaches the supervisor and can end it.
func TestOperatorIsNotKeptOut(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		t.Run("descriptors", func(t *testing.T) {
			s := newSink(t)
			name := fmt.Sprintf("hoard-%d", os.Getpid())
			b := box{policy: twoHosts("", "a.test"), name: name, flags: s.upstreams("a.test")}
			cmd, _, _ := b.setup(t, probePath(), "probe", "hoard", "a.test:80", "700")
			limited := exec.Command("/bin/sh", append([]string{"-c", `ulimit -n 1024 && exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)...)
			limited.Dir, limited.Env, limited.SysProcAttr = cmd.Dir, cmd.Env, cmd.SysProcAttr
			if err := limited.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = limited.Process.Kill(); _ = limited.Wait() }()
			if !eventually(func() bool { n, _ := os.ReadFile(filepath.Join(b.workspace, "hoarded")); return len(n) > 0 }) {
				t.Fatal("the agent does not get to it")
			}
			creelCmd(t, "posture", name).want(t, 0).out(t, "namespaces")
			creelCmd(t, "stop", name).want(t, 0)
		})
		t.Run("reader", func(t *testing.T) {
			name := fmt.Sprintf("unread-%d", os.Getpid())
			cmd, _, _ := (&box{policy: policyHead(), name: name}).setup(t, "/bin/sh", "-c", "yes")
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			if !eventually(func() bool { return strings.Contains(creelCmd(t, "ls").stdout, name) }) {
				t.Fatal("the sandbox does not start")
			}
			creelCmd(t, "stop", name).want(t, 0)
		})
		t.Run("stopped", func(t *testing.T) {
			name := fmt.Sprintf("still-%d", os.Getpid())
			b := box{policy: policyHead(), name: name}
			cmd, _, _ := b.setup(t, "/bin/sh", "-c", "echo > here; kill -STOP $$")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			if !eventually(func() bool { _, err := os.Stat(filepath.Join(b.workspace, "here")); return err == nil }) {
				t.Fatal("the sandbox does not start")
			}
			timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 128+15 {
				t.Errorf("a stopped agent asked to end: %v", err)
			}
		})
	})
}

// TestOwnFoldersStayApart: an agent that could write where control sockets lie
// could answer the operator in its supervisor's name.
func TestOwnFoldersStayApart(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		if os.Geteuid() == 0 {
			for _, dir := range []string{"/run/creel", "/var/lib/creel"} {
				box{policy: strings.Replace(policyHead(), "read_write: [", "read_write: ["+dir+", ", 1)}.run(t, "true").want(t, 2).err(t, dir, "where the agent can write")
			}
			return
		}
		ws := filepath.Join(t.TempDir(), "ws")
		if err := os.MkdirAll(filepath.Join(ws, "run"), 0o700); err != nil {
			t.Fatal(err)
		}
		box{workspace: ws, env: []string{"XDG_RUNTIME_DIR=" + filepath.Join(ws, "run")}}.run(t, "true").want(t, 2).err(t, "control sockets", "XDG_RUNTIME_DIR")
		box{workspace: ws, env: []string{"XDG_RUNTIME_DIR=", "TMPDIR=" + filepath.Join(ws, "run")}}.run(t, "true").want(t, 2).err(t, "control sockets")
	})
}
