package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// arena is a sandbox for network attacks. Every name leads to the sink, whether
// the policy allows it or not: what gets through is seen.
type arena struct {
	*live
	s   *sink
	box box
}

const arenaRules = `network_policies:
  ok:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: rest
        rules:
          - allow: {method: GET, path: "/public/**"}
          - allow: {method: POST, path: "/public/**"}
          - allow: {method: GET, path: "/redirect"}
        deny_rules:
          - {method: "*", path: "/public/secret/**"}
    binaries: any
  wild:
    endpoints:
      - {host: "*.wild.test", ports: [80, 443], protocol: rest, access: full}
    binaries: any
  relayed:
    endpoints:
      - {host: l4.test, ports: [443, 5000]}
    binaries: any
  named:
    endpoints:
      - {host: int.test, ports: [80, 443], protocol: rest, access: full}
      - {host: loop.test, ports: [80, 443], protocol: rest, access: full}
    binaries: any
`

func newArena(t *testing.T) *arena {
	t.Helper()
	s := newSink(t)
	b := box{policy: policyHead() + arenaRules, flags: join(s.upstreams("ok.test", "a.wild.test", "l4.test", "no.test", "evil-ok.test", "xok.test", "ok.test.no.test", "wild.test",
		"a.b.wild.test", "evilwild.test", "ns.exf.test"), []string{"--trust-ca", caFile(t)})}
	return &arena{live: b.start(t), s: s, box: b}
}

// fresh starts the sandbox anew: equal denials beyond a rate are counted only,
// and each line of the catalogue is to see its own.
func (a *arena) fresh(t *testing.T) {
	t.Helper()
	a.end()
	a.live = a.box.start(t)
}

// attack is one try on one way in. Its bytes carry MARK, which must not arrive.
type attack struct {
	what string
	way  string // empty: what it does tells it (see wire)
	do   func(a *arena, mark string) string

	silent bool // it ends before anything that could be an event: the sink alone decides
}

// run runs the attacks of one line of the catalogue, then the positive control.
func (a *arena) run(t *testing.T, id string, attacks ...attack) {
	if a.box.policy != "" {
		a.fresh(t)
	}
	a.escape(t, a.s, id, a.works, func(x *line) {
		for _, at := range attacks {
			do := func(mark string) string { return at.do(a, mark) }
			if at.silent {
				x.unseen(at.way, at.what, do)
			} else {
				x.try(at.way, at.what, do)
			}
		}
	})
}

// works is the positive control: a permitted request arrives.
func (a *arena) works(x *line) string {
	path := "/public/" + x.mark()
	if got := x.sh("curl -sS https://ok.test" + path); !a.s.got(path) {
		return "the request does not arrive: " + got
	}
	return ""
}

// ways makes one attack of each way in out of a host and a request.
func ways(what, host, method, target string, lines ...string) (all []attack) {
	for _, w := range []struct {
		name, way string
		tls       bool
	}{{"transparent https", transparent, true}, {"transparent http", transparent, false}, {"connect https", connect, true}, {"connect http", connect, false}, {"absolute", absolute, false},
		{"cleared https", cleared, true}} {
		all = append(all, attack{what: what + ", " + w.name, do: func(a *arena, mark string) string {
			return a.request(w.way, host, w.tls, method, strings.ReplaceAll(target, "MARK", mark), lines...)
		}})
	}
	return all
}

// raw makes an attack of exact bytes to ok.test on each way that fits.
func raw(what, payload string) (all []attack) {
	for _, w := range []wire{
		{Way: transparent, Host: "ok.test", TLS: true}, {Way: transparent, Host: "ok.test"}, {Way: connect, Host: "ok.test", TLS: true},
		{Way: absolute, Host: "ok.test"}, {Way: cleared, Host: "ok.test", TLS: true},
	} {
		all = append(all, attack{what: what + ", " + w.Way, do: func(a *arena, mark string) string {
			text := strings.ReplaceAll(payload, "MARK", mark)
			if w.Way == absolute {
				method, rest, _ := strings.Cut(text, " ")
				text = method + " http://ok.test" + rest
			}
			w := w
			w.Payload = []byte(text)
			return a.wire(w)
		}})
	}
	return all
}

// everywhere makes an attack of exact bytes on each way in: to ok.test, and to the
// proxy itself.
func everywhere(what, payload string) []attack {
	all := raw(what, payload)
	all[3] = attack{what: what + ", at the proxy", do: func(a *arena, mark string) string {
		return a.wire(wire{Way: absolute, Host: "ok.test", Payload: []byte(strings.ReplaceAll(payload, "MARK", mark))})
	}}
	return all
}

// script is an attack by a shell; its way in is told by how it calls curl.
func script(text string) attack {
	way := transparent
	switch {
	case strings.Contains(text, "env -i"):
		way = cleared
	case strings.Contains(text, " -p -x "):
		way = connect
	case strings.Contains(text, "curl") && strings.Contains(text, " -x ") && !strings.Contains(text, "https:"):
		way = absolute
	case strings.Contains(text, proxyAddr):
		way = connect
	}
	return attack{what: text, way: way, do: func(a *arena, mark string) string { return a.sh(strings.ReplaceAll(text, "MARK", mark)) }}
}

// everyWay makes one script of each way in out of one that calls curl.
func everyWay(texts ...string) (all []attack) {
	for _, t := range texts {
		for _, curl := range []string{"curl -m 10 ", "curl -m 10 -x http://" + proxyAddr + " ", "curl -m 10 -p -x http://" + proxyAddr + " ", "env -i /usr/bin/curl -m 10 "} {
			all = append(all, script(strings.ReplaceAll(t, "curl ", curl)))
		}
	}
	return all
}

func scripts(list ...string) (all []attack) {
	for _, s := range list {
		all = append(all, script(s))
	}
	return all
}

func quiet(list []attack) []attack {
	for i := range list {
		list[i].silent = true
	}
	return list
}

func attacks(lists ...[]attack) (all []attack) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// TestEscapeNames: NAM.
func TestEscapeNames(t *testing.T) {
	t.Parallel()
	bothUsers(t, func(t *testing.T) {
		a := newArena(t)
		a.run(t, "NAM-01", attacks(ways("suffix", "evil-ok.test", "GET", "/public/MARK"), ways("suffix", "xok.test", "GET", "/public/MARK"),
			ways("the domain itself", "wild.test", "GET", "/MARK"), ways("suffix of wildcard", "evilwild.test", "GET", "/MARK"), ways("two labels", "a.b.wild.test", "GET", "/MARK"))...)
		a.run(t, "NAM-02", ways("prefix", "ok.test.no.test", "GET", "/public/MARK")...)
		var connects []attack
		for _, target := range []string{"[no.test]:443", "[[no.test]]:443", "no.test\x00.ok.test:443", "ok.test%00.no.test:443", "ok.test@no.test:443", "no.test#ok.test:443",
			"no.test\\ok.test:443", " no.test:443", "no.test:443:443", "no.test", "no.test:0443x", "no.test:-1", "no.test:65979", "[::ffff:127.0.0.1]:443", "ok.test:443@no.test:443",
			"no.test.:443", "NO.TEST:443", "xn--no-.test:443", "..:443", ":443", "*:443", "*.wild.test:443", "ok.test,no.test:443", "127.0.0.1:3128", "[::1]:3128", "localhost:3128", "0.0.0.0:443"} {
			connects = append(connects, attack{what: "CONNECT " + target, do: func(a *arena, mark string) string {
				return a.wire(wire{Way: connect, Head: "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n", Payload: []byte("GET /" + mark + " HTTP/1.1\r\nHost: no.test\r\n\r\n")})
			}})
		}
		a.run(t, "NAM-06", connects...)
		a.run(t, "NAM-07", attacks(scripts("curl -sS 'http://ok.test@no.test/public/MARK'", "curl -sS -x http://127.0.0.1:3128 'http://ok.test@no.test/public/MARK'"),
			raw("userinfo", "GET http://ok.test@no.test/public/MARK HTTP/1.1\r\nHost: ok.test\r\n\r\n")[:3], raw("backslash", "GET http://no.test\\@ok.test/public/MARK HTTP/1.1\r\nHost: ok.test\r\n\r\n")[:3],
			raw("fragment", "GET http://no.test#@ok.test/public/MARK HTTP/1.1\r\nHost: ok.test\r\n\r\n")[:3], absolutes("http://ok.test@no.test/public/MARK", "http://no.test\\@ok.test/public/MARK",
				"http://no.test#@ok.test/public/MARK", "http:///no.test/public/MARK", "http:no.test/public/MARK", "HTTP://NO.TEST/public/MARK", "//no.test/public/MARK", "gopher://ok.test/public/MARK",
				"https://ok.test/public/MARK", "ftp://ok.test/public/MARK", "http://ok.test:80:81/public/MARK", "http://ok.test%2eno.test/public/MARK", "http://ok.test:81/public/MARK", "http://[ok.test]/public/MARK"))...)
		// The same name in other dress is the same name, not another rule.
		for i, url := range []string{"https://OK.TEST", "https://ok.test."} {
			path := fmt.Sprintf("/public/dress%d", i)
			if got := a.sh("curl -sS " + url + path); !a.s.got(path) && i == 0 {
				t.Errorf("%s: %s", url, got)
			}
		}
	})
}

// absolutes are request targets at the proxy.
func absolutes(targets ...string) (all []attack) {
	for _, target := range targets {
		all = append(all, attack{what: "absolute " + target, do: func(a *arena, mark string) string {
			return a.wire(wire{Way: absolute, Host: "ok.test", Payload: []byte("GET " + strings.ReplaceAll(target, "MARK", mark) + " HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
		}})
	}
	return all
}

// TestEscapeHTTP: framing and the judgement of requests.
func TestEscapeHTTP(t *testing.T) {
	t.Parallel()
	bothUsers(t, func(t *testing.T) {
		a := newArena(t)
		a.run(t, "HTTP-01", attacks(ways("method", "ok.test", "DELETE", "/public/MARK"), ways("path", "ok.test", "GET", "/private/MARK"),
			ways("deny rule", "ok.test", "GET", "/public/secret/MARK"), ways("asterisk", "ok.test", "OPTIONS", "/MARK"))...)
		var dots []attack
		for _, p := range []string{"/public/../MARK", "/public/%2e%2e/MARK", "/public/.%2E/MARK", "/public/x/../../MARK", "/public/..;/MARK", "/public//../MARK", "/public/secret/MARK",
			"/public//secret/MARK", "/public/./secret/MARK", "/public/x/../secret/MARK", "/public/%73ecret/MARK", "/public/secret;x/MARK", "/public/secret%2fMARK", "/public/..%2fMARK",
			"/public/%2e%2e%2fMARK", "/public/..%5cMARK", "/public\\..\\MARK", "/public/%252e%252e/MARK%00", "/public/\x7f/MARK", "/public/%zz/MARK"} {
			dots = append(dots, ways("path "+p, "ok.test", "GET", p)...)
		}
		// What arrives must be what the rules allow: not the mark but the path decides here.
		a.escape(t, a.s, "HTTP-02", a.works, func(l *line) {
			for i, x := range dots {
				got := x.do(a, fmt.Sprintf("dot%d", i))
				for _, r := range a.s.requests() {
					if !strings.HasPrefix(r.URI, "/public/") || strings.HasPrefix(r.URI, "/public/secret") || strings.Contains(r.URI, "..") || strings.Contains(strings.ToLower(r.URI), "%2e") ||
						strings.Contains(strings.ToLower(r.URI), "%5c") || strings.Contains(strings.ToLower(r.URI), "%2f") {
						t.Fatalf("%s: the sink got %s\n%s", x.what, r.URI, got)
					}
				}
			}
		})
		const post = "POST /public/a HTTP/1.1\r\nHost: ok.test\r\n"
		const hidden = "GET /private/MARK HTTP/1.1\r\nHost: ok.test\r\n\r\n"
		a.run(t, "HTTP-04", attacks(raw("two lengths", post+"Content-Length: 5\r\nContent-Length: 60\r\n\r\n12345"+hidden), raw("list", post+"Content-Length: 5, 5\r\n\r\n12345"+hidden),
			raw("plus", post+"Content-Length: +5\r\n\r\n12345"+hidden), raw("hex", post+"Content-Length: 0x5\r\n\r\n12345"+hidden), raw("negative", post+"Content-Length: -1\r\n\r\n"+hidden),
			raw("space in name", post+"Content-Length : 5\r\n\r\n12345"+hidden), raw("underscore", post+"Content_Length: 99\r\nContent-Length: 0\r\n\r\n"+hidden)[:3])...)
		a.run(t, "HTTP-05", attacks(raw("both", post+"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden), raw("comma", post+"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"+hidden),
			raw("tab", post+"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n"+hidden), raw("gzip", post+"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"+hidden),
			raw("twice", post+"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"+hidden), raw("xchunked", post+"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"+hidden),
			raw("1.0", "POST /public/a HTTP/1.0\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden),
			raw("get with body", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden))...)
		a.run(t, "HTTP-06", attacks(raw("bare lf", "GET /public/a HTTP/1.1\nHost: ok.test\n\n"+hidden), raw("lf in head", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n"+hidden),
			raw("bare cr", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nX: a\rY: b\r\n\r\n"+hidden), raw("nul", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nX: a\x00b\r\n\r\n"+hidden),
			raw("chunk size", post+"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n"+hidden), raw("chunk lf", post+"Transfer-Encoding: chunked\r\n\r\n5;x=\n12345\r\n0\r\n\r\n"+hidden),
			raw("chunk 0x", post+"Transfer-Encoding: chunked\r\n\r\n0x5\r\n12345\r\n0\r\n\r\n"+hidden), raw("long chunk size", post+"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n12345\r\n0\r\n\r\n"+hidden),
			raw("chunk overrun", post+"Transfer-Encoding: chunked\r\n\r\n3\r\n12345\r\n0\r\n\r\n"+hidden))...)
		a.run(t, "HTTP-08", attacks(
			raw("other Host", "GET /public/MARK HTTP/1.1\r\nHost: no.test\r\n\r\n"), raw("other port", "GET /public/MARK HTTP/1.1\r\nHost: ok.test:81\r\n\r\n"),
			raw("empty Host", "GET /public/MARK HTTP/1.1\r\nHost:\r\n\r\n"), raw("no Host", "GET /public/MARK HTTP/1.1\r\n\r\n"), raw("address", "GET /public/MARK HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
			raw("absolute inside", "GET http://no.test/public/MARK HTTP/1.1\r\nHost: ok.test\r\n\r\n")[:3],
			[]attack{{what: "CONNECT and Host", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: connect, Head: "CONNECT ok.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n", Payload: []byte("GET /public/" + mark + " HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
			}}})...)
		a.run(t, "HTTP-09", attacks(raw("two", "GET /public/MARK HTTP/1.1\r\nHost: ok.test\r\nHost: no.test\r\n\r\n"), raw("space", "GET /public/MARK HTTP/1.1\r\nHost: ok.test\r\nHost : no.test\r\n\r\n"),
			raw("folded", "GET /public/MARK HTTP/1.1\r\nHost: ok.test\r\n no.test\r\n\r\n"), raw("leading space", "GET /public/MARK HTTP/1.1\r\n Host: no.test\r\nHost: ok.test\r\n\r\n"),
			raw("same twice", "GET /public/MARK HTTP/1.1\r\nHost: ok.test\r\nHost: ok.test\r\n\r\n"))...)
		// Without TLS the offer is overheard and the request judged: what is said in HTTP/2 behind it is refused.
		h2c := raw("h2c", "GET /public/first HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\nMARK")
		h2c[3].silent = true // the proxy reads nothing behind a request
		a.run(t, "HTTP-12", attacks(h2c,
			raw("preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nMARK")[:3], raw("websocket", "GET /public/MARK HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
			scripts("curl -sS --http2-prior-knowledge http://ok.test/private/MARK"))...)
		a.run(t, "HTTP-18", attacks(everywhere("ssh", "SSH-2.0-OpenSSH_9.2 MARK\r\n"), everywhere("binary", "\x00\x01\x02MARK\xff"), everywhere("smtp", "EHLO MARK\r\n"), everywhere("0.9", "GET /public/MARK\r\n\r\n"),
			everywhere("http/3", "GET /public/MARK HTTP/3.0\r\nHost: ok.test\r\n\r\n"), everywhere("rtsp", "GET /public/MARK RTSP/1.0\r\nHost: ok.test\r\n\r\n"))...)
		a.run(t, "HTTP-20", scripts("curl -sSL 'https://ok.test/redirect?to=http%3A%2F%2Fno.test%2Fpublic%2FMARK' >/dev/null; curl -sS https://no.test/", "curl -sSL 'https://ok.test/redirect?to=http://169.254.169.254/'",
			"curl -sSL -x http://127.0.0.1:3128 'http://ok.test/redirect?to=https://no.test/'", "curl -sSL -x http://127.0.0.1:3128 'http://ok.test/redirect?to=http://no.test/'")[1:]...)
		a.run(t, "HTTP-21", attacks([]attack{{what: "CONNECT in CONNECT", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: connect, Host: "ok.test", Port: 80, Payload: []byte("CONNECT no.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n" + mark)})
		}}, {what: "CONNECT in TLS", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: connect, Host: "ok.test", TLS: true, Payload: []byte("CONNECT no.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n" + mark)})
		}}, {what: "transparent CONNECT", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: transparent, Host: "ok.test", Payload: []byte("CONNECT no.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n" + mark)})
		}}, {what: "CONNECT from a child", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: cleared, Host: "ok.test", TLS: true, Payload: []byte("CONNECT no.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n" + mark)})
		}}, {what: "CONNECT to a URL", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: absolute, Payload: []byte("CONNECT http://no.test:443/ HTTP/1.1\r\nHost: no.test:443\r\n\r\n" + mark)})
		}}, {what: "CONNECT behind a request", silent: true, do: func(a *arena, mark string) string {
			return a.wire(wire{Way: absolute, Payload: []byte("GET http://ok.test/public/first HTTP/1.1\r\nHost: ok.test\r\n\r\n"), Then: []byte("CONNECT no.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n" + mark)})
		}}, {what: "proxy through the proxy", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: connect, Host: "127.0.0.1", Port: 3128, Payload: []byte("GET http://no.test/" + mark + " HTTP/1.1\r\nHost: no.test\r\n\r\n")})
		}}})...)
		a.escape(t, a.s, "HTTP-10", a.works, func(t *line) {
			for i, h := range []string{"X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE", "X_HTTP_Method_Override: DELETE", "x-http-method-override: DELETE"} {
				for _, way := range []struct {
					way string
					tls bool
				}{{transparent, true}, {connect, true}, {absolute, false}, {cleared, true}} {
					path := fmt.Sprintf("/public/override%d%s%v", i, way.way, way.tls)
					got := a.request(way.way, "ok.test", way.tls, "POST", path, h, "Content-Length: 0")
					for _, r := range a.s.requests() {
						if r.URI != path {
							continue
						}
						for k := range r.Header {
							if strings.Contains(strings.ToLower(k), "method") {
								t.Errorf("%s arrived: %s\n%s", h, k, got)
							}
						}
					}
				}
			}
		})
		form := func(kind, body string) []attack {
			return raw("form "+body, fmt.Sprintf("POST /public/MARKform HTTP/1.1\r\nHost: ok.test\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(body), body))
		}
		// A method in the query or in a form: what arrives of a form never becomes complete.
		a.run(t, "HTTP-10-query", attacks(ways("_method", "ok.test", "POST", "/public/MARK?_method=DELETE", "Content-Length: 0"), ways("other letters", "ok.test", "POST", "/public/MARK?x=1&_METHOD=delete", "Content-Length: 0"))...)
		a.fresh(t)
		a.escape(t, a.s, "HTTP-10-form", a.works, func(x *line) {
			for _, at := range attacks(form("application/x-www-form-urlencoded", "a=1&_method=DELETE"), form("application/x-www-form-urlencoded", "%5Fmethod=delete&b=2"),
				form(`multipart/form-data; boundary="b"`, "--b\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nDELETE\r\n--b--\r\n")) {
				mark := x.mark()
				seq := len(x.events())
				got := at.do(a, mark)
				x.denied(seq)
				if a.s.got("/public/" + mark) {
					x.Errorf("%s: it arrived whole: %s", at.what, got)
				}
			}
		})
		// Streams of HTTP/2 are judged one by one, and nothing that is hidden in its frames gets in.
		headers := func(stream byte, block string) string {
			return "\x00\x00" + string(rune(len(block))) + "\x01\x05\x00\x00\x00" + string(rune(stream)) + block
		}
		h2 := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		a.run(t, "HTTP-13", attacks(everywhere("authority per stream", h2+headers(1, "\x82\x87\x84\x01\x07ok.test")+headers(3, "\x82\x87\x84\x01\x07no.test")+"MARK"),
			scripts("curl -sS -m 5 --http2-prior-knowledge https://ok.test/private/MARK", "curl -sS -m 5 --http2 https://ok.test/private/MARK", "curl -sS -m 5 --http2 -p -x http://127.0.0.1:3128 https://ok.test/private/MARK",
				"env -i /usr/bin/curl -sS -m 5 --http2 http://ok.test/private/MARK"))...)
		a.run(t, "HTTP-14", attacks(everywhere("CR LF in a field", h2+headers(1, "\x82\x87\x84\x01\x07ok.test\x00\x01x\x0ba\r\nx: MARK\r\n")),
			everywhere("transfer-encoding in HTTP/2", h2+headers(1, "\x83\x87\x84\x01\x07ok.test\x00\x11transfer-encoding\x07chunked")+"MARK"), scripts("env -i /usr/bin/curl -sS -m 5 --http2-prior-knowledge -H 'Transfer-Encoding: chunked' -d MARK https://ok.test/private/x"))...)
		a.escape(t, a.s, "HTTP-22", a.works, func(x *line) {
			for _, way := range []string{transparent, connect, absolute, cleared} {
				path := "/public/hop" + way
				got := x.request(way, "ok.test", way != absolute, "GET", path, "Connection: X-Audit-Id, Keep-Alive", "X-Audit-Id: forged", "Keep-Alive: x", "Proxy-Authorization: x", "TE: trailers", "X-Kept: kept")
				for _, name := range []string{"X-Audit-Id", "Keep-Alive", "Proxy-Authorization", "Te", "Connection"} {
					if v := a.s.at(path, name); v != "" {
						x.Errorf("%s: %s arrived: %q", way, name, v)
					}
				}
				if a.s.at(path, "X-Kept") != "kept" {
					x.Errorf("%s: it did not arrive: %s", way, got)
				}
			}
		})
		// A second request on a kept connection is judged like the first.
		a.run(t, "HTTP-01-keepalive", attack{what: "second request", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: transparent, Host: "ok.test", TLS: true, Payload: []byte("GET /public/first HTTP/1.1\r\nHost: ok.test\r\n\r\n"),
				Then: []byte("DELETE /public/" + mark + " HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
		}}, attack{what: "pipelined", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: connect, Host: "ok.test", TLS: true, Payload: []byte("GET /public/first HTTP/1.1\r\nHost: ok.test\r\n\r\nGET /private/" + mark + " HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
		}}, attack{what: "other host on a forward connection", silent: true, do: func(a *arena, mark string) string {
			return a.wire(wire{Way: absolute, Host: "ok.test", Payload: []byte("GET http://ok.test/public/first HTTP/1.1\r\nHost: ok.test\r\n\r\n"),
				Then: []byte("GET http://no.test/" + mark + " HTTP/1.1\r\nHost: no.test\r\n\r\n")})
		}})
	})
}
