package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// resolverAddr is the name server of the tests' own world.
const resolverAddr = "127.0.0.53:53"

// makeWorld makes the network namespace that some tests have for themselves
// (see inWorld) into a world: every address there is, metadata services and public
// ones included, is this machine, where a sink can listen. What gets out of a
// sandbox is seen, wherever it goes, and nothing leaves. The resolver is the test's.
func makeWorld() error {
	for _, args := range []string{"link set lo up", "route add local default dev lo", "-6 route add local default dev lo"} {
		cmd := exec.Command("ip", strings.Fields(args)...)
		cmd.Env = []string{"PATH=/usr/sbin:/sbin:/usr/bin:/bin"}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s (Debian: iproute2)", args, err, out)
		}
	}
	// The ordinary user's half listens on the well-known ports as well.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(resolverAddr)
	if err != nil {
		return err
	}
	conf := filepath.Join("/run/creel", "resolv.conf") // a tmpfs of the tests
	if err := os.WriteFile(conf, []byte("nameserver "+host+"\noptions timeout:1 attempts:1\n"), 0o644); err != nil {
		return err
	}
	at, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return err
	}
	return unix.Mount(conf, at, "", unix.MS_BIND, "")
}

// ownWorld tells a re-executed test binary that its network namespace is a world.
const ownWorld = "CREEL_E2E_WORLD"

// inWorld runs a test as both users in a world of its own.
func inWorld(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(ownWorld) != "" {
		bothUsers(t, test)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs a network namespace with a resolver of the test's: run it as root, which runs it as an ordinary user, too")
	}
	t.Parallel() // each has its own world
	pattern := "^" + t.Name() + "$"
	if _, rest, ok := strings.Cut(runPattern(), "/"); ok {
		pattern += "/" + rest
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", pattern, "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), inNamespace+"=1", ownWorld+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	rerun(t, "in a world of its own", cmd)
}

// zone is the name server of a test. It answers what the test says, and keeps
// every name that it was asked for.
type zone struct {
	pc     net.PacketConn
	tcp    net.Listener
	wg     sync.WaitGroup
	answer func(name string, nth int) record

	mu    sync.Mutex
	asked []string
	count map[string]int
}

// record is what a name has; the zero record does not exist.
type record struct {
	addrs []string
	cname string
}

func newZone(t *testing.T, answer func(name string, nth int) record) *zone {
	t.Helper()
	z := &zone{answer: answer, count: map[string]int{}}
	var err error
	if z.pc, err = net.ListenPacket("udp", resolverAddr); err != nil {
		t.Fatal(err)
	}
	if z.tcp, err = net.Listen("tcp", resolverAddr); err != nil {
		t.Fatal(err)
	}
	z.wg.Add(1)
	go func() {
		defer z.wg.Done()
		buf := make([]byte, 4096)
		for {
			n, from, err := z.pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := z.reply(buf[:n]); reply != nil {
				_, _ = z.pc.WriteTo(reply, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = z.pc.Close()
		_ = z.tcp.Close()
		z.wg.Wait()
	})
	return z
}

func (z *zone) reply(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
	z.mu.Lock()
	z.asked = append(z.asked, name)
	if q.Type == dnsmessage.TypeA {
		z.count[name]++
	}
	nth := z.count[name]
	z.mu.Unlock()
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true, RecursionDesired: true}
	m.Additionals = nil
	r := z.answer(name, nth)
	if r.cname == "" && len(r.addrs) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	owner := q.Name
	head := func(n dnsmessage.Name, typ dnsmessage.Type) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: n, Type: typ, Class: dnsmessage.ClassINET} // TTL 0
	}
	if r.cname != "" {
		to := dnsmessage.MustNewName(r.cname + ".")
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head(owner, dnsmessage.TypeCNAME), Body: &dnsmessage.CNAMEResource{CNAME: to}})
		owner = to
	}
	for _, text := range r.addrs {
		a := netip.MustParseAddr(text)
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head(owner, q.Type), Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head(owner, q.Type), Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// wasAsked reports whether a name that holds the text was asked for.
func (z *zone) wasAsked(text string) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, n := range z.asked {
		if strings.Contains(n, strings.ToLower(text)) {
			return true
		}
	}
	return false
}

// worldSink is a sink that also listens on every address there is: the ports
// of HTTP and HTTPS, of the other ways to ask for names, and of databases.
func worldSink(t *testing.T) *sink {
	t.Helper()
	s := newSink(t)
	for _, port := range []string{"80", "8080", "3000"} {
		s.also(t, port, func(l net.Listener) { s.serveHTTP(l, false) })
	}
	s.also(t, "443", func(l net.Listener) { s.serveHTTP(l, true) })
	for _, port := range []string{"22", "25", "853", "5432", "6443", "9222"} {
		s.also(t, port, func(l net.Listener) {
			s.extras = append(s.extras, l)
			s.wg.Add(1)
			go func() { defer s.wg.Done(); s.serveRaw(l) }()
		})
	}
	// UDP and the name service on every address: what arrives is kept.
	for _, port := range []string{"53", "123", "443", "4433"} {
		for _, host := range []string{"0.0.0.0", "::"} {
			if port == "53" && host == "0.0.0.0" {
				host = "8.8.8.8" // the resolver of the tests has its own address
			}
			pc, err := net.ListenPacket("udp", net.JoinHostPort(host, port))
			if errors.Is(err, unix.EADDRINUSE) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			s.wg.Add(1)
			go func() {
				defer s.wg.Done()
				buf := make([]byte, 64<<10)
				for {
					n, _, err := pc.ReadFrom(buf)
					if err != nil {
						return
					}
					s.mu.Lock()
					s.bytes.Write(buf[:n])
					s.datagrams++
					s.mu.Unlock()
				}
			}()
			t.Cleanup(func() { _ = pc.Close() })
		}
	}
	return s
}

func (s *sink) also(t *testing.T, port string, serve func(net.Listener)) {
	t.Helper()
	l, err := net.Listen("tcp", ":"+port) // both families
	if err != nil {
		t.Fatal(err)
	}
	serve(l)
}
