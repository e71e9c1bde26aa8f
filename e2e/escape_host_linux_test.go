package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEscapeFiles: FS.
func TestEscapeFiles(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		host := t.TempDir()
		secret := filepath.Join(host, "secret")
		if err := os.WriteFile(secret, []byte("host-secret"), 0o644); err != nil {
			t.Fatal(err)
		}
		ws := filepath.Join(host, "ws")
		if err := os.Mkdir(ws, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(secret, filepath.Join(ws, "before")); err != nil {
			t.Fatal(err)
		}
		l := box{policy: policyHead() + "network_policies: {}\n", workspace: ws}.start(t)
		t.Run("escape_FS-01", func(t *testing.T) {
			for _, c := range []string{"cat before", "cat " + secret, "cat ../secret", "ln -s " + secret + " k; cat k", "ln -s / r; cat r" + secret, "cat /proc/self/cwd/../secret", "cat /proc/1/root" + secret,
				"cat /proc/1/cwd" + secret, "cat /proc/self/root" + secret, "ln " + secret + " hard", "echo x > ../secret2", "ls " + host + " | grep secret", "cat /proc/*/root" + secret, "cat /etc/shadow"} {
				if got := l.sh(c); strings.Contains(got, "host-secret") || strings.Contains(got, "root:") {
					t.Errorf("%s: %s", c, got)
				}
			}
			if got := l.sh("echo mine > file && cat file"); got != "mine" {
				t.Errorf("the workspace does not work: %s", got)
			}
		})
		l.end()
		if names, _ := os.ReadDir(host); len(names) != 2 {
			t.Errorf("the host's folder was changed: %v", names)
		}
		info, err := os.Stat(filepath.Join(ws, "file"))
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
			t.Errorf("a file of uid %d is left in the workspace of uid %d", uid, os.Geteuid())
		}
		// A read-only workspace cannot be written.
		r := box{policy: policyHead() + "network_policies: {}\n", workspace: ws, flags: []string{"--workspace", ws + ":ro"}}.run(t, "sh", "-c", "echo x > new || echo refused; cat file").want(t, 0)
		r.out(t, "refused", "mine")
		// Streams of the host are relayed: a file opened for reading cannot be opened for writing inside.
		in := filepath.Join(host, "input")
		write(t, in, "input\n")
		f, err := os.Open(in)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		box{workspace: ws, stdin: f}.run(t, "sh", "-c", "echo changed > /proc/self/fd/0; ls -l /proc/self/fd; true").want(t, 0)
		if got := readFile(t, in); got != "input\n" {
			t.Errorf("the host's file was written through a descriptor: %q", got)
		}
	})
}

func init() {
	// without takes away what a sandbox needs, and executes a command.
	probes["without"] = func(args []string) error {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			return err
		}
		return syscall.Exec(args[0], args, os.Environ())
	}
}

// TestEscapeDegraded (CFG-04): where a sandbox cannot be built the command does
// not run without one.
func TestEscapeDegraded(t *testing.T) {
	bothUsers(t, func(t *testing.T) { t.Run("escape_CFG-04", degraded) })
}

func degraded(t *testing.T) {
	t.Logf("escape CFG-04 way=%s user=%s", inside, userKind())
	for _, flags := range []uintptr{syscall.CLONE_NEWUSER, syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS} {
		b := box{policy: policyHead() + "network_policies: {}\n"}
		inner, _, _ := b.setup(t, "touch", "ran")
		cmd := exec.Command(probePath(), append([]string{"probe", "without", creel}, inner.Args[1:]...)...)
		cmd.Dir, cmd.Env = b.workspace, inner.Env
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  flags,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
			AmbientCaps: []uintptr{unix.CAP_SYS_RESOURCE}, Pdeathsig: syscall.SIGKILL,
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(out.String(), "creel doctor") {
			t.Errorf("status %d, want 3: %s", code, out.String())
		}
		if _, err := os.Lstat(filepath.Join(b.workspace, "ran")); err == nil {
			t.Error("the command ran without a sandbox")
		}
	}
}
