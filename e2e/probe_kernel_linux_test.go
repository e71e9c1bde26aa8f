package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	probes["kernel"] = func([]string) error { return forbiddenCalls() }
	probes["int80"] = func([]string) error {
		if runtime.GOARCH != "amd64" {
			return exitCode(159)
		}
		return foreignABI()
	}
	probes["x32"] = func([]string) error {
		if runtime.GOARCH != "amd64" {
			return exitCode(159)
		}
		if _, _, errno := unix.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0); errno == 0 {
			fmt.Println("x32 works")
			return nil
		} else {
			return errno
		}
	}
	// memfd executes a copy of a program that has no file.
	probes["memfd"] = func(args []string) error {
		fd, err := unix.MemfdCreate(filepath.Base(args[0]), 0)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		if _, err := os.NewFile(uintptr(fd), args[0]).Write(b); err != nil {
			return err
		}
		return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), args, os.Environ())
	}
	probes["connect-abstract"] = func(args []string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + args[0]})
	}
}

// forbiddenCalls makes system calls that a sandbox has no use for, and fails if
// one of them does something.
func forbiddenCalls() error {
	var did []string
	try := func(name string, nr uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		r, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno == 0 {
			did = append(did, fmt.Sprintf("%s gave %d", name, r))
		}
	}
	p := func(s string) uintptr {
		b, _ := unix.BytePtrFromString(s)
		return uintptr(unsafe.Pointer(b))
	}
	var buf [4096]byte
	at := uintptr(unsafe.Pointer(&buf[0]))
	for name, flag := range map[string]uintptr{"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET, "pid": unix.CLONE_NEWPID, "ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP} {
		try("unshare "+name, unix.SYS_UNSHARE, flag)
		try("clone "+name, unix.SYS_CLONE, flag|uintptr(unix.SIGCHLD), 0, 0, 0, 0)
	}
	try("unshare time", unix.SYS_UNSHARE, unix.CLONE_NEWTIME) // clone takes the bit for a signal
	try("clone3", unix.SYS_CLONE3, at, 88)
	try("mount", unix.SYS_MOUNT, p("none"), p("/tmp"), p("tmpfs"), 0, 0)
	try("umount", unix.SYS_UMOUNT2, p("/tmp"), unix.MNT_DETACH)
	try("pivot_root", unix.SYS_PIVOT_ROOT, p("/tmp"), p("/tmp"))
	try("chroot", unix.SYS_CHROOT, p("/tmp"))
	try("fsopen", unix.SYS_FSOPEN, p("tmpfs"), 0)
	try("open_tree", unix.SYS_OPEN_TREE, 0, p("/tmp"), 1)
	try("move_mount", unix.SYS_MOVE_MOUNT, 0, p("/tmp"), 0, p("/var"), 0)
	try("mount_setattr", unix.SYS_MOUNT_SETATTR, 0, p("/usr"), 0, at, 32)
	try("bpf", unix.SYS_BPF, 0, at, 64)
	try("keyctl", unix.SYS_KEYCTL, 0, ^uintptr(2), 0)
	try("add_key", unix.SYS_ADD_KEY, p("user"), p("x"), p("y"), 1, ^uintptr(2))
	try("request_key", unix.SYS_REQUEST_KEY, p("user"), p("x"), 0, 0)
	try("perf_event_open", unix.SYS_PERF_EVENT_OPEN, at, 0, ^uintptr(0), ^uintptr(0), 0)
	try("userfaultfd", unix.SYS_USERFAULTFD, 1)
	try("io_uring_setup", unix.SYS_IO_URING_SETUP, 8, at)
	try("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, 0)
	try("init_module", unix.SYS_INIT_MODULE, at, 1, p(""))
	try("finit_module", unix.SYS_FINIT_MODULE, 0, p(""), 0)
	try("delete_module", unix.SYS_DELETE_MODULE, p("x"), 0)
	try("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(99), at, 0)
	try("name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, ^uintptr(99), p("/usr"), at, at+512, 0)
	try("swapon", unix.SYS_SWAPON, p("/tmp/x"), 0)
	try("reboot", unix.SYS_REBOOT, 0xfee1dead, 672274793, 0, 0)
	try("settimeofday", unix.SYS_SETTIMEOFDAY, at, 0)
	try("clock_settime", unix.SYS_CLOCK_SETTIME, 0, at)
	try("sethostname", unix.SYS_SETHOSTNAME, p("x"), 1)
	try("syslog", unix.SYS_SYSLOG, 3, at, 4096)
	try("acct", unix.SYS_ACCT, p("/tmp/x"))
	try("quotactl", unix.SYS_QUOTACTL, 0, 0, 0, 0)
	try("ptrace init", unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1, 0, 0)
	try("ptrace seize parent", unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(os.Getppid()), 0, 0)
	local := [2]uintptr{at, 8}
	remote := [2]uintptr{0x400000, 8}
	try("process_vm_readv", unix.SYS_PROCESS_VM_READV, 1, uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	try("process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, 1, uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	try("kcmp", unix.SYS_KCMP, 1, uintptr(os.Getpid()), 0, 0, 0)
	try("pidfd_getfd", unix.SYS_PIDFD_GETFD, ^uintptr(0), 0, 0)
	try("seccomp listener", unix.SYS_SECCOMP, 1, 8, at)
	try("setuid 0", unix.SYS_SETUID, 0)
	try("setgid 0", unix.SYS_SETGID, 0)
	try("setns", unix.SYS_SETNS, 0, 0)
	try("kill init", unix.SYS_KILL, 1, uintptr(unix.SIGKILL))
	try("stop init", unix.SYS_KILL, 1, uintptr(unix.SIGSTOP))
	for _, path := range []string{"/proc/1/mem", "/proc/1/environ", "/proc/1/maps", "/proc/1/root/etc", "/proc/kcore", "/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/sys/kernel", "/sys/fs/cgroup", "/proc/sched_debug"} {
		if f, err := os.Open(path); err == nil {
			did = append(did, "opened "+path)
			_ = f.Close()
		}
	}
	for _, path := range []string{"/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/modprobe", "/proc/sys/net/ipv4/ip_forward", "/proc/self/oom_score_adj_", "/proc/irq/default_smp_affinity",
		"/etc/passwd", "/usr/bin/x", "/etc/ld.so.preload", "/x", "/proc/self/uid_map", "/run/creel/ca.pem"} {
		if f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600); err == nil {
			if strings.HasSuffix(path, "uid_map") { // opening is harmless, writing counts
				if _, err := f.WriteString("0 0 1"); err != nil {
					continue
				}
			}
			did = append(did, "opened for writing "+path)
			_ = f.Close()
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000"} {
		if !strings.Contains(string(status), want) {
			did = append(did, "status lacks "+want)
		}
	}
	if os.Getuid() == 0 || os.Geteuid() == 0 {
		did = append(did, "uid 0")
	}
	runtime.KeepAlive(buf)
	if len(did) > 0 {
		return fmt.Errorf("%s", strings.Join(did, "\n"))
	}
	fmt.Println("all refused")
	return nil
}

// foreignABI enters the kernel by int 0x80.
func foreignABI() error {
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	copy(code, []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3}) // mov eax, getpid; int 0x80; ret
	entry := &struct{ fn uintptr }{uintptr(unsafe.Pointer(&code[0]))}
	(*(*func())(unsafe.Pointer(&entry)))()
	fmt.Println("int 0x80 works")
	return nil
}
