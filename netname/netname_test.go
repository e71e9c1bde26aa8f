package netname

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	name63 := strings.Repeat("a", 63)
	name253 := strings.Repeat(name63+".", 3) + strings.Repeat("a", 61)
	for in, want := range map[string]string{
		"API.Example.COM": "api.example.com", "api.example.com.": "api.example.com", "localhost": "localhost",
		"api_1.example.com": "api_1.example.com", "xn--bcher-kva.example": "xn--bcher-kva.example", "1.example": "1.example",
		"127.0.0.1": "127.0.0.1", "::1": "::1", "::FFFF:10.0.0.1": "10.0.0.1", "2001:DB8::1": "2001:db8::1", "3com": "3com",
		name253: name253, "0xg": "0xg",
	} {
		h, err := ParseHost(in)
		if err != nil || h.String() != want {
			t.Errorf("%q: %q %v, want %q", in, h, err, want)
		}
	}
	for _, in := range []string{
		"", ".", "..", "a..b", ".a", "a.b..", "-a.b", "a-.b", "a b", "a\x00b", "a/b", "a@b", "a:80", "http://a", "[::1]", "::1]",
		"fe80::1%eth0", "::ffff:1.2.3.4%1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "1.2.3.4.5", "0x7f000001", "0x",
		"a.0x1", "256.1.1.1", "a.1", "1.1", "bücher.example", "a。b", "１２７.0.0.1", "a*.b", "a,b", "a?b", "{a}.b", "a%2e.b", "a\n",
		name253 + "a", name63 + "a.b", "10.0.0.0/8",
	} {
		if h, err := ParseHost(in); err == nil || !h.IsZero() {
			t.Errorf("%q is accepted as %q", in, h)
		}
	}
	if HostFromAddr(netip.MustParseAddr("::ffff:10.0.0.1")) != must(t, "10.0.0.1") {
		t.Error("an unmapped address is another host")
	}
}

func must(t *testing.T, s string) Host {
	t.Helper()
	h, err := ParseHost(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPattern(t *testing.T) {
	for _, c := range []struct{ pattern, match, not string }{
		{"*.example.com", "a.example.com", "example.com a.b.example.com aexample.com"},
		{"**.example.com", "a.example.com a.b.c.example.com", "example.com xexample.com"},
		{"*-api.example.com", "x-api.example.com", "api.example.com x.y-api.example.com"},
		{"a*b*c.example.com", "abc.example.com axxbxxc.example.com", "acb.example.com"},
		{"*.s3.*.example.com", "b.s3.eu.example.com", "b.s3.example.com s3.eu.example.com"},
		{"API.example.com", "api.example.com", "api.example.org"},
		{"10.0.0.1", "10.0.0.1 ::ffff:10.0.0.1", "10.0.0.2"},
		{"2001:DB8::1", "2001:db8:0::1", "2001:db8::2"},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if p.Literal() == strings.Contains(c.pattern, "*") {
			t.Errorf("%s: literal %t", c.pattern, p.Literal())
		}
		for _, h := range strings.Fields(c.match) {
			if !p.Match(must(t, h)) {
				t.Errorf("%s does not match %s", c.pattern, h)
			}
		}
		for _, h := range strings.Fields(c.not) {
			if p.Match(must(t, h)) {
				t.Errorf("%s matches %s", c.pattern, h)
			}
		}
		if p.Match(Host{}) {
			t.Errorf("%s matches the zero host", c.pattern)
		}
	}
	for _, s := range []string{
		"", "*", "**", "*.*", "*.com", "**.org", "*foo.com", "*.*.*", "**.*.com", "*.*.com", "a.**.b.com", "a**.b.com", "***.b.com",
		"a.b*.example.com", "*.example.com.", "*..com", "*.example.com:443", "https://*.example.com", "*.example.com/a", "*.a b.com",
		"*.{a,b}.com", "*.a?.example.com", "*.[a].example.com", "*.1.2.3", "-*.example.com", "*.bücher.example", "*.a\n.com", "[::1]",
		"10.0.0.0/8", "a.example.com.", "2130706433",
	} {
		if p, err := ParsePattern(s); err == nil || p != (Pattern{}) {
			t.Errorf("%q is accepted", s)
		}
	}
	if (Pattern{}).Match(must(t, "a")) || (Pattern{}).Match(Host{}) || (Pattern{}).Literal() {
		t.Error("the zero pattern matches")
	}
}

func TestSelector(t *testing.T) {
	for _, c := range []struct{ pattern, match, not string }{
		{"**", "a a.b.c 10.0.0.1 2001:db8::1", ""},
		{"*", "a", "a.b"},
		{"a.**.z", "a.b.z a.b.c.z a.z.z", "a.z"},
		{"**.x.**", "a.x.b a.b.x.c.d x.x.x", "x.a a.x"},
		{"*.Example.com", "api.example.com", "example.com"},
		{"10.0.0.1", "10.0.0.1", "10.0.0.2"},
		{"::1", "::1", "::2"},
	} {
		s, err := ParseSelector(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		for _, h := range strings.Fields(c.match) {
			if !s.Match(must(t, h)) {
				t.Errorf("%s does not match %s", c.pattern, h)
			}
		}
		for _, h := range strings.Fields(c.not) {
			if s.Match(must(t, h)) {
				t.Errorf("%s matches %s", c.pattern, h)
			}
		}
	}
	for _, s := range []string{"", "a b", "a..b", "{a}.b", "a**.b", "a.b.", "é"} {
		if got, err := ParseSelector(s); err == nil || got.MatchText("a.b") {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestClassify(t *testing.T) {
	for text, want := range map[string]Class{
		"100.100.100.200": AlwaysBlocked, "100.100.100.201": Internal, "192.0.0.192": AlwaysBlocked, "192.0.0.191": Internal,
		"168.63.129.16": AlwaysBlocked, "168.63.129.17": Public, "255.255.255.255": Internal, "255.255.255.254": AlwaysBlocked,
		"29.193.7.7": AlwaysBlocked, "29.192.0.1": Public, "2d0c:cee1::5": AlwaysBlocked,
		"64:ff9b::7f00:1": AlwaysBlocked, "64:ff9b::a00:1": Internal, "64:ff9b::808:808": Public,
		// 10.0.0.1 behind NAT64 local-use prefixes of 48, 56 and 64 bits.
		"64:ff9b:1:a9fe:a9:fe00::": AlwaysBlocked, "64:ff9b:1:a9:fe:a9fe::": AlwaysBlocked, "64:ff9b:1:0:a9:fea9:fe00:0": AlwaysBlocked,
		"2002:808:808::1": Public, "2002:a9fe:a9fe::1": AlwaysBlocked, "2002:c0a8:1::": Internal,
		"::8.8.8.8": Internal, "::ffff:0:8.8.8.8": Internal, "::10.0.0.1": Internal,
		"2001:0:808:808::f7f7:f7f7": Public, "2001:0:a00:1::f7f7:f7f7": Internal,
		"2001:4860::5efe:127.0.0.1": AlwaysBlocked, "2001:4860::200:5efe:10.0.0.1": Internal, "2001:4860::200:5efe:808:808": Public,
		"fd00:ec2::23": AlwaysBlocked, "fd00:42::42": AlwaysBlocked, "fd00:42::43": Internal, "fd20:ce::254": AlwaysBlocked,
		"2000::1": Internal, "2d00::1": Internal, "3fff::1": Internal, "2001:db8::1": Internal, "2001:20::1": Internal, "100::1": Internal,
		"ff02::1": AlwaysBlocked, "fe80::1": AlwaysBlocked, "fec0::1": Internal, "2620:fe::fe": Public,
	} {
		if got := Classify(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	if Classify(netip.Addr{}) != AlwaysBlocked || Classify(netip.MustParseAddr("2620:fe::fe%eth0")) != AlwaysBlocked {
		t.Error("an invalid or zoned address is not blocked")
	}
	for text, want := range map[string]Class{
		"100.64.0.0/10": Internal, "100.100.100.0/24": AlwaysBlocked, "fd00::/8": Internal, "2000::/3": AlwaysBlocked,
		"2600::/12": Public, "2001::/16": AlwaysBlocked, "2002:a00::/24": Internal, "2002:7f00::/24": AlwaysBlocked,
		"::ffff:10.0.0.0/104": Internal, "64:ff9b::a00:0/104": Internal, "28.0.0.0/7": AlwaysBlocked, "10.1.2.3/8": Internal,
	} {
		if got := ClassifyPrefix(netip.MustParsePrefix(text)); got != want {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
	}
	if ClassifyPrefix(netip.Prefix{}) != AlwaysBlocked {
		t.Error("an invalid network is not blocked")
	}
}

// TestFixed: what the policy gives a host is all that it has, and passes no rule by
// itself.
func TestFixed(t *testing.T) {
	addr := netip.MustParseAddr
	fixed := []netip.Addr{addr("198.51.101.7"), addr("10.0.0.5"), addr("127.0.0.1")}
	h, err := ParseHost("a.test")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		d     Destination
		addrs string
		want  string
	}{
		{Destination{Fixed: fixed}, "198.51.101.7", ""},
		{Destination{Fixed: fixed}, "::ffff:198.51.101.7", ""},
		{Destination{Fixed: fixed}, "198.51.101.8", ReasonNotFixed},
		{Destination{Fixed: fixed}, "198.51.101.7 198.51.101.8", ReasonNotFixed},
		{Destination{Fixed: []netip.Addr{}}, "198.51.101.7", ReasonNotFixed},
		{Destination{Fixed: fixed}, "10.0.0.5", ReasonInternal},
		{Destination{Fixed: fixed, Mode: DeclaredHost}, "10.0.0.5", ""},
		{Destination{Fixed: fixed, Mode: DeclaredHost}, "127.0.0.1", ReasonBlocked},
		{Destination{Fixed: fixed, Mode: AllowedIPs, Allowed: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, "198.51.101.7", ReasonOutside},
		{Destination{Fixed: fixed, Mode: 99}, "198.51.101.7", ReasonMode},
	} {
		var addrs []netip.Addr
		for _, a := range strings.Fields(tt.addrs) {
			addrs = append(addrs, addr(a))
		}
		got := ""
		if err := tt.d.Check(h, 443, addrs); err != nil {
			got = err.(*AddressError).Reason
		}
		if got != tt.want {
			t.Errorf("%+v %s: %q, want %q", tt.d, tt.addrs, got, tt.want)
		}
	}
}

// TestCheckName: without an address only what needs one is refused.
func TestCheckName(t *testing.T) {
	for _, tt := range []struct {
		host string
		port uint16
		rule Destination
		want string
	}{
		{"a.test", 443, Destination{}, ""},
		{"a.test", 443, Destination{Mode: DeclaredHost}, ""},
		{"a.test", 443, Destination{Mode: AllowedIPs, Allowed: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, ReasonUnseen},
		{"a.test", 443, Destination{Mode: LiteralIP}, ReasonMode},
		{"a.test", 443, Destination{Fixed: []netip.Addr{netip.MustParseAddr("198.51.101.7")}}, ReasonFixed},
		{"a.test", 443, Destination{Fixed: []netip.Addr{}}, ReasonFixed},
		{"a.test", 443, Destination{Mode: 99}, ReasonMode},
		{"a.test", 6443, Destination{Mode: DeclaredHost}, ReasonControlPlane},
		{"localhost", 443, Destination{Mode: DeclaredHost}, ReasonBlocked},
		{"x.localhost", 443, Destination{}, ReasonBlocked},
		{"metadata.google.internal", 80, Destination{Mode: DeclaredHost}, ReasonMetadataHost},
		{"169.254.169.254", 80, Destination{Mode: LiteralIP}, ReasonMetadataHost},
		{"10.0.0.1", 443, Destination{}, ReasonInternal},
		{"8.8.8.8", 443, Destination{Mode: LiteralIP}, ""},
	} {
		h, err := ParseHost(tt.host)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		var e *AddressError
		if err := tt.rule.CheckName(h, tt.port); errors.As(err, &e) {
			got = e.Reason
		} else if err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("%s:%d %v: %q, want %q", tt.host, tt.port, tt.rule.Mode, got, tt.want)
		}
	}
	if (Destination{}).CheckName(Host{}, 443) == nil {
		t.Error("no host passes")
	}
}

func TestCheck(t *testing.T) {
	ten := netip.MustParsePrefix("10.0.0.0/8")
	for _, c := range []struct {
		d     Destination
		host  string
		port  uint16
		addrs string
		want  string // "" is permitted
	}{
		{Destination{}, "a.test", 443, "8.8.8.8 2620:fe::fe", ""},
		{Destination{}, "a.test", 443, "", ReasonNoAddress},
		{Destination{}, "a.test", 443, "8.8.8.8 10.0.0.1", ReasonInternal},
		{Destination{}, "a.test", 443, "8.8.8.8 ::ffff:127.0.0.1", ReasonBlocked},
		{Destination{}, "metadata.google.internal", 80, "8.8.8.8", ReasonMetadataHost},
		{Destination{}, "8.8.8.8", 443, "8.8.4.4", ReasonNotHost},
		{Destination{}, "8.8.8.8", 443, "::ffff:8.8.8.8", ""},
		{Destination{}, "10.0.0.1", 443, "10.0.0.1", ReasonInternal},
		{Destination{Mode: DeclaredHost}, "a.test", 443, "10.0.0.1", ""},
		{Destination{Mode: DeclaredHost}, "a.test", 6443, "8.8.8.8", ReasonControlPlane},
		{Destination{Mode: DeclaredHost}, "a.test", 443, "100.100.100.200", ReasonBlocked},
		{Destination{Mode: DeclaredHost}, "10.0.0.1", 443, "10.0.0.1", ReasonInternal},
		{Destination{Mode: LiteralIP}, "10.0.0.1", 443, "10.0.0.1", ""},
		{Destination{Mode: LiteralIP}, "10.0.0.1", 443, "10.0.0.2", ReasonNotHost},
		{Destination{Mode: LiteralIP}, "a.test", 443, "10.0.0.1", ReasonMode},
		{Destination{Mode: AllowedIPs}, "a.test", 443, "8.8.8.8", ReasonOutside},
		{Destination{Mode: AllowedIPs, Allowed: []netip.Prefix{ten}}, "a.test", 443, "10.1.1.1 ::ffff:10.1.1.2", ""},
		{Destination{Mode: AllowedIPs, Allowed: []netip.Prefix{ten}}, "a.test", 443, "10.1.1.1 8.8.8.8", ReasonOutside},
		{Destination{Mode: AllowedIPs, Allowed: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")}}, "a.test", 443, "100.100.100.200", ReasonBlocked},
		{Destination{Mode: 99}, "a.test", 443, "8.8.8.8", ReasonMode},
	} {
		var addrs []netip.Addr
		for _, a := range strings.Fields(c.addrs) {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		err := c.d.Check(must(t, c.host), c.port, addrs)
		var e *AddressError
		if errors.As(err, &e); (err == nil) != (c.want == "") || err != nil && (e == nil || e.Reason != c.want) {
			t.Errorf("%+v %s:%d %s: %v, want %q", c.d, c.host, c.port, c.addrs, err, c.want)
		}
	}
	if (Destination{}).Check(Host{}, 443, []netip.Addr{netip.MustParseAddr("8.8.8.8")}) == nil {
		t.Error("the zero host is permitted")
	}
}

func TestParseAllowed(t *testing.T) {
	got, err := ParseAllowed([]string{"10.1.2.3/8", "8.8.8.8", "::ffff:192.168.1.1", "fd12::/16"})
	want := []string{"10.0.0.0/8", "8.8.8.8/32", "192.168.1.1/32", "fd12::/16"}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%v %v", got, err)
	}
	for i := range want {
		if got[i].String() != want[i] {
			t.Errorf("entry %d is %s, want %s", i, got[i], want[i])
		}
	}
	for _, s := range []string{"", " 10.0.0.1", "10.0.0.1 ", "010.0.0.1", "10.1", "0xa", "a.test", "::/0", "0.0.0.0/0", "29.193.0.0/24",
		"28.0.0.0/6", "2d0c:cee1::/96", "127.0.0.1", "169.254.0.0/16", "10.0.0.0/-1", "10.0.0.0/08", "fe80::1%lo/64"} {
		if p, err := ParseAllowed([]string{s}); err == nil {
			t.Errorf("%q is accepted as %v", s, p)
		}
	}
	if _, err := ParseAllowed(make([]string, maxAllowed+1)); err == nil {
		t.Error("a list without bound is accepted")
	}
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"api.example.com", "A.b.", "127.0.0.1", "::ffff:1.2.3.4", "[::1]", "0x7f.1", "fe80::1%2", "*.a.example", "a..b", "1.2.3.4."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHost(s)
		if (err == nil) == h.IsZero() {
			t.Fatalf("%q: %q and %v", s, h, err)
		}
		if err != nil {
			return
		}
		if again, err := ParseHost(h.String()); err != nil || again != h {
			t.Fatalf("%q: %q becomes %q, %v", s, h, again, err)
		}
		if _, err := netip.ParseAddr(h.String()); (err == nil) != h.IsAddr() {
			t.Fatalf("%q: a name that reads as an address, or the reverse", s)
		}
		// A wildcard never reaches out of its labels.
		if p, err := ParsePattern("*.ok.example.com"); err != nil || p.Match(h) && !strings.HasSuffix(h.String(), ".ok.example.com") {
			t.Fatalf("%q matches %v", s, err)
		}
	})
}

// A pattern and its text as a glob with the separator "." mean the same; here
// the simplest reading of that language, label by label.
func FuzzPattern(f *testing.F) {
	for _, s := range [][2]string{{"*.example.com", "a.example.com"}, {"**.example.com", "a.b.example.com"}, {"a*b.x.y", "axb.x.y"}, {"a.*.c.d", "a.b.c.d"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, host string) {
		p, err := ParsePattern(pattern)
		h, herr := ParseHost(host)
		if err != nil || herr != nil {
			if p.Match(h) {
				t.Fatalf("refused %q or %q match", pattern, host)
			}
			return
		}
		if p.Literal() {
			if p.Match(h) != (p.String() == h.String()) {
				t.Fatalf("%q on %q: %t", pattern, host, p.Match(h))
			}
			return
		}
		want := !h.IsAddr() && naive(strings.Split(p.String(), "."), strings.Split(h.String(), "."))
		if got := p.Match(h); got != want {
			t.Fatalf("%q on %q: %t, want %t", pattern, host, got, want)
		}
		if s, err := ParseSelector(pattern); err == nil && !h.IsAddr() && s.Match(h) != want {
			t.Fatalf("%q on %q: the selector differs", pattern, host)
		}
	})
}

func naive(pattern, labels []string) bool {
	switch {
	case len(pattern) == 0:
		return len(labels) == 0
	case len(labels) == 0:
		return false
	case pattern[0] == "**":
		return naive(pattern[1:], labels[1:]) || naive(pattern, labels[1:])
	}
	return naiveLabel(pattern[0], labels[0]) && naive(pattern[1:], labels[1:])
}

func naiveLabel(pattern, label string) bool {
	switch {
	case pattern == "":
		return label == ""
	case pattern[0] == '*':
		return naiveLabel(pattern[1:], label) || label != "" && naiveLabel(pattern, label[1:])
	}
	return label != "" && pattern[0] == label[0] && naiveLabel(pattern[1:], label[1:])
}

func FuzzParseAllowed(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::ffff:10.0.0.0/104", "fe80::1", "64:ff9b::/96", "2001:db8::/32", "1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseAllowed([]string{s})
		if err != nil {
			return
		}
		for _, text := range []string{"127.0.0.1", "169.254.169.254", "29.193.0.1", "::1", "fe80::1", "64:ff9b::7f00:1", "2002:7f00:1::"} {
			if a := netip.MustParseAddr(text); list[0].Contains(a) {
				t.Fatalf("%q opens %s", s, a)
			}
		}
		if first := list[0].Addr(); Classify(first) < ClassifyPrefix(list[0]) {
			t.Fatalf("%q: its first address is stricter than itself", s)
		}
	})
}
