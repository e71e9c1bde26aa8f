package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
)

// recorder keeps events.
type recorder struct {
	mu     sync.Mutex
	events []audit.Event
	err    error
}

func (r *recorder) Record(events ...audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, events...)
	return r.err
}

func (r *recorder) last() audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == 0 {
		return audit.Event{}
	}
	return r.events[len(r.events)-1]
}

func (r *recorder) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// unserved is a Server whose sockets are never used.
func unserved(t testing.TB, names int) (*Server, *recorder) {
	t.Helper()
	r := &recorder{}
	s, err := New(Config{Pool: NewPool(names), Audit: r}, []net.PacketConn{nil}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func query(name string, qtype uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, qtype)
}

func ask(t testing.TB, s *Server, q *dns.Msg) *dns.Msg {
	t.Helper()
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out := s.answer(b)
	if out == nil {
		t.Fatalf("no answer to %v", q)
	}
	m := new(dns.Msg)
	if err := m.Unpack(out); err != nil {
		t.Fatal(err)
	}
	if m.Id != q.Id || !m.Response || m.Opcode != q.Opcode {
		t.Fatalf("answer does not belong to the query: %v", m)
	}
	return m
}

func TestAnswers(t *testing.T) {
	s, rec := unserved(t, 0)
	edit := func(m *dns.Msg, f func(*dns.Msg)) *dns.Msg { f(m); return m }
	for _, tt := range []struct {
		name  string
		q     *dns.Msg
		rcode int
		want  string // the answer: an address, "synthetic4", "synthetic6", a name, or nothing
		audit string // the reason recorded, if any
	}{
		{"A", query("api.example.", dns.TypeA), dns.RcodeSuccess, "synthetic4", ""},
		{"AAAA", query("api.example.", dns.TypeAAAA), dns.RcodeSuccess, "synthetic6", ""},
		{"case is kept", query("ApI.eXample.", dns.TypeA), dns.RcodeSuccess, "synthetic4", ""},
		{"single label", query("intranet.", dns.TypeA), dns.RcodeSuccess, "synthetic4", ""},
		{"metadata", query("metadata.google.internal.", dns.TypeA), dns.RcodeSuccess, "synthetic4", ""},
		{"localhost", query("localhost.", dns.TypeA), dns.RcodeSuccess, "127.0.0.1", ""},
		{"below localhost", query("x.LOCALHOST.", dns.TypeAAAA), dns.RcodeSuccess, "::1", ""},
		{"not localhost", query("notlocalhost.", dns.TypeA), dns.RcodeSuccess, "synthetic4", ""},

		{"HTTPS", query("api.example.", dns.TypeHTTPS), dns.RcodeSuccess, "", "record type is answered empty"},
		{"SVCB", query("api.example.", dns.TypeSVCB), dns.RcodeSuccess, "", "record type is answered empty"},
		{"TXT", query("api.example.", dns.TypeTXT), dns.RcodeSuccess, "", "record type is answered empty"},
		{"NULL", query("api.example.", dns.TypeNULL), dns.RcodeSuccess, "", "record type is answered empty"},
		{"CNAME", query("api.example.", dns.TypeCNAME), dns.RcodeSuccess, "", "record type is answered empty"},
		{"MX", query("api.example.", dns.TypeMX), dns.RcodeSuccess, "", "record type is answered empty"},
		{"ANY", query("api.example.", dns.TypeANY), dns.RcodeSuccess, "", "record type is answered empty"},
		{"unknown type", query("api.example.", 65280), dns.RcodeSuccess, "", "record type is answered empty"},
		{"HTTPS of localhost", query("localhost.", dns.TypeHTTPS), dns.RcodeSuccess, "", "record type is answered empty"},

		{"root", query(".", dns.TypeA), dns.RcodeNameError, "", "not a valid host name"},
		{"address as a name", query("192.0.2.1.", dns.TypeA), dns.RcodeNameError, "", "not a valid host name"},
		{"escaped dot", query(`a\.b.test.`, dns.TypeA), dns.RcodeNameError, "", "not a valid host name"},
		{"zero byte", query(`a\000.test.`, dns.TypeA), dns.RcodeNameError, "", "not a valid host name"},
		{"space", query(`a\ b.test.`, dns.TypeA), dns.RcodeNameError, "", "not a valid host name"},
		{"high byte", query(`a\200.test.`, dns.TypeA), dns.RcodeNameError, "", "not a valid host name"},
		{"leading hyphen", query(`-a.test.`, dns.TypeA), dns.RcodeNameError, "", "not a valid host name"},

		{"PTR of nothing", query("9.9.193.29.in-addr.arpa.", dns.TypePTR), dns.RcodeNameError, "", ""},
		{"PTR of a real address", query("1.2.0.192.in-addr.arpa.", dns.TypePTR), dns.RcodeNameError, "", ""},
		{"PTR of loopback", query("1.0.0.127.in-addr.arpa.", dns.TypePTR), dns.RcodeSuccess, "localhost.", ""},
		{"PTR of rubbish", query("x.in-addr.arpa.", dns.TypePTR), dns.RcodeNameError, "", ""},

		{"AXFR", query("example.", dns.TypeAXFR), dns.RcodeRefused, "", "zone transfers are not served"},
		{"IXFR", query("example.", dns.TypeIXFR), dns.RcodeRefused, "", "zone transfers are not served"},
		{"CHAOS", edit(query("version.bind.", dns.TypeTXT), func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
			dns.RcodeRefused, "", "class is not IN"},
		{"class ANY", edit(query("a.test.", dns.TypeA), func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }),
			dns.RcodeRefused, "", "class is not IN"},
		{"update", edit(query("a.test.", dns.TypeSOA), func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }),
			dns.RcodeNotImplemented, "", "operation is not a query"},
		{"notify", edit(query("a.test.", dns.TypeSOA), func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }),
			dns.RcodeNotImplemented, "", "operation is not a query"},
		{"two questions", edit(query("a.test.", dns.TypeA), func(m *dns.Msg) {
			m.Question = append(m.Question, dns.Question{Name: "b.test.", Qtype: dns.TypeA, Qclass: dns.ClassINET})
		}), dns.RcodeFormatError, "", "more than one question"},
		{"answer in the query", edit(query("a.test.", dns.TypeA), func(m *dns.Msg) {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "a.test.", Rrtype: dns.TypeA, Class: 1}, A: net.IPv4(192, 0, 2, 1)}}
		}), dns.RcodeFormatError, "", "records in a query"},
		{"record beside OPT", edit(query("a.test.", dns.TypeA), func(m *dns.Msg) {
			m.Extra = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: "a.test.", Rrtype: dns.TypeTXT, Class: 1}, Txt: []string{"x"}}}
		}), dns.RcodeFormatError, "", "records in a query"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.limit = audit.NewLimiter(auditBurst, auditEvery) // the rate has a test of its own
			before := rec.len()
			m := ask(t, s, tt.q)
			if m.Rcode != tt.rcode {
				t.Fatalf("%s, want %s", dns.RcodeToString[m.Rcode], dns.RcodeToString[tt.rcode])
			}
			if m.Question[0] != tt.q.Question[0] {
				t.Errorf("question came back as %v", m.Question[0])
			}
			got := ""
			if len(m.Answer) > 0 {
				if h := m.Answer[0].Header(); h.Name != tt.q.Question[0].Name || h.Rrtype != tt.q.Question[0].Qtype || h.Ttl != 60 {
					t.Errorf("header of the answer: %v", h)
				}
				switch rr := m.Answer[0].(type) {
				case *dns.A:
					got = address(t, s, rr.A, "synthetic4", tt.q.Question[0].Name)
				case *dns.AAAA:
					got = address(t, s, rr.AAAA, "synthetic6", tt.q.Question[0].Name)
				case *dns.PTR:
					got = rr.Ptr
				}
			}
			if got != tt.want || len(m.Answer) > 1 || len(m.Ns) > 0 || len(m.Extra) > 0 {
				t.Errorf("answer %q, want %q: %v", got, tt.want, m)
			}
			switch e := rec.last(); {
			case tt.audit == "" && rec.len() != before:
				t.Errorf("recorded %+v", e)
			case tt.audit != "" && (rec.len() != before+1 || e.Reason != tt.audit || e.Kind != audit.DNS || e.Verdict != "deny"):
				t.Errorf("recorded %+v, want %q", e, tt.audit)
			}
		})
	}
}

// address describes an address that was answered for a name.
func address(t *testing.T, s *Server, ip net.IP, synthetic, name string) string {
	t.Helper()
	a, _ := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if !netname.Synthetic(a) {
		return a.String()
	}
	h, ok := s.pool.name(a)
	if want := strings.ToLower(strings.TrimSuffix(name, ".")); !ok || h.String() != want {
		t.Errorf("%s stands for %q, want %q", a, h, want)
	}
	return synthetic
}

func TestReverse(t *testing.T) {
	s, _ := unserved(t, 0)
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		var ip net.IP
		switch rr := ask(t, s, query("api.example.", qtype)).Answer[0].(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		name, err := dns.ReverseAddr(ip.String())
		if err != nil {
			t.Fatal(err)
		}
		m := ask(t, s, query(name, dns.TypePTR))
		if len(m.Answer) != 1 || m.Answer[0].(*dns.PTR).Ptr != "api.example." {
			t.Errorf("PTR of %s: %v", ip, m)
		}
	}
}

func TestEDNS(t *testing.T) {
	s, _ := unserved(t, 0)
	q := query("a.test.", dns.TypeA)
	q.SetEdns0(4096, true)
	m := ask(t, s, q)
	if o := m.IsEdns0(); o == nil || o.UDPSize() != udpSize || o.Version() != 0 || o.Do() || len(m.Answer) != 1 {
		t.Errorf("answer with EDNS: %v", m)
	}
	q.IsEdns0().SetVersion(1)
	m = ask(t, s, q)
	if m.Rcode != dns.RcodeBadVers || m.IsEdns0() == nil || len(m.Answer) != 0 {
		t.Errorf("EDNS version 1: %v", m)
	}
	q = query("a.test.", dns.TypeA)
	q.SetEdns0(4096, false)
	q.SetEdns0(4096, false)
	if m = ask(t, s, q); m.Rcode != dns.RcodeFormatError {
		t.Errorf("two OPT records: %v", m)
	}
}

// TestAnswerSize: what a client without EDNS takes is enough for every answer.
func TestAnswerSize(t *testing.T) {
	s, _ := unserved(t, 0)
	label := strings.Repeat("a", 63)
	longest := label + "." + label + "." + label + "." + label[:61] + "."
	if len(longest) != 254 {
		t.Fatal(len(longest))
	}
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeTXT} {
		b, err := query(longest, qtype).Pack()
		if err != nil {
			t.Fatal(err)
		}
		out := s.answer(b)
		var m dns.Msg
		if err := m.Unpack(out); err != nil || m.Truncated || len(out) > dns.MinMsgSize {
			t.Errorf("%s: %d bytes, %v", dns.TypeToString[qtype], len(out), err)
		}
		if want := qtype == dns.TypeA || qtype == dns.TypeAAAA; (len(m.Answer) == 1) != want || want && m.Answer[0].Header().Name != longest {
			t.Errorf("%s: %v", dns.TypeToString[qtype], m.Answer)
		}
	}
	_, v6 := assign(t, s.pool, strings.TrimSuffix(longest, "."))
	name, err := dns.ReverseAddr(v6.String())
	if err != nil {
		t.Fatal(err)
	}
	b, _ := query(name, dns.TypePTR).Pack()
	if out := s.answer(b); len(out) > dns.MinMsgSize {
		t.Errorf("PTR: %d bytes", len(out))
	}
}

// TestCaseIsKept: the question comes back as it was written, letter for letter,
// and the name of the answer with it (what some clients tell forgeries by).
func TestCaseIsKept(t *testing.T) {
	s, _ := unserved(t, 0)
	first := ""
	for _, name := range []string{"api.example.", "ApI.eXaMpLe.", "API.EXAMPLE."} {
		m := ask(t, s, query(name, dns.TypeA))
		if m.Question[0].Name != name || len(m.Answer) != 1 || m.Answer[0].Header().Name != name {
			t.Fatalf("%s: %v", name, m)
		}
		a := m.Answer[0].(*dns.A).A.String()
		if first == "" {
			first = a
		}
		if a != first {
			t.Errorf("%s is %s, and %s", name, a, first)
		}
	}
}

// TestHostileNames: names that point to themselves, forward, in circles, beyond
// the end, or that are too long, are malformed: no answer comes of them.
func TestHostileNames(t *testing.T) {
	s, rec := unserved(t, 0)
	head := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00")
	tail := "\x00\x01\x00\x01"
	label := "\x3f" + strings.Repeat("a", 63)
	for what, name := range map[string]string{
		"points to itself":       "\xc0\x0c",
		"points forward":         "\xc0\x20",
		"circle":                 "\x01a\xc0\x0c",
		"circle of two":          "\xc0\x0e\xc0\x0c",
		"points into the header": "\xc0\x00",
		"beyond the end":         "\xff\xff",
		"label beyond the end":   "\x3fabc",
		"reserved label type":    "\x41a\x00",
		"other reserved type":    "\x81a\x00",
		"longer than 255":        strings.Repeat(label, 4) + "\x00",
		"no end":                 strings.Repeat(label, 3),
		"cut pointer":            "\xc0",
	} {
		t.Run(what, func(t *testing.T) {
			s.limit = audit.NewLimiter(auditBurst, auditEvery)
			before := rec.len()
			msg := append(append([]byte(nil), head...), name...)
			if what != "cut pointer" && what != "no end" && what != "label beyond the end" {
				msg = append(msg, tail...)
			}
			out := s.answer(msg)
			if len(out) != headerLen || out[3]&0xf != dns.RcodeFormatError {
				t.Errorf("answered %x", out)
			}
			if rec.len() != before+1 {
				t.Error("not recorded")
			}
		})
	}
	// Counts that promise more than there is give no more answers than questions.
	lies := append(append([]byte(nil), head...), "\x01a\x04test\x00\x00\x01\x00\x01"...)
	lies[5], lies[7] = 0xff, 0xff
	var m dns.Msg
	if err := m.Unpack(s.answer(lies)); err != nil || len(m.Answer) > 1 {
		t.Errorf("%v %v", m, err)
	}
}

func TestMalformed(t *testing.T) {
	s, rec := unserved(t, 0)
	good, _ := query("a.test.", dns.TypeA).Pack()
	response := append([]byte(nil), good...)
	response[2] |= 0x80
	for _, b := range [][]byte{nil, good[:11], response} {
		if out := s.answer(b); out != nil {
			t.Errorf("answered %x with %x", b, out)
		}
	}
	noQuestion := make([]byte, headerLen)
	for _, b := range [][]byte{good[:len(good)-1], noQuestion, append(append([]byte(nil), good...), make([]byte, maxQuery)...)} {
		out := s.answer(b)
		if len(out) != headerLen || out[3]&0xf != dns.RcodeFormatError || out[2]&0x80 == 0 || out[0] != b[0] || out[1] != b[1] {
			t.Errorf("answered %x with %x", b, out)
		}
	}
	if e := rec.last(); e.Reason != "malformed query" {
		t.Errorf("recorded %+v", e)
	}
}

func TestPoolFull(t *testing.T) {
	s, rec := unserved(t, 1)
	ask(t, s, query("a.test.", dns.TypeA))
	m := ask(t, s, query("b.test.", dns.TypeA))
	if m.Rcode != dns.RcodeServerFailure || len(m.Answer) != 0 {
		t.Errorf("full pool: %v", m)
	}
	if e := rec.last(); e.Host != "b.test" || e.Detail["type"] != "A" {
		t.Errorf("recorded %+v", e)
	}
	if m = ask(t, s, query("a.test.", dns.TypeAAAA)); len(m.Answer) != 1 {
		t.Errorf("a name that has an address: %v", m)
	}
}

func TestAuditIsBounded(t *testing.T) {
	s, rec := unserved(t, 0)
	rec.err = errors.New("disk full") // the refusal stands all the same
	for range 10 * auditBurst {
		if m := ask(t, s, query("a.test.", dns.TypeTXT)); len(m.Answer) != 0 {
			t.Fatal("answered")
		}
	}
	if n := rec.len(); n < auditBurst || n > 2*auditBurst {
		t.Fatalf("%d events for %d refusals", n, 10*auditBurst)
	}
	s.now = func() time.Time { return time.Now().Add(2 * auditEvery) }
	ask(t, s, query("a.test.", dns.TypeTXT))
	if e := rec.last(); e.Detail["not_recorded_before"] == "" {
		t.Errorf("the event after a pause does not say what is missing: %+v", e)
	}
}

// serve runs a Server on loopback sockets of both families and gives their addresses.
func serve(t *testing.T) (udp, tcp []string, rec *recorder) {
	t.Helper()
	rec = &recorder{}
	var pcs []net.PacketConn
	var ls []net.Listener
	for _, a := range []string{"127.0.0.1:0", "[::1]:0"} {
		pc, err := net.ListenPacket("udp", a)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		pcs, ls = append(pcs, pc), append(ls, l)
		udp, tcp = append(udp, pc.LocalAddr().String()), append(tcp, l.Addr().String())
	}
	s, err := New(Config{Pool: NewPool(0), Audit: rec}, pcs, ls)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return udp, tcp, rec
}

func TestServe(t *testing.T) {
	udp, tcp, _ := serve(t)
	for network, addrs := range map[string][]string{"udp": udp, "tcp": tcp} {
		for _, addr := range addrs {
			c := &dns.Client{Net: network, Timeout: 20 * time.Second}
			m, _, err := c.Exchange(query("api.example.", dns.TypeA), addr)
			if err != nil || len(m.Answer) != 1 {
				t.Errorf("%s %s: %v, %v", network, addr, m, err)
			}
		}
	}
}

// Go's own resolver, as a program in the sandbox would use it.
func TestServeResolver(t *testing.T) {
	udp, tcp, _ := serve(t)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		if strings.HasPrefix(network, "tcp") {
			return new(net.Dialer).DialContext(ctx, "tcp", tcp[0])
		}
		return new(net.Dialer).DialContext(ctx, "udp", udp[0])
	}}
	addrs, err := r.LookupNetIP(t.Context(), "ip", "api.example.")
	if err != nil || len(addrs) != 2 {
		t.Fatalf("LookupNetIP: %v, %v", addrs, err)
	}
	for _, a := range addrs {
		if !netname.Synthetic(a) {
			t.Errorf("%s is not synthetic", a)
		}
	}
	if txt, err := r.LookupTXT(t.Context(), "api.example."); err == nil {
		t.Errorf("LookupTXT: %v", txt)
	}
}

func TestTCPBounds(t *testing.T) {
	_, tcp, rec := serve(t)
	b, _ := query("a.test.", dns.TypeA).Pack()
	frame := append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	exchange := func(c net.Conn) error {
		if _, err := c.Write(frame); err != nil {
			return err
		}
		_, err := (&dns.Conn{Conn: c}).ReadMsg()
		return err
	}
	var open []net.Conn
	for range maxConns {
		c, err := net.Dial("tcp", tcp[0])
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 2 { // more than one query for each connection
			if err := exchange(c); err != nil {
				t.Fatalf("connection %d: %v", len(open), err)
			}
		}
		open = append(open, c)
	}
	c, err := net.Dial("tcp", tcp[1]) // the bound is for all listeners together
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := exchange(c); err == nil {
		t.Fatal("one connection too many was served")
	}
	if e := rec.last(); e.Reason != "too many connections" {
		t.Errorf("recorded %+v", e)
	}

	// A frame that is too long ends its connection.
	if _, err := open[0].Write([]byte{0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(open[0]); err != nil && !errors.Is(err, io.EOF) {
		t.Logf("closed with %v", err)
	}
}

func TestRunReportsADeadSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Pool: NewPool(0), Audit: &recorder{}}, []net.PacketConn{pc}, []net.Listener{l})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.Run(t.Context()); err == nil {
		t.Fatal("Run went on without its listener")
	}
	if _, err := pc.WriteTo(nil, pc.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the other socket was left open: %v", err)
	}
}

func TestNewWantsEverything(t *testing.T) {
	sockets := []net.PacketConn{nil}
	for _, c := range []Config{{}, {Pool: NewPool(0)}, {Audit: &recorder{}}} {
		if _, err := New(c, sockets, nil); err == nil {
			t.Errorf("New(%+v) is no error", c)
		}
	}
	if _, err := New(Config{Pool: NewPool(0), Audit: &recorder{}}, nil, nil); err == nil {
		t.Error("New without sockets is no error")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, q := range []*dns.Msg{
		query("api.example.", dns.TypeA), query("api.example.", dns.TypeHTTPS),
		query("4.3.193.29.in-addr.arpa.", dns.TypePTR), query("a.test.", dns.TypeA).SetEdns0(4096, true),
		query("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.e.e.c.c.0.d.2.ip6.arpa.", dns.TypePTR),
	} {
		b, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01")) // a name that points to itself
	s, _ := unserved(f, 8)
	f.Fuzz(func(t *testing.T, b []byte) {
		out := s.answer(b)
		if out == nil {
			return
		}
		var m dns.Msg
		if err := m.Unpack(out); err != nil {
			t.Fatalf("answer does not parse: %v", err)
		}
		if len(out) > udpSize || !m.Response || out[0] != b[0] || out[1] != b[1] {
			t.Fatalf("answered %x with %x", b, out)
		}
		for _, rr := range m.Answer {
			var ip net.IP
			switch rr := rr.(type) {
			case *dns.A:
				ip = rr.A
			case *dns.AAAA:
				ip = rr.AAAA
			case *dns.PTR:
				continue
			default:
				t.Fatalf("answer of type %T", rr)
			}
			if a, _ := netip.AddrFromSlice(ip); !netname.Synthetic(a) && !a.Unmap().IsLoopback() {
				t.Fatalf("answered %s", a)
			}
		}
	})
}

// BenchmarkAnswerUDP is B8: one query and its answer over a socket.
func BenchmarkAnswerUDP(b *testing.B) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Config{Pool: NewPool(0), Audit: &recorder{}}, []net.PacketConn{pc}, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	c, err := net.Dial("udp", pc.LocalAddr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	q, _ := query("api.example.", dns.TypeA).Pack()
	buf := make([]byte, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(q); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
