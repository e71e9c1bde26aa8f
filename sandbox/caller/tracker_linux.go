package caller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/kernel"
)

const (
	// maxPending bounds the connects that the kernel has not finished, each of
	// which holds a thread; a further one gets EAGAIN.
	maxPending = 128

	// maxLingering bounds goroutines that close a socket for which the agent
	// asked the kernel to wait (SO_LINGER).
	maxLingering = 16
)

// notification is struct seccomp_notif, response is struct seccomp_notif_resp
// (linux/seccomp.h). Their sizes are part of the numbers of the ioctls.
type notification struct {
	id    uint64
	pid   uint32 // of the thread, as the reader sees it; 0 if it does not
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// errGone means that no process is left that the listener could hear of.
var errGone = errors.New("no process is left under the filter")

// Tracker makes the agent's connects, and remembers who asked for them. Run does
// the work; without it every caller is unknown and the agent's connects wait.
type Tracker struct {
	notify  *os.File
	wake    int // eventfd: readable when Run ends
	diag    diag
	ps      processes
	as      identity
	refused func(path string, c Caller)
	log     *slog.Logger
	table   table
	slow    slowCalls
	linger  chan struct{}
	pending chan struct{}
}

// New makes a Tracker.
func New(c Config) (*Tracker, error) {
	defer func() {
		for _, f := range []*os.File{c.Notify, c.Diag} {
			if f != nil {
				_ = f.Close()
			}
		}
	}()
	if c.Notify == nil || c.Diag == nil || c.Init <= 1 {
		return nil, errors.New("make caller tracker: listener, diag socket or init is missing")
	}
	if b, err := kernel.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && strings.TrimSpace(string(b)) == "3" {
		return nil, errors.New("make caller tracker: kernel.yama.ptrace_scope is 3, so that no process may look at another: boot with 2 or less")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tracker{log: c.Log, slow: newSlowCalls(), linger: make(chan struct{}, maxLingering), pending: make(chan struct{}, maxPending), refused: c.Refused, wake: -1}
	if os.Geteuid() == 0 {
		if c.UID <= 0 || c.GID <= 0 {
			return nil, errors.New("make caller tracker: the agent's ids must not be 0")
		}
		t.as = identity{uid: c.UID, gid: c.GID}
	}
	var err error
	if t.notify, err = own(c.Notify); err != nil {
		return nil, fmt.Errorf("take seccomp listener: %w", err)
	}
	if t.diag.f, err = own(c.Diag); err != nil {
		_ = t.notify.Close()
		return nil, fmt.Errorf("take diag socket: %w", err)
	}
	t.ps.init, t.ps.verify, t.ps.wants = c.Init, c.Verify, c.Wants
	if t.ps.proc, err = os.OpenFile("/proc", unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		t.close()
		return nil, fmt.Errorf("open process file system: %w", err)
	}
	if t.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		t.close()
		return nil, fmt.Errorf("make event: %w", err)
	}
	// Wakes the reader on the processor that the agent is about to give up. Only
	// faster, so kernels before 6.6 may refuse.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, t.notify.Fd(), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
	return t, nil
}

// own duplicates a descriptor of which others may hold copies.
func own(f *os.File) (own *os.File, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var n int
		if n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			own = os.NewFile(uintptr(n), f.Name())
		}
	})
	return own, errors.Join(err, cerr)
}

func (t *Tracker) close() {
	_ = t.notify.Close()
	_ = t.diag.f.Close()
	for len(t.ps.held) > 0 {
		t.ps.release(t.ps.held[0]).close()
	}
	if t.ps.proc != nil {
		_ = t.ps.proc.Close()
	}
	if t.wake >= 0 {
		_ = unix.Close(t.wake)
	}
}

// Run answers notifications until ctx ends or the last process under the filter
// has (nil both), or the listener fails. It then closes what New took over: a
// connect that waits gets ENOSYS. Call it once.
func (t *Tracker) Run(parent context.Context) error {
	defer t.close()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	woken := make(chan struct{})
	context.AfterFunc(ctx, func() {
		_, _ = unix.Write(t.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(woken)
	})
	var wg sync.WaitGroup
	wg.Go(func() { cancel(t.work(ctx, &wg)) })
	watched, unwatch := context.WithCancel(context.WithoutCancel(parent)) // as long as anyone connects
	go t.slow.watch(watched)
	wg.Wait()
	unwatch()
	<-t.slow.stopped
	<-woken
	if err := context.Cause(ctx); parent.Err() == nil && !errors.Is(err, errGone) {
		return err
	}
	return nil
}

// work answers one notification after the other, on a thread of its own: the
// kernel wakes it without the detour of Go's poller, and its ids change. One is
// enough: the work is short, and the answers to one sandbox may come in turn.
func (t *Tracker) work(ctx context.Context, wg *sync.WaitGroup) error {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := t.as.prepare(); err != nil {
		return err
	}
	beQuick()
	t.ps.over = func() bool { return ctx.Err() != nil }
	for {
		var n notification
		done, err := t.receive(&n)
		if done || err != nil {
			return err
		}
		if err := t.handle(ctx, wg, &n); err != nil {
			return err
		}
	}
}

// beQuick asks the scheduler for short slices, which are given sooner (Linux 6.12):
// agents wait for this thread, and it needs little. Only faster, so it may fail.
func beQuick() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return
	}
	attr.Runtime = uint64(100 * time.Microsecond) // the least that the kernel takes
	_ = unix.SchedSetAttr(0, attr, 0)
}

// receive waits for the next notification. RECV would block whatever the flags
// of the descriptor, so it is asked only when there is something to take.
func (t *Tracker) receive(n *notification) (done bool, err error) {
	fd := int32(t.notify.Fd())
	for {
		fds := []unix.PollFd{{Fd: fd, Events: unix.POLLIN}, {Fd: int32(t.wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return true, fmt.Errorf("poll seccomp listener: %w", err)
		}
		switch ready := fds[0].Revents; {
		case fds[1].Revents != 0:
			return true, nil
		case ready&unix.POLLIN != 0:
		case ready != 0:
			return true, errGone
		}
		*n = notification{} // the kernel insists
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(n)))
		switch errno {
		case 0:
			return false, nil
		case unix.EINTR, unix.ENOENT: // the thread was killed meanwhile
		default:
			return true, fmt.Errorf("receive notification: %w", errno)
		}
	}
}

// answer ends a notification: errno 0 is success. It fails if the thread is gone.
func (t *Tracker) answer(id uint64, errno syscall.Errno) error {
	r := response{id: id, err: -int32(errno)}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, t.notify.Fd(), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
	return nonzero(e)
}

// valid is nil while the thread of a notification still waits in its call.
func (t *Tracker) valid(id uint64) error {
	_, _, e := unix.Syscall(unix.SYS_IOCTL, t.notify.Fd(), unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id)))
	return nonzero(e)
}

// closeSocket closes our copy of an agent's socket. It may be the last one, and
// then the agent can make close wait for as long as it likes. Run does not wait
// for that. An agent that fills all places, or switches the option on between
// check and close, stalls its own connects.
func (t *Tracker) closeSocket(fd int) {
	l, err := getLinger(fd)
	if err == nil && l.Onoff == 0 {
		_ = unix.Close(fd)
		return
	}
	select {
	case t.linger <- struct{}{}:
		go func() {
			_ = unix.Close(fd)
			<-t.linger
		}()
	default:
		_ = unix.Close(fd)
	}
}

func getLinger(fd int) (unix.Linger, error) {
	var l unix.Linger
	size := uint32(unsafe.Sizeof(l))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER,
		uintptr(unsafe.Pointer(&l)), uintptr(unsafe.Pointer(&size)), 0)
	return l, nonzero(errno)
}

// Lookup tells who opened the connection between the client's address and the
// destination that it asked for, as the client's socket sees them. It gives an
// answer once.
func (t *Tracker) Lookup(client, original netip.AddrPort) Caller {
	client = netip.AddrPortFrom(client.Addr().Unmap().WithZone(""), client.Port())
	original = netip.AddrPortFrom(original.Addr().Unmap().WithZone(""), original.Port())
	if !client.IsValid() || !original.IsValid() || client.Addr().Is4() != original.Addr().Is4() {
		return Caller{}
	}
	cookie, err := t.diag.cookie(client, original)
	if err != nil {
		t.log.Debug("caller unknown", "client", client, "error", err)
		return Caller{}
	}
	return t.table.take(cookie, time.Now())
}

func nonzero(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
