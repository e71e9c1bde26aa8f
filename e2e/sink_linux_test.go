package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority is the test's own CA; it signs a leaf for whatever name is asked for.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

var testCA = sync.OnceValue(func() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "creel e2e"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &authority{cert: cert, key: key, leaves: map[string]*tls.Certificate{},
		pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
})

func (a *authority) leaf(name string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.leaves[name]; c != nil {
		return c, nil
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
	a.leaves[name] = c
	return c, nil
}

func (a *authority) config() *tls.Config {
	return &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := h.ServerName
		if name == "" {
			name = "nameless.test"
		}
		return a.leaf(name)
	}}
}

// caFile is the CA for --trust-ca.
func caFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, testCA().pem, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// seen is a request as it arrived at the sink.
type seen struct {
	Method, URI, Host string
	At                string // the address of ours where it arrived
	TLS               bool
	SNI               string
	Proto             string // of HTTP
	Header            http.Header
	Body              []byte
}

// sink is the outside world: an HTTP and an HTTPS server that keep all they see,
// and a plain TCP server that keeps bytes.
type sink struct {
	http, https, raw net.Listener

	mu    sync.Mutex
	reqs  []seen
	bytes bytes.Buffer // all that arrived, TLS taken off
	lean  bool         // it is not kept
	conns int

	datagrams int            // of a worldSink
	extras    []net.Listener // of a worldSink, closed at the end
	server    *http.Server

	extra http.Handler // for paths below /x/
	wg    sync.WaitGroup
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	s.http, s.https, s.raw = listen(), listen(), listen()
	s.server = &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	s.serveHTTP(s.http, false)
	s.serveHTTP(s.https, true)
	s.wg.Add(1)
	go func() { defer s.wg.Done(); s.serveRaw(s.raw) }()
	t.Cleanup(func() {
		_ = s.server.Close()
		_ = s.raw.Close()
		for _, l := range s.extras {
			_ = l.Close()
		}
		s.wg.Wait()
	})
	return s
}

// serveHTTP serves a listener; the server closes it at the end.
func (s *sink) serveHTTP(l net.Listener, secure bool) {
	if secure {
		config := testCA().config()
		config.NextProtos = []string{"http/1.1"}
		l = tls.NewListener(l, config)
	}
	s.wg.Add(1)
	go func() { defer s.wg.Done(); _ = s.server.Serve(&tapped{l, s}) }()
}

// tapped keeps what is read from connections.
type tapped struct {
	net.Listener
	s *sink
}

func (l *tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.s.mu.Lock()
	l.s.conns++
	l.s.mu.Unlock()
	return &tappedConn{c, l.s}, nil
}

type tappedConn struct {
	net.Conn
	s *sink
}

func (c *tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.s.mu.Lock()
	if !c.s.lean {
		c.s.bytes.Write(b[:n])
	}
	c.s.mu.Unlock()
	return n, err
}

func (s *sink) serveRaw(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns++
		s.mu.Unlock()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			defer c.Close()
			tc := &tappedConn{c, s}
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			_, _ = io.Copy(c, tc) // echo
		}()
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	req := seen{At: fmt.Sprint(at), Proto: r.Proto, Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header.Clone(), Body: body}
	s.mu.Lock()
	s.reqs = append(s.reqs, req)
	s.mu.Unlock()
	switch {
	case s.extra != nil && strings.HasPrefix(r.URL.Path, "/x/"):
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.extra.ServeHTTP(w, r)
	case r.URL.Path == "/redirect":
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	default:
		fmt.Fprintf(w, "sink %s %s %s\n", r.Method, r.Host, r.URL.Path)
	}
}

func (s *sink) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.reqs...)
}

func (s *sink) has(match func(seen) bool) bool {
	for _, r := range s.requests() {
		if match(r) {
			return true
		}
	}
	return false
}

// got reports whether a request with this path arrived.
func (s *sink) got(path string) bool {
	return s.has(func(r seen) bool { return strings.HasPrefix(r.URI, path) })
}

// holds reports whether the text arrived anywhere, in whatever form it was sent.
func (s *sink) holds(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Contains(s.bytes.Bytes(), []byte(text))
}

// packets are the datagrams that arrived at a worldSink.
func (s *sink) packets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.datagrams
}

func (s *sink) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// upstreams are the flags by which these hosts lead to the sink, whether the
// policy allows them or not.
func (s *sink) upstreams(hosts ...string) (flags []string) {
	for _, h := range hosts {
		flags = append(flags, "--upstream", h+":80="+s.http.Addr().String(),
			"--upstream", h+":443="+s.https.Addr().String(), "--upstream", h+":5000="+s.raw.Addr().String())
	}
	return flags
}
