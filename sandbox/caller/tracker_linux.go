package caller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// workers answer notifications at the same time. One takes the next while
	// others read; the reading is short and mostly system calls.
	workers = 4

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

// Tracker remembers who connects. Run does the work; without it every caller is
// unknown and the agent's connects wait.
type Tracker struct {
	notify *os.File
	diag   diag
	ps     processes
	log    *slog.Logger
	table  table
	linger chan struct{}
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
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tracker{log: c.Log, linger: make(chan struct{}, maxLingering)}
	var err error
	if t.notify, err = own(c.Notify); err != nil {
		return nil, fmt.Errorf("take seccomp listener: %w", err)
	}
	if t.diag.f, err = own(c.Diag); err != nil {
		_ = t.notify.Close()
		return nil, fmt.Errorf("take diag socket: %w", err)
	}
	t.ps.init, t.ps.verify = c.Init, c.Verify
	if t.ps.proc, err = os.OpenFile("/proc", unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		t.close()
		return nil, fmt.Errorf("open process file system: %w", err)
	}
	// Wakes the reader on the processor that the agent is about to give up. Only
	// faster, so kernels before 6.6 may refuse.
	_ = control(t.notify, func(fd uintptr) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
		return nonzero(errno)
	})
	return t, nil
}

// own duplicates a descriptor of which others may hold copies, for Go's poller.
func own(f *os.File) (own *os.File, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(fd uintptr) {
		var n int
		if n, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return
		}
		if err = unix.SetNonblock(n, true); err != nil {
			_ = unix.Close(n)
			return
		}
		own = os.NewFile(uintptr(n), f.Name())
	})
	return own, errors.Join(err, cerr)
}

func (t *Tracker) close() {
	_ = t.notify.Close()
	_ = t.diag.f.Close()
	if t.ps.proc != nil {
		_ = t.ps.proc.Close()
	}
}

// Run answers notifications until ctx ends or the last process under the filter
// has (nil both), or the listener fails. It then closes what New took over: a
// connect that waits gets ENOSYS. Call it once.
func (t *Tracker) Run(parent context.Context) error {
	defer t.close()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { _ = t.notify.Close() })()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { cancel(t.work()) })
	}
	wg.Wait()
	if err := context.Cause(ctx); parent.Err() == nil && !errors.Is(err, errGone) {
		return err
	}
	return nil
}

// work answers one notification after the other.
func (t *Tracker) work() error {
	raw, err := t.notify.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var n notification
		var rerr error
		// One worker at a time is inside Read; it waits in the poller.
		if err := raw.Read(func(fd uintptr) (done bool) {
			done, rerr = receive(fd, &n)
			return done
		}); err != nil {
			return err
		}
		if rerr != nil {
			return rerr
		}
		t.handle(&n)
	}
}

// receive takes a notification if there is one. RECV would block, whatever the
// flags of the descriptor, so it is asked only when there is something to take.
func receive(fd uintptr, n *notification) (done bool, err error) {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 0); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return true, fmt.Errorf("poll seccomp listener: %w", err)
		}
		switch ready := fds[0].Revents; {
		case ready&unix.POLLIN != 0:
		case ready&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0:
			return true, errGone
		default:
			return false, nil
		}
		*n = notification{} // the kernel insists
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(n)))
		switch errno {
		case 0:
			return true, nil
		case unix.EINTR, unix.ENOENT: // the thread was killed meanwhile
		default:
			return true, fmt.Errorf("receive notification: %w", errno)
		}
	}
}

// handle notes the caller, if it can be told, and lets the call go on.
func (t *Tracker) handle(n *notification) {
	sock, cookie, err := t.note(n)
	if err != nil {
		t.log.Debug("caller unknown", "tid", n.pid, "error", err)
	}
	err = control(t.notify, func(fd uintptr) error {
		r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
		runtime.KeepAlive(&r)
		return nonzero(errno)
	})
	if err != nil && cookie != 0 {
		t.table.drop(cookie)
	}
	if sock >= 0 {
		t.closeSocket(sock)
	}
}

// note remembers the caller of a TCP socket. What is returned with a nil error
// and no cookie is no concern of ours. The socket, if not -1, is to be closed.
func (t *Tracker) note(n *notification) (sock int, cookie uint64, err error) {
	if n.pid == 0 {
		return -1, 0, errors.New("thread is in no namespace that we see")
	}
	p, err := t.ps.open(int(n.pid))
	if err != nil {
		return -1, 0, fmt.Errorf("open thread: %w", err)
	}
	defer p.close()
	if err := t.valid(n.id); err != nil {
		return -1, 0, err
	}
	// The first argument of connect, sendto, sendmsg and sendmmsg.
	sock, err = unix.PidfdGetfd(p.pidfd, int(int32(n.args[0])), 0)
	if errors.Is(err, unix.EBADF) {
		return -1, 0, nil // the call will fail
	}
	if err != nil {
		return -1, 0, fmt.Errorf("take socket: %w", err)
	}
	if tcp, err := isTCP(sock); !tcp {
		return sock, 0, err
	}
	if cookie, err = unix.GetsockoptUint64(sock, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return sock, 0, fmt.Errorf("read socket cookie: %w", err)
	}
	c, err := t.ps.caller(p)
	// A socket whose caller is unknown is noted too if the thread is still there,
	// so that a second program with a known name cannot claim it.
	if verr := t.valid(n.id); verr != nil {
		return sock, 0, errors.Join(err, verr)
	}
	t.table.put(cookie, c, time.Now())
	return sock, cookie, err
}

// isTCP reports whether a descriptor is a TCP socket; only those come in as
// connections. MPTCP has a protocol number of its own.
func isTCP(fd int) (bool, error) {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if errors.Is(err, unix.ENOTSOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read socket domain: %w", err)
	}
	if domain != unix.AF_INET && domain != unix.AF_INET6 {
		return false, nil
	}
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return false, fmt.Errorf("read socket protocol: %w", err)
	}
	return protocol == unix.IPPROTO_TCP, nil
}

// valid is nil while the thread of a notification still waits in its call.
func (t *Tracker) valid(id uint64) error {
	return control(t.notify, func(fd uintptr) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id)))
		return nonzero(errno)
	})
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

// control runs a system call on a file that may be closed meanwhile.
func control(f *os.File, call func(fd uintptr) error) (err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = call(fd) }); cerr != nil {
		return cerr
	}
	return err
}

func nonzero(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
