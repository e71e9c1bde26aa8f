package egress

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// inspected opens an inspected connection over TLS.
func (r *rig) inspected(w way, host string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, refused := r.open(w, host+":443")
	if refused != nil {
		r.t.Fatal(refused.Status)
	}
	tc, err := r.startTLS(c, host)
	if err != nil {
		r.t.Fatal(err)
	}
	return tc, bufio.NewReader(tc)
}

func (r *rig) answerTo(in *bufio.Reader, method string) (*http.Response, string) {
	r.t.Helper()
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(body)
}

const getA = "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n"

// script is an upstream that reads a request and answers with bytes, connection
// by connection and request by request; ? stands for what it got.
func (r *rig) script(host string, conns ...[]string) (requests func() []string) {
	var mu sync.Mutex
	var got []string
	n := 0
	cert := r.serverTLS(host)
	cert.NextProtos = []string{"http/1.1"}
	r.raw(host, 443, func(c net.Conn) {
		mu.Lock()
		mine := conns[min(n, len(conns)-1)]
		n++
		mu.Unlock()
		c = tls.Server(c, cert)
		in := bufio.NewReader(c)
		for _, text := range mine {
			q, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(q.Body)
			mu.Lock()
			got = append(got, q.Method+" "+q.RequestURI+" "+string(body))
			mu.Unlock()
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
		if strings.Contains(mine[len(mine)-1], "Content-Length: 2\r\n") { // else its answer ends with the connection
			_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			_, _ = io.Copy(io.Discard, in)
		}
	})
	return func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), got...) }
}

func TestHostileAnswers(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, x := range map[string]struct {
		answer string
		status int // 0: the answer breaks off
		body   string
	}{
		"no HTTP":              {"<html>hello</html>", 502, ""},
		"SSH":                  {"SSH-2.0-x\r\n", 502, ""},
		"two lengths":          {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 502, ""},
		"length and chunked":   {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, ""},
		"gzip, chunked":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502, ""},
		"folded":               {"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", 502, ""},
		"bare LF":              {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok\r\n\r\n", 502, ""},
		"control":              {"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\nok", 502, ""},
		"HTTP/2":               {"HTTP/2 200\r\n\r\n", 502, ""},
		"status 700":           {"HTTP/1.1 700 X\r\n\r\n", 502, ""},
		"upgrade unasked":      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 502, ""},
		"interim flood":        {strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInterim+1) + ok, 502, ""},
		"interim with body":    {"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok" + ok, 502, ""},
		"huge head":            {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", maxResponseHead) + "\r\n\r\n", 502, ""},
		"many fields":          {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n", maxResponseFields+1) + "\r\n", 502, ""},
		"too short":            {"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 100000), 0, ""},
		"chunks cut off":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 0, ""},
		"chunk too long":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n", 0, ""},
		"chunk with extension": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 ;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", 200, "hello"},
		"until the end":        {"HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello"},
		"HTTP/1.0":             {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		"no body":              {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", 204, ""},
		"not modified":         {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, ""},
		"same length twice":    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.script("ok.test", []string{x.answer})
			c, in := r.inspected(viaRedirect, "ok.test")
			fmt.Fprint(c, getA)
			resp, err := http.ReadResponse(in, nil)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(resp.Body)
			}
			switch {
			case x.status == 0 && err == nil:
				t.Errorf("complete: %v %.100q", resp, body)
			case x.status == 0:
			case err != nil:
				t.Fatal(err)
			case resp.StatusCode != x.status || x.status < 300 && string(body) != x.body:
				t.Errorf("%d %.200q", resp.StatusCode, body)
			}
		})
	}
}

// TestNothingIsTakenForAnotherAnswer: what a server sends unasked never answers
// the next request.
func TestNothingIsTakenForAnotherAnswer(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, first := range map[string]string{
		"behind it":            ok + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"behind no content":    "HTTP/1.1 204 No Content\r\nContent-Length: 42\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"behind chunks":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"behind a HEAD of 0":   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"connection to be cut": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, basePolicy)
			r.script("ok.test", []string{first, ok}, []string{ok})
			c, in := r.inspected(viaRedirect, "ok.test")
			for range 2 {
				fmt.Fprint(c, getA)
				if _, body := r.answerTo(in, "GET"); body == "evil" {
					t.Fatal("an answer that nobody asked for")
				}
			}
			if r.dialed() != 2 {
				t.Errorf("%d connections", r.dialed())
			}
		})
	}
}

// TestServerHangsUpWhileIdle: a request that can be repeated is.
func TestServerHangsUpWhileIdle(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	r := newRig(t, basePolicy)
	cert := r.serverTLS("ok.test")
	r.raw("ok.test", 443, func(c net.Conn) { // answers once, and hangs up at the second request
		c = tls.Server(c, cert)
		in := bufio.NewReader(c)
		if _, err := http.ReadRequest(in); err == nil {
			_, _ = io.WriteString(c, ok)
			_, _ = in.Peek(1)
		}
	})
	c, in := r.inspected(viaRedirect, "ok.test")
	for range 3 {
		fmt.Fprint(c, getA)
		if resp, body := r.answerTo(in, "GET"); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	fmt.Fprint(c, "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 2\r\n\r\nhi")
	if resp, body := r.answerTo(in, "POST"); resp.StatusCode != 502 {
		t.Errorf("a POST was sent twice: %d %s", resp.StatusCode, body)
	}
}

func TestEarlyHintsPass(t *testing.T) {
	r := newRig(t, basePolicy)
	r.script("ok.test", []string{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"})
	c, in := r.inspected(viaConnect, "ok.test")
	fmt.Fprint(c, getA)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 103 || resp.Header.Get("Link") != "</a>" || resp.Header.Get("X") != "" {
		t.Fatalf("%v %v", resp, err)
	}
	if resp, body := r.answerTo(in, "GET"); resp.StatusCode != 200 || body != "ok" || resp.Header.Get("Link") != "" {
		t.Errorf("%v %s", resp, body)
	}
}

// TestAnswerBeforeTheBody: a server may answer before it has read what is sent.
func TestAnswerBeforeTheBody(t *testing.T) {
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
	for _, framing := range []string{"Content-Length: 10000000", "Transfer-Encoding: chunked"} {
		c, in := r.inspected(viaRedirect, "ok.test")
		fmt.Fprintf(c, "POST /public/a HTTP/1.1\r\nHost: ok.test\r\n%s\r\n\r\n", framing)
		if framing[0] == 'T' {
			fmt.Fprint(c, "5\r\nhello\r\n")
		}
		resp, body := r.answerTo(in, "POST")
		if resp.StatusCode != 413 || body != "big" {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
		if _, err := in.ReadByte(); err == nil {
			t.Error("the connection goes on in the middle of a body")
		}
	}
}

// TestBodyThatIsLargeOrSlow: it passes while it comes.
func TestBodyThatIsLargeOrSlow(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		first := make([]byte, 5)
		_, _ = io.ReadFull(q.Body, first)
		fmt.Fprintf(w, "%s ", first)
		_ = http.NewResponseController(w).EnableFullDuplex()
		_ = http.NewResponseController(w).Flush()
		n, err := io.Copy(io.Discard, q.Body)
		fmt.Fprintf(w, "%d %v %s", n, err, q.Header.Get("Content-Length"))
	})
	for _, w := range bothWays {
		c, in := r.inspected(w, "ok.test")
		fmt.Fprint(c, "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5000005\r\n\r\nhello")
		resp, err := http.ReadResponse(in, nil) // before the rest is sent
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(c, bytes.NewReader(make([]byte, 5000000))); err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); string(body) != "hello 5000000 <nil> 5000005" {
			t.Errorf("%s %v", body, err)
		}
		fmt.Fprint(c, getA)
		if resp, _ := r.answerTo(in, "GET"); resp.StatusCode != 200 {
			t.Error(resp.Status)
		}
	}
}

// TestHalfClosedClient: who sends nothing more still gets the answer.
func TestHalfClosedClient(t *testing.T) {
	r := newRig(t, strings.Replace(basePolicy, "ports: [80, 443]", "ports: [80, 443]", 1))
	r.web("ok.test", 80, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(2500 * time.Millisecond) // so long that the client is watched
		fmt.Fprint(w, "late")
	})
	c, _ := r.open(viaRedirect, "ok.test:80")
	fmt.Fprint(c, getA)
	_ = c.(*net.TCPConn).CloseWrite()
	if resp, body := r.answerTo(bufio.NewReader(c), "GET"); resp.StatusCode != 200 || body != "late" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestClientThatIsGone: what is done for it ends.
func TestClientThatIsGone(t *testing.T) {
	r := newRig(t, basePolicy)
	gone := make(chan struct{})
	r.web("ok.test", 80, func(_ http.ResponseWriter, q *http.Request) {
		<-q.Context().Done()
		close(gone)
	})
	c, _ := r.open(viaRedirect, "ok.test:80")
	fmt.Fprint(c, getA)
	r.event("request", is(audit.Request, "allow", "ok.test"))
	time.Sleep(100 * time.Millisecond)
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the server still works for it")
	}
}

// TestPipelinedWhileWatched: bytes that the watch has read are not lost.
func TestPipelinedWhileWatched(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		if strings.HasSuffix(q.URL.Path, "/a") {
			time.Sleep(3 * time.Second)
		}
		fmt.Fprint(w, q.URL.Path)
	})
	c, in := r.inspected(viaRedirect, "ok.test")
	fmt.Fprint(c, getA)
	time.Sleep(2500 * time.Millisecond)
	fmt.Fprint(c, "GET /public/b HTTP/1.1\r\nHost: ok.test\r\n\r\nGET /private HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	for _, want := range []string{"/public/a", "/public/b"} {
		if resp, body := r.answerTo(in, "GET"); resp.StatusCode != 200 || body != want {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if resp, _ := r.answerTo(in, "GET"); resp.StatusCode != 403 {
		t.Errorf("%d", resp.StatusCode)
	}
}

// TestHTTP10 has no chunks and no kept connection that was not asked for.
func TestHTTP10(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.RawQuery != "" {
			w.Header().Set("Content-Length", "2")
		}
		_, _ = io.WriteString(w, "o")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "k")
	})
	c, in := r.inspected(viaRedirect, "ok.test")
	fmt.Fprint(c, "GET /public/a?length HTTP/1.0\r\nHost: ok.test\r\nConnection: keep-alive\r\n\r\n")
	if resp, body := r.answerTo(in, "GET"); body != "ok" || resp.Header.Get("Connection") != "keep-alive" {
		t.Errorf("%v %s", resp.Header, body)
	}
	fmt.Fprint(c, "GET /public/a HTTP/1.0\r\nHost: ok.test\r\nConnection: keep-alive\r\n\r\n")
	resp, body := r.answerTo(in, "GET")
	if body != "ok" || len(resp.TransferEncoding) > 0 || !resp.Close {
		t.Errorf("%v %s", resp, body)
	}
}
