package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Parts of this program in B4 and B5: what stands between client and server and
// does nothing else. They judge nothing, record nothing and run in no sandbox;
// what they reach is what a second hop costs on this machine.
const (
	roleRelay   = "relay"   // PORT SERVER: bytes, which the kernel moves
	roleReverse = "reverse" // PORT SERVER SERVER-CA DIR: TLS on both sides, by Go's own proxy
)

func relay(args []string) int {
	l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return 1
		}
		go func() {
			defer c.Close()
			up, err := net.Dial("tcp", args[1])
			if err != nil {
				return
			}
			defer up.Close()
			go func() {
				_, _ = io.Copy(c, up)
				_ = c.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(up, c)
			_ = up.(*net.TCPConn).CloseWrite()
		}()
	}
}

func reverse(args []string) int {
	port, server, ca, dir := args[0], args[1], args[2], args[3]
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(text)
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: server})
	p.ErrorLog = log.New(io.Discard, "", 0)
	p.Transport = &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: trusted, ServerName: webHost, MinVersion: tls.VersionTLS13},
		MaxIdleConnsPerHost: loadConns,
	}
	s := &http.Server{
		Addr: "127.0.0.1:" + port, Handler: p, ReadHeaderTimeout: 10 * time.Second, ErrorLog: p.ErrorLog,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true},
	}
	fmt.Fprintln(os.Stderr, s.ListenAndServeTLS("", ""))
	return 1
}

// relayFloor and reverseFloor are they as contenders.
func (b *bench) relayFloor(w *web) peer {
	p := peer{name: "a relay alone"}
	port, err := freePort()
	if err == nil {
		p.stop, err = background(port, exec.Command(b.self, roleRelay, port, fmt.Sprintf("127.0.0.1:%d", w.port)))
	}
	if err != nil {
		p.why = err.Error()
		return p
	}
	p.through = func(client []string) []string { return append(append([]string{}, client...), "-to", "127.0.0.1:"+port) }
	return p
}

func (b *bench) reverseFloor(w *web) peer {
	p := peer{name: "Go's reverse proxy alone"}
	fail := func(err error) peer { p.why = err.Error(); return p }
	dir := filepath.Join(b.dir, "reverse")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fail(err)
	}
	caKey, caCert, caDER, err := newCert(nil, nil, true)
	if err != nil {
		return fail(err)
	}
	key, _, der, err := newCert(caKey, caCert, false)
	if err != nil {
		return fail(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fail(err)
	}
	ca := filepath.Join(dir, "ca.pem")
	for _, f := range []struct {
		path, kind string
		der        []byte
	}{{ca, "CERTIFICATE", caDER}, {filepath.Join(dir, "cert.pem"), "CERTIFICATE", der}, {filepath.Join(dir, "key.pem"), "PRIVATE KEY", keyDER}} {
		if err := os.WriteFile(f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o644); err != nil {
			return fail(err)
		}
	}
	port, err := freePort()
	if err != nil {
		return fail(err)
	}
	if p.stop, err = background(port, exec.Command(b.self, roleReverse, port, fmt.Sprintf("127.0.0.1:%d", w.port), w.ca, dir)); err != nil {
		return fail(err)
	}
	p.inspected = func(client []string) []string {
		return append(append([]string{}, client...), "-to", "127.0.0.1:"+port, "-ca", ca)
	}
	return p
}
