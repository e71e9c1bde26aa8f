package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestEscapeTLS: TLS.
func TestEscapeTLS(t *testing.T) {
	t.Parallel()
	bothUsers(t, func(t *testing.T) {
		a := newArena(t)
		tls := func(what string, w wire) attack {
			return attack{what: what + " " + w.Way + " " + w.Host, do: func(a *arena, mark string) string {
				w := w
				w.TLS, w.Payload = true, []byte("GET /public/"+mark+" HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
				return a.wire(w)
			}}
		}
		var sni, hidden, inner, alpn, plain []attack
		for _, way := range []string{transparent, connect, cleared} {
			for _, host := range []string{"ok.test", "l4.test"} { // inspected, and relayed
				sni = append(sni, tls("SNI no.test", wire{Way: way, Host: host, SNI: "no.test"}), tls("SNI of another allowed host", wire{Way: way, Host: host, SNI: "a.wild.test"}))
				hidden = append(hidden, tls("no SNI", wire{Way: way, Host: host, NoSNI: true}), tls("no SNI in pieces", wire{Way: way, Host: host, NoSNI: true, Pieces: true}),
					tls("wrong SNI in pieces", wire{Way: way, Host: host, SNI: "no.test", Pieces: true}))
			}
			hidden = append(hidden, tls("ECH through a relay", wire{Way: way, Host: "l4.test", SNI: "no.test", ECH: true}), quiet([]attack{tls("ECH that is answered here", wire{Way: way, Host: "ok.test", SNI: "no.test", ECH: true})})[0])
			inner = append(inner, attack{what: "TLS in TLS", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: way, Host: "ok.test", TLS: true, Payload: []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + mark)})
			}})
			for _, offer := range [][]string{{"h2"}, {"acme-tls/1"}, {"http/1.0"}, {"dot"}, {"h3"}} {
				x := tls("ALPN "+offer[0], wire{Way: way, Host: "ok.test", ALPN: offer})
				x.silent = true // the handshake ends
				alpn = append(alpn, x)
			}
			plain = append(plain, attack{what: "plain HTTP on 443", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: way, Host: "ok.test", Port: 443, Payload: []byte("GET /public/" + mark + " HTTP/1.1\r\nHost: ok.test:443\r\n\r\n")})
			}}, attack{what: "another protocol on 443", do: func(a *arena, mark string) string {
				return a.wire(wire{Way: way, Host: "ok.test", Port: 443, Payload: []byte("SSH-2.0-" + mark + "\r\n")})
			}})
		}
		plain = append(plain, attack{what: "absolute-form with port 443", do: func(a *arena, mark string) string {
			return a.wire(wire{Way: absolute, Payload: []byte("GET http://ok.test:443/public/" + mark + " HTTP/1.1\r\nHost: ok.test:443\r\n\r\n")})
		}})
		// The forward proxy takes no TLS, whatever that says.
		sni = append(sni, tls("SNI no.test", wire{Way: absolute, Host: "ok.test", SNI: "no.test"}))
		hidden = append(hidden, tls("no SNI", wire{Way: absolute, Host: "ok.test", NoSNI: true}), tls("pieces", wire{Way: absolute, Host: "ok.test", Pieces: true}))
		alpn = append(alpn, tls("ALPN h2", wire{Way: absolute, Host: "ok.test", ALPN: []string{"h2"}}))
		a.run(t, "TLS-01", sni...)
		a.run(t, "TLS-03", hidden...)
		a.run(t, "TLS-03-inner", inner...)
		a.run(t, "TLS-06", plain...)
		a.run(t, "TLS-07", alpn...)
		// The controls: a hello in segments of one byte is read like any other; without ALPN, and with it alone, HTTP/1.1 is spoken.
		for i, w := range []wire{{Way: transparent, Pieces: true}, {Way: connect}, {Way: cleared, ALPN: []string{"http/1.1"}}} {
			path := "/public/control" + string(rune('a'+i))
			w.Host, w.TLS, w.Payload = "ok.test", true, []byte("GET "+path+" HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
			if got := a.wire(w); !a.s.got(path) {
				t.Errorf("%+v: %s", w, got)
			}
		}
		other := a.box.start(t)
		a.escape(t, a.s, "TLS-05", a.works, func(x *line) {
			for _, way := range []string{inside, cleared} {
				x.way(way)
				got := x.sh(`grep -rlsE -e '-----BEGIN [A-Z ]*PRIVATE KEY' /run /etc /tmp /home /root /var . 2>/dev/null; find / -xdev -readable \( -name '*.key' -o -name '*.p12' -o -name '*.jks' \) 2>/dev/null | grep creel`)
				for _, f := range strings.Fields(got) {
					if !strings.HasPrefix(f, "/etc/ssl/private") && !strings.HasPrefix(f, "/etc/ssh") && !strings.HasSuffix(f, ".jks") {
						x.Errorf("a private key inside: %s", f)
					}
				}
			}
			// Each sandbox has its own authority, for a short time, which signs nothing but leaves.
			const show = `openssl x509 -in "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" -noout -pubkey; openssl x509 -in /run/creel/ca.pem -noout -pubkey -enddate -ext basicConstraints`
			mine, his := x.sh(show), other.sh(show)
			if mine == his || !strings.Contains(mine, "PUBLIC KEY") || !strings.Contains(mine, "pathlen:0") {
				x.Errorf("the authority of a sandbox: %s\nof another: %s", mine, his)
			}
			_, end, _ := strings.Cut(mine, "notAfter=")
			end, _, _ = strings.Cut(end, "\n")
			if until, err := time.Parse("Jan _2 15:04:05 2006 MST", end); err != nil || time.Until(until) > 40*24*time.Hour {
				x.Errorf("it lives until %q", end)
			}
		})
	})
}
