package e2e

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// proxyAddr is where clients that insist on a proxy find one inside.
const proxyAddr = "127.0.0.1:3128"

// The ways into the egress.
const (
	transparent = "transparent"
	connect     = "connect"
	absolute    = "absolute" // what is sent is for the proxy
)

// wire is a raw conversation: what it sends is up to the byte.
type wire struct {
	Way     string
	Host    string
	Port    int
	TLS     bool
	SNI     string   // empty: Host
	NoSNI   bool     //
	ECH     bool     // SNI stands inside, Host outside
	ALPN    []string //
	Pieces  bool     // TLS records in pieces of one byte
	Head    string   // instead of the usual CONNECT
	Payload []byte
	Then    []byte // sent after the first answer
}

func init() { probes["wire"] = func(args []string) error { return runWire(args[0]) } }

func runWire(text string) error {
	var w wire
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return err
	}
	to := proxyAddr
	if w.Way == transparent || w.Way == cleared {
		to = net.JoinHostPort(w.Host, fmt.Sprint(w.Port))
	}
	c, err := net.DialTimeout("tcp", to, 10*time.Second)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if w.Way == connect {
		head := w.Head
		if head == "" {
			a := net.JoinHostPort(w.Host, fmt.Sprint(w.Port))
			head = "CONNECT " + a + " HTTP/1.1\r\nHost: " + a + "\r\n\r\n"
		}
		if _, err := io.WriteString(c, head); err != nil {
			return err
		}
		got, err := readUntil(c, "\r\n\r\n")
		if err != nil || !strings.HasPrefix(got, "HTTP/1.1 200") {
			rest, _ := io.ReadAll(c)
			fmt.Print(got + string(rest))
			return fmt.Errorf("connect: refused %w", errors.Join(err, exitCode(3)))
		}
	}
	if w.Pieces {
		c = &pieces{c}
	}
	if w.TLS {
		bundle := os.Getenv("SSL_CERT_FILE")
		if w.Way == cleared {
			bundle = "/etc/ssl/certs/ca-certificates.crt" // where one looks without a variable
		}
		pem, err := os.ReadFile(bundle)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		name := w.SNI
		if name == "" {
			name = w.Host
		}
		conf := &tls.Config{RootCAs: roots, ServerName: name, NextProtos: w.ALPN}
		if w.NoSNI {
			conf.ServerName, conf.InsecureSkipVerify = "", true
		}
		if w.ECH {
			if conf.EncryptedClientHelloConfigList, err = echConfig(w.Host); err != nil {
				return err
			}
			conf.MinVersion = tls.VersionTLS13
		}
		tc := tls.Client(c, conf)
		if err := tc.Handshake(); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		c = tc
	}
	if _, err := c.Write(w.Payload); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	r := bufio.NewReader(c)
	if len(w.Then) > 0 {
		first := make([]byte, 64<<10)
		n, err := r.Read(first)
		fmt.Print(string(first[:n]))
		if err != nil {
			return nil
		}
		if _, err := c.Write(w.Then); err != nil {
			return nil
		}
	}
	_, err = io.Copy(os.Stdout, r)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		fmt.Println("\nended:", err)
	}
	return nil
}

// echConfig is a list of one configuration (RFC 9849 §4) with this outer name.
func echConfig(outer string) ([]byte, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	public := key.PublicKey().Bytes()
	body := append([]byte{7, 0, 0x20, 0, byte(len(public))}, public...) // id, DHKEM(X25519), key
	body = append(body, 0, 4, 0, 1, 0, 1, 0, byte(len(outer)))          // HKDF-SHA256 with AES-128-GCM, no padding
	body = append(append(body, outer...), 0, 0)                         // no extensions
	one := append([]byte{0xfe, 0x0d, byte(len(body) >> 8), byte(len(body))}, body...)
	return append([]byte{byte(len(one) >> 8), byte(len(one))}, one...), nil
}

func readUntil(c net.Conn, mark string) (string, error) {
	var got []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(got, []byte(mark)) {
		if _, err := c.Read(one); err != nil {
			return string(got), err
		}
		got = append(got, one[0])
	}
	return string(got), nil
}

// pieces sends every byte in a segment of its own.
type pieces struct{ net.Conn }

func (p *pieces) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := p.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// wire has a raw conversation inside and gives what came back.
func (l *live) wire(w wire) string {
	l.t.Helper()
	if w.Port == 0 {
		w.Port = 80
		if w.TLS {
			w.Port = 443
		}
	}
	text, err := json.Marshal(w)
	if err != nil {
		l.t.Fatal(err)
	}
	l.line.way(w.Way)
	a := l.receive(l.send(order{Argv: []string{probePath(), "probe", "wire", string(text)}, Clear: w.Way == cleared}))
	return string(a.Stdout) + string(a.Stderr)
}

// request has one request on a way in: target is origin-form; on the absolute
// way it becomes a URL.
func (l *live) request(way, host string, tls bool, method, target string, lines ...string) string {
	l.t.Helper()
	if way == absolute {
		target = "http://" + host + target
	}
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
	for _, line := range lines {
		text += line + "\r\n"
	}
	return l.wire(wire{Way: way, Host: host, TLS: tls && way != absolute, Payload: []byte(text + "Connection: close\r\n\r\n")})
}
