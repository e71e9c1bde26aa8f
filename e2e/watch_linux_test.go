package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creel-run/creel/audit"
)

// limited runs a command with a bound on the inotify instances of its user: as an
// ordinary user again, in a user namespace whose root has set the bound.
func limited(cmd *exec.Cmd, instances string) {
	uid, gid := os.Geteuid(), os.Getegid()
	script := fmt.Sprintf(`echo "$0" >/proc/sys/user/max_inotify_instances && exec unshare --user --map-user=%d --map-group=%d "$@"`, uid, gid)
	cmd.Args = append([]string{"sh", "-c", script, instances}, cmd.Args...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
}

// inotify counts the instances of a process.
func inotify(t *testing.T, pid int) (n int) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("descriptors of %d: %d, %v", pid, len(fds), err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); to == "anon_inode:inotify" {
			n++
		}
	}
	return n
}

func move(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".next", text)
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// follows checks that every way of saving a policy file is seen.
func (l *live) follows(path string) {
	l.t.Helper()
	host := 0
	for name, save := range map[string]func(t *testing.T, path, text string){"moved there": move, "written in place": write} {
		for range 3 {
			host++
			mark := len(l.events())
			save(l.t, path, twoHosts(restFull, fmt.Sprintf("h%d.test", host)))
			l.event(mark, name, func(e audit.Event) bool { return e.Kind == audit.PolicyLoad })
		}
	}
	mark := len(l.events())
	move(l.t, path, "version: 2\nnetwork_policies: [\n")
	l.event(mark, "a faulty one", func(e audit.Event) bool { return e.Kind == audit.PolicyReject })
	mark = len(l.events())
	move(l.t, path, twoHosts(restFull, "again.test"))
	l.event(mark, "the corrected one", func(e audit.Event) bool { return e.Kind == audit.PolicyLoad })
}

func (l *live) says(text string) {
	l.t.Helper()
	if !eventually(func() bool { return strings.Contains(l.stderr.String(), text) }) {
		l.t.Errorf("not told: %q\n%s", text, l.stderr.String())
	}
}

// TestWatching: the policy's folder and the workspace are watched through one
// inotify instance, and another policy's folder instead of it after a reload.
func TestWatching(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("e2e-watch-%d", os.Getpid())
		l := box{policy: twoHosts(restFull), name: name}.start(t)
		if !eventually(func() bool { return inotify(t, l.cmd.Process.Pid) > 0 }) {
			t.Fatal("nothing is watched")
		}
		l.follows(l.policy)
		l.sh("touch .envrc && rm .envrc")
		l.event(0, "what appeared and vanished", func(e audit.Event) bool { return e.Path == ".envrc" && strings.HasPrefix(e.Reason, "appeared") })
		l.sh("mkdir -p .config && sleep 1 && mkdir .config/fish && rmdir .config/fish")
		l.event(0, "what appeared in a new folder", func(e audit.Event) bool { return e.Path == ".config/fish" })
		other := filepath.Join(t.TempDir(), "other.yaml")
		write(t, other, twoHosts(restFull, "other.test"))
		creelCmd(t, "reload", name, "--policy", other).want(t, 0)
		l.follows(other)
		if n := inotify(t, l.cmd.Process.Pid); n != 1 {
			t.Errorf("%d inotify instances", n)
		}
		if strings.Contains(l.stderr.String(), "cannot be watched") {
			t.Error(l.stderr.String())
		}
	})
}

// TestManyFiles: an agent that makes files as fast as it can keeps no news of the
// policy back, wherever the policy lies, nor of a protected name.
func TestManyFiles(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		ws := t.TempDir()
		own := filepath.Join(ws, "creel.yaml")
		write(t, own, twoHosts(restFull))
		l := box{workspace: ws, flags: []string{"--policy", own}}.start(t)
		flood := l.send(order{Argv: []string{"sh", "-c", "n=0; while ! [ -e stop ]; do n=$((n+1)); : > f$n; : > g$n; rm f$n g$n; done"}})
		for i := range 10 {
			mark := len(l.events())
			write(t, own, twoHosts(restFull, fmt.Sprintf("h%d.test", i)))
			l.event(mark, "the policy is loaded", func(e audit.Event) bool { return e.Kind == audit.PolicyLoad })
		}
		l.sh("touch .envrc")
		l.event(0, "what appeared", func(e audit.Event) bool { return e.Path == ".envrc" && strings.HasPrefix(e.Reason, "appeared") })
		write(t, filepath.Join(ws, "stop"), "")
		l.receive(flood)
	})
}

// TestNotWatched: where inotify cannot be had, or the folder cannot be read, the
// policy is looked at, soon enough, and the operator is told the truth of it.
func TestNotWatched(t *testing.T) {
	if os.Geteuid() == 0 { // who has a bound of its own, and can be refused a folder
		asOrdinaryUser(t)
		return
	}
	armed := "when its folder changes"
	if on, err := os.ReadFile("/proc/sys/fs/dir-notify-enable"); err != nil || strings.TrimSpace(string(on)) != "1" {
		armed = "every 25ms"
	}
	t.Run("no instances", func(t *testing.T) {
		l := box{policy: twoHosts(restFull), instances: "0"}.start(t)
		l.says("the policy file is looked at " + armed + ", because it cannot be watched: inotify_init1: too many open files")
		l.says("a protected name that appears and vanishes at once is not told of, because it cannot be watched: inotify_init1")
		l.says("hint: sysctl -w fs.inotify.max_user_instances=1024")
		l.follows(l.policy)
		l.sh("touch .envrc")
		l.event(0, "what appeared", func(e audit.Event) bool { return e.Path == ".envrc" && strings.HasPrefix(e.Reason, "appeared") })
		if n := strings.Count(l.stderr.String(), "hint: sysctl"); n != 1 {
			t.Errorf("the hint is given %d times", n)
		}
	})
	t.Run("a folder that cannot be read", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "p.yaml")
		write(t, file, twoHosts(restFull))
		if err := os.Chmod(dir, 0o300); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
		name := fmt.Sprintf("e2e-closed-%d", os.Getpid())
		l := box{name: name, flags: []string{"--policy", file}}.start(t)
		l.says("the policy file is looked at every 25ms, because it cannot be watched: watch " + dir + ": inotify_add_watch: permission denied")
		l.follows(file)
		other := filepath.Join(t.TempDir(), "other.yaml")
		write(t, other, twoHosts(restFull, "other.test"))
		creelCmd(t, "reload", name, "--policy", other).want(t, 0)
		l.follows(other)
		if n := inotify(t, l.cmd.Process.Pid); n != 1 {
			t.Errorf("%d inotify instances", n)
		}
	})
}

// TestPolicyFolderReplaced: the folder itself is moved away, and another one put
// in its place.
func TestPolicyFolderReplaced(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "policies")
		file := filepath.Join(dir, "p.yaml")
		for i, d := range []string{dir, dir + ".next"} {
			if err := os.Mkdir(d, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(d, "p.yaml"), twoHosts(restFull, fmt.Sprintf("folder%d.test", i)))
		}
		l := box{flags: []string{"--policy", file}}.start(t)
		if !eventually(func() bool { return inotify(t, l.cmd.Process.Pid) > 0 }) {
			t.Fatal("nothing is watched")
		}
		mark := len(l.events())
		for _, m := range [][2]string{{dir, dir + ".old"}, {dir + ".next", dir}} {
			if err := os.Rename(m[0], m[1]); err != nil {
				t.Fatal(err)
			}
		}
		l.event(mark, "the policy in the new folder is loaded", func(e audit.Event) bool { return e.Kind == audit.PolicyLoad })
		l.says("because it cannot be watched: its folder was moved or removed")
		l.follows(file)
	})
}
