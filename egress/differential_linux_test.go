package egress

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/internal/vectors"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
	"github.com/valyala/fasthttp"
)

// message is a request in the eyes of one reader.
type message struct {
	Method, Target, Host, Body string
}

func (m message) String() string {
	return fmt.Sprintf("%s %s %s %q", m.Method, m.Target, m.Host, m.Body)
}

// passOn gives the requests of a stream that are judged, and the bytes that an
// upstream gets of each.
func passOn(stream []byte, want authority) (judged []message, wire [][]byte) {
	c := &conn{ctx: context.Background()}
	c.facts.Host, c.facts.Port = want.host, want.port
	nc := &pieceConn{r: bytes.NewReader(stream)}
	q := &requests{c: c, nc: nc, in: newStream(nc, nil, &c.out), scheme: "http"}
	for len(wire) < 8 {
		h, fault, err := q.head()
		if fault != nil || err != nil || h.upgrade != "" || h.verb() == http.MethodConnect {
			return judged, wire
		}
		origin, f := h.origin(q.scheme, want)
		if f != nil {
			return judged, wire
		}
		t, err := target.Parse(origin, true)
		if err != nil {
			return judged, wire
		}
		body := &requestBody{r: q, w: &answer{r: q, wrote: true}}
		x := &exchange{c: c, h: h, scheme: q.scheme, r: q.request(h, body), request: policy.Request{Method: h.verb(), Target: t}}
		req, ok := x.outgoing()
		if !ok {
			return judged, wire
		}
		kept := new(bytes.Buffer)
		if h.hasBody() {
			req.Body = io.NopCloser(io.TeeReader(x.r.Body, kept))
		}
		out := &outgoing{x: x, req: req}
		if out.prepare() != nil {
			return judged, wire
		}
		sent := bytes.NewBuffer(out.text.Bytes())
		if out.body != nil && out.send(sent) != nil {
			return judged, wire // cut short: the upstream sees that it is not whole
		}
		judged = append(judged, message{x.request.Method, t.String(), req.Host, kept.String()})
		wire = append(wire, sent.Bytes())
		if !body.stop() {
			return judged, wire
		}
	}
	return judged, wire
}

// reader is another implementation that reads requests.
type reader struct {
	name string
	read func(wire []byte) ([]message, error)
}

// byNetHTTP reads as a server that stands on net/http does.
func byNetHTTP(wire []byte) (list []message, err error) {
	in := bufio.NewReader(bytes.NewReader(wire))
	for {
		r, err := http.ReadRequest(in)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return list, err
		}
		list = append(list, message{r.Method, r.RequestURI, r.Host, string(body)})
	}
}

// byFastHTTP reads with a parser that shares nothing with net/http.
func byFastHTTP(wire []byte) (list []message, err error) {
	in := bufio.NewReaderSize(bytes.NewReader(wire), 64<<10)
	for {
		var r fasthttp.Request
		r.Header.DisableNormalizing()
		err := r.ReadLimitBody(in, 1<<20)
		if err == nil && r.MayContinue() {
			err = r.ContinueReadBody(in, 1<<20)
		}
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, message{string(r.Header.Method()), string(r.Header.RequestURI()), string(r.Header.Host()), string(r.Body())})
	}
}

var inProcess = []reader{{"net/http", byNetHTTP}, {"fasthttp", byFastHTTP}}

// agree reports where a reader sees another request than the one that was judged.
func agree(t *testing.T, readers []reader, stream []byte) (sent int) {
	t.Helper()
	judged, wire := passOn(stream, authority{host(t, "ok.test"), 80})
	for i, b := range wire {
		for _, r := range readers {
			list, err := r.read(b)
			if err != nil && len(list) == 0 {
				continue // it takes less
			}
			if len(list) != 1 || err != nil || !sameMessage(list[0], judged[i]) {
				t.Errorf("judged  %v\n%s sees %v, error %v\nfrom %.1500q\nsent %.1500q", judged[i], r.name, list, err, stream, b)
			}
		}
	}
	return len(wire)
}

// sameMessage: a reader that does not tell bodies apart gives their length.
func sameMessage(a, b message) bool {
	if n, ok := strings.CutPrefix(a.Body, "length "); ok && b.Body != a.Body {
		if strconv.Itoa(len(b.Body)) != n {
			return false
		}
		a.Body = b.Body
	}
	return a == b
}

// mixture makes streams that are nearly well formed.
type mixture struct {
	r     *rand.Rand
	seeds []string
}

func (m *mixture) one(list ...string) string { return list[m.r.IntN(len(list))] }

// rarely gives the usual text, and now and then another one.
func (m *mixture) rarely(usual string, list ...string) string {
	if m.r.IntN(12) > 0 {
		return usual
	}
	return m.one(list...)
}

func (m *mixture) stream() []byte {
	if len(m.seeds) > 0 && m.r.IntN(4) == 0 {
		return m.mutate([]byte(m.one(m.seeds...)))
	}
	var b strings.Builder
	for range 1 + m.r.IntN(3) {
		m.request(&b)
	}
	out := []byte(b.String())
	if m.r.IntN(3) == 0 {
		return m.mutate(out)
	}
	return out
}

func (m *mixture) request(b *strings.Builder) {
	end := "\r\n"
	if m.r.IntN(30) == 0 {
		end = m.one("\n", "\r", "\r\r\n", " \r\n", "\r\n\r\n")
	}
	b.WriteString(m.one("GET", "POST", "PUT", "DELETE", "get", "PATCH", "OPTIONS", "TRACE", "X-A", "HEAD") + " ")
	b.WriteString(m.one("/", "/a", "/a/../b", "/%61", "/a%2fb", "/a?x=1&y", "/a;b", "http://ok.test/a", "//a", "/a%00", "/a?b?c#d", "*", "/\u00e9", "/a//b", "/a/./b", "/%2e%2e/x"))
	b.WriteString(" " + m.rarely("HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/0.9", "http/1.1") + end)
	b.WriteString(m.rarely("Host: ok.test", "host:ok.test", "Host: ok.test:80", "HOST:\tok.test\t", "Host: no.test", "Host : ok.test") + end)
	body := m.one("", "hello", "GET /x HTTP/1.1\r\nHost: ok.test\r\n\r\n", strings.Repeat("x", 20000), "0\r\n\r\n")
	switch m.r.IntN(5) {
	case 0:
		body = ""
	case 1, 2:
		fmt.Fprintf(b, "%s: %s%s", m.rarely("Content-Length", "content-length", "Content_Length", "Content-Length "), m.rarely("%d", "+%d", "0%d", "%d, %[1]d", "0x%x"), end)
		text := strings.Replace(b.String(), "%d", strconv.Itoa(len(body)), 1)
		text = strings.ReplaceAll(text, "%[1]d", strconv.Itoa(len(body)))
		b.Reset()
		b.WriteString(strings.Replace(text, "%x", strconv.FormatInt(int64(len(body)), 16), 1))
	default:
		b.WriteString(m.rarely("Transfer-Encoding", "transfer-encoding", "Transfer-Encoding ", "Transfer_Encoding") + ": " +
			m.rarely("chunked", "Chunked", "chunked, chunked", "identity", "gzip, chunked", "chunked;x", "\x0bchunked") + end)
		var c strings.Builder
		for len(body) > 0 {
			n := 1 + m.r.IntN(len(body))
			fmt.Fprintf(&c, m.rarely("%x\r\n", "%X\r\n", "0%x\r\n", "%x;a=b\r\n", "%x \r\n", "%x\n"), n)
			c.WriteString(body[:n] + m.rarely("\r\n", "\n", ""))
			body = body[n:]
		}
		body = c.String() + m.rarely("0\r\n\r\n", "0\r\nX: y\r\n\r\n", "00\r\n\r\n", "0\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n", "0;x\r\n\r\n")
	}
	for range m.r.IntN(4) {
		b.WriteString(m.rarely("X: a", "X-HTTP-Method-Override: DELETE", "Connection: keep-alive", "Connection: close, x-a", "X-A: b", "Expect: 100-continue",
			"Content-Length: 3", "Transfer-Encoding: chunked", "Host: ok.test", "X: a\r\n b", "X: \x00", "TE: trailers", "Trailer: X", "Keep-Alive: 1",
			"Connection: content-length", "Content-Type: application/json", "X:a\u00e9", "Upgrade: h2c", "Cookie: a=b; c", "A\u00e9: b", ": x", "X") + end)
	}
	b.WriteString(end + body)
}

// mutate changes a few bytes.
func (m *mixture) mutate(b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + m.r.IntN(4) {
		if len(b) == 0 {
			break
		}
		i := m.r.IntN(len(b))
		if len(b) > 200 {
			i = m.r.IntN(200) // where the heads are
		}
		switch m.r.IntN(4) {
		case 0:
			b[i] = byte(m.r.IntN(256))
		case 1:
			b = slices.Insert(b, i, []byte(m.one("\r\n", "\n", "\r", " ", "\t", ":", "0", "\x00", ",", "chunked", "Content-Length: 1\r\n"))...)
		case 2:
			b = slices.Delete(b, i, min(i+1+m.r.IntN(3), len(b)))
		case 3:
			j := min(i+m.r.IntN(40), len(b))
			b = slices.Insert(b, j, b[i:j]...)
		}
	}
	return b
}

func framingSeeds(t testing.TB) (list []string) {
	entries, err := vectors.Load("http_framing")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var in struct{ Mode, Raw string }
		if json.Unmarshal(e.In, &in) == nil && in.Mode == "request" {
			list = append(list, strings.ReplaceAll(string(latin1(in.Raw)), "api.test", "ok.test"))
		}
	}
	return list
}

// FuzzDifferential: no reader sees another request than the one that was judged.
func FuzzDifferential(f *testing.F) {
	for _, s := range framingSeeds(f) {
		f.Add([]byte(s))
	}
	m := &mixture{r: rand.New(rand.NewPCG(1, 2))}
	for range 200 {
		f.Add(m.stream())
	}
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, inProcess, b) })
}

// TestDifferential asks servers of other makes, too: nginx, and Node's llhttp.
// CREEL_DIFFERENTIAL is how long, CREEL_SEED where it begins.
func TestDifferential(t *testing.T) {
	readers := slices.Clone(inProcess)
	for _, start := range []func(*testing.T) (reader, error){startNginx, startNode} {
		r, err := start(t)
		if err != nil {
			t.Logf("without %s: %v", r.name, err)
			continue
		}
		readers = append(readers, r)
	}
	limit := 2 * time.Second
	if text := os.Getenv("CREEL_DIFFERENTIAL"); text != "" {
		var err error
		if limit, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CREEL_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	m := &mixture{r: rand.New(rand.NewPCG(seed, 0)), seeds: framingSeeds(t)}
	streams, sent := 0, 0
	for end := time.Now().Add(limit); time.Now().Before(end) && !t.Failed(); streams++ {
		sent += agree(t, readers, m.stream())
	}
	names := make([]string, len(readers))
	for i, r := range readers {
		names[i] = r.name
	}
	t.Logf("seed %d: %d streams, %d requests were sent on and read alike by %s", seed, streams, sent, strings.Join(names, ", "))
	if sent == 0 {
		t.Error("nothing was sent on")
	}
}

// asked has a server read bytes: every answer tells what it saw, and the answer
// to a last request, which closes, tells that nothing is left over.
func asked(addr string, wire []byte) (list []message, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	const last = "GET /last HTTP/1.1\r\nHost: last.test\r\nConnection: close\r\n\r\n"
	closes := bytes.Contains(wire, []byte("\r\nConnection: close\r\n"))
	if !closes { // else it would not be read, and reset the answer
		wire = append(slices.Clone(wire), last...)
	}
	if _, err := c.Write(wire); err != nil {
		return nil, err
	}
	in := bufio.NewReader(c)
	for {
		method, _, _ := strings.Cut(string(wire[:min(len(wire), maxMethod)]), " ")
		if len(list) > 0 {
			method = http.MethodGet
		}
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			if closes && len(list) > 0 {
				err = nil
			}
			return list, err
		}
		if resp.StatusCode/100 == 1 {
			continue
		}
		seen := resp.Header.Get("X-Seen")
		_, _ = io.Copy(io.Discard, resp.Body)
		if resp.StatusCode >= 400 || seen == "" {
			return list, fmt.Errorf("status %d", resp.StatusCode)
		}
		p := strings.Split(seen+" 0", " ") // where it says nothing of a length, there is none
		if len(p) < 4 {
			return list, fmt.Errorf("it says %q", seen)
		}
		if p[1] == "/last" && p[2] == "last.test" {
			return list, nil
		}
		list = append(list, message{p[0], p[1], p[2], "length " + p[3]})
	}
}

// background runs a server until the test ends.
func background(t *testing.T, addr string, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			return c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("it does not listen: %s", said.String())
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startNginx(t *testing.T) (reader, error) {
	addr, dir := freeAddr(t), t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	// The length is that of a body which was read: it is sent on to a server of its own.
	text := `daemon off; master_process off; pid ` + dir + `/pid; error_log stderr emerg;
events {}
http {
	access_log off; client_body_temp_path ` + dir + `/b; proxy_temp_path ` + dir + `/p; fastcgi_temp_path ` + dir + `/f; uwsgi_temp_path ` + dir + `/u; scgi_temp_path ` + dir + `/s;
	merge_slashes off; client_max_body_size 2m; large_client_header_buffers 4 32k; underscores_in_headers on; keepalive_requests 1000000;
	server {
		listen ` + addr + `;
		location / { proxy_pass http://unix:` + dir + `/own:; proxy_http_version 1.1; proxy_set_header X-M $request_method; proxy_set_header X-U $request_uri; proxy_set_header X-H $http_host; }
	}
	server {
		listen unix:` + dir + `/own;
		location / { add_header X-Seen "$http_x_m $http_x_u $http_x_h $content_length" always; return 200 ""; }
	}
}
`
	r := reader{name: "nginx"}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return r, err
	}
	r.read = func(wire []byte) ([]message, error) { return asked(addr, wire) }
	return r, background(t, addr, "nginx", "-c", conf, "-p", dir, "-e", "stderr")
}

func startNode(t *testing.T) (reader, error) {
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	r := reader{name: "Node", read: func(wire []byte) ([]message, error) { return asked(addr, wire) }}
	return r, background(t, addr, "node", "-e", `
require("http").createServer((q, a) => {
	let n = 0
	q.on("data", d => n += d.length)
	q.on("end", () => { a.setHeader("X-Seen", [q.method, q.url, q.headers.host, n].join(" ")); a.end() })
}).on("clientError", (e, s) => s.destroy()).listen(`+port+`, "127.0.0.1")`)
}
