package ca

import (
	"bytes"
	"container/list"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// validity is how long the authority holds: longer than most sandboxes live,
	// short enough that a forgotten copy of the certificate in an image or a bundle
	// is worth nothing soon. It cannot be renewed: programs have read it.
	validity = 30 * 24 * time.Hour

	// leafValidity is how long a leaf holds, renewBefore how much of that is left
	// when a new one takes its place.
	leafValidity = 7 * 24 * time.Hour
	renewBefore  = leafValidity / 2

	// backdate lets clients with a clock that is behind accept the certificate.
	backdate = time.Hour

	// maxLeaves bounds the cache; an agent that walks through names only evicts
	// its own. About 2 KB each.
	maxLeaves = 512

	// maxName is the longest host name (RFC 1035 §2.3.4), in bytes.
	maxName = 253
)

// Authority mints leaf certificates. The zero Authority refuses.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	leaf *ecdsa.PrivateKey // shared by all leaves
	skid []byte            // of the leaf key
	text []byte            // PEM of cert

	mint singleflight.Group

	mu    sync.Mutex
	cache map[string]*list.Element // of *entry
	order *list.List               // most recently used first
	now   func() time.Time
}

type entry struct {
	host string
	cert *tls.Certificate
}

// New makes an authority that is valid for days and signs leaves only.
func New() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority key: %w", err)
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	skid, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	leafID, err := keyID(&leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Creel sandbox CA"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // leaves only, no authority below
		SubjectKeyId:          skid,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse authority: %w", err)
	}
	return &Authority{
		cert: cert, key: key, leaf: leaf, skid: leafID,
		text:  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		cache: make(map[string]*list.Element),
		order: list.New(),
		now:   time.Now,
	}, nil
}

// PEM is the authority's certificate, to be trusted inside the sandbox.
func (a *Authority) PEM() []byte { return bytes.Clone(a.text) }

// Leaf returns a certificate for a canonical host name or address, from a
// bounded cache. Calls for the same name at once mint one certificate.
func (a *Authority) Leaf(host string) (*tls.Certificate, error) {
	if a == nil || a.key == nil {
		return nil, errors.New("mint certificate: no authority")
	}
	if host == "" || len(host) > maxName {
		return nil, fmt.Errorf("mint certificate: a host name has 1 to %d bytes", maxName)
	}
	if c := a.cached(host); c != nil {
		return c, nil
	}
	v, err, _ := a.mint.Do(host, func() (any, error) {
		if c := a.cached(host); c != nil {
			return c, nil
		}
		c, err := a.sign(host)
		if err != nil {
			return nil, err
		}
		a.keep(host, c)
		return c, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*tls.Certificate), nil
}

func (a *Authority) cached(host string) *tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	el, ok := a.cache[host]
	if !ok {
		return nil
	}
	c := el.Value.(*entry).cert
	if c.Leaf.NotAfter.Sub(a.now()) < renewBefore {
		delete(a.cache, host)
		a.order.Remove(el)
		return nil
	}
	a.order.MoveToFront(el)
	return c
}

func (a *Authority) keep(host string, c *tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cache[host] = a.order.PushFront(&entry{host, c})
	for a.order.Len() > maxLeaves {
		last := a.order.Back()
		delete(a.cache, last.Value.(*entry).host)
		a.order.Remove(last)
	}
}

func (a *Authority) sign(host string) (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	if !now.Before(a.cert.NotAfter) {
		return nil, fmt.Errorf("the certificates of this sandbox ended on %s, %d days after its start; start it anew",
			a.cert.NotAfter.UTC().Format(time.DateTime), validity/(24*time.Hour))
	}
	until := now.Add(leafValidity)
	if until.After(a.cert.NotAfter) {
		until = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// No common name: RFC 6125 clients read the SAN, and a CN is limited to 64 bytes.
		Subject:               pkix.Name{Organization: []string{"Creel sandbox"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		SubjectKeyId:          a.skid,
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		template.IPAddresses = []net.IP{ip.Unmap().AsSlice()}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.leaf.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("mint certificate for %q: %w", host, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("mint certificate for %q: %w", host, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leaf, Leaf: cert}, nil
}

func keyID(k *ecdsa.PublicKey) ([]byte, error) {
	raw, err := k.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	sum := sha256.Sum256(raw)
	return sum[:20], nil
}

// newSerial is 120 random bits: unguessable, positive and below the 20 bytes of RFC 5280 §4.1.2.2.
func newSerial() (*big.Int, error) {
	b := make([]byte, 15)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	b[0] |= 0x01
	return new(big.Int).SetBytes(b), nil
}
