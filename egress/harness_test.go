package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/egress/ca"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

const basePolicy = `version: 2
network_policies:
  web:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: rest
        rules:
          - allow: {method: GET, path: "/public/**"}
          - allow: {method: POST, path: "/public/**"}
    binaries: any
  tunnel:
    endpoints:
      - {host: raw.test, ports: [443, 5432]}
      - {host: opaque.test, port: 443, tls: skip}
      - {host: rebind.test, port: 443}
    binaries: any
  named:
    endpoints:
      - {host: named.test, port: 443}
    binaries: [{path: /usr/bin/curl}]
  number:
    endpoints:
      - {host: 93.184.216.99, port: 443}
    binaries: any
  bound:
    endpoints:
      - {host: bound.test, port: 443}
    binaries: any
`

func compile(t testing.TB, text string) *policy.Engine {
	t.Helper()
	doc, _, err := policy.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// book keeps events, or refuses to.
type book struct {
	mu     sync.Mutex
	events []audit.Event
	refuse func(audit.Event) bool
	wake   chan struct{}
}

func (b *book) Record(events ...audit.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refuse != nil && slices.ContainsFunc(events, b.refuse) {
		return errors.New("disk full")
	}
	b.events = append(b.events, events...)
	close(b.wake)
	b.wake = make(chan struct{})
	return nil
}

func (b *book) find(match func(audit.Event) bool) (audit.Event, chan struct{}, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ev := range b.events {
		if match(ev) {
			return ev, nil, true
		}
	}
	return audit.Event{}, b.wake, false
}

// rig is a Server with real sockets around it: an agent's connections come in,
// and upstreams with certificates of their own stand behind.
type rig struct {
	t      testing.TB
	s      *Server
	book   *book
	engine atomic.Pointer[policy.Engine]
	agent  *x509.CertPool // what the agent trusts
	pem    []byte         // the same
	public *ca.Authority  // of the upstreams

	mu     sync.Mutex
	ways   map[string]string // "host:port" to the address of its redirected listener
	proxy  string
	names  map[string][]netip.Addr // the upstream DNS
	routes map[netip.AddrPort]string
	dials  []netip.AddrPort
	held   map[netip.Addr]int // lookups that were not released

	auditErrors atomic.Int64
}

type rigOption func(*rig, *Config)

var targets = []string{
	"ok.test:443", "ok.test:80", "no.test:443", "no.test:80", "raw.test:443", "raw.test:5432", "opaque.test:443", "rebind.test:443",
	"named.test:443", "bound.test:443", "model.test:443", "93.184.216.99:443", "93.184.216.98:443", "dead.test:443",
}

func newRig(t testing.TB, text string, opts ...rigOption) *rig {
	t.Helper()
	before := runtime.NumGoroutine()
	r := &rig{
		t: t, book: &book{wake: make(chan struct{})}, agent: x509.NewCertPool(),
		ways: map[string]string{}, names: map[string][]netip.Addr{}, routes: map[netip.AddrPort]string{}, held: map[netip.Addr]int{},
	}
	r.engine.Store(compile(t, text))
	var err error
	if r.public, err = ca.New(); err != nil {
		t.Fatal(err)
	}
	inside, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	r.pem = inside.PEM()
	r.agent.AppendCertsFromPEM(r.pem)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.public.PEM())

	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	var ls Listeners
	original := map[string]netip.AddrPort{}
	synthetic := map[netip.Addr]netname.Host{}
	next := netname.SyntheticV4.Addr().Next().Next().Next().Next()
	redirect := func(text string, dst netip.AddrPort) {
		l := listen()
		ls.TCP = append(ls.TCP, l)
		original[l.Addr().String()] = dst
		r.ways[text] = l.Addr().String()
	}
	for _, text := range targets {
		a, err := parseAuthority(text, 0)
		if err != nil {
			t.Fatal(err)
		}
		dst := netip.AddrPortFrom(a.host.Addr(), a.port)
		if !a.host.IsAddr() {
			next = next.Next()
			synthetic[next] = a.host
			dst = netip.AddrPortFrom(next, a.port)
		}
		redirect(text, dst)
	}
	redirect("unassigned", netip.AddrPortFrom(next.Next(), 443))
	redirect("none", netip.AddrPort{})
	straight := listen()
	ls.TCP = append(ls.TCP, straight)
	original[straight.Addr().String()] = netip.MustParseAddrPort(straight.Addr().String())
	r.ways["straight"] = straight.Addr().String()
	proxy := listen()
	ls.Proxy = append(ls.Proxy, proxy)
	r.proxy = proxy.Addr().String()

	conf := Config{
		Engine: r.engine.Load, Audit: r.book, CA: inside, RootCAs: roots,
		Names: namesFunc(func(a netip.Addr) (netname.Host, func(), bool) {
			h, ok := synthetic[a]
			if ok {
				r.hold(a, 1)
			}
			return h, func() { r.hold(a, -1) }, ok
		}),
		Callers: callersFunc(func(client, original netip.AddrPort) Caller {
			return Caller{Known: true, PID: 77, Binary: "/usr/bin/agent"}
		}),
		Resolve: func(_ context.Context, name string) ([]netip.Addr, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if a, ok := r.names[name]; ok {
				return a, nil
			}
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		},
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			r.mu.Lock()
			r.dials = append(r.dials, to)
			at, ok := r.routes[to]
			r.mu.Unlock()
			if !ok {
				at = "127.0.0.1:1" // refused
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", at)
		},
		OriginalDst: func(c net.Conn) (netip.AddrPort, error) {
			if a := original[c.LocalAddr().String()]; a.IsValid() {
				return a, nil
			}
			return netip.AddrPort{}, errors.New("not redirected")
		},
		OnAuditError: func(error) { r.auditErrors.Add(1) },
	}
	for _, o := range opts {
		o(r, &conf)
	}
	if r.s, err = New(conf, ls); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("Run does not end")
		}
		r.mu.Lock()
		for a, n := range r.held {
			if n != 0 {
				t.Errorf("the binding of %s was held %d times too often", a, n)
			}
		}
		r.mu.Unlock()
		leakCheck(t, before)
	})
	return r
}

// leakCheck waits until no more goroutines run than before.
func leakCheck(t testing.TB, before int) {
	for end := time.Now().Add(patience); runtime.NumGoroutine() > before; {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("goroutines leak: %d before, %d after\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(time.Millisecond)
	}
}

type namesFunc func(netip.Addr) (netname.Host, func(), bool)

func (f namesFunc) Lookup(a netip.Addr) (netname.Host, func(), bool) { return f(a) }

type callersFunc func(client, original netip.AddrPort) Caller

func (f callersFunc) Lookup(c, o netip.AddrPort) Caller { return f(c, o) }

func (r *rig) hold(a netip.Addr, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held[a] += n
}

func (r *rig) dialed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.dials)
}

// upstream puts a listener behind a name; its address looks public.
func (r *rig) upstream(host string, port uint16, l net.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := netip.AddrFrom4([4]byte{93, 184, 216, byte(10 + len(r.names))})
	if ip, err := netip.ParseAddr(host); err == nil {
		a = ip
	} else if have, ok := r.names[host]; ok {
		a = have[0]
	} else {
		r.names[host] = []netip.Addr{a}
	}
	r.routes[netip.AddrPortFrom(a, port)] = l.Addr().String()
}

// web serves HTTP behind a name, with TLS on 443.
func (r *rig) web(host string, port uint16, h http.HandlerFunc) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.upstream(host, port, l)
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	if port == 443 {
		srv.TLSConfig = r.serverTLS(host)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if srv.TLSConfig != nil {
			_ = srv.ServeTLS(l, "", "")
		} else {
			_ = srv.Serve(l)
		}
	}()
	r.t.Cleanup(func() { _ = srv.Close(); <-done })
}

func (r *rig) serverTLS(host string) *tls.Config {
	leaf, err := r.public.Leaf(host)
	if err != nil {
		r.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{*leaf}, NextProtos: []string{"h2", "http/1.1"}}
}

// raw serves every connection behind a name with f.
func (r *rig) raw(host string, port uint16, f func(net.Conn)) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.upstream(host, port, l)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() { defer wg.Done(); defer c.Close(); f(c) }()
		}
	}()
	r.t.Cleanup(func() { _ = l.Close(); wg.Wait() })
}

// way is one of the ways that an agent's connection comes in.
type way string

const (
	viaRedirect way = "transparent"
	viaConnect  way = "connect"
)

var bothWays = []way{viaRedirect, viaConnect}

// open connects as an agent does, up to the point where bytes go to the target.
// refused is the answer to a CONNECT that was not granted.
func (r *rig) open(w way, to string) (c net.Conn, refused *http.Response) {
	r.t.Helper()
	addr, ok := r.ways[to]
	if !ok {
		r.t.Fatalf("no redirect for %s", to)
	}
	if w == viaConnect {
		addr = r.proxy
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	if w == viaRedirect {
		return c, nil
	}
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, &http.Request{Method: "CONNECT"})
	if err != nil {
		r.t.Fatalf("CONNECT %s: %v", to, err)
	}
	if resp.StatusCode != 200 {
		return c, resp
	}
	ahead, _ := in.Peek(in.Buffered())
	return &prefixed{Conn: c, ahead: append([]byte(nil), ahead...)}, nil
}

func (r *rig) startTLS(c net.Conn, name string) (*tls.Conn, error) {
	tc := tls.Client(c, &tls.Config{RootCAs: r.agent, ServerName: name, NextProtos: []string{"http/1.1"}})
	return tc, tc.Handshake()
}

// talk sends raw bytes and reads one response.
func talk(t testing.TB, c net.Conn, method, raw string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatalf("write: %v", err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read response to %q: %v", raw, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return resp, string(body)
}

// https opens an inspected connection and does one exchange.
func (r *rig) https(w way, to, raw string) (*http.Response, string) {
	r.t.Helper()
	c, refused := r.open(w, to)
	if refused != nil {
		body, _ := io.ReadAll(refused.Body)
		return refused, string(body)
	}
	host, _, _ := net.SplitHostPort(to)
	tc, err := r.startTLS(c, host)
	if err != nil {
		r.t.Fatalf("TLS to %s: %v", to, err)
	}
	method, _, _ := strings.Cut(raw, " ")
	return talk(r.t, tc, method, raw)
}

// event waits for an event.
func (r *rig) event(what string, match func(audit.Event) bool) audit.Event {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		ev, wake, ok := r.book.find(match)
		if ok {
			return ev
		}
		select {
		case <-wake:
		case <-timeout:
			r.book.mu.Lock()
			defer r.book.mu.Unlock()
			r.t.Fatalf("no event: %s; have %+v", what, r.book.events)
		}
	}
}

func is(kind audit.Kind, verdict, host string) func(audit.Event) bool {
	return func(ev audit.Event) bool { return ev.Kind == kind && ev.Verdict == verdict && ev.Host == host }
}

// wantDenial checks the shape that every denial has.
func wantDenial(t *testing.T, resp *http.Response, body string, status int, code string) denialBody {
	t.Helper()
	if resp.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", resp.StatusCode, status, body)
	}
	var d denialBody
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatalf("body is not the JSON of a denial: %v: %s", err, body)
	}
	if d.Error != code || d.Reason == "" || d.Detail == "" || d.Guidance == "" || len(d.NextSteps) == 0 {
		t.Errorf("denial %+v, want error %s and all texts", d, code)
	}
	if resp.Header.Get(policyHeader) == "" || !resp.Close || resp.ContentLength != int64(len(body)) {
		t.Errorf("header %v, close %v, length %d of %d", resp.Header, resp.Close, resp.ContentLength, len(body))
	}
	return d
}

// readFinal reads responses up to one that is not for information.
func readFinal(t *testing.T, c io.Reader) (*http.Response, string) {
	t.Helper()
	in := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(in, &http.Request{Method: "POST"})
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
}
