package egress

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creel-run/creel/egress/ca"
	"github.com/creel-run/creel/netname"
)

// TestSessionsAreResumed: on both sides, and judged all the same.
func TestSessionsAreResumed(t *testing.T) {
	r := newRig(t, basePolicy)
	var resumed, asked atomic.Int64
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
		if q.TLS.DidResume {
			resumed.Add(1)
		}
		w.Header().Set("Connection", "close") // the next request has a connection of its own
	})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conf := &tls.Config{
			RootCAs: r.agent, ServerName: "ok.test", NextProtos: []string{"http/1.1"}, MaxVersion: version,
			ClientSessionCache: tls.NewLRUClientSessionCache(4),
		}
		ask := func(status int) *tls.Conn {
			t.Helper()
			c, refused := r.open(viaRedirect, "ok.test:443")
			if refused != nil {
				t.Fatal(refused.Status)
			}
			tc := tls.Client(c, conf)
			resp, _ := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != status {
				t.Fatal(resp.Status)
			}
			return tc
		}
		before, sent := resumed.Load(), asked.Load()
		if ask(http.StatusOK).ConnectionState().DidResume {
			t.Error("there was no session to resume")
		}
		if !ask(http.StatusOK).ConnectionState().DidResume {
			t.Error("the agent's session was not resumed")
		}
		if n := resumed.Load() - before; n == 0 {
			t.Error("the server's session was not resumed")
		}
		r.engine.Store(compile(t, "version: 2\n"))
		c, refused := r.open(viaRedirect, "ok.test:443")
		if refused == nil {
			tc := tls.Client(c, conf)
			if resp, _ := talk(t, tc, "GET", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n"); resp.StatusCode != http.StatusForbidden {
				t.Errorf("a resumed session that is not allowed any more: %s", resp.Status)
			}
		}
		if n := asked.Load() - sent; n != 2 {
			t.Errorf("the server was asked %d times", n)
		}
		r.engine.Store(compile(t, basePolicy))
	}
}

// TestTicketKeysEnd: a key makes tickets for a day, takes them for another, and
// is forgotten then, however long nobody came.
func TestTicketKeysEnd(t *testing.T) {
	var keys tickets
	now := time.Unix(1e9, 0)
	use := func(later time.Duration) [][32]byte {
		now = now.Add(later)
		keys.use(new(tls.Config), now)
		return keys.keys
	}
	first := use(0)[0]
	if k := use(ticketsLife - 1); len(k) != 1 || k[0] != first {
		t.Error("the key changed before its time")
	}
	if k := use(1); len(k) != 2 || k[0] == first || k[1] != first {
		t.Error("the key does not change, or the old one is not taken")
	}
	if k := use(ticketsLife); len(k) != 2 || k[1] == first {
		t.Error("the key is taken for longer than two days")
	}
	if k := use(2 * ticketsLife); len(k) != 1 {
		t.Error("a key is taken after two days without anybody")
	}
}

// TestLargeSessionsAreNotKept: what a server sends of certificates is held for one
// connection, and not for every name that it has.
func TestLargeSessionsAreNotKept(t *testing.T) {
	for more, resumes := range map[int]bool{0: true, 200: false} { // certificates
		r := newRig(t, basePolicy)
		conf := r.serverTLS("ok.test")
		conf.NextProtos = []string{"http/1.1"}
		leaf := conf.Certificates[0]
		for range more {
			leaf.Certificate = append(leaf.Certificate[:len(leaf.Certificate):len(leaf.Certificate)], leaf.Certificate[0])
		}
		conf.Certificates = []tls.Certificate{leaf}
		resumed := make(chan bool, 2)
		r.raw("ok.test", 443, func(c net.Conn) {
			s := tls.Server(c, conf)
			if s.Handshake() != nil {
				return
			}
			resumed <- s.ConnectionState().DidResume
			_, _ = s.Read(make([]byte, 4096))
			_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		})
		for i := range 2 {
			resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			if got := <-resumed; got != (resumes && i > 0) {
				t.Errorf("with %d more, connection %d: resumed %t", more, i, got)
			}
		}
	}
}

// TestSessionsProveNobody: a session that began without the operator's certificate is
// not resumed where he proves himself, and none in which he did is resumed at all.
func TestSessionsProveNobody(t *testing.T) {
	mine, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := mine.Leaf("operator.test")
	if err != nil {
		t.Fatal(err)
	}
	var proves atomic.Bool
	r := newRig(t, basePolicy, func(_ *rig, c *Config) {
		c.ClientCert = func(netname.Host, uint16) *tls.Certificate {
			if proves.Load() {
				return leaf
			}
			return nil
		}
	})
	conf := r.serverTLS("ok.test")
	conf.NextProtos, conf.ClientAuth = []string{"http/1.1"}, tls.RequestClientCert
	type proof struct{ resumed, proved bool }
	seen := make(chan proof, 1)
	r.raw("ok.test", 443, func(c net.Conn) {
		s := tls.Server(c, conf)
		if s.Handshake() != nil {
			return
		}
		state := s.ConnectionState()
		seen <- proof{state.DidResume, len(state.PeerCertificates) > 0}
		_, _ = s.Read(make([]byte, 4096))
		_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
	})
	for i, one := range []struct {
		proves bool
		want   proof
	}{
		{false, proof{}}, {false, proof{resumed: true}}, {true, proof{proved: true}}, {true, proof{proved: true}}, {false, proof{resumed: true}},
	} {
		proves.Store(one.proves)
		r.s.Recheck()
		if resp, body := r.https(viaRedirect, "ok.test:443", "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n"); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		if got := <-seen; got != one.want {
			t.Errorf("connection %d: %+v, want %+v", i, got, one.want)
		}
	}
}
