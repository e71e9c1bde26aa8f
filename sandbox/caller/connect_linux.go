package caller

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the agent asked for is never let go on (SECCOMP_USER_NOTIF_FLAG_CONTINUE):
// between our look and the kernel's, another thread of the agent could put another
// socket at the descriptor or another address into the memory. The supervisor takes
// the socket, copies the address once, judges both, and makes the call itself.

// maxAddress is sizeof(struct sockaddr_storage).
const maxAddress = 128

// request is one connect of the agent, taken out of its reach.
type request struct {
	id     uint64
	p      process
	sock   int // our copy of the socket; -1: not taken
	domain int
	tcp    bool
	cookie uint64
	addr   [maxAddress]byte
	len    int
}

// handle makes one connect and answers it. An error ends the worker.
func (t *Tracker) handle(ctx context.Context, wg *sync.WaitGroup, n *notification) error {
	r := &request{id: n.id, sock: -1}
	defer func() {
		if r != nil {
			t.release(r)
		}
	}()
	if err := t.take(n, r); err != nil {
		t.log.Debug("connect refused", "tid", n.pid, "error", err)
		_ = t.answer(n.id, errnoOf(err))
		return nil
	}
	if r.tcp {
		if err := t.note(r); err != nil {
			t.log.Debug("caller unknown", "tid", n.pid, "error", err)
		}
	}
	errno, wait, err := t.connect(r)
	if err != nil {
		return err
	}
	if !wait {
		t.conclude(r, errno)
		return nil
	}
	select {
	case t.pending <- struct{}{}:
	default:
		t.conclude(r, unix.EAGAIN)
		return nil
	}
	slow := r
	slow.p = t.ps.release(slow.p) // its own: the worker goes on
	r = nil
	wg.Go(func() {
		defer func() { <-t.pending }()
		defer t.release(slow)
		t.wait(ctx, slow)
	})
	return nil
}

// conclude answers, and forgets the caller of a connection that did not come about.
func (t *Tracker) conclude(r *request, errno syscall.Errno) {
	// Before the answer: afterwards the agent may close its own, and to close the
	// last one is work that every other connect would wait for.
	t.closeSocket(r.sock)
	r.sock = -1
	err := t.answer(r.id, errno)
	if r.tcp && (err != nil || errno != 0 && errno != unix.EINPROGRESS && errno != unix.EALREADY && errno != unix.EISCONN) {
		t.table.drop(r.cookie)
	}
}

func (t *Tracker) release(r *request) {
	if r.sock >= 0 {
		t.closeSocket(r.sock)
	}
	if r.p.id != 0 {
		r.p.close()
	}
}

// take copies what the call is about: the socket and the address. Its error is
// the answer to the agent.
func (t *Tracker) take(n *notification, r *request) error {
	if n.pid == 0 {
		return fmt.Errorf("thread is in no namespace that we see: %w", unix.EPERM)
	}
	p, err := t.ps.open(int(n.pid))
	if err != nil {
		return fmt.Errorf("open thread: %w", unix.EPERM)
	}
	r.p = p
	if r.sock, err = unix.PidfdGetfd(p.pidfd, int(int32(n.args[0])), 0); err != nil {
		r.sock = -1
		if errors.Is(err, unix.EBADF) {
			return unix.EBADF
		}
		return fmt.Errorf("take socket: %w: %w", err, unix.EPERM)
	}
	if r.domain, err = unix.GetsockoptInt(r.sock, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
		return err
	}
	// The kernel takes the length as an int.
	r.len = int(int32(n.args[2]))
	if r.len < 0 || r.len > maxAddress {
		return unix.EINVAL
	}
	if r.len > 0 {
		local := []unix.Iovec{{Base: &r.addr[0], Len: uint64(r.len)}}
		remote := []unix.RemoteIovec{{Base: uintptr(n.args[1]), Len: r.len}}
		if got, err := unix.ProcessVMReadv(int(n.pid), local, remote, 0); errors.Is(err, unix.EPERM) {
			return fmt.Errorf("read address: %w", err)
		} else if err != nil || got != r.len {
			return unix.EFAULT
		}
	}
	// The number named this thread all the time; until here nothing was changed.
	if err := t.valid(n.id); err != nil {
		return err
	}
	if r.domain != unix.AF_INET && r.domain != unix.AF_INET6 {
		return nil
	}
	protocol, err := unix.GetsockoptInt(r.sock, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return err
	}
	if r.tcp = protocol == unix.IPPROTO_TCP; !r.tcp { // MPTCP has a number of its own
		return nil
	}
	if r.cookie, err = unix.GetsockoptUint64(r.sock, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		r.tcp = false
		return err
	}
	return nil
}

// note remembers the caller of a TCP socket, before the connection can arrive.
// A socket whose caller is unknown is noted too, so that a second program with a
// known name cannot claim it.
func (t *Tracker) note(r *request) error {
	c, err := t.ps.caller(r.p)
	if verr := t.valid(r.id); verr != nil {
		r.tcp = false
		return errors.Join(err, verr)
	}
	t.table.put(r.cookie, c, time.Now())
	return err
}

// connect makes the call. wait means that the agent's blocking call is not done.
func (t *Tracker) connect(r *request) (errno syscall.Errno, wait bool, err error) {
	switch r.domain {
	case unix.AF_INET, unix.AF_INET6:
		return t.connectInternet(r)
	case unix.AF_UNIX:
		return t.connectUnix(r)
	}
	return unix.EPERM, false, nil // netlink: the rest of the kernel's address families are not opened
}

func (t *Tracker) connectInternet(r *request) (errno syscall.Errno, wait bool, err error) {
	err = withoutBlocking(r.sock, func(blocking bool) {
		errno = t.connectSoon(r.sock, r.addr[:r.len])
		if blocking && errno == unix.EINPROGRESS {
			// On lo the handshake is done by now; asking again tells.
			errno = t.connectSoon(r.sock, r.addr[:r.len])
		}
		// Of a blocking socket the kernel waits for a connect that was begun before, too.
		wait = blocking && errno == unix.EALREADY
	})
	if err != nil {
		return errnoOf(err), false, nil
	}
	return errno, wait, nil
}

// wait ends a blocking connect: its server has not answered yet.
func (t *Tracker) wait(ctx context.Context, r *request) {
	runtime.LockOSThread() // as in work
	if t.as.prepare() != nil {
		t.conclude(r, unix.EPERM)
		return
	}
	deadline := sendDeadline(r.sock)
	pause := 5 * time.Millisecond
	for ctx.Err() == nil && t.valid(r.id) == nil {
		if r.domain == unix.AF_UNIX {
			time.Sleep(pause) // no event says that a backlog has room
			pause = min(2*pause, waitTick)
		} else {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(r.sock), Events: unix.POLLOUT}}, int(waitTick/time.Millisecond))
		}
		errno, wait, err := t.connect(r)
		switch {
		case err != nil:
			t.conclude(r, unix.EPERM)
			return
		case !wait:
			t.conclude(r, errno)
			return
		case !deadline.IsZero() && time.Now().After(deadline):
			if errno = unix.EINPROGRESS; r.domain == unix.AF_UNIX {
				errno = unix.EAGAIN
			}
			t.conclude(r, errno)
			return
		}
	}
	if r.tcp {
		t.table.drop(r.cookie)
	}
}

// waitTick is how often a waiting connect looks whether its thread still lives.
const waitTick = 100 * time.Millisecond

// sendDeadline is when SO_SNDTIMEO ends a connect; zero: never.
func sendDeadline(fd int) time.Time {
	tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO)
	if err != nil || tv.Sec == 0 && tv.Usec == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(tv.Nano()))
}

// withoutBlocking runs f while the socket does not block. The flag is shared with
// the agent, which waits in connect meanwhile.
func withoutBlocking(fd int, f func(blocking bool)) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if flags&unix.O_NONBLOCK != 0 {
		f(false)
		return nil
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_NONBLOCK); err != nil {
		return err
	}
	f(true)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	return err
}

// connectSoon is connectTo for an internet socket, which is shut down when that
// lasts: the agent has cleared the flag beside it. (One of a unix socket ends with
// the server's.)
func (t *Tracker) connectSoon(fd int, addr []byte) syscall.Errno {
	t.slow.begin(fd)
	defer t.slow.end(fd)
	return connectTo(fd, addr)
}

func connectTo(fd int, addr []byte) syscall.Errno {
	var p unsafe.Pointer
	if len(addr) > 0 {
		p = unsafe.Pointer(&addr[0])
	}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(p), uintptr(len(addr)))
	return errno
}

// errnoOf is what the agent is told; an error of ours is EPERM.
func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno == 0 {
		return unix.EPERM
	}
	return errno
}
