package caller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newBox starts a sandbox with a Tracker that runs.
func newBox(t testing.TB) *box {
	t.Helper()
	dir, paths := programs(t, "init")
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	cmd := exec.Command(paths[0], helperArg, "init")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	attr := &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	if os.Getuid() == 0 {
		// No host id 0 inside (design.md §5).
		attr.UidMappings[0].HostID, attr.GidMappings[0].HostID = 100000, 100000
		attr.Credential = &syscall.Credential{NoSetGroups: true}
	}
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start sandbox: %v", err)
	}
	theirs.Close()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

	b := &box{t: t, init: cmd.Process.Pid, exe: paths[0], dir: dir, ran: make(chan error, 1), refused: new(atomic.Int32)}
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	b.ctl = conn.(*net.UnixConn)
	t.Cleanup(func() { b.ctl.Close() })
	fds := b.receive(4)
	for i, l := range []**net.TCPListener{&b.l4, &b.l6} {
		f := os.NewFile(uintptr(fds[2+i]), "listener")
		gen, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		t.Cleanup(func() { gen.Close() })
		*l = gen.(*net.TCPListener)
	}
	b.reports = json.NewDecoder(b.ctl)
	b.tracker, err = New(Config{
		Notify: os.NewFile(uintptr(fds[0]), "seccomp"),
		Diag:   os.NewFile(uintptr(fds[1]), "diag"),
		Init:   b.init,
		Refused: func(path string, c Caller) {
			if !c.Known || path == "" {
				t.Errorf("refused %q to %+v", path, c)
			}
			b.refused.Add(1)
		},
		UID: attr.UidMappings[0].HostID, GID: attr.GidMappings[0].HostID,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start runs the Tracker until the test ends.
func (b *box) start() *box {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { b.ran <- b.tracker.Run(ctx); close(b.ran) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-b.ran; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	})
	return b
}

func (b *box) receive(n int) []int {
	b.t.Helper()
	oob := make([]byte, unix.CmsgSpace(4*n))
	if err := b.ctl.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	_, oobn, _, _, err := b.ctl.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		b.t.Fatalf("no descriptors: %v", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		b.t.Fatalf("no descriptors: %v, %v", msgs, err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != n {
		b.t.Fatalf("descriptors %v: %v", fds, err)
	}
	return fds
}

// variants are the ways to read processes: that of this kernel, and those of older ones.
var variants = map[string]processes{
	"current":           {},
	"without info":      {noInfo: true},
	"without thread fd": {noInfo: true, noThread: true},
}

func TestTracker(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			b.tracker.ps.noInfo, b.tracker.ps.noThread = v.noInfo, v.noThread
			b.start()
			testCallers(t, b, v.noThread)
		})
	}
}

func testCallers(t *testing.T, b *box, noThread bool) {
	dir, p := programs(t, "one", "two", "three", "gone")
	one, two, three, gone := p[0], p[1], p[2], p[3]
	link := dir + "/link"
	if err := os.Symlink(one, link); err != nil {
		t.Fatal(err)
	}
	odd := dir + "/four (deleted)"
	if err := os.Link(one, odd); err != nil {
		t.Fatal(err)
	}
	a4, a6 := b.l4.Addr().String(), b.l6.Addr().String()
	for _, tt := range []struct {
		name      string
		order     order
		l         *net.TCPListener
		binary    string // "" if the caller must be unknown
		ancestors []string
	}{
		{"IPv4", order{Path: one, Args: []string{one, "plain", a4}}, b.l4, one, nil},
		{"IPv6", order{Path: one, Args: []string{one, "plain", a6}}, b.l6, one, nil},
		{"mapped", order{Path: one, Args: []string{one, "mapped", a4}}, b.l4, one, nil},
		{"argv0", order{Path: one, Args: []string{"/usr/bin/git", "plain", a4}}, b.l4, one, nil},
		{"symlink", order{Path: link, Args: []string{link, "plain", a4}}, b.l4, one, nil},
		{"proc alias", order{Path: "/proc/self/root" + one, Args: []string{one, "plain", a4}}, b.l4, one, nil},
		{"nested user namespace", order{Path: one, Nested: true, Args: []string{one, "plain", a4}}, b.l4, one, nil},
		{"not dumpable", order{Path: one, Args: []string{one, "not-dumpable", a4}}, b.l4, one, nil},
		{"nested and not dumpable", order{Path: one, Nested: true, Args: []string{one, "not-dumpable", a4}}, b.l4, one, nil},
		{"thread", order{Path: one, Args: []string{one, "thread", a4}}, b.l4, one, nil},
		{"grandchild", order{Path: one, Args: []string{one, "chain", two, three, a4}}, b.l4, three, []string{two, one}},
		{"orphan", order{Path: one, Args: []string{one, "orphan", two, a4}}, b.l4, two, nil},
		{"brief", order{Path: one, Args: []string{one, "brief", a4}}, b.l4, one, nil},
		{"asked twice", order{Path: one, Args: []string{one, "again", a4}}, b.l4, one, nil},
		{"init itself", order{Self: a4}, b.l4, b.exe, nil},

		{"deleted", order{Path: gone, Args: []string{gone, "unlink", gone, a4}}, b.l4, "", nil},
		{"name ends in deleted", order{Path: odd, Args: []string{odd, "plain", a4}}, b.l4, "", nil},
		{"memfd", order{Path: one, Args: []string{one, "memfd", a4}}, b.l4, "", nil},
		{"shared by two programs", order{Path: one, Args: []string{one, "shared", two, a4}}, b.l4, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := *b
			b.t = t
			o := tt.order
			if o.Path != "" {
				o.Args = append([]string{o.Args[0], helperArg, "agent"}, o.Args[1:]...)
			}
			b.order(o)
			c := b.expect(tt.l)
			brief := tt.name == "brief" || tt.name == "orphan"
			var r report
			if brief {
				r = b.finish() // the process ended before we ask
			}
			got := b.lookup(c)
			if got.Known != (tt.binary != "") || (got.Known && got.Binary != tt.binary) || !slices.Equal(got.Ancestors, tt.ancestors) {
				t.Errorf("caller %+v, want %q below %q", got, tt.binary, tt.ancestors)
			}
			if tt.binary != "" {
				var st unix.Stat_t
				if err := unix.Stat(tt.binary, &st); err != nil || got.Dev != st.Dev || got.Ino != st.Ino {
					t.Errorf("inode %d:%d, want %d:%d", got.Dev, got.Ino, st.Dev, st.Ino)
				}
				if !brief && hostStatus(t, got.PID, "Tgid") != strconv.Itoa(got.PID) {
					t.Errorf("%d is no process", got.PID)
				}
			} else if got.Dev != 0 || got.Ino != 0 || got.Binary != "" && !strings.HasSuffix(got.Binary, deletedSuffix) {
				t.Errorf("unknown caller %+v says too much", got)
			}
			if again := b.lookup(c); again.Known {
				t.Errorf("a second answer: %+v", again)
			}
			c.Close()
			if !brief {
				r = b.finish()
			}
			if r.Status != 0 {
				t.Errorf("agent: %+v", r)
			}
		})
	}

	// A thread with a descriptor table of its own cannot be asked on older
	// kernels; it must not be taken for anything.
	t.Run("own descriptors", func(t *testing.T) {
		b := *b
		b.t = t
		b.run(one, "own-files", a4)
		if noThread {
			if r := b.finish(); r.Status == 0 { // its socket is not at that number of the first thread
				t.Errorf("agent: %+v", r)
			}
			return
		}
		c := b.expect(b.l4)
		if got := b.lookup(c); got.Binary != one {
			t.Errorf("caller %+v", got)
		}
		c.Close()
		b.finish()
	})

	t.Run("other sockets", func(t *testing.T) {
		b := *b
		b.t = t
		b.run(one, "other", a4)
		if r := b.finish(); r.Status != 0 {
			t.Errorf("agent: %+v", r)
		}
		b.tracker.table.mu.Lock()
		defer b.tracker.table.mu.Unlock()
		if n := b.tracker.table.order.Len(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
	})

	t.Run("a late server", func(t *testing.T) {
		b := *b
		b.t = t
		b.run(one, "late", a4)
		if r := b.finish(); r.Status != 0 {
			t.Errorf("agent: %+v", r)
		}
	})

	t.Run("many at a time", func(t *testing.T) {
		b := *b
		b.t = t
		const n = 100
		b.run(one, "many", strconv.Itoa(n), a4)
		for range n {
			c := b.expect(b.l4)
			if got := b.lookup(c); got.Binary != one {
				t.Errorf("caller %+v", got)
			}
			c.Close()
		}
		if r := b.finish(); r.Status != 0 {
			t.Errorf("agent: %+v", r)
		}
	})
}

// TestDigest: the digest is that of the file, taken once for each content, and
// only if it is wanted.
func TestDigest(t *testing.T) {
	b := newBox(t)
	var wanted atomic.Bool
	b.tracker.ps.wants = func(string) (ancestors, digest bool) { return true, wanted.Load() }
	var later atomic.Int64
	begin := time.Now()
	b.tracker.ps.now = func() time.Time { return begin.Add(time.Duration(later.Load())) }
	b.start()
	_, p := programs(t, "one")
	ask := func() Caller {
		t.Helper()
		b.run(p[0], "plain", b.l4.Addr().String())
		c := b.expect(b.l4)
		got := b.lookup(c)
		c.Close()
		if r := b.finish(); r.Status != 0 {
			t.Errorf("agent: %+v", r)
		}
		return got
	}
	sum := func() string {
		data, err := os.ReadFile(p[0])
		if err != nil {
			t.Fatal(err)
		}
		s := sha256.Sum256(data)
		return hex.EncodeToString(s[:])
	}
	if got := ask(); got.SHA256 != "" || !got.Known {
		t.Errorf("unasked: %+v", got)
	}
	wanted.Store(true)
	ask() // changed a moment ago, so that another content could look like the same
	later.Store(int64(time.Hour))
	for range 2 {
		if got := ask(); got.SHA256 != sum() {
			t.Errorf("digest %s, want %s", got.SHA256, sum())
		}
	}
	f, err := os.OpenFile(p[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got := ask(); got.SHA256 != sum() {
		t.Errorf("after a write: digest %s, want %s", got.SHA256, sum())
	}
	// A program of exabytes is a program that costs nothing to make.
	if err := os.Truncate(p[0], maxProgram+1); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got.SHA256 != "" || !got.Known {
		t.Errorf("more than is read: %+v", got)
	}
	b.cancel()
	<-b.ran
	if n := len(b.tracker.ps.held); n != 0 {
		t.Errorf("%d threads are held after the end", n)
	}
	if n := len(b.tracker.ps.digests.known); n != 2 {
		t.Errorf("%d digests are kept, want 2", n)
	}
	read := int64(maxHashed) - b.tracker.ps.digests.left
	if fi, err := os.Stat(b.exe); err != nil || read != 2*fi.Size()+int64(len("more")) {
		t.Errorf("%d bytes were read for two digests of %d: %v", read, fi.Size(), err)
	}
}

// TestDigestsAreBounded: a program that changes before each connect is read for a
// while, and unknown then, with the reason; one that does not stays known, and time
// gives back.
func TestDigestsAreBounded(t *testing.T) {
	b := newBox(t)
	b.tracker.ps.wants = func(string) (ancestors, digest bool) { return true, true }
	var later atomic.Int64
	begin := time.Now().Add(time.Hour)
	b.tracker.ps.now = func() time.Time { return begin.Add(time.Duration(later.Load())) }
	_, p := programs(t, "one", "two")
	fi, err := os.Stat(p[0])
	if err != nil {
		t.Fatal(err)
	}
	const reads = 3
	b.tracker.ps.digests.left, b.tracker.ps.digests.filled = (reads+1)*(fi.Size()+reads), begin // as if much was read
	b.start()
	ask := func(program string) Caller {
		t.Helper()
		b.run(program, "plain", b.l4.Addr().String())
		c := b.expect(b.l4)
		got := b.lookup(c)
		c.Close()
		if r := b.finish(); r.Status != 0 {
			t.Errorf("agent: %+v", r)
		}
		return got
	}
	if got := ask(p[1]); len(got.SHA256) != 64 {
		t.Fatalf("%+v", got)
	}
	var got Caller
	digests := map[string]bool{}
	for i := range int64(reads + 1) {
		if err := os.Truncate(p[0], fi.Size()+i+1); err != nil {
			t.Fatal(err)
		}
		if got = ask(p[0]); !got.Known {
			break
		}
		digests[got.SHA256] = true
	}
	if got.Known || got.SHA256 != "" || got.Binary == "" || got.Why != errHashed.Error() || len(digests) != reads {
		t.Errorf("beyond the bound, after %d: %+v", len(digests), got)
	}
	if got := ask(p[1]); len(got.SHA256) != 64 || !got.Known {
		t.Errorf("one that does not change: %+v", got)
	}
	later.Add(int64(time.Second))
	if got := ask(p[0]); len(got.SHA256) != 64 || !got.Known {
		t.Errorf("a second later: %+v", got)
	}
}

// TestDigestEnds: the end of a sandbox does not wait until a large program is read.
func TestDigestEnds(t *testing.T) {
	ps := &processes{over: func() bool { return true }}
	var err error
	if ps.proc, err = os.Open("/proc"); err != nil {
		t.Fatal(err)
	}
	defer ps.proc.Close()
	if got, err := ps.digest(os.Getpid()); got != "" || err != nil || len(ps.digests.known) != 0 {
		t.Errorf("digest %q after the end: %v", got, err)
	}
	ps.over = nil
	if got, err := ps.digest(os.Getpid()); len(got) != 64 || err != nil {
		t.Errorf("digest %q before it: %v", got, err)
	}
}

func TestLookupOfNothing(t *testing.T) {
	b := newBox(t).start()
	listener := b.l4.Addr().(*net.TCPAddr).AddrPort()
	client := netip.MustParseAddrPort("127.0.0.1:9")
	for _, tt := range [][2]netip.AddrPort{
		{}, {client, {}}, {{}, client}, {client, listener},
		{listener, client}, // the kernel falls back to the listening socket
		{client, netip.MustParseAddrPort("[::1]:9")},
		{netip.MustParseAddrPort("[::1]:9"), netip.MustParseAddrPort("[::1]:8")},
	} {
		if c := b.tracker.Lookup(tt[0], tt[1]); c.Known {
			t.Errorf("Lookup(%v) = %+v", tt, c)
		}
	}
}

// Without the Tracker the agent's connects fail, they do not pass or hang.
func TestConnectAfterTheEnd(t *testing.T) {
	b := newBox(t).start()
	b.cancel()
	if err := <-b.ran; err != nil {
		t.Fatalf("Run: %v", err)
	}
	b.run(b.exe, "plain", b.l4.Addr().String())
	if r := b.finish(); r.Status != int(unix.ENOSYS) {
		t.Errorf("agent: %+v, want status %d", r, unix.ENOSYS)
	}
	if c := b.tracker.Lookup(netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("127.0.0.1:8")); c.Known {
		t.Errorf("caller %+v", c)
	}
}

// A connect that waits when the Tracker ends gets its answer from the kernel.
func TestConnectDuringTheEnd(t *testing.T) {
	b := newBox(t)
	b.run(b.exe, "plain", b.l4.Addr().String())
	var n notification // nobody will answer it
	if done, err := b.tracker.receive(&n); done || err != nil || n.id == 0 {
		t.Fatalf("no notification: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.tracker.Run(ctx); err != nil {
		t.Fatalf("Run: %v", err)
	}
	if r := b.finish(); r.Status != int(unix.ENOSYS) {
		t.Errorf("agent: %+v, want status %d", r, unix.ENOSYS)
	}
}

func TestRunEndsWithTheSandbox(t *testing.T) {
	b := newBox(t).start()
	if err := unix.Kill(b.init, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-b.ran:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run goes on without a sandbox")
	}
}

func TestNewWantsEverything(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Notify: r, Diag: w}); err == nil {
		t.Fatal("New without init is no error")
	}
	for _, f := range []*os.File{r, w} {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("New left a file open: %v", err)
		}
	}
	if _, err := New(Config{Init: 2}); err == nil {
		t.Fatal("New without files is no error")
	}
}

// TestAsOrdinaryUser runs all of the above once more without privileges.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests ran as an ordinary user")
	}
	id := uint32(61183)
	if u, err := user.Lookup("creeluser"); err == nil {
		n, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		id = uint32(n)
	}
	dir, p := programs(t, "caller.test")
	cmd := exec.Command(p[0], "-test.v", "-test.run=^(TestTracker|TestDigest|TestUnix|TestVerify|TestLookup|TestConnect|TestRun)")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestTracker") {
		t.Errorf("as user %d: %v\n%s", id, err, out)
	}
}

// BenchmarkConnect is one connection from an agent: connect, accept, lookup, close.
func BenchmarkConnect(b *testing.B) {
	x := newBox(b).start()
	x.run(x.exe, "loop", strconv.Itoa(b.N), x.l4.Addr().String())
	for range b.N {
		c := x.expect(x.l4)
		if got := x.lookup(c); !got.Known {
			b.Fatal("caller unknown")
		}
		c.Close()
	}
	if r := x.finish(); r.Status != 0 {
		b.Fatalf("agent: %+v", r)
	}
}
