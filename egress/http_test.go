package egress

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/secret"
)

// TestSmuggling lets a raw upstream tell what arrived.
func TestSmuggling(t *testing.T) {
	for name, raw := range map[string]string{
		"two lengths":         "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5\r\nContent-Length: 60\r\n\r\nhello",
		"length and chunked":  "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked, comma":      "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
		"bare LF":             "GET /public/a HTTP/1.1\nHost: ok.test\n\n",
		"obs-fold":            "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nX: a\r\n b\r\n\r\n",
		"space before colon":  "GET /public/a HTTP/1.1\r\nHost : ok.test\r\n\r\n",
		"two types":           "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Type: text/plain\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\n\r\n_method=DELETE",
		"two hosts":           "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nHost: ok.test\r\n\r\n",
		"HTTP/2 preface":      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"not HTTP":            "\x00\x01\x02\x03\r\n\r\n",
		"head too long":       "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nX: " + strings.Repeat("a", maxHead) + "\r\n\r\n",
		"h2c":                 "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
		"websocket":           "GET /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"nested CONNECT":      "CONNECT no.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n",
		"nominated framing":   "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello",
		"encoded dot segment": "GET /public/%2e%2e/secret HTTP/1.1\r\nHost: ok.test\r\n\r\n",
		"encoded slash":       "GET /public/..%2fsecret HTTP/1.1\r\nHost: ok.test\r\n\r\n",
	} {
		for _, w := range bothWays {
			t.Run(name+" "+string(w), func(t *testing.T) {
				r := newRig(t, basePolicy)
				c, _ := r.open(w, "ok.test:443")
				tc, err := r.startTLS(c, "ok.test")
				if err != nil {
					t.Fatal(err)
				}
				resp, body := talk(t, tc, "GET", raw)
				if resp.StatusCode < 400 || resp.StatusCode > 599 || !json.Valid([]byte(body)) {
					t.Errorf("%d %s", resp.StatusCode, body)
				}
				r.event("denial", func(ev audit.Event) bool { return ev.Kind == audit.Request && ev.Verdict == "deny" })
				if r.dialed() != 0 {
					t.Error("an upstream was dialled")
				}
			})
		}
	}
}

// TestBadChunkNeverCompletes: what came before the fault may be sent, but the
// upstream must not take it for a whole message.
func TestBadChunkNeverCompletes(t *testing.T) {
	r := newRig(t, basePolicy)
	got := make(chan error, 1)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		_, err := io.ReadAll(q.Body)
		got <- err
		if err != nil {
			panic(http.ErrAbortHandler) // an answer to half a message would race with the refusal
		}
	})
	c, _ := r.open(viaRedirect, "ok.test:443")
	tc, err := r.startTLS(c, "ok.test")
	if err != nil {
		t.Fatal(err)
	}
	resp, body := talk(t, tc, "POST", "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;x=y\r\nworld\r\n0\r\n\r\n")
	wantDenial(t, resp, body, 400, codeRequest)
	r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, "chunk") })
	if r.dialed() > 0 {
		select {
		case err := <-got:
			if err == nil {
				t.Error("the upstream took the message for whole")
			}
		case <-time.After(100 * time.Millisecond): // it never began to read: fine as well
		}
	}
}

func TestForwardedHead(t *testing.T) {
	r := newRig(t, basePolicy)
	heads := make(chan http.Header, 8)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		heads <- q.Header
		w.Header()["Date"] = nil
		w.Header().Set("Alt-Svc", `h3=":443"`)
		w.Header().Set("Connection", "x-hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("X-End", "1")
		w.Header().Set("Location", "http://no.test/")
		w.WriteHeader(302)
	})
	resp, _ := r.https(viaRedirect, "ok.test:443", "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nConnection: X-Gone, close\r\nX-Gone: 1\r\nX-Kept: 1\r\n"+
		"X-Original-URL: /secret\r\nX-Rewrite-URL: /secret\r\nX-Original-Method: DELETE\r\nX-Method: DELETE\r\nX-Forwarded-Host: no.test\r\n"+
		"X-Forwarded-Server: no.test\r\nX-Forwarded-Scheme: http\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nX-Forwarded-Prefix: /secret\r\n"+
		"X-Host: no.test\r\nForwarded: host=no.test\r\nX-HTTP-Host-Override: no.test\r\nx_original_url: /secret\r\n"+
		"X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\nX_HTTP_Method_Override: DELETE\r\nProxy-Authorization: x\r\nTE: trailers\r\nKeep-Alive: 5\r\nTransfer_Encoding: chunked\r\nContent-Length: 0\r\n\r\n")
	h := <-heads
	if len(h) != 2 || h.Get("X-Kept") != "1" || h.Get("Content-Length") != "0" {
		t.Errorf("the upstream got %v", h)
	}
	// A redirect is the client's to follow, and is judged then.
	if resp.StatusCode != 302 || resp.Header.Get("Location") != "http://no.test/" || resp.Header.Get("X-End") != "1" ||
		resp.Header.Get("X-Hop") != "" || resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	if r.dialed() != 1 {
		t.Errorf("%d connections", r.dialed())
	}
}

// TestRequestInBody: a body that looks like a request stays a body, whatever
// the method, and the connection that carried it serves no other request.
func TestRequestInBody(t *testing.T) {
	r := newRig(t, strings.Replace(basePolicy, "method: POST", "method: DELETE", 1))
	seen := make(chan string, 16)
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		seen <- fmt.Sprintf("%s %s %d %v %v %v", q.Method, q.URL.Path, len(body), q.Close, len(q.TransferEncoding) > 0, err)
	})
	c, _ := r.open(viaRedirect, "ok.test:443")
	tc, err := r.startTLS(c, "ok.test")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(tc)
	hidden := "GET /secret HTTP/1.1\r\nHost: ok.test\r\n\r\n"
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		for _, chunked := range []bool{false, true} {
			framing := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(hidden), hidden)
			if chunked {
				framing = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
			}
			before := r.dialed()
			for i, raw := range []string{
				method + " /public/a HTTP/1.1\r\nHost: ok.test\r\n" + framing,
				"GET /public/next HTTP/1.1\r\nHost: ok.test\r\n\r\n",
			} {
				fmt.Fprint(tc, raw)
				resp, err := http.ReadResponse(in, &http.Request{Method: []string{method, "GET"}[i]})
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("%q: %v %v", raw, resp, err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				want := fmt.Sprintf("%s /public/a %d true %v <nil>", method, len(hidden), chunked)
				if i == 1 {
					want = "GET /public/next 0 false false <nil>"
				}
				if got := <-seen; got != want {
					t.Errorf("the upstream got %s, want %s", got, want)
				}
			}
			if r.dialed() == before {
				t.Errorf("%s, chunked %v: the connection served another request", method, chunked)
			}
		}
	}
	select {
	case extra := <-seen:
		t.Errorf("the upstream got one more request: %s", extra)
	default:
	}
}

// TestMethodCase: a method is sent in the form that rules are written in.
func TestMethodCase(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, echo)
	resp, body := r.https(viaRedirect, "ok.test:443", "gEt /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	if resp.StatusCode != 200 || body != "GET /public/a ok.test 0" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if ev := r.event("request", is(audit.Request, "allow", "ok.test")); ev.Method != "GET" {
		t.Errorf("event %+v", ev)
	}
}

// TestStreaming: parts of an answer arrive while the upstream still holds the rest.
func TestStreaming(t *testing.T) {
	r := newRig(t, basePolicy)
	next := make(chan struct{})
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-next
		fmt.Fprint(w, "data: 2\n\n")
	})
	c, _ := r.open(viaRedirect, "ok.test:443")
	tc, err := r.startTLS(c, "ok.test")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(tc, "GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(tc), nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 9)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "data: 1\n\n" {
		t.Fatalf("%q %v", buf, err)
	}
	close(next)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "data: 2\n\n" {
		t.Fatalf("%q %v", rest, err)
	}
}

func TestExpectContinueAndKeepAlive(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, echo)
	c, _ := r.open(viaRedirect, "ok.test:443")
	tc, err := r.startTLS(c, "ok.test")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(tc)
	fmt.Fprint(tc, "POST /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q %v", line, err)
	}
	_, _ = in.ReadString('\n')
	fmt.Fprint(tc, "hello")
	for i, want := range []string{"POST /public/a ok.test 5", "GET /public/b? ok.test 0", "POST /public/c ok.test 3"} {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if string(body) != want {
			t.Errorf("got %s, want %s", body, want)
		}
		switch i {
		case 0: // two requests in one piece
			fmt.Fprint(tc, "GET /public/b? HTTP/1.1\r\nHost: ok.test\r\n\r\nPOST /public/c HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n")
		}
	}
	if r.dialed() != 1 {
		t.Errorf("%d connections for three requests", r.dialed())
	}
}

func TestProxyForward(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 80, echo)
	ask := func(raw string) (*http.Response, string) {
		c, err := net.Dial("tcp", r.proxy)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		return talk(t, c, "GET", raw)
	}
	resp, body := ask("POST http://ok.test/public/./a?x HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 2\r\nProxy-Connection: keep-alive\r\n\r\nhi")
	if resp.StatusCode != 200 || body != "POST /public/a?x ok.test 2" || !resp.Close {
		t.Errorf("%d %s %v", resp.StatusCode, body, resp.Close)
	}
	ev := r.event("request", is(audit.Request, "allow", "ok.test"))
	if ev.Via != audit.ProxyForward || ev.Protocol != "http" || ev.Path != "/public/a" {
		t.Errorf("event %+v", ev)
	}
	n := r.dialed()
	for _, tt := range []struct {
		raw    string
		status int
		code   string
	}{
		{"DELETE http://ok.test/public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", 403, codePolicy},
		{"GET http://no.test/a HTTP/1.1\r\nHost: no.test\r\n\r\n", 403, codePolicy},
		{"GET http://ok.test/public/a HTTP/1.1\r\nHost: no.test\r\n\r\n", 421, codeAuthority},
		{"GET http://ok.test:8080/public/a HTTP/1.1\r\nHost: ok.test:8080\r\n\r\n", 403, codePolicy},
		{"GET https://ok.test/public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", 400, codeRequest},
		{"GET ftp://ok.test/public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", 400, codeRequest},
		{"GET http://ok.test@no.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n", 400, codeRequest},
		{"GET http://no.test\\@ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n", 400, codeRequest},
		{"GET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n", 400, codeRequest},
		{"GET http://ok.test/public/a HTTP/1.1\r\nHost: ok.test\r\nX: a\nb\r\n\r\n", 400, codeRequest},
		{"\x16\x03\x01\x00\x05hello", 400, codeRequest},
		{"CONNECT ok.test HTTP/1.1\r\nHost: ok.test\r\n\r\n", 400, codeRequest},
		{"CONNECT [no.test]:443 HTTP/1.1\r\nHost: ok.test\r\n\r\n", 400, codeRequest},
		{"CONNECT ok.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n", 421, codeAuthority},
		{"CONNECT ok.test:443 HTTP/1.1\r\nHost: ok.test:443\r\nContent-Length: 5\r\n\r\nhello", 400, codeRequest},
		{"CONNECT no.test:443 HTTP/1.1\r\nHost: no.test:443\r\n\r\n", 403, codePolicy},
		{"CONNECT " + r.proxy + " HTTP/1.1\r\nHost: " + r.proxy + "\r\n\r\n", 403, codeAddress},
		{"CONNECT 29.193.200.200:443 HTTP/1.1\r\n" + "Host: 29.193.200.200:443\r\n\r\n", 403, codeAddress},
	} {
		resp, body := ask(tt.raw)
		if resp.StatusCode != tt.status {
			t.Errorf("%q: %d %s", tt.raw, resp.StatusCode, body)
			continue
		}
		wantDenial(t, resp, body, tt.status, tt.code)
	}
	if r.dialed() != n {
		t.Error("a refused request reached an upstream")
	}
}

// TestConnectKeepsWhatFollows: bytes behind a CONNECT belong to the tunnel.
func TestConnectKeepsWhatFollows(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 80, echo)
	c, err := net.Dial("tcp", r.proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, "CONNECT ok.test:80 HTTP/1.1\r\nHost: ok.test\r\n\r\nGET /public/a HTTP/1.1\r\nHost: ok.test\r\n\r\n")
	in := bufio.NewReader(c)
	if resp, err := http.ReadResponse(in, &http.Request{Method: "CONNECT"}); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v %v", resp, err)
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); string(body) != "GET /public/a ok.test 0" {
		t.Errorf("%s", body)
	}
}

// fakeRoute claims one host; it stands for package inference, which egress may not import.
type fakeRoute struct {
	mu     sync.Mutex
	host   string
	serves map[string]bool
}

func (f *fakeRoute) Claims(h netname.Host, _ uint16) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return h.String() == f.host
}

func (f *fakeRoute) Serves(path string) bool { return f.serves[path] }

func (f *fakeRoute) Serve(w http.ResponseWriter, r *http.Request, record func(audit.Event) error) {
	if record(audit.Event{Kind: audit.Inference, Model: "m"}) != nil {
		w.WriteHeader(503)
		return
	}
	fmt.Fprintf(w, "%s %s %s", r.URL.RequestURI(), r.RequestURI, r.Host)
}

func TestReroute(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			route := &fakeRoute{host: "model.test"}
			r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Inference = func() Inference { return route } })
			resp, body := r.https(w, "model.test:443", "GET /v1/./models?a HTTP/1.1\r\nHost: model.test\r\nConnection: close\r\n\r\n")
			if resp.StatusCode != 200 || body != "/v1/models?a /v1/models?a model.test" {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
			r.event("connection", is(audit.Connect, "reroute", "model.test"))
			ev := r.event("inference", is(audit.Inference, "reroute", "model.test"))
			if ev.Conn == 0 || ev.Port != 443 || ev.Binary == "" || ev.Method != "GET" || ev.Path != "/v1/models" || ev.Model != "m" || ev.Protocol != "https" {
				t.Errorf("event %+v", ev)
			}
			resp, body = r.https(w, "model.test:443", "GET /v1/models HTTP/1.1\r\nHost: no.test\r\n\r\n")
			wantDenial(t, resp, body, 421, codeAuthority)
		})
	}
}

// fakeSecrets stands for package credential.
type fakeSecrets struct {
	apply func(*http.Request) ([]string, error)
	value string // that answers of a bound host must not show
}

func (f *fakeSecrets) Bound(h netname.Host) bool { return h.String() == "bound.test" }
func (f *fakeSecrets) Apply(_ netname.Host, r *http.Request) ([]string, error) {
	return f.apply(r)
}

func (f *fakeSecrets) Mask(h netname.Host, _ *http.Request) *secret.Mask {
	return secret.NewMask(secret.Cover{Value: secret.New(f.value), With: "PLACEHOLDER"})
}

// Scan fails before the word forbidden, if that comes in one piece.
func (f *fakeSecrets) Scan(r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if i := bytes.Index(p[:n], []byte("forbidden")); i >= 0 {
			return i, errors.New("a placeholder stands in the data")
		}
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type failingBody struct{ io.ReadCloser }

func (b *failingBody) Read(p []byte) (int, error) {
	_, _ = b.ReadCloser.Read(p) // held back, as it holds one
	return 0, errors.New("a placeholder stands in the body")
}

func TestSecrets(t *testing.T) {
	for _, w := range bothWays {
		t.Run(string(w), func(t *testing.T) {
			secrets := &fakeSecrets{}
			r := newRig(t, basePolicy, func(_ *rig, c *Config) { c.Secrets = secrets })
			got := make(chan string, 8)
			r.web("bound.test", 443, func(w http.ResponseWriter, q *http.Request) {
				_, err := io.ReadAll(q.Body)
				if err == nil {
					got <- q.Header.Get("Authorization")
				}
			})
			ask := "POST /x HTTP/1.1\r\nHost: bound.test\r\nContent-Length: 2\r\nConnection: Authorization, close\r\n\r\nhi"
			secrets.apply = func(q *http.Request) ([]string, error) {
				if q.URL.String() != "https://bound.test/x" || q.Header.Get("Connection") != "" {
					t.Errorf("Apply got %s %v", q.URL, q.Header)
				}
				q.Header.Set("Authorization", "Bearer canary")
				return []string{"TOKEN"}, nil
			}
			if resp, body := r.https(w, "bound.test:443", ask); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			if v := <-got; v != "Bearer canary" {
				t.Errorf("the upstream got %q", v)
			}
			ev := r.event("use", is(audit.Credential, "allow", "bound.test"))
			if ev.Detail["names"] != "TOKEN" {
				t.Errorf("event %+v", ev)
			}
			secrets.apply = func(*http.Request) ([]string, error) { return nil, errors.New("another credential") }
			resp, body := r.https(w, "bound.test:443", ask)
			wantDenial(t, resp, body, 403, codeCredential)

			secrets.apply = func(q *http.Request) ([]string, error) {
				q.Body = &failingBody{q.Body}
				return nil, nil
			}
			resp, body = r.https(w, "bound.test:443", ask)
			wantDenial(t, resp, body, 403, codeCredential)
			r.event("refused", func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, "in the body") })
			select {
			case v := <-got:
				t.Errorf("the upstream got a whole request with %q", v)
			default:
			}
		})
	}
	t.Run("not inspected", func(t *testing.T) {
		r := newRig(t, strings.Replace(basePolicy, "{host: bound.test, port: 443}", "{host: bound.test, port: 443, tls: skip}", 1),
			func(_ *rig, c *Config) { c.Secrets = &fakeSecrets{} })
		resp, body := r.https(viaConnect, "bound.test:443", "GET / HTTP/1.1\r\nHost: bound.test\r\n\r\n")
		wantDenial(t, resp, body, 403, codePolicy)
		if r.dialed() != 0 {
			t.Error("dialled")
		}
	})
}
