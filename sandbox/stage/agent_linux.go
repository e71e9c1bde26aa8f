package stage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// agentPID is the agent's process in the sandbox: the first after process 1.
const agentPID = 2

const (
	secureBits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 // NOROOT and NO_SETUID_FIXUP, both locked; KEEP_CAPS locked off
	// SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19):
	// a process that waits for the supervisor can only be killed, so that signals
	// of the Go runtime do not restart the notification again and again.
	listenerFlags = 1<<3 | 1<<5
)

// agent lists what the agent's process does between its clone and its exec: it
// enters session, limits, keyring, Landlock and seccomp, gives up every
// capability, and waits for go. root says that the supervisor is root.
func (b *batch) agent(s *spec.Spec, path string, st *streams, ruleset *int32, control, gate int, root bool) error {
	if len(s.Seccomp) == 0 || len(s.Seccomp)%int(unsafe.Sizeof(unix.SockFilter{})) != 0 {
		return errors.New("read seccomp filter: no instructions")
	}
	// The agent maps its own ids, each to the one that process 1 has. These files
	// belong to whoever may look into the process. After process 1 has left the
	// supervisor's root that is nobody, but for these three calls.
	b.step("write agent's id maps", "")
	maps := [3]struct{ file, text string }{
		{"setgroups", "deny"}, {"gid_map", strconv.Itoa(s.GID) + " 0 1"}, {"uid_map", strconv.Itoa(s.UID) + " 0 1"},
	}
	var files [3]*int32
	if root {
		b.add(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	}
	for i, m := range maps {
		files[i] = b.get(unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/"+m.file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	}
	if root {
		b.add(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	}
	for i, m := range maps {
		c := b.add(unix.SYS_WRITE, files[i], []byte(m.text), len(m.text))
		c.exact, c.want = true, uintptr(len(m.text))
		b.close(files[i])
	}

	// With a terminal process 1 leads the session, so that a process group of the
	// agent is not orphaned and can be stopped; without, the agent leads its own.
	if st.tty != nil {
		b.step("start session", "")
		b.add(unix.SYS_SETPGID, 0, 0)
		b.step("take terminal", "")
		group := new(int32)
		*group = agentPID
		b.add(unix.SYS_IOCTL, st.tty, unix.TIOCSPGRP, unsafe.Pointer(group))
	} else {
		b.step("start session", "")
		b.add(unix.SYS_SETSID)
	}

	// Everything is close-on-exec; the streams were opened above 2.
	b.step("place streams", "")
	for i, fd := range st.inner {
		b.add(unix.SYS_DUP3, fd, i, 0)
	}
	b.add(unix.SYS_CLOSE_RANGE, 3, 1<<31, unix.CLOSE_RANGE_CLOEXEC)

	b.step("enter working folder", s.Dir)
	b.add(unix.SYS_CHDIR, s.Dir)
	b.step("set limits", "")
	b.add(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CORE, unsafe.Pointer(coreLimit()), 0)
	b.politely()
	b.step("join session keyring", "")
	b.add(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0).accept[0] = unix.ENOSYS
	b.step("set no_new_privs", "")
	b.add(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if ruleset != nil {
		b.step("enter landlock", "")
		b.add(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
	}
	b.step("drop capabilities", "")
	b.add(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, secureBits, 0, 0, 0)
	for c := range 64 { // all that a set has room for; the kernel knows fewer
		b.add(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0).accept[0] = unix.EINVAL
	}
	b.add(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	b.noCapabilities()

	b.step("reset signals", "")
	b.defaultSignals()

	b.step("install seccomp filter", "")
	filter := &unix.SockFprog{
		Len:    uint16(len(s.Seccomp) / int(unsafe.Sizeof(unix.SockFilter{}))),
		Filter: (*unix.SockFilter)(unsafe.Pointer(&s.Seccomp[0])),
	}
	if !s.Notify {
		b.add(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, unsafe.Pointer(filter))
	} else {
		listener := b.get(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, listenerFlags, unsafe.Pointer(filter))
		b.step("hand over seccomp listener", "")
		b.handOver(control, sayNotify, []*int32{listener})
		// The agent must not hold its own listener: it would answer for itself.
		b.close(listener)
	}
	b.step("wait for go", "")
	c := b.add(unix.SYS_READ, gate, make([]byte, 1), 1)
	c.retry, c.exact, c.want = true, true, 1

	b.step("exec", path)
	argv, err := syscall.SlicePtrFromStrings(s.Command)
	if err != nil {
		return fmt.Errorf("read command: %w", err)
	}
	envv, err := syscall.SlicePtrFromStrings(s.Env)
	if err != nil {
		return fmt.Errorf("read environment: %w", err)
	}
	b.keep = append(b.keep, argv, envv)
	b.add(unix.SYS_EXECVE, path, unsafe.Pointer(&argv[0]), unsafe.Pointer(&envv[0]))
	return b.err
}

// politely has the agent's threads wait for their turn when they are woken, in place of
// interrupting whoever runs: first of all the supervisor, which wakes them with every
// message, and could answer others before it is interrupted. Their share of the processor
// is the same. Who started creel under another scheduling policy keeps that.
func (b *batch) politely() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	b.step("set scheduling", "")
	b.add(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_BATCH, []byte{0, 0, 0, 0}).any = true // struct sched_param
}

// noCapabilities empties the three sets of a thread.
func (b *batch) noCapabilities() {
	b.add(unix.SYS_CAPSET, unsafe.Pointer(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}), unsafe.Pointer(&[2]unix.CapUserData{}))
}

// defaultSignals undoes what the Go runtime does with signals, and unblocks
// them. Those that creel was started to ignore stay ignored, as in any program.
func (b *batch) defaultSignals() {
	const setSize = 8 // sizeof(sigset_t) of the kernel
	zero := make([]byte, 32)
	for sig := 1; sig <= 64; sig++ {
		switch s := syscall.Signal(sig); s {
		case syscall.SIGKILL, syscall.SIGSTOP:
			continue
		case syscall.SIGHUP, syscall.SIGINT:
			if signal.Ignored(s) {
				continue
			}
		}
		b.add(unix.SYS_RT_SIGACTION, sig, zero, 0, setSize)
	}
	b.add(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, zero, 0, setSize)
}

// What is said on the control socket, one byte each.
const (
	sayDone   = 'd' // process 1, before its exec: calls are done, or have failed
	sayAgent  = 'a' // the agent has failed
	sayNotify = 'n' // the seccomp listener comes with it
	sayHello  = 'h' // process 1 has become its own program
)

// handOver sends descriptors with one byte.
func (b *batch) handOver(socket int, say byte, fds []*int32) {
	ctl := make([]byte, unix.CmsgSpace(4*len(fds)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4 * len(fds)))
	for i, fd := range fds {
		b.add(callCopy, fd, unsafe.Pointer(&ctl[unix.CmsgLen(0)+4*i]))
	}
	iov := &unix.Iovec{Base: &[]byte{say}[0]}
	iov.SetLen(1)
	msg := &unix.Msghdr{Iov: iov, Control: &ctl[0]}
	msg.Iovlen = 1
	msg.SetControllen(len(ctl))
	b.keep = append(b.keep, msg)
	c := b.add(unix.SYS_SENDMSG, socket, unsafe.Pointer(msg), unix.MSG_NOSIGNAL)
	c.retry, c.exact, c.want = true, true, 1
}

// coreLimit is the limit that dumps no core: 1 byte, which core_pattern's pipe
// takes as a special value; a limit of 0 holds for files alone (core(5)). Where
// the hard limit is 0 already, only it is left.
func coreLimit() *unix.Rlimit {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &now); err == nil && now.Max == 0 {
		return &unix.Rlimit{}
	}
	return &unix.Rlimit{Cur: 1, Max: 1}
}

// CommandError says that the agent, or what leads to its exec, failed.
type CommandError struct {
	Step  string
	Errno syscall.Errno
	Text  string
}

func (e *CommandError) Error() string { return e.Step + ": " + e.Text }

// candidate is a place where the command may be.
type candidate struct {
	path string
	stat *unix.Stat_t
	got  *int32 // 0, or a negative errno
}

// lookUp looks at every place where execvp(3) would, in the sandbox's own root
// and with the agent's PATH.
func (b *batch) lookUp(name string, env []string, dir string) []candidate {
	var all []candidate
	add := func(path string) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		all = append(all, candidate{path: path, stat: new(unix.Stat_t)})
	}
	switch {
	case name == "":
	case strings.Contains(name, "/"):
		add(name)
	default:
		path := ""
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, "PATH="); ok {
				path = v
			}
		}
		for _, d := range filepath.SplitList(path) {
			add(filepath.Join(d, name))
		}
	}
	b.step("find command", name)
	for i := range all {
		c := &all[i]
		c.got = b.get(unix.SYS_NEWFSTATAT, unix.AT_FDCWD, c.path, unsafe.Pointer(c.stat), 0)
		b.calls[len(b.calls)-1].any = true
	}
	return all
}

// choose gives the first that can be a program; the kernel has the last word.
func choose(name string, all []candidate) (string, error) {
	missing := &CommandError{Step: "find command", Errno: unix.ENOENT, Text: name + ": not found inside the sandbox"}
	var denied error
	for _, c := range all {
		var errno syscall.Errno
		text := ""
		switch {
		case *c.got < 0:
			errno = syscall.Errno(-*c.got)
			text = errno.Error()
		case c.stat.Mode&unix.S_IFMT == unix.S_IFDIR || c.stat.Mode&0o111 == 0:
			errno, text = unix.EACCES, "not an executable file"
		default:
			return c.path, nil
		}
		found := &CommandError{Step: "find command", Errno: errno, Text: c.path + ": " + text}
		if strings.Contains(name, "/") {
			return "", found
		}
		if errno != unix.ENOENT && errno != unix.ENOTDIR {
			denied = found
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", missing
}

// signalMessage tells process 1 to send a signal: two numbers of 32 bit.
func signalMessage(sig syscall.Signal) []byte {
	pid := int32(agentPID)
	switch sig {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGKILL:
		pid = -agentPID // what a terminal sends goes to the whole process group
	}
	m := binary.NativeEndian.AppendUint32(nil, uint32(pid))
	return binary.NativeEndian.AppendUint32(m, uint32(sig))
}
