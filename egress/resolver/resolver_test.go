package resolver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/creel-run/creel/egress/ca"
	"github.com/creel-run/creel/netname"
)

// zone is a name server; it answers what the test says over every way.
type zone struct {
	t      *testing.T
	answer func(q dns.Question, m *dns.Msg)

	mu    sync.Mutex
	asked map[string]int // "name type way"
}

func (z *zone) reply(q *dns.Msg, way string) *dns.Msg {
	z.mu.Lock()
	z.asked[q.Question[0].Name+" "+dns.TypeToString[q.Question[0].Qtype]+" "+way]++
	z.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	z.answer(q.Question[0], m)
	if way == "udp" {
		m.Truncate(udpSize)
	}
	return m
}

func (z *zone) count(key string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[key]
}

func rr(t *testing.T, text string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// servers gives the address of the zone in every way, and what trusts it.
func (z *zone) servers() (ways map[string]string, roots *x509.CertPool) {
	z.t.Helper()
	z.asked = map[string]int{}
	authority, err := ca.New()
	if err != nil {
		z.t.Fatal(err)
	}
	leaf, err := authority.Leaf("127.0.0.1")
	if err != nil {
		z.t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	conf := &tls.Config{Certificates: []tls.Certificate{*leaf}}
	ways = map[string]string{}

	// One port for UDP and TCP.
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		z.t.Fatal(err)
	}
	ways["udp"] = pc.LocalAddr().String()
	l, err := net.Listen("tcp", ways["udp"])
	if err != nil {
		z.t.Skip("the port is taken for TCP: ", err)
	}
	sl, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		z.t.Fatal(err)
	}
	ways["tls"] = "tls://" + sl.Addr().String()
	handle := func(way string) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(z.reply(q, way)) }
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handle("udp")}, {Listener: l, Handler: handle("tcp")}, {Listener: sl, Handler: handle("tls")}} {
		up := make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ActivateAndServe() }()
		<-up
		z.t.Cleanup(func() { _ = s.Shutdown(); <-done })
	}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		q := new(dns.Msg)
		if r.Method != "POST" || r.URL.Path != "/dns-query" || r.Header.Get("Content-Type") != "application/dns-message" || q.Unpack(b) != nil || q.Id != 0 || r.ProtoMajor != 2 {
			w.WriteHeader(400)
			return
		}
		out, err := z.reply(q, "https").Pack()
		if err != nil {
			w.WriteHeader(500)
			return
		}
		w.Header().Set("Content-Type", "application/dns-message")
		_, _ = w.Write(out)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.TLS, h.EnableHTTP2 = conf, true
	h.StartTLS()
	z.t.Cleanup(h.Close)
	ways["https"] = h.URL
	return ways, roots
}

// at is a name server as flags and policies write it.
func at(t *testing.T, text string) netname.NameServer {
	t.Helper()
	s, err := netname.ParseNameServer(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustNew(t *testing.T, c Config) *Resolver {
	t.Helper()
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// TestLookup: over every way the same names mean the same.
func TestLookup(t *testing.T) {
	z := &zone{t: t}
	z.answer = func(q dns.Question, m *dns.Msg) {
		add := func(lines ...string) {
			for _, l := range lines {
				m.Answer = append(m.Answer, rr(t, l))
			}
		}
		a, aaaa := q.Qtype == dns.TypeA, q.Qtype == dns.TypeAAAA
		switch {
		case q.Name == "two.test." && a:
			add("two.test. 60 IN A 192.0.2.1", "two.test. 60 IN A 192.0.2.2")
		case q.Name == "two.test." && aaaa:
			add("two.test. 60 IN AAAA 2001:db8::1")
		case q.Name == "alias.test." && a:
			add("alias.test. 60 IN CNAME mid.test.", "end.test. 60 IN A 192.0.2.3", "MID.test. 60 IN CNAME end.test.", "other.test. 60 IN A 203.0.113.66")
		case q.Name == "alias.test.":
			add("alias.test. 60 IN CNAME mid.test.", "mid.test. 60 IN CNAME end.test.")
		case q.Name == "loop.test.":
			add("loop.test. 60 IN CNAME loop2.test.", "loop2.test. 60 IN CNAME loop.test.")
		case q.Name == "stranger.test." && a:
			add("elsewhere.test. 60 IN A 203.0.113.66", "stranger.test. 60 IN TXT \"x\"")
		case q.Name == "half.test." && a:
			add("half.test. 60 IN A 192.0.2.5")
		case q.Name == "half.test.":
			m.Rcode = dns.RcodeServerFailure
		case q.Name == "many.test." && a:
			for i := range 200 {
				add(fmt.Sprintf("many.test. 60 IN A 192.0.2.%d", i))
			}
		case q.Name == "broken.test.":
			m.Rcode = dns.RcodeServerFailure
		case q.Name == "wrong.test.":
			m.Question[0].Name = "right.test."
			add("wrong.test. 60 IN A 203.0.113.66")
		case strings.HasSuffix(q.Name, "gone.test."):
			m.Rcode = dns.RcodeNameError
		}
	}
	ways, roots := z.servers()
	for way, server := range ways {
		t.Run(way, func(t *testing.T) {
			r := mustNew(t, Config{Server: at(t, server), RootCAs: roots})
			for _, tt := range []struct {
				name, want string
				notFound   bool
			}{
				{"two.test", "[2001:db8::1 192.0.2.1 192.0.2.2]", false},
				{"TWO.test", "[2001:db8::1 192.0.2.1 192.0.2.2]", false},
				{"alias.test", "[192.0.2.3]", false},
				{"half.test", "[192.0.2.5]", false},
				{"stranger.test", "", true},
				{"none.test", "", true},
				{"gone.test", "", true},
				{"loop.test", "", false},
				{"broken.test", "", false},
				{"wrong.test", "", false},
			} {
				addrs, err := r.Lookup(t.Context(), tt.name)
				var e *net.DNSError
				switch {
				case tt.want != "" && (err != nil || fmt.Sprint(addrs) != tt.want):
					t.Errorf("%s: %v %v", tt.name, addrs, err)
				case tt.want == "" && (len(addrs) > 0 || !errors.As(err, &e) || e.IsNotFound != tt.notFound):
					t.Errorf("%s: %v %v", tt.name, addrs, err)
				}
			}
			addrs, err := r.Lookup(t.Context(), "many.test")
			if err != nil || len(addrs) != 200 {
				t.Errorf("many.test: %d, %v", len(addrs), err)
			}
			if way == "udp" && z.count("many.test. A tcp") != 1 {
				t.Error("a truncated answer was not asked for over TCP")
			}
		})
	}
}

// TestUntrusted: a server that another authority vouches for is not believed.
func TestUntrusted(t *testing.T) {
	z := &zone{t: t, answer: func(q dns.Question, m *dns.Msg) {
		m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: 1, Ttl: 60}, A: net.IPv4(192, 0, 2, 1)})
	}}
	ways, _ := z.servers()
	for _, way := range []string{"tls", "https"} {
		if addrs, err := mustNew(t, Config{Server: at(t, ways[way]), RootCAs: x509.NewCertPool()}).Lookup(t.Context(), "a.test"); err == nil {
			t.Errorf("%s: %v", way, addrs)
		}
	}
	for key := range z.asked {
		t.Errorf("an untrusted server was asked: %s", key)
	}
}

// TestCache: a time to live is honoured, bounded, and never lengthened.
func TestCache(t *testing.T) {
	z := &zone{t: t, answer: func(q dns.Question, m *dns.Msg) {
		if q.Qtype != dns.TypeA {
			m.Ns = append(m.Ns, rr(t, "test. 900 IN SOA a. b. 1 2 3 4 900"))
			return
		}
		switch q.Name {
		case "short.test.":
			m.Answer = append(m.Answer, rr(t, q.Name+" 20 IN A 192.0.2.1"))
		case "long.test.":
			m.Answer = append(m.Answer, rr(t, q.Name+" 86400 IN A 192.0.2.1"))
		case "zero.test.":
			m.Answer = append(m.Answer, rr(t, q.Name+" 0 IN A 192.0.2.1"))
		case "gone.test.":
			m.Rcode = dns.RcodeNameError
			m.Ns = append(m.Ns, rr(t, "test. 900 IN SOA a. b. 1 2 3 4 900"))
		}
	}}
	ways, roots := z.servers()
	r := mustNew(t, Config{Server: at(t, ways["tls"]), RootCAs: roots})
	now := time.Now()
	r.cache.now = func() time.Time { return now }
	for _, tt := range []struct {
		name  string
		after time.Duration
		asked int
	}{
		{"short.test", 0, 1}, {"short.test", 19 * time.Second, 1}, {"short.test", 2 * time.Second, 2},
		{"long.test", 0, 1}, {"long.test", maxKeepNone - time.Second, 1}, {"long.test", 2 * time.Second, 2},
		{"zero.test", 0, 1}, {"zero.test", 0, 2},
		{"gone.test", 0, 1}, {"gone.test", maxKeepNone - time.Second, 1}, {"gone.test", 2 * time.Second, 2},
		{"unsaid.test", 0, 1}, {"unsaid.test", 0, 2},
	} {
		now = now.Add(tt.after)
		_, _ = r.Lookup(t.Context(), tt.name)
		if n := z.count(tt.name + ". A tls"); n != tt.asked {
			t.Errorf("%s after %v was asked for %d times, want %d", tt.name, tt.after, n, tt.asked)
		}
	}
	c := newCache(func() time.Time { return now })
	for i := range maxNames + 5 {
		c.put(fmt.Sprint(i), nil, time.Minute)
		c.get("0")
	}
	if _, ok := c.get("0"); !ok || len(c.names) != maxNames || c.order.Len() != maxNames {
		t.Errorf("%d names are kept, the used one: %v", len(c.names), ok)
	}
	if _, ok := c.get("1"); ok {
		t.Error("the name that was used least recently is kept")
	}
}

// TestSilentServer: nobody answers, and the caller may give up before.
func TestSilentServer(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	r := mustNew(t, Config{Server: at(t, pc.LocalAddr().String())})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _, _ = pc.ReadFrom(make([]byte, 512)); cancel() }()
	var e *net.DNSError
	if addrs, err := r.Lookup(ctx, "a.test"); !errors.As(err, &e) || !e.IsTimeout {
		t.Errorf("%v %v", addrs, err)
	}
}

// TestAbsentServer: where nothing listens the error says so, by whatever way.
func TestAbsentServer(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := pc.LocalAddr().String()
	_ = pc.Close()
	for _, server := range []string{addr, "tls://" + addr, "https://" + addr + "/dns-query"} {
		r := mustNew(t, Config{Server: at(t, server)})
		var e *net.DNSError
		var away *net.OpError
		if addrs, err := r.Lookup(t.Context(), "a.test"); !errors.As(err, &e) || e.IsNotFound || e.IsTimeout || !errors.As(err, &away) {
			t.Errorf("%s: %v %v", server, addrs, err)
		}
	}
}

// TestClosedConnection: a connection that the server closed is no failure.
func TestClosedConnection(t *testing.T) {
	z := &zone{t: t, answer: func(q dns.Question, m *dns.Msg) {
		if q.Qtype == dns.TypeA {
			m.Answer = append(m.Answer, rr(t, q.Name+" 0 IN A 192.0.2.1"))
		}
	}}
	ways, roots := z.servers()
	var mu sync.Mutex
	var open []net.Conn
	r := mustNew(t, Config{Server: at(t, ways["tls"]), RootCAs: roots, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
		return c, err
	}})
	for i := range 3 {
		if addrs, err := r.Lookup(t.Context(), fmt.Sprintf("n%d.test", i)); err != nil || !slices.Contains(addrs, netip.MustParseAddr("192.0.2.1")) {
			t.Fatalf("%v %v", addrs, err)
		}
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
	}
}

// TestNoServer: what names no server asks nobody.
func TestNoServer(t *testing.T) {
	for _, s := range []netname.NameServer{{}, {Way: netname.HostServer}, {Way: 99}} {
		if _, err := New(Config{Server: s}); err == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}

// TestLookupWhileClosed: a question that is asked when a reload takes another
// server is answered, and its connection is not kept.
func TestLookupWhileClosed(t *testing.T) {
	asked, closed := make(chan struct{}, 2), make(chan struct{})
	z := &zone{t: t, answer: func(q dns.Question, m *dns.Msg) {
		asked <- struct{}{}
		<-closed
		if q.Qtype == dns.TypeA {
			m.Answer = append(m.Answer, rr(t, q.Name+" 60 IN A 192.0.2.1"))
		}
	}}
	ways, roots := z.servers()
	var mu sync.Mutex
	var open []*hangup
	r := mustNew(t, Config{Server: at(t, ways["tls"]), RootCAs: roots, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		mu.Lock()
		defer mu.Unlock()
		h := &hangup{Conn: c, done: make(chan struct{})}
		open = append(open, h)
		return h, err
	}})
	go func() {
		<-asked
		r.Close()
		close(closed)
	}()
	if addrs, err := r.Lookup(t.Context(), "a.test"); err != nil || len(addrs) != 1 {
		t.Fatalf("%v %v", addrs, err)
	}
	for _, h := range open {
		<-h.done
	}
}

// hangup tells when a connection is closed.
type hangup struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

func (h *hangup) Close() error {
	h.once.Do(func() { close(h.done) })
	return h.Conn.Close()
}

// TestFault: what breaks down over an answer is no answer, and ends nothing else.
func TestFault(t *testing.T) {
	r := mustNew(t, Config{Server: at(t, "127.0.0.1")})
	r.ask = func(context.Context, *dns.Msg) (*dns.Msg, error) { panic("a fault") }
	var no *net.DNSError
	if got, err := r.Lookup(t.Context(), "a.test"); got != nil || !errors.As(err, &no) || no.IsNotFound {
		t.Errorf("%v %v", got, err)
	}
}
