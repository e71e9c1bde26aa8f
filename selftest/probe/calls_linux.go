package probe

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scratch is whatever a call reads or writes; a global is not moved, as a stack is.
var scratch [4096]byte

// call is an attempt that is one system call: success is what must not be.
func call(layer, name string, nr uintptr, args func(at uintptr) []uintptr) Attempt {
	return Attempt{Layer: layer, Name: name, Try: func() string {
		var a [6]uintptr
		copy(a[:], args(uintptr(unsafe.Pointer(&scratch[0]))))
		r, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno != 0 {
			return ""
		}
		return fmt.Sprintf("gave %d", r)
	}}
}

// paths stay alive for the calls that take their addresses.
var paths = map[string]*byte{}

func p(s string) uintptr {
	b, ok := paths[s]
	if !ok {
		b, _ = unix.BytePtrFromString(s)
		paths[s] = b
	}
	return uintptr(unsafe.Pointer(b))
}

func fixed(args ...uintptr) func(uintptr) []uintptr { return func(uintptr) []uintptr { return args } }

// Calls are system calls that a sandbox has no use for.
func Calls() []Attempt {
	var all []Attempt
	for _, ns := range []struct {
		name string
		flag uintptr
	}{{"user", unix.CLONE_NEWUSER}, {"mount", unix.CLONE_NEWNS}, {"net", unix.CLONE_NEWNET}, {"pid", unix.CLONE_NEWPID},
		{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP}} {
		all = append(all, call(Namespaces, "unshare "+ns.name, unix.SYS_UNSHARE, fixed(ns.flag)),
			call(Namespaces, "clone "+ns.name, unix.SYS_CLONE, fixed(ns.flag|uintptr(unix.SIGCHLD), 0, 0, 0, 0)))
	}
	return append(all,
		call(Namespaces, "unshare time", unix.SYS_UNSHARE, fixed(unix.CLONE_NEWTIME)), // clone takes the bit for a signal
		call(Namespaces, "clone3", unix.SYS_CLONE3, func(at uintptr) []uintptr { return []uintptr{at, 88} }),
		call(Namespaces, "setns", unix.SYS_SETNS, fixed(0, 0)),
		call(Namespaces, "sethostname", unix.SYS_SETHOSTNAME, fixed(p("x"), 1)),

		call(Mounts, "mount", unix.SYS_MOUNT, fixed(p("none"), p("/tmp"), p("tmpfs"), 0, 0)),
		call(Mounts, "umount", unix.SYS_UMOUNT2, fixed(p("/tmp"), unix.MNT_DETACH)),
		call(Mounts, "pivot_root", unix.SYS_PIVOT_ROOT, fixed(p("/tmp"), p("/tmp"))),
		call(Mounts, "chroot", unix.SYS_CHROOT, fixed(p("/tmp"))),
		call(Mounts, "fsopen", unix.SYS_FSOPEN, fixed(p("tmpfs"), 0)),
		call(Mounts, "open_tree", unix.SYS_OPEN_TREE, fixed(0, p("/tmp"), 1)),
		call(Mounts, "move_mount", unix.SYS_MOVE_MOUNT, fixed(0, p("/tmp"), 0, p("/var"), 0)),
		call(Mounts, "mount_setattr", unix.SYS_MOUNT_SETATTR, func(at uintptr) []uintptr { return []uintptr{0, p("/usr"), 0, at, 32} }),
		call(Mounts, "open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, func(at uintptr) []uintptr { return []uintptr{^uintptr(99), at, 0} }),
		call(Mounts, "name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, func(at uintptr) []uintptr { return []uintptr{^uintptr(99), p("/usr"), at, at + 512, 0} }),
		call(Mounts, "swapon", unix.SYS_SWAPON, fixed(p("/tmp/x"), 0)),
		call(Mounts, "quotactl", unix.SYS_QUOTACTL, fixed(0, 0, 0, 0)),

		call(Seccomp, "bpf", unix.SYS_BPF, func(at uintptr) []uintptr { return []uintptr{0, at, 64} }),
		call(Seccomp, "keyctl", unix.SYS_KEYCTL, fixed(0, ^uintptr(2), 0)),
		call(Seccomp, "add_key", unix.SYS_ADD_KEY, fixed(p("user"), p("x"), p("y"), 1, ^uintptr(2))),
		call(Seccomp, "request_key", unix.SYS_REQUEST_KEY, fixed(p("user"), p("x"), 0, 0)),
		call(Seccomp, "perf_event_open", unix.SYS_PERF_EVENT_OPEN, func(at uintptr) []uintptr { return []uintptr{at, 0, ^uintptr(0), ^uintptr(0), 0} }),
		call(Seccomp, "userfaultfd", unix.SYS_USERFAULTFD, fixed(1)),
		call(Seccomp, "io_uring_setup", unix.SYS_IO_URING_SETUP, func(at uintptr) []uintptr { return []uintptr{8, at} }),
		call(Seccomp, "kexec_load", unix.SYS_KEXEC_LOAD, fixed(0, 0, 0, 0)),
		call(Seccomp, "init_module", unix.SYS_INIT_MODULE, func(at uintptr) []uintptr { return []uintptr{at, 1, p("")} }),
		call(Seccomp, "finit_module", unix.SYS_FINIT_MODULE, fixed(0, p(""), 0)),
		call(Seccomp, "delete_module", unix.SYS_DELETE_MODULE, fixed(p("x"), 0)),
		call(Seccomp, "reboot", unix.SYS_REBOOT, fixed(0xfee1dead, 672274793, 0, 0)),
		call(Seccomp, "settimeofday", unix.SYS_SETTIMEOFDAY, func(at uintptr) []uintptr { return []uintptr{at, 0} }),
		call(Seccomp, "clock_settime", unix.SYS_CLOCK_SETTIME, func(at uintptr) []uintptr { return []uintptr{0, at} }),
		call(Seccomp, "syslog", unix.SYS_SYSLOG, func(at uintptr) []uintptr { return []uintptr{3, at, 4096} }),
		call(Seccomp, "acct", unix.SYS_ACCT, fixed(p("/tmp/x"))),
		call(Seccomp, "pidfd_getfd", unix.SYS_PIDFD_GETFD, fixed(^uintptr(0), 0, 0)),
		call(Seccomp, "a seccomp listener of its own", unix.SYS_SECCOMP, func(at uintptr) []uintptr { return []uintptr{1, 8, at} }),

		call(Processes, "ptrace init", unix.SYS_PTRACE, fixed(unix.PTRACE_ATTACH, 1, 0, 0)),
		call(Processes, "ptrace its parent", unix.SYS_PTRACE, fixed(unix.PTRACE_SEIZE, uintptr(os.Getppid()), 0, 0)),
		memory("process_vm_readv", unix.SYS_PROCESS_VM_READV),
		memory("process_vm_writev", unix.SYS_PROCESS_VM_WRITEV),
		call(Processes, "kcmp", unix.SYS_KCMP, fixed(1, uintptr(os.Getpid()), 0, 0, 0)),
		call(Processes, "kill init", unix.SYS_KILL, fixed(1, uintptr(unix.SIGKILL))),
		call(Processes, "stop init", unix.SYS_KILL, fixed(1, uintptr(unix.SIGSTOP))),

		call(Privileges, "setuid 0", unix.SYS_SETUID, fixed(0)),
		call(Privileges, "setgid 0", unix.SYS_SETGID, fixed(0)),
	)
}

var vectors [4]uintptr

// memory reads or writes the memory of init.
func memory(name string, nr uintptr) Attempt {
	return Attempt{Layer: Processes, Name: name, Try: func() string {
		// struct iovec: ours, then that of the other side.
		vectors = [4]uintptr{uintptr(unsafe.Pointer(&scratch[0])), 8, 0x400000, 8}
		r, _, errno := unix.Syscall6(nr, 1, uintptr(unsafe.Pointer(&vectors[0])), 1, uintptr(unsafe.Pointer(&vectors[2])), 1, 0)
		if errno != 0 {
			return ""
		}
		return fmt.Sprintf("moved %d bytes", r)
	}}
}
