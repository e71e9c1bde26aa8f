package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/kernel"
)

// tree stands for a cgroup file system: a folder is made by its files.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	top := t.TempDir()
	for name, text := range files {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

// TestVersion2 takes the nearest group above that may have children with
// controllers, and writes what was asked for.
func TestVersion2(t *testing.T) {
	next := fmt.Sprintf("creel-box-%d-%d", os.Getpid(), made.Load()+1)
	all := "cpu memory pids"
	top := tree(t, map[string]string{
		"cgroup.controllers": all, "cgroup.procs": "", "cgroup.subtree_control": all,
		"app/cgroup.controllers": all, "app/cgroup.procs": "", "app/cgroup.subtree_control": all,
		// Its own group holds processes: the kernel would refuse, here nothing is switched on.
		"app/term/cgroup.controllers": all, "app/term/cgroup.procs": "1\n2\n", "app/term/cgroup.subtree_control": "",
		"app/" + next + "/memory.max": "", "app/" + next + "/memory.swap.max": "", "app/" + next + "/pids.max": "", "app/" + next + "/cpu.max": "",
	})
	var claimed []string
	g := makeIn("box", Limits{Memory: 1 << 26, PIDs: 50, CPU: 500}, func(dirs []string) error { claimed = dirs; return nil },
		map[string]string{"": "/app/term"}, []kernel.CgroupMount{{Dir: top, Root: "/", V2: true}})
	if want := []string{filepath.Join(top, "app", next)}; g.Version != 2 || !slices.Equal(g.Dirs(), want) || !slices.Equal(claimed, want) || len(g.Missing) != 0 {
		t.Fatalf("%+v", g)
	}
	if s := g.Read(); s.Memory != 1<<26 || s.PIDs != 50 || s.CPU != 500 || !s.SwapCounted {
		t.Errorf("%+v", s)
	}
	mustWrite(t, filepath.Join(g.Dirs()[0], "cgroup.procs"))
	if files, err := g.Entrances(); err != nil || len(files) != 1 || filepath.Base(files[0].Name()) != "cgroup.procs" {
		t.Errorf("%v, %v", files, err)
	}
}

func TestNothingToBeHad(t *testing.T) {
	for what, own := range map[string]map[string]string{"no controllers": {"": "/a"}, "outside of the mount": {"": "/../../x", "memory": "/../y"}, "none": {}} {
		top := tree(t, map[string]string{"a/cgroup.controllers": "", "a/cgroup.procs": ""})
		g := makeIn("box", Limits{Memory: 1, PIDs: 1}, nil, own, []kernel.CgroupMount{{Dir: top, Root: "/", V2: true}, {Dir: top, Root: "/", Controllers: []string{"memory"}}})
		if g.Version != 0 || len(g.Dirs()) != 0 || len(g.Missing) != len(Controllers()) || g.Close() != nil || g.Read() != (State{}) {
			t.Errorf("%s: %+v", what, g)
		}
	}
}

// TestClaimStops: what cannot be recorded is not made.
func TestClaimStops(t *testing.T) {
	top := tree(t, map[string]string{"tasks": "", "cgroup.procs": ""})
	g := makeIn("box", Limits{}, func([]string) error { return os.ErrPermission }, map[string]string{"pids": "/"},
		[]kernel.CgroupMount{{Dir: top, Root: "/", Controllers: []string{"pids"}}})
	if entries, _ := os.ReadDir(top); len(g.Dirs()) != 0 || len(entries) != 2 {
		t.Errorf("%+v, %v", g, entries)
	}
}

// TestRealGroup: on this kernel, whichever version it has: a child is born in
// the group, the thread comes back, the group goes.
func TestRealGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user may have no groups to make")
	}
	g := Make("test", Limits{Memory: 1 << 28, PIDs: 64, CPU: 500}, nil)
	defer g.Close()
	if g.Version == 0 {
		for _, at := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/cgroup.controllers"} {
			if _, err := os.Stat(at); err == nil {
				t.Fatalf("%s is here, and no group was made: %v", at, g.Missing)
			}
		}
		t.Skip("no control groups are mounted: ", g.Missing)
	}
	files, err := g.Entrances()
	if err != nil {
		t.Fatal(err)
	}
	// The shell enters by itself, then becomes the program.
	script := "exec sleep 1000"
	for i, f := range files {
		defer f.Close()
		script = fmt.Sprintf("echo 0 >&%d; ", 3+i) + script
	}
	cmd := exec.Command("sh", "-c", "echo; "+script)
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		in := true
		for _, c := range Controllers() {
			in = in && (g.Missing[c] != "" || g.Holds(cmd.Process.Pid, c))
		}
		if in {
			break
		}
	}
	for _, c := range Controllers() {
		if g.Missing[c] == "" && (!g.Holds(cmd.Process.Pid, c) || g.Holds(os.Getpid(), c)) {
			t.Errorf("%s: the child is not in, or this process is", c)
		}
	}
	if s := g.Read(); s.Memory != 1<<28 || s.PIDs != 64 || s.CPU != 500 || s.PIDsNow != 1 {
		t.Errorf("%+v", s)
	}
	// One of a dead supervisor without a record goes, one of a living one stays.
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dead, live := filepath.Join(filepath.Dir(g.Dirs()[0]), fmt.Sprintf("creel-a-b-%d-7", gone.Process.Pid)), filepath.Join(filepath.Dir(g.Dirs()[0]), fmt.Sprintf("creel-c-%d-8", os.Getpid()))
	for _, d := range []string{dead, live} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(d)
	}
	g.Sweep()
	if _, err := os.Lstat(dead); err == nil {
		t.Error("an empty group of a dead supervisor stays")
	}
	if _, err := os.Lstat(live); err != nil || !g.Holds(cmd.Process.Pid, PIDs) && g.Missing[PIDs] == "" {
		t.Error("a group of a living supervisor was swept")
	}
	// What a killed supervisor leaves is collected with who is in it; nothing else is touched.
	dirs := g.Dirs()
	other := filepath.Join(filepath.Dir(dirs[0]), "other-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(other)
	if err := Collect(append([]string{other, "/tmp", "/", t.TempDir() + "/creel-x"}, dirs...)); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("who was in the group: %v", err)
	}
	for _, d := range dirs {
		if _, err := os.Lstat(d); err == nil {
			t.Errorf("%s is left", d)
		}
	}
	if _, err := os.Lstat(other); err != nil {
		t.Error("a group that is not creel's was removed")
	}
}

// TestCloneIntoGroup: version 2's way, which needs no controllers.
func TestCloneIntoGroup(t *testing.T) {
	_, mounts, err := kernel.Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		dir := filepath.Join(m.Dir, "creel-clone-"+strconv.Itoa(os.Getpid()))
		if !m.V2 || os.Mkdir(dir, 0o755) != nil {
			continue
		}
		defer os.Remove(dir)
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		cmd := exec.Command("cat", "/proc/self/cgroup")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(f.Fd())}
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), "0::/creel-clone-") && !strings.Contains(string(out), "/creel-clone-") {
			t.Errorf("%v: %s", err, out)
		}
	}
}

func mustWrite(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestOurs: the group is cleared for a child that exists already, never for others.
func TestOurs(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	for pid, want := range map[int]bool{os.Getpid(): true, child.Process.Pid: true, os.Getppid(): false, 1: false} {
		if got := ours(strconv.Itoa(pid)); got != want {
			t.Errorf("process %d: %v", pid, got)
		}
	}
}
