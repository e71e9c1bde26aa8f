package parent

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creel-run/creel/egress/ca"
)

// world is a proxy of every kind in front of one server, which speaks first.
type world struct {
	t      *testing.T
	server net.Listener

	mu    sync.Mutex
	asked []string // what a proxy was asked for
	creds []string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	w.server = w.serve(func(c net.Conn) {
		fmt.Fprintf(c, "hello\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		fmt.Fprintf(c, "got %s", line)
	}, nil)
	return w
}

// way is the one way to a host; nil: straight.
func way(t *testing.T, p *Proxies, host string, port uint16) *Proxy {
	t.Helper()
	ways, err := p.For(t.Context(), host, port)
	if err != nil || len(ways) != 1 {
		t.Fatalf("%v %v", ways, err)
	}
	return ways[0].Proxy
}

func (w *world) serve(f func(net.Conn), conf *tls.Config) net.Listener {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); f(c) })
		}
	})
	w.t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l
}

func (w *world) note(addr, cred string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.creds = append(w.asked, addr), append(w.creds, cred)
}

func (w *world) last() (addr, cred string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked) == 0 {
		return "", ""
	}
	return w.asked[len(w.asked)-1], w.creds[len(w.creds)-1]
}

// splice joins a client with the one server, whatever was asked for.
func (w *world) splice(c net.Conn, in io.Reader) {
	up, err := net.Dial("tcp", w.server.Addr().String())
	if err != nil {
		return
	}
	defer up.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, in)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(c, up)
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite()
	}
	<-done
}

// connectProxy answers CONNECT with a status; together sends the first bytes of
// the server in the same segment as the answer.
func (w *world) connectProxy(status string, together bool) func(net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil || req.Method != "CONNECT" {
			return
		}
		w.note(req.RequestURI, req.Header.Get("Proxy-Authorization"))
		if !strings.HasPrefix(status, "200") {
			fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 4\r\n\r\nbody", status)
			return
		}
		if together {
			fmt.Fprintf(c, "HTTP/1.1 %s\r\nVia: test\r\n\r\nhello\n", status)
			line, _ := in.ReadString('\n')
			fmt.Fprintf(c, "got %s", line)
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 %s\r\nVia: test\r\n\r\n", status)
		w.splice(c, in)
	}
}

// socksProxy is RFC 1928 with the methods 0 and, with a user, 2 (RFC 1929).
func (w *world) socksProxy(user string, reply byte) func(net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		read := func(n int) []byte {
			b := make([]byte, n)
			_, _ = io.ReadFull(in, b)
			return b
		}
		methods := read(int(read(2)[1]))
		cred := ""
		if user != "" {
			if !strings.Contains(string(methods), "\x02") {
				_, _ = c.Write([]byte{5, 0xff})
				return
			}
			_, _ = c.Write([]byte{5, 2})
			u := read(int(read(2)[1]))
			p := read(int(read(1)[0]))
			cred = string(u) + ":" + string(p)
			if cred != user {
				_, _ = c.Write([]byte{1, 1})
				return
			}
			_, _ = c.Write([]byte{1, 0})
		} else {
			_, _ = c.Write([]byte{5, 0})
		}
		head := read(4)
		var host string
		switch head[3] {
		case 1:
			host = net.IP(read(4)).String()
		case 3:
			host = "name:" + string(read(int(read(1)[0])))
		case 4:
			host = net.IP(read(16)).String()
		}
		w.note(net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(read(2)))), cred)
		_, _ = c.Write([]byte{5, reply, 0, 1, 0, 0, 0, 0, 0, 0})
		if reply == 0 {
			w.splice(c, in)
		}
	}
}

func none(string) (string, bool) { return "", false }

func mustNew(t *testing.T, c Config) *Proxies {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDial: through every kind of proxy a connection is one of the server's, its
// first bytes and its half-close included.
func TestDial(t *testing.T) {
	w := newWorld(t)
	authority, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Leaf("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	secured := &tls.Config{Certificates: []tls.Certificate{*leaf}}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:p@ss"))
	for _, tt := range []struct {
		name, url, to, asked, cred string
		l                          net.Listener
		plain                      bool // what comes out is the socket itself
	}{
		{"http", "http://", "203.0.113.9:443", "203.0.113.9:443", "", w.serve(w.connectProxy("200 OK", false), nil), true},
		{"http with credentials", "http://ann:p%40ss@", "[2001:db8::9]:22", "[2001:db8::9]:22", basic, w.serve(w.connectProxy("200 OK", false), nil), true},
		{"http, server first", "", "api.test:5432", "api.test:5432", "", w.serve(w.connectProxy("200 Connection established", true), nil), false},
		{"https", "https://ann:p%40ss@", "203.0.113.9:443", "203.0.113.9:443", basic, w.serve(w.connectProxy("200 OK", false), secured), false},
		{"socks5", "socks5://", "203.0.113.9:443", "203.0.113.9:443", "", w.serve(w.socksProxy("", 0), nil), true},
		{"socks5 over IPv6", "socks5://", "[2001:db8::9]:443", "[2001:db8::9]:443", "", w.serve(w.socksProxy("", 0), nil), true},
		{"socks5 with credentials", "SOCKS5H://ann:p%40ss@", "api.test:443", "[name:api.test]:443", "ann:p@ss", w.serve(w.socksProxy("ann:p@ss", 0), nil), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := mustNew(t, Config{HTTPS: tt.url + tt.l.Addr().String(), RootCAs: roots})
			c, err := way(t, p, "api.test", 443).Dial(t.Context(), tt.to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			if _, plain := c.(*net.TCPConn); plain && !tt.plain || !plain && tt.plain && tt.name != "http" && tt.name != "http with credentials" {
				// An HTTP proxy's answer may come with the server's first bytes.
				t.Errorf("got a %T", c)
			}
			in := bufio.NewReader(c)
			if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
				t.Fatalf("%q %v", line, err)
			}
			fmt.Fprint(c, "question\n")
			if tt.name != "http, server first" {
				if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Error(err)
				}
			}
			if rest, err := io.ReadAll(in); err != nil || string(rest) != "got question\n" {
				t.Errorf("%q %v", rest, err)
			}
			if asked, cred := w.last(); asked != tt.asked || cred != tt.cred {
				t.Errorf("the proxy was asked for %q with %q", asked, cred)
			}
			for _, text := range []string{p.String(), fmt.Sprintf("%+v", p), fmt.Sprintf("%#v", p.https)} {
				if strings.Contains(text, "p@ss") || strings.Contains(text, "p%40ss") {
					t.Errorf("%q shows the password", text)
				}
			}
		})
	}
}

// TestRefusals: an error is never another way, and says nothing of the proxy.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	other, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := other.Leaf("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	endless := func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for range 4 * maxAnswer / 8 {
			if _, err := io.WriteString(c, "A: bcd\r\n"); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, c)
	}
	for _, tt := range []struct {
		name, url, want string
		l               net.Listener
		status          int
	}{
		{"refused", "http://", "status 403", w.serve(w.connectProxy("403 Forbidden", false), nil), 403},
		{"credentials", "http://", "other credentials", w.serve(w.connectProxy("407 Proxy Authentication Required", false), nil), 407},
		{"redirect", "http://", "status 302", w.serve(w.connectProxy("302 Found", false), nil), 302},
		{"204", "http://", "status 204", w.serve(w.connectProxy("204 No Content", false), nil), 204},
		{"closes", "http://", "broke the connection off", w.serve(func(net.Conn) {}, nil), 0},
		{"not HTTP", "http://", "broke the connection off", w.serve(func(c net.Conn) { fmt.Fprint(c, "220 mail ready\r\n") }, nil), 0},
		{"endless head", "http://", "broke the connection off", w.serve(endless, nil), 0},
		{"gone", "http://", "cannot be reached", gone, 0},
		{"unknown certificate", "https://", "TLS with the proxy", w.serve(func(c net.Conn) { _ = c.(*tls.Conn).Handshake() }, &tls.Config{Certificates: []tls.Certificate{*leaf}}), 0},
		{"no TLS", "https://", "TLS with the proxy", w.serve(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, nil), 0},
		{"socks refuses", "socks5://", "refuses", w.serve(w.socksProxy("", 2), nil), 0},
		{"socks wants a user", "socks5://", "refuses", w.serve(w.socksProxy("ann:other", 0), nil), 0},
		{"socks wrong password", "socks5://ann:pw@", "refuses", w.serve(w.socksProxy("ann:other", 0), nil), 0},
		{"socks is none", "socks5://", "refuses", w.serve(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad\r\n\r\n") }, nil), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := mustNew(t, Config{HTTPS: tt.url + tt.l.Addr().String()})
			c, err := way(t, p, "api.test", 443).Dial(t.Context(), "203.0.113.9:443")
			var e *Error
			if c != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || e.Status != tt.status {
				t.Fatalf("%v, %v", c, err)
			}
			if strings.Contains(err.Error(), "127.0.0.1") {
				t.Errorf("%q names the proxy", err)
			}
		})
	}
}

// TestSilentProxy: the caller's context ends the wait, in every kind.
func TestSilentProxy(t *testing.T) {
	for _, scheme := range []string{"http", "https", "socks5"} {
		t.Run(scheme, func(t *testing.T) {
			w := newWorld(t)
			heard := make(chan struct{}, 1)
			l := w.serve(func(c net.Conn) {
				_, _ = c.Read(make([]byte, 1))
				heard <- struct{}{}
				_, _ = io.Copy(io.Discard, c)
			}, nil)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-heard; cancel() }()
			p := mustNew(t, Config{HTTPS: scheme + "://" + l.Addr().String()})
			if c, err := way(t, p, "api.test", 443).Dial(ctx, "203.0.113.9:443"); c != nil || err == nil {
				t.Fatalf("%v, %v", c, err)
			}
		})
	}
}

func TestFor(t *testing.T) {
	env := map[string]string{
		"https_proxy": "http://secure.test:3128", "HTTP_PROXY": "socks5://plain.test",
		"NO_PROXY": "direct.test, .below.test, 198.51.100.0/24, ported.test:8443",
	}
	p := mustNew(t, FromEnvironment(func(k string) (string, bool) { v, ok := env[k]; return v, ok }))
	for _, tt := range []struct {
		host string
		port uint16
		want string
	}{
		{"api.test", 443, "http://secure.test:3128"},
		{"api.test", 5432, "http://secure.test:3128"},
		{"api.test", 80, "socks5://plain.test:1080"},
		{"direct.test", 443, ""}, {"x.direct.test", 443, ""}, {"notdirect.test", 443, "http://secure.test:3128"},
		{"below.test", 443, "http://secure.test:3128"}, {"x.below.test", 443, ""},
		{"198.51.100.7", 443, ""}, {"198.51.101.7", 443, "http://secure.test:3128"},
		{"ported.test", 8443, ""}, {"ported.test", 443, "http://secure.test:3128"},
		{"127.0.0.1", 443, ""}, {"::1", 443, ""}, {"localhost", 443, ""},
		{"2001:db8::1", 443, "http://secure.test:3128"},
	} {
		got := ""
		if x := way(t, p, tt.host, tt.port); x != nil {
			got = x.String()
		}
		if got != tt.want {
			t.Errorf("%s:%d goes through %q, want %q", tt.host, tt.port, got, tt.want)
		}
	}
	if text := p.String(); text != "http://secure.test:3128 (all ports but 80), socks5://plain.test:1080 (port 80) from https_proxy, HTTP_PROXY, but for NO_PROXY" {
		t.Error(text)
	}
	all := mustNew(t, FromEnvironment(func(k string) (string, bool) {
		return map[string]string{"ALL_PROXY": "socks5://u:p@one.test"}[k], true
	}))
	if way(t, all, "a.test", 80) == nil || way(t, all, "a.test", 443) == nil || all.String() != "socks5://one.test:1080 with credentials from ALL_PROXY" {
		t.Error(all)
	}
	only := mustNew(t, Config{HTTP: "plain.test:1"})
	if way(t, only, "a.test", 443) != nil || way(t, only, "a.test", 80) == nil {
		t.Error("HTTP_PROXY is for port 80 alone")
	}
	if p := mustNew(t, FromEnvironment(none)); p != nil || way(t, p, "a.test", 443) != nil || p.ByName() || p.String() != "none" {
		t.Error("an environment without proxies has some")
	}
}

func TestBadURLs(t *testing.T) {
	for _, url := range []string{
		"ftp://h.test", "socks4://h.test", "http://", "http://:3128", "http://h.test:0", "http://h.test:70000", "http://h.test/path", "http://h.test?q",
		"http://h.test#f", "http://s3cret@h.test:x", "\x00", "socks5://:s3cret@h.test", "http://u%3Av:s3cret@h.test", "socks5://" + strings.Repeat("u", 256) + "@h.test",
	} {
		p, err := New(Config{HTTPS: url, From: "HTTPS_PROXY"})
		if p != nil || err == nil {
			t.Errorf("%q was taken", url)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") || !strings.HasPrefix(err.Error(), "in HTTPS_PROXY: ") {
			t.Errorf("%q: %v", url, err)
		}
	}
}
