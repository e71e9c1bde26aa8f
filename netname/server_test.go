package netname

import "testing"

func TestParseNameServer(t *testing.T) {
	for _, tt := range []struct{ text, want string }{ // want empty: refused
		{"host", "host"},
		{"192.0.2.53", "192.0.2.53"},
		{"192.0.2.53:53", "192.0.2.53"},
		{"192.0.2.53:5353", "192.0.2.53:5353"},
		{"::ffff:192.0.2.53", "192.0.2.53"},
		{"2001:db8::53", "2001:db8::53"},
		{"[2001:db8::53]:5353", "[2001:db8::53]:5353"},
		{"fe80::1%eth0", "fe80::1%eth0"},
		{"tls://DNS.test", "tls://dns.test"},
		{"tls://dns.test.", "tls://dns.test"},
		{"tls://dns.test:853", "tls://dns.test"},
		{"tls://dns.test:8853", "tls://dns.test:8853"},
		{"tls://192.0.2.53", "tls://192.0.2.53"},
		{"tls://[2001:db8::53]:8853", "tls://[2001:db8::53]:8853"},
		{"https://dns.test", "https://dns.test/dns-query"},
		{"https://dns.test:443/dns-query", "https://dns.test/dns-query"},
		{"https://dns.test/a%2Fb", "https://dns.test/a%2Fb"},
		{"https://[2001:db8::53]/", "https://[2001:db8::53]/"},

		{"", ""}, {"Host", ""}, {"name.test", ""}, {"name.test:53", ""}, {"192.0.2.1:0", ""}, {"192.0.2.1:x", ""}, {"192.0.2.1:70000", ""}, {"192.0.2.01", ""}, {" 192.0.2.1", ""},
		{"tls://", ""}, {"tls://u@h.test", ""}, {"tls://h.test/p", ""}, {"tls://h.test/", ""}, {"tls://h.test:0", ""}, {"tls://h.test:", ""}, {"tls://h.test:99999", ""},
		{"tls://*.test", ""}, {"tls://0x7f.1", ""}, {"TLS://h.test", ""}, {"tls:h.test", ""},
		{"https://h.test/?q", ""}, {"https://h.test/?", ""}, {"https://h.test/#f", ""}, {"https://h.test/#", ""}, {"https://", ""}, {"https://\x00", ""}, {"https://u:p@h.test", ""},
		{"http://h.test", ""}, {"quic://h.test", ""}, {"://h.test", ""},
	} {
		s, err := ParseNameServer(tt.text)
		if got := s.String(); got != tt.want || (err == nil) != (tt.want != "") || err != nil && s != (NameServer{}) {
			t.Errorf("%q: %q, %v", tt.text, got, err)
		}
	}
}

// FuzzParseNameServer: what is shown is read again as the same server.
func FuzzParseNameServer(f *testing.F) {
	for _, s := range []string{"host", "192.0.2.53", "[2001:db8::53]:5353", "tls://dns.test:8853", "https://dns.test/a%2fb", "https://dns.test/%zz", "https://dns.test//a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseNameServer(text)
		if err != nil {
			return
		}
		again, err := ParseNameServer(s.String())
		if err != nil || again != s {
			t.Errorf("%q: %+v, shown as %q, read as %+v %v", text, s, s.String(), again, err)
		}
	})
}
