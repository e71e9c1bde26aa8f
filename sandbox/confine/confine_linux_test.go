package confine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The test binary is its own child: the roles of these tests.
const (
	roleTries  = "confine-test-tries"  // makes every attempt, prints errors as JSON, and stays
	roleMemory = "confine-test-memory" // takes memory until it has none
	roleParent = "confine-test-parent" // starts a child that stays, and prints its pid
	roleFails  = "confine-test-fails"  // says why on standard error, and ends
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "confine-test-") {
		os.Exit(play(os.Args[1]))
	}
	if cgo {
		os.Exit(withoutCgo())
	}
	os.Exit(m.Run())
}

// withoutCgo runs these tests in a build like the one that is shipped: in one with cgo,
// Self gives an error.
func withoutCgo() int {
	dir, err := os.MkdirTemp("", "creel-confine-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		panic(err)
	}
	build := exec.Command("go", "test", "-c", "-o", dir+"/confine.test", ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool {
		return strings.HasPrefix(a, "-test.testlogfile") || strings.HasPrefix(a, "-test.coverprofile") || strings.HasPrefix(a, "-test.gocoverdir")
	})
	test := exec.Command(dir+"/confine.test", args...)
	test.Stdout, test.Stderr = os.Stdout, os.Stderr
	if err := test.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func play(role string) int {
	switch role {
	case roleFails:
		fmt.Fprintln(os.Stderr, "no \x1b[31mluck\nat all")
		return 1
	case roleParent:
		c, err := Start(roleTries)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil { // shut in
			fmt.Println(err)
			return 1
		}
		fmt.Println(c.Pid())
		select {}
	}
	file, err := os.Open("/etc/passwd") // as if it had been inherited
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := Self(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if role == roleMemory {
		for hold := [][]byte{}; ; {
			b := make([]byte, 16<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			hold = append(hold, b)
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(tries(file))
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// tries are what a script that broke out of its engine might do; each gives the
// kernel's answer.
func tries(file *os.File) map[string]string {
	say := func(err error) string {
		if err == nil {
			return "done"
		}
		return err.Error()
	}
	call := func(nr uintptr, args ...uintptr) string {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := syscall.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno.Error()
		}
		return "done"
	}
	path := append([]byte("/etc/passwd"), 0)
	name := uintptr(unsafe.Pointer(&path[0]))
	got := map[string]string{}
	_, err := os.ReadFile("/etc/passwd")
	got["read a file"] = say(err)
	got["make a file"] = say(os.WriteFile("/tmp/creel-confine-test", nil, 0o600))
	_, err = os.ReadDir("/")
	got["list a folder"] = say(err)
	_, err = os.Stat("/etc/passwd")
	got["stat"] = say(err)
	got["open by open_by_handle_at"] = call(unix.SYS_OPEN_BY_HANDLE_AT)
	got["openat2"] = call(unix.SYS_OPENAT2, ^uintptr(99), name)
	for what, family := range map[string]int{"IPv4": unix.AF_INET, "IPv6": unix.AF_INET6, "unix": unix.AF_UNIX, "netlink": unix.AF_NETLINK, "vsock": unix.AF_VSOCK, "packet": unix.AF_PACKET} {
		_, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		got["socket "+what] = say(err)
	}
	_, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	got["socketpair"] = say(err)
	got["connect"] = say(unix.Connect(0, &unix.SockaddrUnix{Name: "@x"}))
	got["sendmsg"] = say(unix.Sendmsg(1, []byte("x"), unix.UnixRights(int(file.Fd())), nil, 0))
	got["io_uring"] = call(unix.SYS_IO_URING_SETUP, 1)
	got["exec"] = say(unix.Exec("/bin/true", []string{"true"}, nil))
	got["fork"] = call(unix.SYS_CLONE, uintptr(unix.SIGCHLD))
	got["clone3"] = call(unix.SYS_CLONE3)
	got["user namespace"] = say(unix.Unshare(unix.CLONE_NEWUSER))
	got["mount"] = say(unix.Mount("x", "/", "tmpfs", 0, ""))
	got["ptrace"] = call(unix.SYS_PTRACE, unix.PTRACE_TRACEME)
	got["kill"] = say(unix.Kill(1, 0))
	got["bpf"] = call(unix.SYS_BPF)
	got["prctl"] = say(unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0))
	got["limits"] = say(unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 9, Max: 9}, nil))
	got["dup"] = call(unix.SYS_DUP, 0)
	got["fcntl"] = call(unix.SYS_FCNTL, 0, unix.F_DUPFD)
	got["memfd"] = call(unix.SYS_MEMFD_CREATE, name)
	_, err = unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	got["map code"] = say(err)
	if b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err == nil {
		got["make code"] = say(unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC))
	}
	got["environment"] = strings.Join(os.Environ(), " ")
	return got
}

// TestConfined: every attempt of a process that is shut in is refused, and /proc
// says the same of it from outside.
func TestConfined(t *testing.T) {
	c, err := Start(roleTries)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	var got map[string]string
	if err := json.NewDecoder(c).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if len(got) < 30 {
		t.Errorf("only %d attempts", len(got))
	}
	if got["environment"] != "" {
		t.Errorf("the environment is %q", got["environment"])
	}
	delete(got, "environment")
	for what, answer := range got {
		if !strings.HasSuffix(answer, "operation not permitted") {
			t.Errorf("%s: %s", what, answer)
		}
	}

	proc := fmt.Sprintf("/proc/%d/", c.Pid())
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) string {
		for line := range strings.Lines(string(status)) {
			if v, ok := strings.CutPrefix(line, name+":"); ok {
				return strings.Join(strings.Fields(v), " ")
			}
		}
		return ""
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = dedicatedID
		if groups := field("Groups"); groups != "" {
			t.Errorf("root's child has groups %q", groups)
		}
	}
	for name, want := range map[string]string{
		"Seccomp": "2", "NoNewPrivs": "1", "CapInh": zero, "CapPrm": zero, "CapEff": zero, "CapAmb": zero,
		"Uid": strings.TrimSpace(strings.Repeat(fmt.Sprint(uid, " "), 4)),
	} {
		if got := field(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if ids := strings.Fields(field("NSpid")); ids[len(ids)-1] != "1" {
		t.Errorf("its pid inside is %v", ids)
	}
	tasks, _ := filepath.Glob(proc + "task/*/status")
	for _, f := range tasks {
		if b, err := os.ReadFile(f); err == nil && !strings.Contains(string(b), "Seccomp:\t2\n") {
			t.Errorf("a thread has no filter: %s", f)
		}
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		ours, _ := os.Readlink("/proc/self/ns/" + ns)
		theirs, err := os.Readlink(proc + "ns/" + ns)
		if err == nil && ours == theirs {
			t.Errorf("the %s namespace is ours", ns)
		} else if err != nil && uid != dedicatedID && uid != os.Geteuid() {
			t.Error(err)
		}
	}
	limits, err := os.ReadFile(proc + "limits")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Max core file size 0 0", "Max open files 0 0", "Max file size 0 0", fmt.Sprintf("Max data size %d %d", maxData, maxData)} {
		if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), want) {
			t.Errorf("no %q in\n%s", want, limits)
		}
	}
	if fds, err := os.ReadDir(proc + "fd"); err == nil {
		for _, fd := range fds {
			to, _ := os.Readlink(proc + "fd/" + fd.Name())
			if !strings.HasPrefix(to, "socket:") && !strings.HasPrefix(to, "pipe:") && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
				t.Errorf("it has %s open", to)
			}
		}
	}
}

const zero = "0000000000000000"

// TestMemory: who takes more than there is ends, and his caller hears of it.
func TestMemory(t *testing.T) {
	c, err := Start(roleMemory)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("%d %v", n, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(c.Pid(), 0); err == nil {
		t.Error("the child lives")
	}
}

// TestFailure: why a child ended is told, as text that does no harm.
func TestFailure(t *testing.T) {
	c, err := Start(roleFails)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); err == nil || err.Error() != "the child ended: no ?[31mluck" {
		t.Error(err)
	}
}

// TestDiesWithParent: nothing is left of a supervisor that was killed.
func TestDiesWithParent(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", roleParent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	line := make([]byte, 64)
	n, _ := out.Read(line)
	if _, err := fmt.Sscan(string(bytes.TrimSpace(line[:n])), &pid); err != nil {
		t.Fatalf("%q %v", line[:n], err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 1000); n == 1 && err == nil {
			return
		}
	}
	t.Error("the child outlives its parent")
}
