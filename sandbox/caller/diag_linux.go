package caller

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// diag asks for sockets of the network namespace in which its descriptor was made.
type diag struct {
	mu  sync.Mutex
	f   *os.File
	seq uint32
}

// cookie finds the cookie of the TCP socket between two addresses.
func (d *diag) cookie(local, remote netip.AddrPort) (cookie uint64, err error) {
	raw, err := d.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq++
	if cerr := raw.Control(func(fd uintptr) { cookie, err = query(int(fd), d.seq, local, remote) }); cerr != nil {
		return 0, cerr
	}
	return cookie, err
}

func query(fd int, seq uint32, local, remote netip.AddrPort) (uint64, error) {
	msg := appendQuery(make([]byte, 0, nlmsgHeader+diagRequest), seq, local, remote)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("query socket: %w", err)
	}
	// The kernel answers before sendto returns, so there is nothing to wait for.
	buf := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("query socket: %w", err)
		}
		if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
			continue // not from the kernel
		}
		cookie, again, err := parseAnswer(buf[:n], seq, local, remote)
		if !again {
			return cookie, err
		}
	}
}

// bound reports whether a process of the namespace listens on a unix socket that
// is bound to this inode.
func (d *diag) bound(dev, ino uint64) (found bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq++
	// The kernel's own form of a device number.
	kdev := unix.Major(dev)<<20 | unix.Minor(dev)
	err = control(d.f, func(fd uintptr) error {
		if err := unix.Sendto(int(fd), appendUnixQuery(make([]byte, 0, nlmsgHeader+unixRequest), d.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("list unix sockets: %w", err)
		}
		buf := make([]byte, 32<<10) // the kernel's largest datagram
		for {
			n, from, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return fmt.Errorf("list unix sockets: %w", err)
			}
			if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
				continue
			}
			hit, done, err := findUnix(buf[:n], d.seq, kdev, uint32(ino))
			found = found || hit
			if done || err != nil {
				return err
			}
		}
	})
	return found && err == nil, err
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
