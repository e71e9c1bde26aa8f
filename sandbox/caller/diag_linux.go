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
