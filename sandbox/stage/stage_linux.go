package stage

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// Stage is a sandbox under construction. It belongs to one goroutine, which must
// be locked to its thread for as long as the sandbox is to live.
type Stage struct {
	PID int // process 1, as the host sees it

	control int // the supervisor's end of the control socket
	gate    int // the supervisor's end of the socket at which the agent waits
	// Descriptors of process 1, at the numbers that they had here when it was
	// cloned; closed here since then.
	inner   [2]int // of control and gate
	program int    // its own program

	first, agent *child
	opened       []opened
	said         []byte // what came on the control socket and was not asked for yet
	notify       int    // the seccomp listener, or -1
}

// Source says for which mount of a spec a tree of the host was opened: its index,
// and whether it is the layer of an overlay.
type Source struct {
	Mount int
	Layer bool
}

// Identity is who a sandbox runs as: ids of the host, to which process 1 is
// mapped, and whether the supervisor is root.
type Identity struct {
	UID, GID int
	Root     bool
}

// statusLen is the length of the agent's wait status, as process 1 tells it.
const statusLen = 4

// timeout bounds every wait of the set-up. It takes milliseconds; a child that
// hangs must not hang the supervisor.
const timeout = 30 * time.Second

const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// above is where descriptors of the supervisor's go that a child keeps: out of
// the way of those that it makes for itself.
const above = 64

// Begin clones process 1 into its namespaces, where it starts to configure the
// network. It depends on nothing that a policy says.
func Begin(n spec.Network) (_ *Stage, err error) {
	v4, err := netip.ParseAddr(n.V4)
	if err != nil {
		return nil, fmt.Errorf("parse sandbox address: %w", err)
	}
	v6, err := netip.ParseAddr(n.V6)
	if err != nil {
		return nil, fmt.Errorf("parse sandbox address: %w", err)
	}
	s := &Stage{control: -1, gate: -1, inner: [2]int{-1, -1}, program: -1, notify: -1}
	defer func() {
		for _, fd := range []int{s.inner[0], s.inner[1], s.program} {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
		}
		if err != nil {
			s.Close()
		}
	}()
	if s.control, s.inner[0], err = pair(unix.SOCK_SEQPACKET); err != nil {
		return nil, err
	}
	if s.gate, s.inner[1], err = pair(unix.SOCK_STREAM); err != nil {
		return nil, err
	}
	if s.program, err = openInit(); err != nil {
		return nil, err
	}
	b := &batch{calls: make([]call, 0, 160)}
	b.apart(s.inner[0], s.inner[1], s.program)
	b.step("start session", "")
	b.add(unix.SYS_SETSID)
	b.step("replace streams", "")
	null := b.get(unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	low := b.get(unix.SYS_FCNTL, null, unix.F_DUPFD_CLOEXEC, 3)
	for fd := range 3 {
		b.add(unix.SYS_DUP3, low, fd, unix.O_CLOEXEC)
	}
	b.close(low)
	b.loopback(v4, v6)
	b.firewall(v4, v6)
	s.opened = b.listeners()
	b.send(s.inner[0], s.opened)
	s.first = newChild(b, s.inner[0], s.inner[0], sayDone)
	if s.PID, err = s.first.start(namespaces | unix.CLONE_VM | uintptr(unix.SIGCHLD)); err != nil {
		return nil, err
	}
	return s, b.err
}

// pair makes a socket pair; the inner end lies high.
func pair(typ int) (outer, inner int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fds[1])
	inner, err = unix.FcntlInt(uintptr(fds[1]), unix.F_DUPFD_CLOEXEC, above)
	if err == nil {
		t := unix.NsecToTimeval(int64(timeout))
		err = unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t)
	}
	if err != nil {
		_ = unix.Close(fds[0])
		return -1, -1, fmt.Errorf("make socket: %w", err)
	}
	return fds[0], inner, nil
}

// apart makes a child die with the thread that cloned it, and leave the
// descriptors of the supervisor but those listed. From then on end of file on
// the control socket means that the supervisor is gone.
func (b *batch) apart(keep ...int) {
	b.step("set parent-death signal", "")
	b.add(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, 0, 0)
	b.step("close descriptors", "")
	slices.Sort(keep)
	next := 0
	for _, fd := range keep {
		if fd > next {
			b.add(unix.SYS_CLOSE_RANGE, next, fd-1, 0)
		}
		next = fd + 1
	}
	b.add(unix.SYS_CLOSE_RANGE, next, math.MaxUint32, 0)
}

// send hands descriptors to the supervisor and closes them: its copies are the
// only ones, so that when it dies, so does the network.
func (b *batch) send(socket int, all []opened) {
	b.step("hand over descriptors", "")
	fds := make([]*int32, len(all))
	for i, o := range all {
		fds[i] = o.fd
	}
	b.handOver(socket, sayDone, fds)
	for _, fd := range fds {
		b.close(fd)
	}
}

const stackSize = 32 << 10 // a child uses less than 2 KiB

func newChild(b *batch, request, report int, say byte) *child {
	c := &child{request: int32(request), report: int32(report), say: say, stack: make([]byte, stackSize)}
	c.set(b)
	c.askIOV.Base, c.askIOV.Len = &c.askText[0], 1
	c.ask.Iov, c.ask.Iovlen = &c.askIOV, 1
	c.ask.Control = &c.askCtl[0]
	return c
}

// set gives a child its next calls.
func (c *child) set(b *batch) {
	c.batch = b
	c.calls, c.count = nil, uintptr(len(b.calls))
	if len(b.calls) > 0 {
		c.calls = &b.calls[0]
	}
}

// start clones the child with all signals blocked: a handler of the Go runtime
// must not run there.
func (c *child) start(flags uintptr) (pid int, err error) {
	if c.batch.err != nil {
		return 0, c.batch.err
	}
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return 0, fmt.Errorf("block signals: %w", err)
	}
	r := int(clone(flags, c.top(), uintptr(unsafe.Pointer(c))))
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil); err != nil {
		return 0, fmt.Errorf("unblock signals: %w", err)
	}
	if r < 0 {
		return 0, syscall.Errno(-r)
	}
	return r, nil
}

// top is the upper end of the stack, aligned as the ABIs ask for.
func (c *child) top() uintptr {
	return (uintptr(unsafe.Pointer(&c.stack[0])) + stackSize) &^ 15
}

// failure is what became of the calls.
func (c *child) failure() error {
	if c.failed == 0 {
		return nil
	}
	f := c.batch.calls[c.failed-1]
	return &CallError{f.what, f.subject, c.errno}
}

// ask gives process 1 its next calls, with descriptors.
func (s *Stage) ask(b *batch, fds []int) error {
	if b.err != nil {
		return b.err
	}
	s.first.set(b)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(s.control, []byte{1}, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("start sandbox: its first process ended early: %w", err)
	}
	return nil
}

// await waits for a byte on the control socket, and keeps others.
func (s *Stage) await(want byte) (fds []int, err error) {
	if i := slices.Index(s.said, want); i >= 0 {
		s.said = slices.Delete(s.said, i, i+1)
		return nil, nil
	}
	buf := make([]byte, 8)
	oob := make([]byte, unix.CmsgSpace(4*32))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(s.control, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("start sandbox: %w", err)
		case n == 0:
			return nil, errors.Join(errors.New("start sandbox: its first process ended early"), s.first.failure())
		case n == statusLen:
			return nil, errors.Join(errors.New("start sandbox: the agent was killed before it began"), s.agentError())
		case flags&unix.MSG_CTRUNC != 0:
			return nil, errors.New("start sandbox: truncated message")
		}
		fds = nil
		if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for _, m := range messages {
				if got, err := unix.ParseUnixRights(&m); err == nil {
					fds = append(fds, got...)
				}
			}
		}
		if err := s.first.failure(); err != nil && buf[0] == sayDone {
			return nil, err
		}
		switch buf[0] {
		case want:
			return fds, nil
		case sayAgent:
			return nil, s.agentError()
		case sayNotify:
			if len(fds) == 1 {
				s.notify = fds[0]
			}
		}
		s.said = append(s.said, buf[0])
	}
}

// Opened is a descriptor that the sandbox handed over.
type Opened struct {
	Name string
	File *os.File
}

// Network waits for the sandbox's sockets.
func (s *Stage) Network() ([]Opened, error) {
	got, err := s.take(s.opened)
	if err != nil {
		return nil, err
	}
	_, err = s.await(sayDone)
	return got, err
}

func (s *Stage) take(all []opened) ([]Opened, error) {
	fds, err := s.await(sayDone)
	if err != nil {
		return nil, err
	}
	if len(fds) != len(all) {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return nil, fmt.Errorf("start sandbox: %d descriptors of %d", len(fds), len(all))
	}
	got := make([]Opened, len(fds))
	for i, fd := range fds {
		got[i] = Opened{all[i].name, os.NewFile(uintptr(fd), all[i].name)}
	}
	return got, nil
}

// Build assembles the root, and makes the agent up to where it waits for go. blobs
// gives the contents of the spec's files; it may take as long as the mounts do.
// groups are files of control groups that process 1 enters by writing to them,
// sources the mounts that the supervisor opened, by what they are for.
// Returned are the outer ends of the streams, the seccomp listener as "notify",
// and the optional mounts that were absent.
func (s *Stage) Build(p *spec.Spec, blobs func() ([][]byte, error), id Identity, groups []*os.File, sources map[Source]*os.File) (files []Opened, skipped []string, err error) {
	if err := check(p); err != nil {
		return nil, nil, err
	}
	if err := writeMaps(s.PID, 0, 0, id.UID, id.GID, id.Root); err != nil {
		return nil, nil, err
	}
	b := &batch{calls: make([]call, 0, 768)}
	lent, fds, err := s.lend(b, groups, sources)
	if err != nil {
		return nil, nil, err
	}
	b.step("enter control group", "")
	for _, fd := range lent.groups { // "0" is whoever writes it: that takes no global lock
		c := b.add(unix.SYS_WRITE, fd, []byte("0"), 1)
		c.exact, c.want = true, 1
		b.close(fd)
	}
	b.add(unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP) // so that its own group is the root that it sees
	if id.Root {                                  // process 1 leaves the supervisor's root; its memory is then nobody's to look into
		b.step("become the sandbox's id", "")
		b.add(unix.SYS_SETGROUPS, 0, 0)
		b.add(unix.SYS_SETRESGID, 0, 0, 0)
		b.add(unix.SYS_SETRESUID, 0, 0, 0)
		b.step("set parent-death signal", "") // a change of ids clears it
		b.add(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, 0, 0)
	}
	b.step("set host name", p.Hostname)
	b.add(unix.SYS_SETHOSTNAME, p.Hostname, len(p.Hostname))
	made := folders{}
	trees := b.root(p, lent.sources, made)
	if err := s.ask(b, fds); err != nil {
		return nil, nil, err
	}
	// The next list is written while the first is worked on.
	b = &batch{calls: make([]call, 0, 512)}
	contents, err := blobs()
	if err != nil {
		return nil, nil, err
	}
	b.contents(p, contents, made)
	st := b.streams(p)
	walls := b.openBeneath(p.Landlock)
	places := b.lookUp(p.Command[0], p.Env, p.Dir)
	if len(st.outer) > 0 {
		b.send(s.inner[0], st.outer)
	}
	if _, err := s.await(sayDone); err != nil {
		return nil, nil, err
	}
	if err := s.ask(b, nil); err != nil {
		return nil, nil, err
	}
	if len(st.outer) > 0 {
		if files, err = s.take(st.outer); err != nil {
			return nil, nil, err
		}
	}
	if _, err := s.await(sayDone); err != nil {
		return files, nil, err
	}
	for i, fd := range trees {
		if *fd < 0 {
			skipped = append(skipped, p.Mounts[i].Target)
		}
	}
	path, err := choose(p.Command[0], places)
	if err != nil {
		return files, skipped, err
	}
	if err := s.cloneAgent(p, path, st, walls, id); err != nil {
		return files, skipped, err
	}
	if s.notify >= 0 {
		files = append(files, Opened{spec.FDNotify, os.NewFile(uintptr(s.notify), spec.FDNotify)})
		s.notify = -1
	}
	return files, skipped, nil
}

// cloneAgent has process 1 clone the agent and become its own program.
func (s *Stage) cloneAgent(p *spec.Spec, path string, st *streams, walls []beneath, id Identity) error {
	b := &batch{}
	ruleset := b.ruleset(p.Landlock, walls)
	inner := &batch{calls: make([]call, 0, 192)}
	if err := inner.agent(p, path, st, ruleset, s.inner[0], s.inner[1], id.Root); err != nil {
		return err
	}
	s.agent = newChild(inner, -1, s.inner[0], sayAgent)
	b.step("fork agent", "")
	pid := b.get(callClone, unix.CLONE_NEWUSER|unix.CLONE_VM|int(unix.SIGCHLD), s.agent.top(), unsafe.Pointer(s.agent))
	b.step("drop capabilities of init", "")
	b.add(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, secureBits, 0, 0, 0)
	b.noCapabilities()
	// Nothing but the control socket, in its place; the program is closed by its exec.
	b.step("exec init", "")
	b.add(unix.SYS_DUP3, s.inner[0], initControl, 0)
	b.add(unix.SYS_CLOSE_RANGE, 0, initControl-1, 0)
	b.add(unix.SYS_CLOSE_RANGE, initControl+1, s.program-1, 0)
	b.add(unix.SYS_CLOSE_RANGE, s.program+1, math.MaxUint32, 0)
	argv := &[2]*byte{&[]byte("creel-init\x00")[0]}
	b.keep = append(b.keep, argv)
	b.add(unix.SYS_EXECVEAT, s.program, "", unsafe.Pointer(argv), unsafe.Pointer(&argv[1]), unix.AT_EMPTY_PATH)
	if err := s.ask(b, nil); err != nil {
		return err
	}
	if p.Notify {
		if fds, err := s.await(sayNotify); err != nil {
			return err
		} else if len(fds) == 1 {
			s.notify = fds[0]
		}
		if s.notify < 0 {
			return errors.New("start sandbox: no seccomp listener arrived")
		}
	}
	if _, err := s.await(sayHello); err != nil {
		return err
	}
	if *pid != agentPID {
		return fmt.Errorf("start sandbox: the agent is process %d", *pid)
	}
	return nil
}

// lent are descriptors of the supervisor, where they stand in process 1.
type lent struct {
	groups  []*int32
	sources map[Source]*int32
}

// lend appends the calls by which process 1 takes files that come with its next
// list. Of more than a message can carry, some come before it.
func (s *Stage) lend(b *batch, groups []*os.File, sources map[Source]*os.File) (l lent, fds []int, err error) {
	const most = 250 // SCM_MAX_FD is 253
	take := func(f *os.File) (*int32, error) {
		if len(fds) == most {
			if err := s.ask(b, fds); err != nil {
				return nil, err
			}
			if _, err := s.await(sayDone); err != nil {
				return nil, err
			}
			fds, b.calls = nil, make([]call, 0, 768)
		}
		arrived := (*int32)(unsafe.Pointer(&s.first.askCtl[unix.CmsgLen(0)+4*len(fds)]))
		*arrived = -1
		fds = append(fds, int(f.Fd()))
		cell := b.cell()
		b.step("take descriptor", f.Name())
		b.add(callCopy, arrived, unsafe.Pointer(cell))
		b.add(unix.SYS_FCNTL, cell, unix.F_GETFD) // it has arrived
		return cell, nil
	}
	for _, f := range groups {
		cell, err := take(f)
		if err != nil {
			return l, nil, err
		}
		l.groups = append(l.groups, cell)
	}
	l.sources = map[Source]*int32{}
	for key, f := range sources {
		if l.sources[key], err = take(f); err != nil {
			return l, nil, err
		}
	}
	return l, fds, nil
}

// Release lets the agent exec and waits until it has, or has failed.
func (s *Stage) Release() error {
	if err := unix.Sendto(s.gate, []byte{1}, unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("release agent: %w", errors.Join(err, s.agentError()))
	}
	// End of file: exec has closed the agent's end, or it is dead.
	buf := make([]byte, 1)
	for {
		_, err := unix.Read(s.gate, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		_ = unix.Close(s.gate)
		s.gate = -1
		if err != nil && !errors.Is(err, unix.ECONNRESET) {
			return fmt.Errorf("release agent: %w", err)
		}
		return s.agentError()
	}
}

// agentError is what the agent failed at.
func (s *Stage) agentError() error {
	if s.agent == nil {
		return nil
	}
	var e *CallError
	if err := s.agent.failure(); errors.As(err, &e) {
		text := e.Errno.Error()
		if e.Errno == 0 {
			text = "end of file"
		}
		return &CommandError{Step: e.Step, Errno: e.Errno, Text: text}
	}
	return nil
}

// Control gives the control socket, over which process 1 reports the agent's
// wait status (4 bytes) and takes SignalMessage.
func (s *Stage) Control() (*os.File, error) {
	if err := unix.SetNonblock(s.control, true); err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	f := os.NewFile(uintptr(s.control), "control")
	s.control = -1
	return f, nil
}

// Close closes what the supervisor holds; it kills nothing.
func (s *Stage) Close() {
	for _, fd := range []*int{&s.control, &s.gate, &s.notify} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
			*fd = -1
		}
	}
	runtime.KeepAlive(s)
}

// check refuses a spec that the supervisor should not have made.
func check(s *spec.Spec) error {
	switch {
	case len(s.Command) == 0:
		return errors.New("read spec: no command")
	case s.UID <= 0 || s.GID <= 0:
		return errors.New("read spec: the agent's ids must not be 0")
	}
	for _, m := range s.Mounts {
		if !tidyPath(m.Target) {
			return fmt.Errorf("read spec: mount point %q is not a clean absolute path", m.Target)
		}
	}
	return nil
}

// writeMaps maps one id of each kind. Only root may leave setgroups allowed.
func writeMaps(pid, uid, gid, hostUID, hostGID int, setgroups bool) error {
	proc := "/proc/" + strconv.Itoa(pid) + "/"
	write := func(file, text string) error {
		fd, err := unix.Open(proc+file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", file, err)
		}
		defer unix.Close(fd)
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
		return nil
	}
	if !setgroups {
		if err := write("setgroups", "deny"); err != nil {
			return err
		}
	}
	if err := write("gid_map", fmt.Sprintf("%d %d 1", gid, hostGID)); err != nil {
		return err
	}
	return write("uid_map", fmt.Sprintf("%d %d 1", uid, hostUID))
}

// IDMap gives a user namespace that maps an owner on disk to an id. A child
// holds it just long enough to be opened. The thread must outlive the call.
func IDMap(ownerUID, ownerGID uint32, id Identity) (*os.File, error) {
	outer, inner, err := pair(unix.SOCK_SEQPACKET)
	if err != nil {
		return nil, err
	}
	defer unix.Close(outer)
	defer unix.Close(inner)
	b := &batch{}
	b.apart(inner)
	c := newChild(b, inner, inner, sayDone)
	pid, err := c.start(unix.CLONE_NEWUSER | unix.CLONE_VM | uintptr(unix.SIGCHLD))
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		runtime.KeepAlive(c)
	}()
	if err := writeMaps(pid, int(ownerUID), int(ownerGID), id.UID, id.GID, true); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
}

// SignalMessage is what makes process 1 send a signal to the agent.
func SignalMessage(sig syscall.Signal) []byte { return signalMessage(sig) }
