package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// TestDNSWord: the policy says who is asked for the addresses of allowed hosts, and
// which are asked of nobody. A saved policy counts from the next name on, --resolver
// goes before it, and nobody is asked instead of who does not answer.
func TestDNSWord(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		s := worldSink(t)
		z := newZone(t, func(name string, nth int) record {
			if name == "dns.test" {
				return record{addrs: []string{"127.0.0.8"}}
			}
			return worldAnswer(name, nth)
		})
		chosen := newZoneOverTLS(t, "127.0.0.8:8853", worldAnswer)
		with := func(dns string) string {
			hosts := ""
			for _, h := range []string{"one.test", "two.test", "three.test", "four.test", "five.test", "six.test", "int.test"} {
				hosts += "      - {host: " + h + ", port: 443, protocol: rest, access: full}\n"
			}
			return policyHead() + dns + "network_policies:\n  out:\n    endpoints:\n" + hosts + "    binaries: any\n"
		}
		const overTLS = "dns: {upstream: \"tls://dns.test:8853\"}\n"
		l := box{name: fmt.Sprintf("e2e-dns-%d", os.Getpid()), policy: with(overTLS), flags: []string{"--trust-ca", caFile(t)}}.start(t)
		get := func(host string) string {
			return l.sh("curl -sS -o /tmp/out -w 'status %{http_code}' https://" + host + "/public/" + host + "; cat /tmp/out")
		}
		reached := func(host string) {
			t.Helper()
			if got := get(host); !strings.HasPrefix(got, "status 200") || !s.got("/public/"+host) {
				t.Errorf("%s: %s", host, got)
			}
		}
		refused := func(host, status string) {
			t.Helper()
			if got := get(host); !strings.HasPrefix(got, "status "+status) || s.got("/public/"+host) {
				t.Errorf("%s: %s", host, got)
			}
		}
		asked := func(host string, ofHost, ofChosen bool) {
			t.Helper()
			if z.wasAsked(host) != ofHost || chosen.wasAsked(host) != ofChosen {
				t.Errorf("%s: the host's resolver was asked for %q, the chosen one for %q", host, z.asked, chosen.asked)
			}
		}
		save := func(dns string) audit.Event {
			t.Helper()
			mark := len(l.events())
			write(t, l.policy, with(dns))
			return l.event(mark, "the policy is loaded", func(e audit.Event) bool { return e.Kind == audit.PolicyLoad })
		}

		reached("one.test")
		asked("one.test", false, true)
		refused("int.test", "403")
		asked("int.test", false, true)
		if first := l.events()[0]; first.Kind != audit.SandboxStart || first.Detail["resolver"] != "tls://dns.test:8853" {
			t.Errorf("the log begins with %+v", first)
		}
		creelCmd(t, "posture", l.box.name).want(t, 0).out(t, "names from tls://dns.test:8853 ("+l.policy+":")

		if e := save("dns: {upstream: host}\n"); e.Detail["resolver"] != "" {
			t.Errorf("%+v", e)
		}
		reached("two.test")
		asked("two.test", true, false)

		// Nobody listens there, and nobody is asked instead.
		if e := save("dns: {upstream: \"127.0.0.8:5399\"}\n"); e.Detail["resolver"] != "127.0.0.8:5399" {
			t.Errorf("%+v", e)
		}
		refused("three.test", "502")
		asked("three.test", false, false)

		// Addresses of the policy are asked of nobody, and judged as any answer.
		save("dns: {upstream: \"127.0.0.8:5399\", hosts: {four.test: [" + publicAddr + "], five.test: [10.1.2.3]}}\n")
		reached("four.test")
		asked("four.test", false, false)
		refused("five.test", "403")
		refused("three.test", "502")
		creelCmd(t, "posture", l.box.name).want(t, 0).out(t, "names from 127.0.0.8:5399 (", "names with addresses of the policy: 2")

		save("")
		reached("five.test")
		asked("five.test", true, false)

		// Inside, the name server is asked what it was ever asked: what it says is no
		// matter of this word.
		if got := l.sh("getent ahostsv4 nobody.six.test | head -1"); !strings.HasPrefix(got, "29.193.") || z.wasAsked("nobody.six.test") {
			t.Errorf("%q", got)
		}

		b := box{policy: with(overTLS), flags: []string{"--trust-ca", caFile(t), "--resolver", "host"}}
		b.run(t, "sh", "-c", "curl -sSf https://six.test/public/six").want(t, 0).
			err(t, "names are asked of host (--resolver), and not of tls://dns.test:8853, as the policy says (", "policy.yaml:")
		asked("six.test", true, false)
	})
}
