package ca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func pool(t *testing.T, a *Authority) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(a.PEM()) {
		t.Fatal("the PEM of the authority is not a certificate")
	}
	return p
}

func TestAuthorityCertificate(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	b, rest := pem.Decode(a.PEM())
	if b == nil || len(rest) != 0 {
		t.Fatal("want exactly one PEM block")
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject.CommonName != "Creel sandbox CA" || !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero {
		t.Errorf("subject %v, CA %v, path length %d", c.Subject, c.IsCA, c.MaxPathLen)
	}
	if d := time.Until(c.NotAfter); d > validity || d < validity-time.Hour {
		t.Errorf("valid for %v, want about %v", d, validity)
	}
	a.PEM()[0] = 'x'
	if a.PEM()[0] == 'x' {
		t.Error("PEM hands out its own memory")
	}
}

// TestLeafHandshake lets a real TLS client judge the leaves.
func TestLeafHandshake(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		leaf, ask string
		ok        bool
	}{
		{"api.example.test", "api.example.test", true},
		{"api.example.test", "other.example.test", false},
		{"203.0.113.7", "203.0.113.7", true},
		{"2001:db8::7", "2001:db8::7", true},
		{"203.0.113.7", "203.0.113.8", false},
	} {
		leaf, err := a.Leaf(tt.leaf)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			server, err := l.Accept()
			if err != nil {
				return
			}
			s := tls.Server(server, &tls.Config{Certificates: []tls.Certificate{*leaf}})
			_ = s.Handshake()
			_ = s.Close()
		}()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c := tls.Client(client, &tls.Config{RootCAs: pool(t, a), ServerName: tt.ask})
		err = c.Handshake()
		if (err == nil) != tt.ok {
			t.Errorf("leaf %s asked as %s: %v", tt.leaf, tt.ask, err)
		}
		_ = client.Close()
		_ = l.Close()
		<-done
	}
}

func TestLeafCannotSign(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := a.Leaf("ok.test")
	if err != nil {
		t.Fatal(err)
	}
	if leaf.Leaf.IsCA || leaf.Leaf.KeyUsage&x509.KeyUsageCertSign != 0 {
		t.Error("a leaf may sign certificates")
	}
}

func TestLeafIsCachedAndBounded(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	got := make([]*tls.Certificate, 16)
	for i := range got {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := a.Leaf("same.test")
			if err != nil {
				t.Error(err)
			}
			got[i] = c
		}()
	}
	wg.Wait()
	for _, c := range got {
		if c != got[0] {
			t.Fatal("calls at once minted more than one certificate")
		}
	}
	for i := range maxLeaves + 10 {
		if _, err := a.Leaf(fmt.Sprintf("h%d.test", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.cache); n != maxLeaves || a.order.Len() != n {
		t.Errorf("cache holds %d (%d in order), want %d", n, a.order.Len(), maxLeaves)
	}
	if a.cached("same.test") != nil {
		t.Error("the least recently used leaf was not evicted")
	}
}

// TestLeavesAreRenewed: a sandbox that lives for weeks is not left with leaves
// that have ended, and none of them holds longer than its authority.
func TestLeavesAreRenewed(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	now := began
	a.now = func() time.Time { return now }
	var last *tls.Certificate
	for day := range 30 {
		now = began.Add(time.Duration(day) * 24 * time.Hour)
		c, err := a.Leaf("ok.test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: pool(t, a), DNSName: "ok.test", CurrentTime: now}); err != nil {
			t.Fatalf("day %d: %v", day, err)
		}
		if c.Leaf.NotAfter.After(a.cert.NotAfter) || c.Leaf.NotAfter.Sub(now) > leafValidity {
			t.Fatalf("day %d: valid until %v", day, c.Leaf.NotAfter)
		}
		if day == 1 && c != last {
			t.Error("a leaf that is good was made anew")
		}
		last = c
	}
	now = began.Add(validity)
	if _, err := a.Leaf("ok.test"); err == nil || !strings.Contains(err.Error(), "start it anew") {
		t.Errorf("after its end: %v", err)
	}
}

func TestNoAuthorityNoName(t *testing.T) {
	var zero Authority
	if _, err := zero.Leaf("a.test"); err == nil {
		t.Error("the zero authority minted a certificate")
	}
	var none *Authority
	if _, err := none.Leaf("a.test"); err == nil {
		t.Error("a nil authority minted a certificate")
	}
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Leaf(""); err == nil {
		t.Error("minted a certificate for no name")
	}
}
