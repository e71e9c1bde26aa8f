package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestAnswerBeforeTheEndOfALine: what is missing of a chunk's size is not waited
// for once there is an answer.
func TestAnswerBeforeTheEndOfALine(t *testing.T) {
	r := newRig(t, basePolicy)
	cert := r.serverTLS("ok.test")
	r.raw("ok.test", 443, func(c net.Conn) {
		c = tls.Server(c, cert)
		in := bufio.NewReader(c)
		if _, err := http.ReadRequest(in); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
			_, _ = io.Copy(io.Discard, in)
		}
	})
	for _, w := range bothWays {
		c, in := r.inspected(w, "ok.test")
		fmt.Fprint(c, "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3")
		if resp, body := r.answerTo(in, "POST"); resp.StatusCode != 413 || body != "big" {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
}

// TestCutShortIsNoEnd: an answer whose end is that of the connection does not look
// complete when the server broke it off, with TLS and without.
func TestCutShortIsNoEnd(t *testing.T) {
	r := newRig(t, basePolicy)
	part := func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		}
	}
	cert := r.serverTLS("ok.test")
	cert.NextProtos = nil
	r.raw("ok.test", 80, part)
	r.raw("ok.test", 443, func(c net.Conn) { part(tls.Server(c, cert)) })
	for _, w := range bothWays {
		for _, port := range []string{"80", "443"} {
			c, _ := r.open(w, "ok.test:"+port)
			if port == "443" {
				tc, err := r.startTLS(c, "ok.test")
				if err != nil {
					t.Fatal(err)
				}
				c = tc
			}
			fmt.Fprint(c, "GET /public/a HTTP/1.0\r\nHost: ok.test\r\n\r\n")
			if got, err := io.ReadAll(c); err == nil {
				t.Errorf("%s %s: complete: %q", w, port, got)
			}
		}
	}
}

// TestPipelinedAndHalfClosed: who says all that it has to say at once is answered all of it.
func TestPipelinedAndHalfClosed(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 80, func(w http.ResponseWriter, q *http.Request) {
		if strings.HasSuffix(q.URL.Path, "/a") {
			time.Sleep(3500 * time.Millisecond) // so long that the client is watched
		}
		fmt.Fprint(w, q.URL.Path)
	})
	c, _ := r.open(viaRedirect, "ok.test:80")
	fmt.Fprint(c, getA+"GET /public/b HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	_ = c.(*net.TCPConn).CloseWrite()
	in := bufio.NewReader(c)
	for _, want := range []string{"/public/a", "/public/b"} {
		if resp, body := r.answerTo(in, "GET"); resp.StatusCode != 200 || body != want {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("then %v", err)
	}
}

// TestHalfClosedClientTakesItsTime: it is cut when it is sent nothing for long, and
// not while the answer flows.
func TestHalfClosedClientTakesItsTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &conn{ctx: ctx, cancel: cancel}
	r := &requests{c: c, half: true, awaits: true}
	for range 5 * halfClosed {
		c.in.Add(1)
		r.tick()
	}
	if !r.awaits || ctx.Err() != nil {
		t.Fatal("cut in the middle of an answer")
	}
	for range halfClosed + 1 {
		r.tick()
	}
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		t.Fatal("a client that takes nothing is kept")
	}
}

// TestWholeBodyIsAwaited: when a body is seen to be whole, the client waits for its
// answer already; else it would be watched while its next request is read.
func TestWholeBodyIsAwaited(t *testing.T) {
	for range 2000 {
		r := &requests{}
		r.in = newStream(nil, []byte("x"), nil)
		b := &requestBody{r: r, framed: framed{s: r.in, how: byLength, left: 1}}
		go func() { _, _ = io.ReadAll(b) }()
		for !b.whole.Load() {
		}
		r.mu.Lock()
		if !r.awaits {
			t.Fatal("whole, and not awaited")
		}
		r.mu.Unlock()
	}
}

// TestUpstreamCloseSaysNothing: see upstreamConn.Close.
func TestUpstreamCloseSaysNothing(t *testing.T) {
	r := newRig(t, basePolicy)
	ours, theirs := net.Pipe()
	server := tls.Server(theirs, r.serverTLS("ok.test"))
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	roots := r.s.conf.RootCAs
	client := tls.Client(ours, &tls.Config{RootCAs: roots, ServerName: "ok.test", MaxVersion: tls.VersionTLS12})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	c := &upstreamConn{Conn: client, below: ours, u: r.s.upstreams}
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	if got, _ := io.ReadAll(theirs); len(got) > 0 {
		t.Errorf("it sent %x", got)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestLongHeadsLeaveNoMemory: connections that are kept cost what others do.
func TestLongHeadsLeaveNoMemory(t *testing.T) {
	long := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + strings.Repeat("a", maxResponseHead/2) + "\r\n\r\nok"
	s := newStream(&pieceConn{r: strings.NewReader(long)}, nil, nil)
	if _, err := readResponse(s); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(&framed{s: s, how: byLength, left: 2})
	if len(s.buf) > streamBuffer || err != nil || !bytes.Equal(rest, []byte("ok")) {
		t.Errorf("%d bytes are kept; %q %v", len(s.buf), rest, err)
	}
}

// TestRevokedIsThrownAway: what the kernel holds of a request when its rule is
// taken back does not go out any more.
func TestRevokedIsThrownAway(t *testing.T) {
	r := newRig(t, basePolicy)
	arrived, revoked, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	r.raw("ok.test", 80, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		in := bufio.NewReaderSize(c, 16)
		_, _ = in.ReadString('\n')
		close(arrived)
		<-revoked
		_, err := io.Copy(io.Discard, in)
		ended <- err
	})
	c, _ := r.open(viaRedirect, "ok.test:80")
	go func() {
		_, _ = fmt.Fprintf(c, "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: %d\r\n\r\n", 64<<20)
		_, _ = io.Copy(c, bytes.NewReader(make([]byte, 64<<20)))
	}()
	<-arrived
	r.swap("version: 2\n")
	close(revoked)
	if err := <-ended; err == nil {
		t.Error("the connection ended as if all was said")
	}
}
