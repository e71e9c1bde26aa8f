package caller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The test binary plays three parts: the test outside; "init", process 1 of a
// sandbox with a network namespace and the filter; and agents under the filter.
//
//	test                        init (fd 3: control)             agent
//	clone namespaces ──────▶   lo up, sockets, filter
//	     ◀── one message with the descriptors
//	  order (JSON) ──────────▶  fork, exec ──────────────────▶  connect, "ready" on the connection
//	     ◀─────────────────────  report when it ended  ◀───────  exits when the connection ends
const helperArg = "caller-test-helper"

type order struct {
	Path   string
	Args   []string // with argv[0]
	Nested bool     // in a user namespace of its own
	Self   string   // connect from init itself instead
}

type report struct {
	Status int
	Output string
}

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == helperArg {
		var err error
		switch os.Args[2] {
		case "init":
			err = helperInit()
		case "agent":
			err = agent(os.Args[3], os.Args[4:])
		}
		var errno syscall.Errno
		switch {
		case errors.As(err, &errno):
			os.Exit(int(errno))
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			os.Exit(255)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func helperInit() error {
	runtime.LockOSThread() // the filter is the thread's; children inherit it
	// The host's /proc would name other processes by the numbers seen here.
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, "")); err != nil {
		return fmt.Errorf("mount proc: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	diagFD, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	fds := []int{diagFD}
	for _, a := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		fds = append(fds, int(f.Fd()))
	}
	notify, err := installFilter()
	if err != nil {
		return fmt.Errorf("install filter: %w", err)
	}
	fds = append([]int{notify}, fds...)
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(fds...), nil, 0); err != nil {
		return err
	}
	_ = unix.Close(notify)
	control := os.NewFile(3, "control")
	unix.CloseOnExec(3)
	reports := json.NewEncoder(control)
	for orders := json.NewDecoder(control); ; {
		var o order
		if err := orders.Decode(&o); err != nil {
			return nil // the test is done
		}
		if o.Self != "" {
			if err := plain(o.Self); err != nil {
				return err
			}
			if err := reports.Encode(report{}); err != nil {
				return err
			}
			continue
		}
		cmd := exec.Cmd{Path: o.Path, Args: o.Args, Env: []string{"GORACE=atexit_sleep_ms=0"}}
		if o.Nested {
			id := []syscall.SysProcIDMap{{Size: 1}}
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: id, GidMappings: id}
		}
		out, err := cmd.CombinedOutput()
		r := report{Output: string(out)}
		if err != nil {
			r.Status = -1
			r.Output += err.Error()
		}
		if cmd.ProcessState != nil {
			r.Status = cmd.ProcessState.ExitCode()
		}
		if err := reports.Encode(r); err != nil {
			return err
		}
	}
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// installFilter puts connect(2) of this thread under a listener.
func installFilter() (int, error) {
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: unix.SYS_CONNECT},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// agent is the untrusted program. Connects are made with the bare call, so that
// the thread is the one that the mode wants.
func agent(mode string, args []string) error {
	addr := args[len(args)-1]
	switch mode {
	case "plain":
		return plain(addr)
	case "thread", "own-files":
		return onThread(func() error {
			if mode == "own-files" {
				if err := unix.Unshare(unix.CLONE_FILES); err != nil {
					return err
				}
			}
			return plain(addr)
		})
	case "chain": // exec the first, with the rest
		if len(args) == 1 {
			return plain(addr)
		}
		return passOn(exec.Command(args[0], append([]string{helperArg, "agent", "chain"}, args[1:]...)...))
	case "orphan": // the parent ends before the child connects
		if len(args) == 2 {
			cmd := exec.Command(args[0], helperArg, "agent", "orphan", strconv.Itoa(os.Getpid()), "x", addr)
			return cmd.Start()
		}
		parent, _ := strconv.Atoi(args[0])
		for os.Getppid() == parent {
			runtime.Gosched()
		}
		return plain(addr)
	case "brief":
		fd, err := open(addr)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, []byte("ready"))
		return err
	case "unlink":
		if err := os.Remove(args[0]); err != nil {
			return err
		}
		return plain(addr)
	case "memfd":
		fd, err := unix.MemfdCreate("agent", 0)
		if err != nil {
			return err
		}
		b, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			return err
		}
		path := "/proc/self/fd/" + strconv.Itoa(fd)
		if err := os.WriteFile(path, b, 0); err != nil {
			return err
		}
		return unix.Exec(path, []string{"agent", helperArg, "agent", "plain", addr}, nil)
	case "not-dumpable":
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return err
		}
		return plain(addr)
	case "mapped":
		a := netip.MustParseAddrPort(addr)
		return plain(netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port()).String())
	case "other": // sockets that are no concern of ours
		return otherSockets(addr)
	case "unix":
		return unixSockets(args[0], args[1])
	case "unix-race":
		return unixRace(args[0], args[1])
	case "again": // the same program asks twice
		fd, err := open(addr)
		if err != nil {
			return err
		}
		if err := connect(fd, addr); !errors.Is(err, unix.EISCONN) {
			return fmt.Errorf("connect again: %v", err)
		}
		return wait(fd)
	case "shared": // another program connects the socket once more
		fd, err := open(addr)
		if err != nil {
			return err
		}
		cmd := exec.Command(args[0], helperArg, "agent", "claim", addr)
		cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "socket")}
		return passOn(cmd)
	case "claim":
		if err := connect(3, addr); !errors.Is(err, unix.EISCONN) {
			return fmt.Errorf("connect again: %v", err)
		}
		return wait(3)
	case "many":
		n, _ := strconv.Atoi(args[0])
		done := make(chan error)
		for range n {
			go func() { done <- plain(addr) }()
		}
		var errs error
		for range n {
			errs = errors.Join(errs, <-done)
		}
		return errs
	case "late": // a server whose queue is full when a blocking connect comes
		return late()
	case "loop": // for measuring: one connection after the other, each ended by the other side
		n, _ := strconv.Atoi(args[0])
		for range n {
			fd, err := open(addr)
			if err != nil {
				return err
			}
			if err := wait(fd); err != nil {
				return err
			}
			_ = unix.Close(fd)
		}
		return nil
	}
	return fmt.Errorf("no mode %q", mode)
}

// late connects to a server of its own that makes room after some of waitTick. The
// kernel sends the handshake again after a second.
func late() error {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(l, 0); err != nil {
		return err
	}
	to, err := unix.Getsockname(l)
	if err != nil {
		return err
	}
	first, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(first, to); err != nil { // the queue has room for one
		return err
	}
	room := make(chan error)
	go func() {
		time.Sleep(3 * waitTick)
		for range 2 {
			if _, _, err := unix.Accept(l); err != nil {
				room <- err
				return
			}
		}
		room <- nil
	}()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, to); err != nil {
		return fmt.Errorf("connect to the late server: %w", err)
	}
	return <-room
}

func passOn(cmd *exec.Cmd) error {
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			done <- onThread(f) // this one stays occupied
			return
		}
		done <- f()
	}()
	return <-done
}

func plain(addr string) error {
	fd, err := open(addr)
	if err != nil {
		return err
	}
	return wait(fd)
}

func open(addr string) (int, error) {
	family := unix.AF_INET6
	if netip.MustParseAddrPort(addr).Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, connect(fd, addr)
}

func connect(fd int, addr string) error {
	a := netip.MustParseAddrPort(addr)
	if a.Addr().Is4() {
		return unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
	}
	return unix.Connect(fd, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()})
}

// wait says that all is set up, and returns when the test closes the connection.
func wait(fd int) error {
	if _, err := unix.Write(fd, []byte("ready")); err != nil {
		return err
	}
	for {
		n, err := unix.Read(fd, make([]byte, 16))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
	}
}

func otherSockets(addr string) error {
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	if err := connect(udp, addr); err != nil {
		return err
	}
	local, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(local, &unix.SockaddrUnix{Name: "/no/such/socket"}); !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("connect unix socket: %v", err)
	}
	for _, fd := range []int{-1, 1 << 20} {
		if err := connect(fd, addr); !errors.Is(err, unix.EBADF) {
			return fmt.Errorf("connect no descriptor: %v", err)
		}
	}
	if err := connect(0, addr); !errors.Is(err, unix.ENOTSOCK) {
		return fmt.Errorf("connect a file: %v", err)
	}
	return nil
}

// box is a sandbox as the test holds it.
type box struct {
	t       testing.TB
	init    int
	exe     string // the test binary, where every user may run it
	dir     string
	tracker *Tracker
	l4, l6  *net.TCPListener
	ctl     *net.UnixConn
	reports *json.Decoder
	cancel  func()
	refused *atomic.Int32
	ran     chan error
}

// programs puts copies of the test binary where an agent may run and delete them.
func programs(t testing.TB, names ...string) (dir string, paths []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "caller")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		p := dir + "/" + n
		if err := os.WriteFile(p, b, 0o755); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p)
	}
	return dir, paths
}

// expect accepts one connection and reads what every agent writes first.
func (b *box) expect(l *net.TCPListener) net.Conn {
	b.t.Helper()
	if err := l.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		b.t.Fatalf("no connection: %v", err)
	}
	b.t.Cleanup(func() { c.Close() })
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "ready" {
		b.t.Fatalf("agent said %q: %v", got, err)
	}
	return c
}

func (b *box) order(o order) {
	b.t.Helper()
	if err := json.NewEncoder(b.ctl).Encode(o); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) run(path, mode string, args ...string) {
	b.t.Helper()
	b.order(order{Path: path, Args: append([]string{path, helperArg, "agent", mode}, args...)})
}

// finish waits for the report of the last order.
func (b *box) finish() report {
	b.t.Helper()
	var r report
	if err := b.ctl.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	if err := b.reports.Decode(&r); err != nil {
		b.t.Fatalf("no report: %v", err)
	}
	return r
}

func (b *box) lookup(c net.Conn) Caller {
	return b.tracker.Lookup(c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort())
}

// hostStatus reads a line of /proc/PID/status.
func hostStatus(t testing.TB, pid int, key string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("no %s of process %d", key, pid)
	return ""
}
