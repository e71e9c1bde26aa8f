// Command site is the small web site of the demo: it stands for the servers
// that an agent might talk to. It serves HTTPS for a few names on loopback, with
// a certificate authority of its own, and writes one line for each request that
// reaches it: what is not in that file did not leave the sandbox.
//
// It is no part of creel and imports nothing of it.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

func main() {
	names := flag.String("names", "", "host names to serve, separated by commas")
	ca := flag.String("ca", "", "file that gets the authority's certificate")
	seen := flag.String("seen", "", "file that gets one line per request")
	flag.Parse()
	if err := serve(strings.Split(*names, ","), *ca, *seen); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

func serve(names []string, caFile, seenFile string) error {
	cert, authority, err := certificates(names)
	if err != nil {
		return err
	}
	if err := os.WriteFile(caFile, authority, 0o644); err != nil {
		return err
	}
	seen, err := os.OpenFile(seenFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer seen.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr()) // for the program that started this one

	var mu sync.Mutex
	srv := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(os.Stderr, "site: ", 0),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			fmt.Fprintf(seen, "%s %s%s\n", r.Method, r.Host, r.URL.EscapedPath())
			mu.Unlock()
			fmt.Fprintf(w, "Hello from %s: you asked for %s.\n", r.Host, r.URL.EscapedPath())
		}),
	}
	return srv.ServeTLS(l, "", "")
}

// certificates makes an authority and one leaf for all names, for a day.
func certificates(names []string) (tls.Certificate, []byte, error) {
	from := time.Now().Add(-time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "creel demo authority"},
		NotBefore: from, NotAfter: from.Add(25 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: from, NotAfter: from.Add(25 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), rootKey)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})
	return tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}, authority, nil
}
