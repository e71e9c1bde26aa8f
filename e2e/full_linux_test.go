package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func readFull(r io.Reader, b []byte) (int, error) { return io.ReadFull(r, b) }

func init() {
	// small mounts a tiny file system at a folder and executes a command.
	probes["small"] = func(args []string) error {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", args[0], "tmpfs", 0, "size=16k"); err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			return err
		}
		return syscall.Exec(args[1], args[1:], os.Environ())
	}
}

// TestFullDisk: when the audit cannot be written the network ends and Creel
// says so; what was written stays and verifies.
func TestFullDisk(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		small := t.TempDir()
		b := box{policy: twoHosts(restFull, "a.test"), flags: join(s.upstreams("a.test"), []string{"--trust-ca", caFile(t)})}
		// The last answer says whether anything still got out; the log is copied
		// out through the streams' other side, because its mount ends with creel.
		inner, _, _ := b.setup(t, "sh", "-c", `i=0; while [ $i -lt 60 ]; do i=$((i+1)); curl -sS -o /tmp/o -w '%{http_code}\n' https://a.test/n$i; done; cat /tmp/o`)
		args := inner.Args[1:]
		for i, a := range args {
			if a == "--audit" {
				args[i+1] = filepath.Join(small, "audit.jsonl")
			}
		}
		script := `"$@"; echo "status $?" >&2; ` + creel + ` audit verify ` + filepath.Join(small, "audit.jsonl") + ` >&2; cat ` + filepath.Join(small, "audit.jsonl") + ` >` + filepath.Join(t.TempDir(), "copy")
		cmd := exec.Command(probePath(), append([]string{"probe", "small", small, "/bin/sh", "-c", script, "sh", creel}, args...)...)
		cmd.Dir = b.workspace
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if os.Geteuid() != 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
				AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN}, Pdeathsig: syscall.SIGKILL,
			}
		}
		r := finish(t, cmd)
		codes := strings.Fields(r.stdout)
		ok, after := 0, 0
		for _, c := range codes[:min(60, len(codes))] {
			switch {
			case c == "200" && after == 0:
				ok++
			case c == "200":
				t.Errorf("a request went out after the audit had failed: %v", codes)
			default:
				after++
			}
		}
		if ok == 0 || after == 0 || len(s.requests()) != ok {
			t.Errorf("%d requests allowed, %d after, the sink saw %d\n%s\n%s", ok, after, len(s.requests()), r.stdout, r.stderr)
		}
		r.err(t, "audit", "no space left", "hint: df -h ", "--audit FILE")
		if !strings.Contains(r.stdout, "audit_unavailable") {
			t.Errorf("the agent is not told why: %s", r.stdout)
		}
		var none *exec.ExitError
		if errors.As(nil, &none) || !strings.Contains(r.stderr, "status ") {
			t.Errorf("no status: %s", r.stderr)
		}
	})
}
