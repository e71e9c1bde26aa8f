package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// gate is a proxy of the operator's (HTTP CONNECT): it notes what it is asked for,
// and connects there, or refuses.
type gate struct {
	addr string
	l    net.Listener

	mu    sync.Mutex
	asked []string // "addr credentials"
	deny  bool
	wg    sync.WaitGroup
}

func newGate(t *testing.T) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: l.Addr().String(), l: l}
	g.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() { defer c.Close(); g.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); g.wg.Wait() })
	return g
}

func (g *gate) serve(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(c)
	req, err := http.ReadRequest(in)
	if err != nil || req.Method != http.MethodConnect {
		return
	}
	g.mu.Lock()
	g.asked = append(g.asked, req.RequestURI+" "+req.Header.Get("Proxy-Authorization"))
	deny := g.deny
	g.mu.Unlock()
	if deny {
		fmt.Fprint(c, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return
	}
	up, err := net.DialTimeout("tcp", req.RequestURI, 5*time.Second)
	if err != nil {
		fmt.Fprint(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer up.Close()
	fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(up, in); _ = up.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(c, up)
	_ = c.(*net.TCPConn).CloseWrite()
	<-done
}

func (g *gate) saw() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.asked)
}

func wayOutPolicy() string {
	return policyHead() + `network_policies:
  out:
    endpoints:
      - {host: ok.test, ports: [80, 443], protocol: rest, access: full}
      - {host: raw.test, port: 5432, protocol: tcp}
      - {host: int.test, port: 443, protocol: rest, access: full, allowed_ips: [93.184.216.0/24]}
    binaries: any
`
}

// goOut are calls of an agent that go out: inspected and relayed, over every way in.
const goOut = `set -e
	curl -sS https://ok.test/public/a; curl -sS http://ok.test/public/b
	curl -sS -x http://127.0.0.1:3128 https://ok.test/public/c
	env -i /usr/bin/curl --cacert /etc/ssl/certs/ca-certificates.crt -sS https://ok.test/public/d
	bash -c 'exec 3<>/dev/tcp/raw.test/5432; echo ping >&3; read -r -u 3 line; test "$line" = ping'
	! env | grep -i can[a]ry; ! cat /proc/1/environ 2>/dev/null | grep -i can[a]ry`

// TestParentProxy: where the internet lies behind a proxy, every connection goes
// through it, to the address that was checked; its password is nowhere but there.
func TestParentProxy(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		s, z, g := worldSink(t), newZone(t, worldAnswer), newGate(t)
		b := box{policy: wayOutPolicy(), flags: []string{"--trust-ca", caFile(t), "--json"}, env: []string{"HTTPS_PROXY=http://op:canary@" + g.addr, "HTTP_PROXY=http://op:canary@" + g.addr, "NO_PROXY=elsewhere.test"}}
		r := b.run(t, "sh", "-c", goOut).want(t, 0)
		seen := g.saw()
		if len(seen) != 3 || len(s.requests()) != 4 { // of one host's connections the next request makes use
			t.Errorf("the proxy saw %q, the sink %v", seen, s.requests())
		}
		for _, asked := range seen {
			if !strings.HasPrefix(asked, publicAddr+":") || !strings.HasSuffix(asked, " Basic b3A6Y2FuYXJ5") {
				t.Errorf("the proxy was asked for %q", asked)
			}
		}
		if !z.wasAsked("ok.test") {
			t.Error("the name was not resolved here")
		}
		log, err := os.ReadFile(r.audit)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(log) + r.stdout + r.stderr; strings.Contains(text, "canary") || strings.Contains(text, "b3A6Y2FuYXJ5") {
			t.Error("the proxy's password was written somewhere")
		}
		r.err(t, "connections go out through http://"+g.addr+" with credentials from HTTPS_PROXY, HTTP_PROXY, but for NO_PROXY")
		if first := readEvents(t, r.audit)[0]; first.Kind != audit.SandboxStart || !strings.HasPrefix(first.Detail["parent_proxy"], "http://"+g.addr) {
			t.Errorf("the log begins with %+v", first)
		}

		// What may not be dialled is not asked for.
		b.run(t, "sh", "-c", "curl -sS -o /dev/null -w '%{http_code}' https://int.test/").want(t, 0).out(t, "403")
		if n := len(g.saw()); n != len(seen) {
			t.Errorf("the proxy was asked for %v", g.saw()[len(seen):])
		}
		// A proxy that refuses is no reason for another way.
		g.mu.Lock()
		g.deny = true
		g.mu.Unlock()
		n := s.connections()
		r = b.run(t, "sh", "-c", "curl -sS -w '%{http_code}' https://ok.test/public/a").want(t, 0)
		r.out(t, "502", "the proxy on the way out refuses the connection (status 403)")
		if s.connections() != n {
			t.Error("a connection went past the proxy")
		}
		// Nor is one that is not there.
		b.env = []string{"ALL_PROXY=socks5://127.0.0.1:1"}
		b.run(t, "sh", "-c", "curl -sS -w '%{http_code}' https://ok.test/public/a").want(t, 0).out(t, "502", "cannot be reached")
		if s.connections() != n {
			t.Error("a connection went past the proxy")
		}
		b.flags = append(b.flags, "--parent-proxy", "none")
		b.run(t, "sh", "-c", "curl -sSf https://ok.test/public/a").want(t, 0)
		for _, bad := range [][]string{{"--parent-proxy", "http://u:canary@p.test"}, {"--parent-proxy", "ftp://p.test"}, {"--parent-proxy", "env:NOT_SET"}, {"--parent-proxy-names", "--parent-proxy", "none"}, {"--resolver", "p.test"}} {
			if r := (box{flags: bad}).run(t, "true").want(t, 2).err(t, "hint: "); strings.Contains(r.stderr, "canary") {
				t.Errorf("%q repeats a password: %s", bad, r.stderr)
			}
		}
	})
}

// TestParentProxyNames: a proxy may resolve names, and every place that shows the
// protection says what that costs.
func TestParentProxyNames(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		s, z, g := worldSink(t), newZone(t, worldAnswer), newGate(t)
		file := filepath.Join(t.TempDir(), "proxy")
		if err := os.WriteFile(file, []byte("http://op:canary@"+g.addr+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("names-%d", os.Getpid())
		b := box{policy: wayOutPolicy(), name: name, flags: []string{"--trust-ca", caFile(t), "--parent-proxy", "file:" + file, "--parent-proxy-names"}}
		l := b.start(t)
		if got := l.do("sh", "-c", "curl -sSf https://ok.test/public/a"); got.Code != 0 {
			t.Fatalf("%s%s", got.Stdout, got.Stderr)
		}
		if saw := g.saw(); len(saw) != 1 || saw[0] != "ok.test:443 Basic b3A6Y2FuYXJ5" || len(s.requests()) != 1 {
			t.Errorf("the proxy saw %q", saw)
		}
		// A rule with addresses refuses, because there are none to look at.
		if got := l.do("sh", "-c", "curl -sS https://int.test/"); !strings.Contains(string(got.Stdout), "resolved by a proxy") || z.wasAsked("int.test") || len(g.saw()) != 1 {
			t.Errorf("%s%s", got.Stdout, got.Stderr)
		}
		r := creelCmd(t, "posture", name)
		r.out(t, "addresses", "the parent proxy resolves names", "way out: http://"+g.addr+" with credentials from file:"+file)
		if strings.Contains(r.stdout, "canary") {
			t.Error("the posture shows the password")
		}
		l.end()
		if first := readEvents(t, l.audit)[0]; first.Detail["addresses"] == "" {
			t.Errorf("the log begins with %+v", first)
		}
	})
}

// TestParentProxySquid: a proxy that people run.
func TestParentProxySquid(t *testing.T) {
	if _, err := exec.LookPath("squid"); err != nil {
		t.Skip("squid is not installed (Debian: squid)")
	}
	inWorld(t, func(t *testing.T) {
		s := worldSink(t)
		newZone(t, worldAnswer)
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		conf := filepath.Join(dir, "squid.conf")
		text := fmt.Sprintf("http_port 127.0.0.7:3128\nacl secure port 443 5432\nhttp_access deny CONNECT !secure\nhttp_access allow CONNECT\nhttp_access deny all\n"+
			"pid_filename none\ncache_log %[1]s/cache.log\naccess_log none\ncache deny all\nshutdown_lifetime 0 seconds\nnetdb_filename none\nvisible_hostname p.test\n", dir)
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("squid", "-N", "-n", fmt.Sprintf("e2e%d", os.Getpid()), "-f", conf) // its shared memory has that name
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
		await(t, "127.0.0.7:3128")
		b := box{policy: wayOutPolicy(), flags: []string{"--trust-ca", caFile(t), "--parent-proxy", "http://127.0.0.7:3128"}}
		b.run(t, "sh", "-c", strings.Replace(goOut, "curl -sS http://ok.test/public/b", "", 1)).want(t, 0)
		if len(s.requests()) != 3 {
			t.Errorf("the sink saw %v", s.requests())
		}
		// Plain HTTP goes by CONNECT, too, which this proxy allows for some ports alone.
		b.run(t, "sh", "-c", "curl -sS http://ok.test/public/b").out(t, "status 403")
	})
}

func await(t *testing.T, addr string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// newZoneOverTLS is a name server that is asked over TLS.
func newZoneOverTLS(t *testing.T, addr string, answer func(name string, nth int) record) *zone {
	t.Helper()
	l, err := tls.Listen("tcp", addr, testCA().config())
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{answer: answer, count: map[string]int{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				for {
					var n uint16
					if binary.Read(c, binary.BigEndian, &n) != nil {
						return
					}
					q := make([]byte, n)
					if _, err := io.ReadFull(c, q); err != nil {
						return
					}
					a := z.reply(q)
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return z
}

// TestResolver: names are asked of the server that the operator chose, and of
// nobody else; what it answers is checked as ever.
func TestResolver(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		s := worldSink(t)
		z := newZone(t, func(name string, nth int) record {
			if name == "dns.test" {
				return record{addrs: []string{"127.0.0.8"}}
			}
			return record{}
		})
		chosen := newZoneOverTLS(t, "127.0.0.8:8853", worldAnswer)
		b := box{policy: wayOutPolicy(), flags: []string{"--trust-ca", caFile(t), "--resolver", "tls://dns.test:8853"}}
		r := b.run(t, "sh", "-c", "curl -sSf https://ok.test/public/a && curl -sS -o /dev/null -w 'status %{http_code}' https://int.test/").want(t, 0).out(t, "status 403")
		if z.wasAsked("ok.test") || z.wasAsked("int.test") || !chosen.wasAsked("ok.test") || len(s.requests()) != 1 {
			t.Errorf("the host's resolver was asked for %q, the chosen one for %q", z.asked, chosen.asked)
		}
		if first := readEvents(t, r.audit)[0]; first.Detail["resolver"] != "tls://dns.test:8853" {
			t.Errorf("the log begins with %+v", first)
		}
		// One that nobody vouches for is no resolver, and the host's is none instead.
		b.flags = []string{"--resolver", "tls://dns.test:8853"}
		b.run(t, "sh", "-c", "curl -sS -w 'status %{http_code}' https://ok.test/public/a").want(t, 0).out(t, "status 502")
		if z.wasAsked("ok.test") {
			t.Error("the host's resolver was asked instead")
		}
	})
}

// TestParentProxySOCKS: OpenSSH's client is a SOCKS5 proxy that people use.
func TestParentProxySOCKS(t *testing.T) {
	for _, p := range []string{"/usr/sbin/sshd", "ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed (Debian: openssh-server)", p)
		}
	}
	inWorld(t, func(t *testing.T) {
		me, err := user.Current()
		if err != nil {
			return // nobody can log in as an id without a name: the other half runs it
		}
		s := worldSink(t)
		z := newZone(t, worldAnswer)
		dir, err := os.MkdirTemp("/tmp", "creel-e2e-socks-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		var log safeBuffer
		start := func(cmd *exec.Cmd) {
			cmd.Stdout, cmd.Stderr = &log, &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(log.String())
			}
		})
		start(sshd(t, "127.0.0.7", 2222, dir, dir))
		await(t, "127.0.0.7:2222")
		start(exec.Command("ssh", "-F", "none", "-N", "-D", "127.0.0.7:1080", "-i", dir+"/key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-p", "2222", me.Username+"@127.0.0.7"))
		await(t, "127.0.0.7:1080")
		b := box{policy: wayOutPolicy(), flags: []string{"--trust-ca", caFile(t), "--parent-proxy", "socks5://127.0.0.7:1080"}}
		b.run(t, "sh", "-c", goOut).want(t, 0)
		if len(s.requests()) != 4 || !z.wasAsked("ok.test") {
			t.Errorf("the sink saw %v", s.requests())
		}
		b.flags = append(b.flags, "--parent-proxy-names")
		b.run(t, "sh", "-c", goOut).want(t, 0)
		if len(s.requests()) != 8 {
			t.Errorf("the sink saw %v", s.requests())
		}
	})
}
