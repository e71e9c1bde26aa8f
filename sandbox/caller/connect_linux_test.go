package caller

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestConnectSoon: a connect that blocks, because the agent has cleared O_NONBLOCK
// meanwhile, does not keep its worker for the minutes that TCP tries.
func TestConnectSoon(t *testing.T) {
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(server)
	if err := unix.Bind(server, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(server, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(server)
	if err != nil {
		t.Fatal(err)
	}
	port := sa.(*unix.SockaddrInet4).Port
	addr := []byte{unix.AF_INET, 0, byte(port >> 8), byte(port), 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	tr := &Tracker{slow: newSlowCalls()}
	ctx, cancel := context.WithCancel(t.Context())
	go tr.slow.watch(ctx)
	defer func() { cancel(); <-tr.slow.stopped }()
	for range 4 { // its backlog is full then
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		_ = tr.connectSoon(fd, addr)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	started := time.Now()
	if errno := tr.connectSoon(fd, addr); errno == 0 || time.Since(started) > 2*maxBlocked+5*time.Second {
		t.Errorf("%v after %v", errno, time.Since(started))
	}
}
