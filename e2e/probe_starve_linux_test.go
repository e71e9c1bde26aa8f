package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

func init() {
	probes["starve"] = func(args []string) error { return starve(args[0]) }
	probes["deny"] = func(args []string) error { return denyFlood(args[0]) }
}

// starve burdens the egress in one way for about a second.
func starve(kind string) error {
	end := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	// A connect waits for the supervisor, and takes a thread as long: few at a
	// time, or the limit on processes ends this program first.
	dialing := make(chan struct{}, 100)
	dial := func(to string) net.Conn {
		dialing <- struct{}{}
		defer func() { <-dialing }()
		c, err := net.DialTimeout("tcp", to, 5*time.Second)
		if err != nil {
			return nil
		}
		_ = c.SetDeadline(end.Add(3 * time.Second))
		return c
	}
	many := func(n int, do func(i int)) {
		for i := range n {
			wg.Add(1)
			go func() { defer wg.Done(); do(i) }()
		}
		wg.Wait()
	}
	switch kind {
	case "slowloris": // heads that never end, a byte at a time
		many(400, func(i int) {
			c := dial([]string{proxyAddr, "ok.test:80"}[i%2])
			if c == nil {
				return
			}
			defer c.Close()
			for _, b := range []byte("GET http://no.test/STARVE HTTP/1.1\r\nX-A: " + strings.Repeat("a", 200)) {
				if _, err := c.Write([]byte{b}); err != nil || time.Now().After(end) {
					return
				}
				time.Sleep(30 * time.Millisecond)
			}
		})
	case "connects": // as many CONNECTs as go
		many(200, func(i int) {
			for time.Now().Before(end) {
				c := dial(proxyAddr)
				if c == nil {
					return
				}
				fmt.Fprintf(c, "CONNECT no%d.test:443 HTTP/1.1\r\nHost: no%d.test:443\r\n\r\nSTARVE", i, i)
				_, _ = io.CopyN(io.Discard, c, 12)
				_ = c.Close()
			}
		})
	case "heads": // long and many header fields
		many(100, func(i int) {
			for time.Now().Before(end) {
				c := dial([]string{proxyAddr, "ok.test:80"}[i%2])
				if c == nil {
					return
				}
				_, _ = io.WriteString(c, "GET http://no.test/STARVE HTTP/1.1\r\nHost: no.test\r\n")
				for j := range 2000 {
					if _, err := io.WriteString(c, "X-"+strconv.Itoa(j)+": "+strings.Repeat("b", 500)+"\r\n"); err != nil {
						break
					}
				}
				_ = c.Close()
			}
		})
	case "hellos": // handshakes that never end, and names that need a new certificate each
		many(200, func(i int) {
			c := dial("ok.test:443")
			if c == nil {
				return
			}
			defer c.Close()
			if i%2 == 0 {
				_, _ = c.Write([]byte{22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc})
				time.Sleep(time.Until(end))
				return
			}
			_ = tls.Client(c, &tls.Config{ServerName: fmt.Sprintf("n%d.star.test", i), InsecureSkipVerify: true}).Handshake()
		})
	case "silent": // more connections than there may be, without a word
		many(1500, func(int) {
			if c := dial("ok.test:80"); c != nil {
				time.Sleep(time.Until(end))
				_ = c.Close()
			}
		})
	case "gzip": // bodies that unfold to a thousand times their size
		var bomb bytes.Buffer
		z := gzip.NewWriter(&bomb)
		_, _ = z.Write(make([]byte, 64<<20))
		_ = z.Close()
		many(8, func(int) {
			c := dial("inference.local:80")
			if c == nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "POST /v1/messages HTTP/1.1\r\nHost: inference.local\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n", bomb.Len())
			_, _ = c.Write(bomb.Bytes())
			_, _ = io.CopyN(io.Discard, c, 12)
		})
	default:
		return fmt.Errorf("no such kind %q", kind)
	}
	return nil
}

// denyFlood makes denied requests as fast as it can, to equal and to different names.
func denyFlood(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	end := time.Now().Add(5 * time.Second)
	for w := range 32 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < n && time.Now().Before(end); i += 32 {
				c, err := net.DialTimeout("tcp", proxyAddr, 5*time.Second)
				if err != nil {
					continue
				}
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				fmt.Fprintf(c, "GET http://flood%d.no.test/%s HTTP/1.1\r\nHost: flood%d.no.test\r\n\r\n", i%5000, strings.Repeat("p", 2000), i%5000)
				_, _ = io.CopyN(io.Discard, c, 12)
				_ = c.Close()
			}
		}()
	}
	wg.Wait()
	return nil
}
