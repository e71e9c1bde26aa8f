package refused

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The test binary is also process 1 of a network namespace with rules like those
// of a sandbox, which sends what it is told to.
const helperArg = "refused-test-helper"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == helperArg {
		if err := helper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	inputPort  = 4242 // refused in the input hook, as a sandbox does
	outputPort = 4343 // refused in the output hook, where the sender is known
)

func helper() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr); err != nil {
		return err
	}
	if err := rules(); err != nil {
		return fmt.Errorf("load rules: %w", err)
	}
	nl, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(nl), nil, 0); err != nil {
		return err
	}
	_ = unix.Close(nl)
	for lines := bufio.NewScanner(os.NewFile(3, "control")); lines.Scan(); {
		network, addr, _ := strings.Cut(lines.Text(), " ")
		c, err := net.Dial(network, addr)
		if err != nil {
			return err
		}
		// Refusal may come back as an error, that is what it is for.
		_, _ = c.Write(make([]byte, 200))
		c.Close()
	}
	return nil
}

func rules() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "test"})
	port := func(p uint16) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(p >> 8), byte(p)}},
		}
	}
	icmp := func(p byte) []expr.Any {
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p}},
		}
	}
	refuse := []expr.Any{
		&expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN, Group: Group, Snaplen: 128},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
	for _, h := range []struct {
		name    string
		hook    *nftables.ChainHook
		matches [][]expr.Any
	}{
		{"in", nftables.ChainHookInput, [][]expr.Any{port(inputPort), icmp(unix.IPPROTO_ICMP)}},
		{"out", nftables.ChainHookOutput, [][]expr.Any{port(outputPort)}},
	} {
		chain := c.AddChain(&nftables.Chain{
			Name: h.name, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: h.hook, Priority: nftables.ChainPriorityFilter,
		})
		for _, m := range h.matches {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(m, refuse...)})
		}
	}
	return c.Flush()
}

// start makes the namespace and gives its log socket and its control connection.
func start(t *testing.T) (log *os.File, control *net.UnixConn) {
	t.Helper()
	dir, exe := program(t)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	uid, gid := os.Getuid(), os.Getgid()
	cmd := exec.Command(exe, helperArg)
	cmd.Dir, cmd.Stderr, cmd.ExtraFiles = dir, os.Stderr, []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWPID}
	if uid == 0 {
		uid, gid = 100000, 100000 // no host id 0 inside
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true}
	}
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start namespace: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	theirs.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	t.Cleanup(func() { c.Close() })
	control = c.(*net.UnixConn)
	oob := make([]byte, unix.CmsgSpace(4))
	if err := control.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, n, _, _, err := control.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		t.Fatalf("no socket: %v", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		t.Fatalf("no socket: %v", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		t.Fatal(err)
	}
	log = os.NewFile(uintptr(fds[0]), "nflog")
	t.Cleanup(func() { log.Close() })
	return log, control
}

// program copies the test binary to where every user may run it.
func program(t *testing.T) (dir, exe string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "refused")
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
	exe = dir + "/refused.test"
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, exe
}

func TestRun(t *testing.T) {
	log, control := start(t)
	packets := make(chan Packet, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, log, func(p Packet) { packets <- p }) }()
	defer cancel()
	next := func(send string) Packet {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			// Until the group is bound nothing is reported, so send again.
			if _, err := fmt.Fprintln(control, send); err != nil {
				t.Fatal(err)
			}
			select {
			case p := <-packets:
				return p
			case err := <-done:
				t.Fatalf("Run: %v", err)
			case <-deadline:
				t.Fatalf("%s was not reported", send)
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
	for _, tt := range []struct {
		send, protocol, dst string
		port                uint16
		uid                 int
	}{
		{fmt.Sprintf("udp 127.0.0.9:%d", inputPort), "udp", "127.0.0.9", inputPort, -1},
		{fmt.Sprintf("udp [::1]:%d", inputPort), "udp", "::1", inputPort, -1},
		{"ip4:icmp 127.0.0.8", "icmp", "127.0.0.8", 0, -1},
		{fmt.Sprintf("udp 127.0.0.1:%d", outputPort), "udp", "127.0.0.1", outputPort, 0}, // the only id that is mapped, as the namespace numbers it
	} {
		p := next(tt.send)
		if p.Protocol != tt.protocol || p.Dst != netip.MustParseAddr(tt.dst) || p.Port != tt.port || p.UID != tt.uid || p.Count == 0 {
			t.Errorf("%s: %+v", tt.send, p)
		}
	}
	// What was held back comes at the end.
	const again = 5
	for range again {
		fmt.Fprintf(control, "udp 127.0.0.9:%d\n", inputPort)
	}
	next(fmt.Sprintf("udp 127.0.0.10:%d", inputPort)) // comes after them
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	close(packets)
	var count uint64
	for p := range packets {
		if p.Dst.String() == "127.0.0.9" {
			count += p.Count
		}
	}
	if count < again {
		t.Errorf("%d packets at the end, want at least %d", count, again)
	}
}

func TestRunEnds(t *testing.T) {
	if err := Run(t.Context(), nil, func(Packet) {}); err == nil {
		t.Error("Run without a socket is no error")
	}
	log, _ := start(t)
	if err := Run(t.Context(), log, nil); err == nil {
		t.Error("Run without a report is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, log, func(Packet) {}); err != nil {
		t.Errorf("Run that was cancelled: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if err := Run(t.Context(), r, func(Packet) {}); !errors.Is(err, unix.ENOTSOCK) {
		t.Errorf("Run on a pipe: %v", err)
	}
}

// TestAsOrdinaryUser runs the same without privileges.
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
	dir, exe := program(t)
	cmd := exec.Command(exe, "-test.v", "-test.run=^TestRun")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestRun ") {
		t.Errorf("as user %d: %v\n%s", id, err, out)
	}
}
