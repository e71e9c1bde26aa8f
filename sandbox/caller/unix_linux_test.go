package caller

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unixSockets is an agent: what it listens on can be reached by every name, and
// what the host listens on by none.
func unixSockets(dir, foreign string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(l, &unix.SockaddrUnix{Name: "own"}), unix.Listen(l, 1)); err != nil {
		return err
	}
	a, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Bind(a, &unix.SockaddrUnix{Name: "@own"}), unix.Listen(a, 1)); err != nil {
		return err
	}
	if err := errors.Join(os.Symlink("own", "link"), os.Link("own", "hard"), os.Symlink(foreign, "away"), os.Mkdir("d", 0o700), os.WriteFile("file", nil, 0o600)); err != nil {
		return err
	}
	for _, name := range []string{"own", "./d/../own", dir + "/own", "link", "hard", "../" + filepath.Base(dir) + "/own"} {
		c, err := unixConnect(unix.SOCK_STREAM, name, 0)
		if err != nil {
			return fmt.Errorf("connect to %s: %w", name, fmt.Errorf("%v", err))
		}
		s, _, err := unix.Accept(l)
		if err != nil {
			return err
		}
		cred, err := unix.GetsockoptUcred(s, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil || int(cred.Uid) != os.Getuid() || int(cred.Gid) != os.Getgid() {
			return fmt.Errorf("%s: peer %+v, %v; want ids %d and %d", name, cred, err, os.Getuid(), os.Getgid())
		}
		_, _ = unix.Close(c), unix.Close(s)
	}
	c, err := unixConnect(unix.SOCK_SEQPACKET, "@own", 0)
	if err != nil {
		return fmt.Errorf("connect to an abstract name: %v", err)
	}
	_ = unix.Close(c)
	for name, want := range map[string]error{foreign: unix.ECONNREFUSED, "away": unix.ECONNREFUSED, "no": unix.ENOENT, "file": unix.ECONNREFUSED, "d": unix.ECONNREFUSED,
		"file/x": unix.ENOTDIR, "@no": unix.ECONNREFUSED, "/proc/self/fd/0": unix.ENOENT, strings.Repeat("a", 107): unix.ENOENT} {
		if c, err := unixConnect(unix.SOCK_STREAM, name, 0); !errors.Is(err, want) {
			return fmt.Errorf("connect to %s: %d, %v; want %v", name, c, err, want)
		}
	}
	// A full backlog: the flag decides who waits.
	var held []int
	for {
		c, err := unixConnect(unix.SOCK_STREAM, "own", unix.SOCK_NONBLOCK)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil || len(held) > 10 {
			return fmt.Errorf("fill the backlog: %d, %v", len(held), err)
		}
		held = append(held, c)
	}
	done := make(chan error)
	go func() {
		_, err := unixConnect(unix.SOCK_STREAM, "own", 0)
		done <- err
	}()
	select {
	case err := <-done:
		return fmt.Errorf("a blocking connect did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, _, err := unix.Accept(l); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return fmt.Errorf("a blocking connect: %v", err)
	}
	return nil
}

func unixConnect(kind int, name string, flags int) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, kind|flags|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	before, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: name})
	if after, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); after != before {
		return fd, fmt.Errorf("flags %#x became %#x", before, after)
	}
	return fd, err
}

// unixRace is an agent that changes everything that a connect is about while it
// is judged: the link, the address in memory, and the socket at the descriptor.
func unixRace(dir, foreign string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	l, err := net.Listen("unix", "mine")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := tcp.Addr().(*net.TCPAddr).Port
	var addr [110]byte
	inet := []byte{unix.AF_INET, 0, byte(port >> 8), byte(port), 127, 0, 0, 1}
	var path []byte
	path = appendUnixAddress(path, "l")
	var stop atomic.Bool
	slot, err := unix.Dup(0)
	if err != nil {
		return err
	}
	go func() {
		for !stop.Load() {
			os.Symlink("mine", "t")
			os.Rename("t", "l")
			copy(addr[:], inet)
			if u, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); err == nil {
				unix.Dup3(u, slot, 0)
				unix.Close(u)
			}
			os.Symlink(foreign, "t")
			os.Rename("t", "l")
			copy(addr[:], path)
			if u, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err == nil {
				unix.Dup3(u, slot, 0)
				unix.Close(u)
			}
		}
	}()
	reached := 0
	for range 5000 {
		if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(slot), uintptr(unsafe.Pointer(&addr[0])), 16); errno == 0 {
			reached++
		}
	}
	stop.Store(true)
	if reached == 0 {
		return errors.New("no connect of the race worked")
	}
	return nil
}

func TestUnixSockets(t *testing.T) {
	b := newBox(t).start()
	dir, _ := programs(t)
	foreign := filepath.Join(dir, "host")
	l, err := net.Listen("unix", foreign)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(foreign, 0o777); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("unix", foreign); err != nil {
		t.Fatal(err) // the control: from here it can be reached
	} else if in, err := l.Accept(); err != nil {
		t.Fatal(err)
	} else {
		_, _ = c.Close(), in.Close()
	}
	for _, mode := range []string{"unix", "unix-race"} {
		inside := filepath.Join(dir, mode)
		if err := os.Mkdir(inside, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(inside, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := b.ctl.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		b.run(b.exe, mode, inside, foreign)
		if r := b.finish(); r.Status != 0 {
			t.Errorf("%s: %+v", mode, r)
		}
	}
	if b.refused.Load() == 0 {
		t.Error("nobody was told of what was refused")
	}
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if c, err := l.Accept(); err == nil {
		t.Errorf("a server of the host was reached: %v", c)
	}
}

func TestUnixPath(t *testing.T) {
	for addr, want := range map[string]string{"": "", "\x01": "", "\x01\x00": "", "\x01\x00\x00abc": "", "\x01\x00a": "a", "\x01\x00a\x00b": "a", "\x02\x00a": "", "\x01\x01a": "",
		"\x01\x00" + strings.Repeat("a", 108): strings.Repeat("a", 108), "\x01\x00" + strings.Repeat("a", 109): ""} {
		if got := unixPath([]byte(addr)); got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}
