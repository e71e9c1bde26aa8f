package stage

import (
	"runtime"
	"syscall"
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// The runtime's hooks around a fork. They are kept callable for programs that
// fork without os/exec (go.dev/issue/67401).
//
//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// agentFork is everything that the child needs, prepared before the fork: the
// child may not allocate, grow its stack or call anything but raw system calls.
type agentFork struct {
	stdio    [3]int
	tty      int // descriptor of the terminal, or -1
	mapped   int // read end: one byte when the id maps are written
	goPipe   int // read end: one byte when the agent may exec
	errPipe  int // write end: forkError on failure; closed by exec
	control  int // the supervisor's socket, for the notify message
	ruleset  int // Landlock ruleset, or -1
	filter   *unix.SockFprog
	notify   bool
	dir      *byte
	path     *byte
	argv     []*byte
	envv     []*byte
	capHdr   unix.CapUserHeader
	capData  [2]unix.CapUserData
	lastCap  uintptr
	core     unix.Rlimit
	msg      unix.Msghdr
	msgIOV   unix.Iovec
	msgText  []byte
	msgCtl   []byte
	msgFD    *int32 // the descriptor inside msgCtl
	cloneSig uintptr
}

// Steps of the child, reported when one fails.
const (
	stepMaps = iota + 1
	stepSession
	stepTerminal
	stepStreams
	stepDir
	stepLimits
	stepKeyring
	stepPrivileges
	stepLandlock
	stepCapabilities
	stepSeccomp
	stepNotify
	stepGo
	stepExec
)

var stepNames = [...]string{
	stepMaps: "wait for id maps", stepSession: "start session", stepTerminal: "take terminal", stepStreams: "place streams",
	stepDir: "enter working folder", stepLimits: "set limits", stepKeyring: "join session keyring",
	stepPrivileges: "set no_new_privs", stepLandlock: "enter landlock", stepCapabilities: "drop capabilities",
	stepSeccomp: "install seccomp filter", stepNotify: "hand over seccomp listener", stepGo: "wait for go", stepExec: "exec",
}

// forkError is what the child writes to errPipe.
type forkError struct {
	step  uint32
	errno uint32
}

const (
	secureBits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 // NOROOT and NO_SETUID_FIXUP, both locked; KEEP_CAPS locked off
	// SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19):
	// a process that waits for the supervisor can only be killed, so that signals
	// of the Go runtime do not restart the notification again and again.
	listenerFlags = 1<<3 | 1<<5
)

// fork clones the agent into its own user namespace and returns its pid. The
// child goes on to exec, or reports a forkError and exits.
//
//go:norace
func (a *agentFork) fork() (pid uintptr, errno syscall.Errno) {
	var (
		e    syscall.Errno
		r, c uintptr
		fe   forkError
		b    byte
		i    int
	)
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(syscall.SYS_CLONE, unix.CLONE_NEWUSER|a.cloneSig, 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}

	// In the child.
	fe.step = stepMaps
	for {
		r, _, e = syscall.RawSyscall(syscall.SYS_READ, uintptr(a.mapped), uintptr(unsafe.Pointer(&b)), 1)
		if e != syscall.EINTR {
			break
		}
	}
	if e != 0 || r != 1 {
		goto fail
	}

	// With a terminal the stage leads the session, so that a process group of
	// the agent is not orphaned and can be stopped; without, the agent leads its own.
	fe.step = stepSession
	if a.tty >= 0 {
		if _, _, e = syscall.RawSyscall(syscall.SYS_SETPGID, 0, 0, 0); e != 0 {
			goto fail
		}
		fe.step = stepTerminal
		c, _, _ = syscall.RawSyscall(syscall.SYS_GETPID, 0, 0, 0)
		i = int(c)
		if _, _, e = syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(a.tty), unix.TIOCSPGRP, uintptr(unsafe.Pointer(&i))); e != 0 {
			goto fail
		}
	} else if _, _, e = syscall.RawSyscall(syscall.SYS_SETSID, 0, 0, 0); e != 0 {
		goto fail
	}
	afterForkInChild()

	// Descriptors: everything is close-on-exec; the streams were opened above 2.
	fe.step = stepStreams
	for i = 0; i < 3; i++ {
		if _, _, e = syscall.RawSyscall(syscall.SYS_DUP3, uintptr(a.stdio[i]), uintptr(i), 0); e != 0 {
			goto fail
		}
	}
	if _, _, e = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 3, 1<<31, unix.CLOSE_RANGE_CLOEXEC); e != 0 {
		goto fail
	}

	fe.step = stepDir
	if _, _, e = syscall.RawSyscall(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(a.dir)), 0, 0); e != 0 {
		goto fail
	}
	fe.step = stepLimits
	if _, _, e = syscall.RawSyscall6(syscall.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, uintptr(unsafe.Pointer(&a.core)), 0, 0, 0); e != 0 {
		goto fail
	}
	fe.step = stepKeyring
	if _, _, e = syscall.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); e != 0 && e != syscall.ENOSYS {
		goto fail
	}

	fe.step = stepPrivileges
	if _, _, e = syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		goto fail
	}
	fe.step = stepLandlock
	if a.ruleset >= 0 {
		if _, _, e = syscall.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(a.ruleset), 0, 0); e != 0 {
			goto fail
		}
	}
	fe.step = stepCapabilities
	if _, _, e = syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_SET_SECUREBITS, secureBits, 0, 0, 0, 0); e != 0 {
		goto fail
	}
	for c = 0; c <= a.lastCap; c++ {
		if _, _, e = syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0, 0); e != 0 {
			goto fail
		}
	}
	if _, _, e = syscall.RawSyscall6(syscall.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0); e != 0 {
		goto fail
	}
	if _, _, e = syscall.RawSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&a.capHdr)), uintptr(unsafe.Pointer(&a.capData[0])), 0); e != 0 {
		goto fail
	}

	fe.step = stepSeccomp
	c = 0
	if a.notify {
		c = listenerFlags
	}
	if r, _, e = syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, c, uintptr(unsafe.Pointer(a.filter))); e != 0 {
		goto fail
	}
	if a.notify {
		fe.step = stepNotify
		*a.msgFD = int32(r)
		if _, _, e = syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(a.control), uintptr(unsafe.Pointer(&a.msg)), 0); e != 0 {
			goto fail
		}
		// The agent must not hold its own listener: it would answer for itself.
		if _, _, e = syscall.RawSyscall(syscall.SYS_CLOSE, r, 0, 0); e != 0 {
			goto fail
		}
	}

	fe.step = stepGo
	for {
		r, _, e = syscall.RawSyscall(syscall.SYS_READ, uintptr(a.goPipe), uintptr(unsafe.Pointer(&b)), 1)
		if e != syscall.EINTR {
			break
		}
	}
	if e != 0 || r != 1 {
		goto fail
	}

	fe.step = stepExec
	_, _, e = syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(a.path)),
		uintptr(unsafe.Pointer(&a.argv[0])), uintptr(unsafe.Pointer(&a.envv[0])))

fail:
	fe.errno = uint32(e)
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(a.errPipe), uintptr(unsafe.Pointer(&fe)), unsafe.Sizeof(fe))
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 253, 0, 0)
	}
}

// prepareNotify lays out the message that carries the listener's descriptor.
func (a *agentFork) prepareNotify() {
	a.msgText = []byte(`{"type":"` + spec.MsgNotify + `"}`)
	a.msgCtl = make([]byte, unix.CmsgSpace(4))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&a.msgCtl[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4))
	a.msgFD = (*int32)(unsafe.Pointer(&a.msgCtl[unix.CmsgLen(0)]))
	a.msgIOV.Base = &a.msgText[0]
	a.msgIOV.SetLen(len(a.msgText))
	a.msg.Iov, a.msg.Iovlen = &a.msgIOV, 1
	a.msg.Control = &a.msgCtl[0]
	a.msg.SetControllen(len(a.msgCtl))
	a.capHdr.Version = unix.LINUX_CAPABILITY_VERSION_3
	a.cloneSig = uintptr(syscall.SIGCHLD)
	runtime.KeepAlive(h)
}
