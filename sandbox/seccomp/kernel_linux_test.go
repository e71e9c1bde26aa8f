package seccomp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// childVar makes the test binary install the filter and act, instead of
// testing. The kernel cannot take a filter back, so each case is a process.
const childVar = "SECCOMP_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(childVar); role != "" {
		child(role)
	}
	os.Exit(m.Run())
}

func fatal(what string, err error) {
	fmt.Fprintln(os.Stderr, what, err)
	os.Exit(99)
}

// install puts the filter on every thread of this process and gives the
// listener's descriptor, if there is one.
func install(s Spec) int {
	prog, err := Program(s)
	if err != nil {
		fatal("program", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fatal("no_new_privs", err)
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: (*unix.SockFilter)(unsafe.Pointer(&prog[0]))}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_TSYNC)
	if s.Notify {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		fatal("seccomp", errno)
	}
	return int(fd)
}

// child is either "call NR ARG…", which prints the error number, "int80",
// "notify", or "exec PROGRAM ARG…".
func child(role string) {
	runtime.LockOSThread()
	f := strings.Split(role, "\x1f")
	s := Spec{Arch: runtime.GOARCH, Notify: f[0] == "notify"}
	switch f[0] {
	case "call":
		n := make([]uintptr, 7)
		for i, v := range f[1:] {
			x, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				fatal("argument", err)
			}
			n[i] = uintptr(x)
		}
		install(s)
		_, _, errno := unix.RawSyscall6(n[0], n[1], n[2], n[3], n[4], n[5], n[6])
		fmt.Println(int(errno))
	case "int80":
		foreign := foreignCall()
		install(s)
		foreign()
		fmt.Println("survived")
	case "notify":
		notifyChild(install(s))
	case "exec":
		install(s)
		os.Unsetenv(childVar)
		fatal("exec", syscall.Exec(f[1], f[1:], os.Environ()))
	}
	os.Exit(0)
}

func run(t *testing.T, role ...any) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text := make([]string, len(role))
	for i, r := range role {
		text[i] = fmt.Sprint(r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.WaitDelay = time.Second // a grandchild may hold the pipe
	cmd.Env = append(os.Environ(), childVar+"="+strings.Join(text, "\x1f"), "GOTRACEBACK=none",
		"GORACE=atexit_sleep_ms=0") // or each child of a race test waits a second before it ends
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// TestKernelErrno asks the real kernel. Where the filter lets a call through,
// the arguments are such that the kernel itself answers with a telling error.
func TestKernelErrno(t *testing.T) {
	badFD := ^uint64(0)
	tests := []struct {
		name string
		nr   uintptr
		args []uint64
		want syscall.Errno
	}{
		{"unshare user", unix.SYS_UNSHARE, []uint64{unix.CLONE_NEWUSER}, unix.EPERM},
		{"unshare nothing", unix.SYS_UNSHARE, []uint64{0}, unix.EPERM},
		{"clone user", unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER | 17}, unix.EPERM},
		{"clone net, high bits set", unix.SYS_CLONE, []uint64{1<<40 | unix.CLONE_NEWNET | 17}, unix.EPERM},
		{"clone3", unix.SYS_CLONE3, []uint64{0, 0}, unix.ENOSYS},
		{"openat2", unix.SYS_OPENAT2, nil, unix.ENOSYS},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, []uint64{1, 0}, unix.ENOSYS},
		{"setns", unix.SYS_SETNS, []uint64{badFD, 0}, unix.EPERM},
		{"mount", unix.SYS_MOUNT, nil, unix.EPERM},
		{"fsopen", unix.SYS_FSOPEN, nil, unix.EPERM},
		{"ptrace traceme", unix.SYS_PTRACE, []uint64{0}, unix.EPERM},
		{"process_vm_readv", unix.SYS_PROCESS_VM_READV, nil, unix.EPERM},
		{"pidfd_getfd", unix.SYS_PIDFD_GETFD, []uint64{badFD}, unix.EPERM},
		{"kcmp", unix.SYS_KCMP, nil, unix.EPERM},
		{"bpf", unix.SYS_BPF, nil, unix.EPERM},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, nil, unix.EPERM},
		{"userfaultfd", unix.SYS_USERFAULTFD, []uint64{1}, unix.EPERM},
		{"keyctl", unix.SYS_KEYCTL, []uint64{0, badFD}, unix.EPERM},
		{"add_key", unix.SYS_ADD_KEY, nil, unix.EPERM},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, nil, unix.EPERM},
		{"call 600", 600, nil, unix.ENOSYS},
		{"vsock", unix.SYS_SOCKET, []uint64{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, unix.EAFNOSUPPORT},
		{"alg", unix.SYS_SOCKET, []uint64{unix.AF_ALG, unix.SOCK_SEQPACKET, 0}, unix.EAFNOSUPPORT},
		{"packet", unix.SYS_SOCKET, []uint64{unix.AF_PACKET, unix.SOCK_RAW, 0}, unix.EAFNOSUPPORT},
		{"netfilter", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, unix.EAFNOSUPPORT},
		{"route", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, 0},
		{"mptcp", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}, unix.EPROTONOSUPPORT},
		{"raw", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, unix.EPERM},
		{"tcp", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC, unix.IPPROTO_TCP}, 0},
		{"udp6", unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_DGRAM, 0}, 0},
		{"unix", unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_SEQPACKET, 0}, 0},
		{"TIOCSTI", unix.SYS_IOCTL, []uint64{badFD, unix.TIOCSTI}, unix.EPERM},
		{"TIOCSTI, high bits set", unix.SYS_IOCTL, []uint64{badFD, 1<<32 | unix.TIOCSTI}, unix.EPERM},
		{"TIOCLINUX", unix.SYS_IOCTL, []uint64{badFD, unix.TIOCLINUX}, unix.EPERM},
		{"btrfs snapshot", unix.SYS_IOCTL, []uint64{badFD, 0x50009417}, unix.EPERM},
		{"FICLONE", unix.SYS_IOCTL, []uint64{badFD, unix.FICLONE}, unix.EBADF},
		{"TIOCGWINSZ", unix.SYS_IOCTL, []uint64{badFD, unix.TIOCGWINSZ}, unix.EBADF},
		{"sendto fast open", unix.SYS_SENDTO, []uint64{badFD, 0, 0, unix.MSG_FASTOPEN}, unix.EOPNOTSUPP},
		{"sendto", unix.SYS_SENDTO, []uint64{badFD, 0, 0, 0}, unix.EBADF},
		{"sendmsg fast open", unix.SYS_SENDMSG, []uint64{badFD, 0, unix.MSG_FASTOPEN}, unix.EOPNOTSUPP},
		{"TCP_ULP", unix.SYS_SETSOCKOPT, []uint64{badFD, unix.IPPROTO_TCP, unix.TCP_ULP}, unix.EOPNOTSUPP},
		{"fchmod setuid", unix.SYS_FCHMOD, []uint64{badFD, 0o4755}, unix.EPERM},
		{"fchmod", unix.SYS_FCHMOD, []uint64{badFD, 0o755}, unix.EBADF},
		{"fchmodat setgid", unix.SYS_FCHMODAT, []uint64{badFD, 0, 0o2755}, unix.EPERM},
		{"openat setuid", unix.SYS_OPENAT, []uint64{badFD, 0, unix.O_CREAT, 0o4755}, unix.EPERM},
		{"openat, garbage mode", unix.SYS_OPENAT, []uint64{badFD, 0, 0, 0o4755}, unix.EFAULT},
		{"mknodat device", unix.SYS_MKNODAT, []uint64{badFD, 0, unix.S_IFCHR | 0o600}, unix.EPERM},
		{"mknodat FIFO", unix.SYS_MKNODAT, []uint64{badFD, 0, unix.S_IFIFO | 0o600}, unix.EFAULT},
		{"prctl MM", unix.SYS_PRCTL, []uint64{unix.PR_SET_MM, unix.PR_SET_MM_EXE_FILE}, unix.EPERM},
		{"prctl ambient raise", unix.SYS_PRCTL, []uint64{unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, 0}, unix.EPERM},
		{"prctl dumpable", unix.SYS_PRCTL, []uint64{unix.PR_SET_DUMPABLE, 0}, 0},
		{"personality", unix.SYS_PERSONALITY, []uint64{0x0400000}, unix.EPERM},
		{"own filter", unix.SYS_SECCOMP, []uint64{unix.SECCOMP_SET_MODE_FILTER, 0, 0}, unix.EFAULT},
		{"own listener", unix.SYS_SECCOMP, []uint64{unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, 0}, unix.EPERM},
		{"lease", unix.SYS_FCNTL, []uint64{1, unix.F_SETLEASE, unix.F_RDLCK}, unix.EPERM},
		{"lease, high bits set", unix.SYS_FCNTL, []uint64{1, 1<<32 | unix.F_SETLEASE, unix.F_RDLCK}, unix.EPERM},
		{"dnotify", unix.SYS_FCNTL, []uint64{badFD, unix.F_NOTIFY, 1}, unix.EPERM},
		{"fcntl", unix.SYS_FCNTL, []uint64{badFD, unix.F_GETFD}, unix.EBADF},
		{"prlimit of init", unix.SYS_PRLIMIT64, []uint64{1, unix.RLIMIT_CORE, 1 << 32, 0}, unix.EPERM},
		{"prlimit of itself", unix.SYS_PRLIMIT64, []uint64{0, unix.RLIMIT_CORE, 1, 0}, unix.EFAULT},
		{"prlimit of another, asked", unix.SYS_PRLIMIT64, []uint64{1 << 30, unix.RLIMIT_CORE, 0, 0}, unix.ESRCH},
		{"connect", unix.SYS_CONNECT, []uint64{badFD, 0, 0}, unix.EBADF},
		{"landlock_create_ruleset", unix.SYS_LANDLOCK_CREATE_RULESET, []uint64{0, 0, 9}, unix.EINVAL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			role := []any{"call", uint64(tt.nr)}
			for _, a := range tt.args {
				role = append(role, a)
			}
			out, err := run(t, role...)
			if want := strconv.Itoa(int(tt.want)); err != nil || out != want {
				t.Errorf("errno %q, %v; want %s (%v)", out, err, want, tt.want)
			}
		})
	}
}

func killedBySIGSYS(err error) bool {
	var e *exec.ExitError
	if !errors.As(err, &e) {
		return false
	}
	w := e.Sys().(syscall.WaitStatus)
	return w.Signaled() && w.Signal() == unix.SIGSYS
}

func TestKernelKillsForeignABI(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("x32 and int 0x80 are ways of amd64")
	}
	if out, err := run(t, "call", uint64(0x40000000+unix.SYS_GETPID)); !killedBySIGSYS(err) {
		t.Errorf("x32 getpid: %q, %v; want a kill by SIGSYS", out, err)
	}
	if out, err := run(t, "int80"); !killedBySIGSYS(err) {
		t.Errorf("int 0x80: %q, %v; want a kill by SIGSYS", out, err)
	}
}

// foreignCall gives a function that calls getpid by the 32-bit way: no
// assembler file can be part of a test alone, so it is written to a page.
func foreignCall() func() {
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		fatal("mmap", err)
	}
	copy(page, []byte{
		0xb8, 20, 0, 0, 0, // mov eax, 20 (getpid of i386)
		0xcd, 0x80, // int 0x80
		0xc3, // ret
	})
	if err := unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		fatal("mprotect", err)
	}
	code := &page[0]
	entry := &code
	return *(*func())(unsafe.Pointer(&entry))
}

// TestKernelNotify answers a connect from outside: the number that the listener
// gives is what the caller sees.
func TestKernelNotify(t *testing.T) {
	out, err := run(t, "notify")
	if err != nil || out != strconv.Itoa(int(unix.EXDEV)) {
		t.Errorf("connect: errno %q, %v; want %d from the listener", out, err, int(unix.EXDEV))
	}
}

// Layouts of linux/seccomp.h.
type notif struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type notifResp struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

func notifyChild(listener int) {
	got := make(chan syscall.Errno)
	go func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			fatal("socket", err)
		}
		var to unix.RawSockaddrInet4
		to.Family = unix.AF_INET
		_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to)), unsafe.Sizeof(to))
		got <- errno
	}()
	var n notif
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
		fatal("receive", errno)
	}
	if n.nr != unix.SYS_CONNECT {
		fatal("receive", fmt.Errorf("call %d", n.nr))
	}
	r := notifResp{id: n.id, error: -int32(unix.EXDEV)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r))); errno != 0 {
		fatal("send", errno)
	}
	fmt.Println(int(<-got))
}
