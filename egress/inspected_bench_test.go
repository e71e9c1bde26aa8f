package egress

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/credential"
)

// BenchmarkInspected is a request on a kept connection, judged, with a credential
// put in, over TLS on both sides. Client and server do as little as they can.
func BenchmarkInspected(b *testing.B) {
	set, err := credential.Parse([]string{"TKN=env:TKN@ok.test"}, func(string) (string, bool) { return canary, true })
	if err != nil {
		b.Fatal(err)
	}
	book, err := audit.Open(filepath.Join(b.TempDir(), "audit.jsonl"), "bench")
	if err != nil {
		b.Fatal(err)
	}
	defer book.Close()
	r := newRig(b, basePolicy, func(_ *rig, c *Config) { c.Secrets, c.Audit = set, book })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 400\r\n\r\n" + strings.Repeat("x", 400))
	r.raw("ok.test", 443, func(c net.Conn) {
		conf := r.serverTLS("ok.test")
		conf.NextProtos = []string{"http/1.1"}
		tc := tls.Server(c, conf)
		buf := make([]byte, 4096)
		for {
			n, err := tc.Read(buf)
			if err != nil || !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				return
			}
			if _, err := tc.Write(answer); err != nil {
				return
			}
		}
	})
	c, in := r.inspected(viaRedirect, "ok.test")
	request := []byte("GET /public/items/7 HTTP/1.1\r\nHost: ok.test\r\nUser-Agent: bench\r\nAccept-Encoding: gzip\r\n\r\n")
	once(b, c, in, request)
	b.ReportAllocs()
	for b.Loop() {
		once(b, c, in, request)
	}
}

func once(b *testing.B, c net.Conn, in *bufio.Reader, request []byte) {
	if _, err := c.Write(request); err != nil {
		b.Fatal(err)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(err, resp.Status)
	}
}
