package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/creel-run/creel/egress/resolver"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// TestNameFaults: the operator hears why the chosen name server is of no use, not
// for each name, and not of names that do not exist.
func TestNameFaults(t *testing.T) {
	doc, _, err := policy.Parse("p", []byte("version: 2\ndns: {upstream: 192.0.2.53}\n"))
	if err != nil {
		t.Fatal(err)
	}
	away := &net.DNSError{Err: "no answer", Name: "a.test", IsTemporary: true, UnwrapErr: &net.OpError{Op: "dial", Net: "udp", Err: errors.New("connection refused")}}
	for flag, want := range map[string]string{
		"":               "names are asked of 192.0.2.53 (p:2:17), which gives no answer: dial udp: connection refused; look at dns.upstream there",
		"tls://dns.test": "names are asked of tls://dns.test (--resolver), which gives no answer: dial udp: connection refused; look at the address",
	} {
		n, err := (&supervisor{o: Options{Resolver: flag}}).chooser(&prepared{})
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		n.fault(&net.DNSError{Err: "no such host", IsNotFound: true}, doc, func(text string) { told = append(told, text) })
		if len(told) > 0 {
			t.Errorf("a name that does not exist: %q", told)
		}
		for range 10 {
			n.fault(away, doc, func(text string) { told = append(told, text) })
		}
		if len(told) != maxNameFaults || !strings.HasPrefix(told[0], want) {
			t.Errorf("%q: %q", flag, told)
		}
	}
}

// TestNames: who is asked, by the flag and by the policy; the flag goes before, and
// says so where the policy has another word.
func TestNames(t *testing.T) {
	parse := func(text string) *policy.Document {
		t.Helper()
		doc, _, err := policy.Parse("p", []byte("version: 2\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	for _, tt := range []struct {
		flag, policy    string
		text, overruled string // text empty: the host's resolver
	}{
		{"", "", "", ""},
		{"", "dns: {upstream: host}", "", ""},
		{"", "dns: {hosts: {}}", "", ""},
		{"", "dns: {upstream: 192.0.2.53}", "192.0.2.53 (p:2:17)", ""},
		{"host", "", "", ""},
		{"host", "dns: {upstream: host}", "", ""},
		{"host", "dns: {upstream: 192.0.2.53}", "", "names are asked of host (--resolver), and not of 192.0.2.53, as the policy says (p:2:17)"},
		{"tls://dns.test", "", "tls://dns.test (--resolver)", ""},
		{"tls://dns.test", "dns: {upstream: \"tls://DNS.test:853\"}", "tls://dns.test (--resolver)", ""},
		{"tls://dns.test", "dns: {upstream: host}", "tls://dns.test (--resolver)", "names are asked of tls://dns.test (--resolver), and not of host, as the policy says (p:2:17)"},
	} {
		s := &supervisor{o: Options{Resolver: tt.flag}}
		n, err := s.chooser(&prepared{})
		if err != nil {
			t.Fatal(err)
		}
		doc := parse(tt.policy)
		if text, why := n.text(doc), n.overruled(doc); text != tt.text || why != tt.overruled {
			t.Errorf("%q %q: %q, %q", tt.flag, tt.policy, text, why)
		}
		r, err := n.resolver(doc, nil)
		if err != nil || (r == nil) != (tt.text == "") {
			t.Fatalf("%q %q: %v, %v", tt.flag, tt.policy, r, err)
		}
		if again, err := n.resolver(doc, r); err != nil || again != r {
			t.Errorf("%q %q: another resolver for the same server", tt.flag, tt.policy)
		}
		other, err := n.resolver(parse("dns: {upstream: \"https://other.test\"}"), r)
		if err != nil || tt.flag == "" && (other == nil || other == r) || tt.flag != "" && other != r {
			t.Errorf("%q %q: after a reload %v, %v", tt.flag, tt.policy, other, err)
		}
	}
	for _, flag := range []string{"dns.test", "tls://u:canary@dns.test", "HOST"} {
		if _, err := (&supervisor{o: Options{Resolver: flag}}).chooser(&prepared{}); err == nil {
			t.Errorf("%q was taken", flag)
		}
	}
}

// TestLookupOfFixedHosts: who asks for a name that the policy gives gets what it
// gives, and nobody else is asked.
func TestLookupOfFixedHosts(t *testing.T) {
	doc, _, err := policy.Parse("p", []byte("version: 2\ndns: {hosts: {given.test: [192.0.2.7, \"2001:db8::7\"]}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	// A resolver that reaches nobody.
	server, err := netname.ParseNameServer("tls://dns.test")
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := resolver.New(resolver.Config{Server: server,
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("asked") }})
	if err != nil {
		t.Fatal(err)
	}
	s := &supervisor{names: new(names), o: Options{Notice: func(string) {}}}
	s.rev.Store(&revision{doc: doc, names: nobody})
	if got, err := s.lookup(t.Context(), "given.test"); err != nil || fmt.Sprint(got) != "[192.0.2.7 2001:db8::7]" {
		t.Errorf("%v %v", got, err)
	}
	if got, err := s.lookup(t.Context(), "other.test"); err == nil {
		t.Errorf("another name: %v", got)
	}
}
