package dns

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
)

const (
	// headerLen is the fixed part of a message (RFC 1035 §4.1.1), bytes.
	headerLen = 12

	// maxQuery bounds a query in bytes. One question is at most 271; the rest is
	// room for EDNS options (cookies, padding to a block).
	maxQuery = 4096

	// udpSize is what EDNS says we take over UDP, bytes: below every usual MTU
	// (DNS flag day 2020).
	udpSize = 1232

	// longName is the length of a name, in bytes, from which on an answer says it
	// once: written twice, the longest would not fit into the 512 bytes that a
	// client without EDNS takes (RFC 1035 §4.2.1).
	longName = 200
)

// answer gives the reply to one message, or nil if it deserves none.
func (s *Server) answer(msg []byte) []byte {
	// Without a whole header there is nothing to reply to, and a reply to a
	// response could start a loop.
	if len(msg) < headerLen || msg[2]&0x80 != 0 {
		return nil
	}
	var q dns.Msg
	if len(msg) > maxQuery || q.Unpack(msg) != nil || len(q.Question) == 0 {
		s.refuse("", "", "malformed query")
		return bare(msg, dns.RcodeFormatError)
	}
	m := new(dns.Msg)
	m.Id, m.Response, m.Opcode = q.Id, true, q.Opcode
	m.RecursionDesired, m.CheckingDisabled = q.RecursionDesired, q.CheckingDisabled
	m.RecursionAvailable = true
	m.Question = q.Question[:1]
	m.Compress = len(q.Question[0].Name) > longName
	m.Rcode = s.fill(m, &q)
	out, err := m.Pack()
	if err != nil {
		s.log.Debug("pack dns answer", "error", err)
		return bare(msg, dns.RcodeServerFailure)
	}
	return out
}

// bare is a reply that repeats nothing but the header of the query.
func bare(msg []byte, rcode int) []byte {
	out := make([]byte, headerLen)
	copy(out, msg[:2])
	flags := binary.BigEndian.Uint16(msg[2:])
	flags = flags&0x7900 | 0x8080 | uint16(rcode) // opcode and RD as asked; QR, RA
	binary.BigEndian.PutUint16(out[2:], flags)
	return out
}

// fill adds the records of the answer to m and returns its code.
func (s *Server) fill(m, q *dns.Msg) int {
	question := q.Question[0]
	name, qtype := question.Name, question.Qtype
	refuse := func(rcode int, reason string) int {
		s.refuse(name, typeName(qtype), reason)
		return rcode
	}

	opt, bad := edns(q)
	if opt != nil {
		o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		o.SetUDPSize(udpSize)
		if opt.Version() != 0 {
			// Pack moves the upper bits of the code into the record.
			m.Extra = append(m.Extra, o)
			return refuse(dns.RcodeBadVers, "EDNS version is not 0")
		}
		m.Extra = append(m.Extra, o)
	}
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return refuse(dns.RcodeNotImplemented, "operation is not a query")
	case len(q.Question) != 1:
		return refuse(dns.RcodeFormatError, "more than one question")
	case bad || len(q.Answer) > 0 || len(q.Ns) > 0:
		return refuse(dns.RcodeFormatError, "records in a query")
	case question.Qclass != dns.ClassINET:
		return refuse(dns.RcodeRefused, "class is not IN")
	}

	switch qtype {
	case dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB:
		return refuse(dns.RcodeRefused, "zone transfers are not served")
	case dns.TypePTR:
		return s.reverse(m, name)
	}
	host, err := netname.ParseHost(strings.TrimSuffix(name, "."))
	if err != nil || host.IsAddr() {
		return refuse(dns.RcodeNameError, "not a valid host name")
	}
	if qtype != dns.TypeA && qtype != dns.TypeAAAA {
		return refuse(dns.RcodeSuccess, "record type is answered empty")
	}
	v4, v6 := netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
	if h := host.String(); h != "localhost" && !strings.HasSuffix(h, ".localhost") {
		v4, v6, err = s.pool.Assign(host)
		if errors.Is(err, ErrPoolFull) {
			return refuse(dns.RcodeServerFailure, "all synthetic addresses are in use")
		} else if err != nil {
			return refuse(dns.RcodeNameError, "not a valid host name")
		}
	}
	hdr := dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET, Ttl: uint32(TTL / time.Second)}
	if qtype == dns.TypeA {
		m.Answer = append(m.Answer, &dns.A{Hdr: hdr, A: v4.AsSlice()})
	} else {
		m.Answer = append(m.Answer, &dns.AAAA{Hdr: hdr, AAAA: v6.AsSlice()})
	}
	return dns.RcodeSuccess
}

// edns finds the one OPT record that a query may have; bad means that there is
// anything else.
func edns(q *dns.Msg) (opt *dns.OPT, bad bool) {
	for _, rr := range q.Extra {
		o, ok := rr.(*dns.OPT)
		if !ok || opt != nil {
			return opt, true
		}
		opt = o
	}
	return opt, false
}

// reverse answers PTR: the name of a synthetic address, localhost for loopback.
// Nothing else exists, and that is no refusal worth a line: programs ask for
// the name of whoever connects.
func (s *Server) reverse(m *dns.Msg, name string) int {
	a, ok := reverseAddr(name)
	if !ok {
		return dns.RcodeNameError
	}
	target := "localhost."
	if !a.IsLoopback() {
		host, ok := s.pool.name(a)
		if !ok {
			return dns.RcodeNameError
		}
		target = host.String() + "."
	}
	m.Answer = append(m.Answer, &dns.PTR{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: uint32(TTL / time.Second)},
		Ptr: target,
	})
	return dns.RcodeSuccess
}

// reverseAddr is the address in a name below in-addr.arpa or ip6.arpa (RFC 1035
// §3.5, RFC 3596 §2.5).
func reverseAddr(name string) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		part := strings.Split(rest, ".")
		if len(part) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(part[3] + "." + part[2] + "." + part[1] + "." + part[0])
		return a, err == nil
	}
	rest, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(rest) != 63 { // 32 digits and the dots between them
		return netip.Addr{}, false
	}
	var a [16]byte
	for i := range 32 {
		if i > 0 && rest[2*i-1] != '.' {
			return netip.Addr{}, false
		}
		d, err := strconv.ParseUint(rest[2*i:2*i+1], 16, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		a[15-i/2] |= byte(d) << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}

func typeName(t uint16) string {
	if n, ok := dns.TypeToString[t]; ok {
		return n
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// refuse writes a refusal to the audit, at a bounded rate.
func (s *Server) refuse(name, qtype, reason string) {
	skipped, ok := s.limit.Take(s.now())
	if !ok {
		return
	}
	e := audit.Event{
		Kind: audit.DNS, Verdict: "deny", Protocol: "dns",
		Reason: reason, Host: strings.TrimSuffix(name, "."),
	}
	if qtype != "" || skipped > 0 {
		e.Detail = make(map[string]string, 2)
	}
	if qtype != "" {
		e.Detail["type"] = qtype
	}
	if skipped > 0 {
		e.Detail[audit.NotRecorded] = strconv.FormatUint(skipped, 10)
	}
	if err := s.audit.Record(e); err != nil {
		s.log.Error("record dns refusal", "error", err)
	}
}
