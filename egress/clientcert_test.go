package egress

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/egress/ca"
	"github.com/creel-run/creel/netname"
)

// TestClientCertificate: a host gets the operator's certificate, and no other host
// does; a connection to it is inspected though the rule alone would relay it.
func TestClientCertificate(t *testing.T) {
	mine, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := mine.Leaf("operator.test") // for servers, which is enough for a test of who gets it
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			r := newRig(t, basePolicy, func(_ *rig, c *Config) {
				c.ClientCert = func(h netname.Host, port uint16) *tls.Certificate {
					if name := h.String(); port == 443 && (name == "bound.test" || name == "opaque.test") {
						return leaf
					}
					return nil
				}
			})
			seen := map[string]chan []*x509.Certificate{}
			for _, host := range []string{"bound.test", "ok.test", "opaque.test"} {
				conf := r.serverTLS(host)
				conf.ClientAuth = tls.RequestClientCert
				got := make(chan []*x509.Certificate, 4)
				seen[host] = got
				r.raw(host, 443, func(c net.Conn) {
					s := tlsServer(c, conf)
					if s.Handshake() != nil {
						return
					}
					got <- s.ConnectionState().PeerCertificates
					_, _ = s.Read(make([]byte, 4096))
					_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
				})
			}
			for host, want := range map[string]int{"bound.test": 1, "ok.test": 0} {
				resp, body := r.https(w, host+":443", "GET /public/a HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
				if resp.StatusCode != 200 {
					t.Fatalf("%s: %d %s", host, resp.StatusCode, body)
				}
				if certs := <-seen[host]; len(certs) != want || want == 1 && !certs[0].Equal(leaf.Leaf) {
					t.Errorf("%s got %d certificates", host, len(certs))
				}
			}
			n := r.dialed()
			resp, body := r.https(w, "opaque.test:443", "GET / HTTP/1.1\r\nHost: opaque.test\r\n\r\n")
			if d := wantDenial(t, resp, body, http.StatusForbidden, codePolicy); !strings.Contains(d.Reason, "must be inspected") || r.dialed() != n {
				t.Errorf("%+v", d)
			}
		})
	}
}
