package caller

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A unix socket with a path reaches whoever bound it, through read-only mounts
// and across network namespaces. The agent reaches only those that a process of
// its own network namespace listens on: the kernel's list of them names the inode
// that each is bound to, and an inode is bound once and for good. The socket that
// was judged is the one that is connected to: both are one descriptor.
//
// Abstract names belong to the network namespace of the socket.

// sunPath is the offset of sun_path in struct sockaddr_un, maxSun its size.
const (
	sunPath = 2
	maxSun  = 110
)

// connectUnix makes the call for a unix socket. The server sees the agent's ids
// (SO_PEERCRED), and 0 for the process.
func (t *Tracker) connectUnix(r *request) (errno syscall.Errno, wait bool, err error) {
	addr := r.addr[:r.len]
	if name := unixPath(addr); name != "" {
		fd, err := t.openSocket(r.p, name)
		switch {
		case errors.Is(err, errThread):
			return 0, false, err
		case errors.Is(err, errForeign):
			t.refuse(r, name)
			fallthrough
		case err != nil:
			t.log.Debug("unix socket refused", "tid", r.p.id, "error", err)
			return errnoOf(err), false, nil
		}
		defer unix.Close(fd)
		addr = appendUnixAddress(addr[:0:0], "/proc/self/fd/"+strconv.Itoa(fd))
	}
	if err := t.as.assume(); err != nil {
		return 0, false, err
	}
	ferr := withoutBlocking(r.sock, func(blocking bool) {
		errno = connectTo(r.sock, addr)
		wait = blocking && errno == unix.EAGAIN // the server's backlog is full
	})
	if err := t.as.leave(); err != nil {
		return 0, false, err
	}
	if ferr != nil {
		return errnoOf(ferr), false, nil
	}
	return errno, wait, nil
}

// unixPath is the path of an address; empty if it has none, and the kernel decides.
func unixPath(addr []byte) string {
	if len(addr) <= sunPath || len(addr) > maxSun || addr[0] != unix.AF_UNIX || addr[1] != 0 || addr[sunPath] == 0 {
		return ""
	}
	name, _, _ := bytes.Cut(addr[sunPath:], []byte{0})
	return string(name)
}

func appendUnixAddress(b []byte, name string) []byte {
	b = append(b, unix.AF_UNIX, 0)
	return append(append(b, name...), 0)
}

// errThread means that the thread has lost its ids, and must end.
var errThread = errors.New("the thread's ids are not its own")

// refuse tells of a socket that is not the sandbox's.
func (t *Tracker) refuse(r *request, name string) {
	if t.refused == nil {
		return
	}
	c, err := t.ps.caller(r.p)
	if err != nil || t.valid(r.id) != nil {
		c = Caller{}
	}
	t.refused(name, c)
}

// errForeign is the kernel's answer where no socket listens.
var errForeign = fmt.Errorf("the socket is not bound inside the sandbox: %w", unix.ECONNREFUSED)

// openSocket opens a socket file as the process sees it, if it may be reached.
func (t *Tracker) openSocket(p process, name string) (fd int, err error) {
	id := strconv.Itoa(p.id)
	if name[0] != '/' {
		// A working folder that has no path from the root is not found. What is
		// found is judged by itself, whatever is renamed meanwhile.
		var buf [unix.PathMax]byte
		n, err := unix.Readlinkat(int(t.ps.proc.Fd()), id+"/cwd", buf[:])
		if err != nil {
			return -1, fmt.Errorf("read working folder: %w", unix.EPERM)
		}
		if n == len(buf) || n == 0 || buf[0] != '/' {
			return -1, unix.ENOENT
		}
		name = string(buf[:n]) + "/" + name
	}
	root, err := unix.Openat(int(t.ps.proc.Fd()), id+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open root: %w", unix.EPERM)
	}
	defer unix.Close(root)
	// Under root, what the agent may not look into tells it nothing.
	if err := t.as.assume(); err != nil {
		return -1, errors.Join(errThread, err)
	}
	for range maxRetries {
		fd, err = unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		if !errors.Is(err, unix.EAGAIN) { // something was renamed on the way
			break
		}
	}
	if err := t.as.leave(); err != nil {
		return -1, errors.Join(errThread, err)
	}
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		_ = unix.Close(fd)
		return -1, unix.ECONNREFUSED
	}
	bound, err := t.diag.bound(st.Dev, st.Ino)
	if err != nil || !bound {
		_ = unix.Close(fd)
		return -1, errors.Join(errForeign, err)
	}
	return fd, nil
}

// identity are the ids under which unix sockets are connected to: the server must
// see the agent, and its file permissions must hold. The zero value changes nothing.
type identity struct{ uid, gid int }

// keep leaves an id of the three as it is.
const keep = ^uintptr(0)

// prepare takes from a thread of root's what is not the agent's for good: groups.
func (i identity) prepare() error {
	if i == (identity{}) {
		return nil
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return fmt.Errorf("drop groups: %w", e)
	}
	return nil
}

// assume makes the thread's effective ids the agent's. The calls are raw: those
// of package syscall change all threads.
func (i identity) assume() error {
	if i == (identity{}) {
		return nil
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, keep, uintptr(i.gid), keep); e != 0 {
		return fmt.Errorf("take the agent's group: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(i.uid), keep); e != 0 {
		return fmt.Errorf("take the agent's id: %w", e)
	}
	return nil
}

// leave goes back. A thread that cannot must end.
func (i identity) leave() error {
	if i == (identity{}) {
		return nil
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep); e != 0 {
		return fmt.Errorf("give up the agent's id: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, keep, 0, keep); e != 0 {
		return fmt.Errorf("give up the agent's group: %w", e)
	}
	return nil
}
