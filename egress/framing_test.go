package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/internal/vectors"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/target"
)

// pieceConn gives its bytes to a reader; what is written is thrown away.
type pieceConn struct {
	net.Conn
	r io.Reader
}

func (c *pieceConn) Read(b []byte) (int, error)      { return c.r.Read(b) }
func (c *pieceConn) Write(b []byte) (int, error)     { return len(b), nil }
func (c *pieceConn) Close() error                    { return nil }
func (c *pieceConn) SetReadDeadline(time.Time) error { return nil }

// oneByte gives one byte at a time.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:min(1, len(b))]) }

// seen is what was read of a request.
type seen struct {
	method, path string
	body         string // none, length, chunked
	size         int
	whole        bool
}

// readRequests reads all requests of a stream, and what was refused.
func readRequests(r io.Reader, scheme string, want authority) (list []seen, fault *httpFault, err error) {
	c := &conn{ctx: context.Background()}
	nc := &pieceConn{r: r}
	q := &requests{c: c, nc: nc, in: newStream(nc, nil, &c.out), scheme: scheme}
	for {
		h, fault, err := q.head()
		switch {
		case fault != nil:
			return list, fault, nil
		case errors.Is(err, io.EOF) && len(q.in.ahead()) == 0:
			return list, nil, nil
		case err != nil:
			return list, nil, err
		case h.method == "CONNECT" || h.upgrade != "":
			return list, bad("upgrade"), nil
		}
		origin, f := h.origin(scheme, want)
		if f != nil {
			return list, f, nil
		}
		t, terr := target.Parse(origin, false)
		if terr != nil {
			return list, bad("target"), nil
		}
		s := seen{method: h.method, path: t.Path, body: "none"}
		if h.chunked {
			s.body = "chunked"
		} else if h.length >= 0 {
			s.body = "length"
		}
		body := &requestBody{r: q, w: &answer{r: q, wrote: true}}
		b, rerr := io.ReadAll(q.request(h, body).Body)
		if f := body.framing(); f != nil {
			return list, f, nil
		}
		if rerr != nil {
			return list, nil, rerr
		}
		s.size, s.whole = len(b), true
		list = append(list, s)
	}
}

func latin1(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

// stricter are the vectors that are refused here though they may be taken.
var stricter = map[string]string{
	"hf-http10-no-host": "a request without Host is taken in absolute-form only",
	"hf-cl-dup-same":    "two Content-Length fields are refused, equal or not",
	"hf-tgt-03":         "the host of a CONNECT must be a name or an address",
	"hf-tgt-04":         "the host of a CONNECT must be a name or an address",
	"hf-tgt-11":         "port 0 is no port",
	"hf-tgt-13":         "the host of a CONNECT must be a name or an address",
	"hf-tgt-14":         "the host of a CONNECT must be a name or an address",
	"hf-tgt-15":         "the host of a CONNECT must be a name or an address",
	"hf-tgt-16":         "the host of a CONNECT must be a name or an address",
	"hf-uri-15":         "the host of a URL must be a name or an address",
	"hf-uri-16":         "the host of a URL must be a name or an address",

	"hf-add-chunk-trailer-auth": "trailers are dropped",
	"hf-add-te-underscore":      "the field is dropped",
	"hf-add-cl-underscore":      "the field is dropped",
	"hf-in-too-large":           "the bound is 16 KiB at the proxy port too",
}

// permitted are those among them that are taken here as their note allows;
// TestForwardedHead and TestGateResumes show that nothing of it is sent on.
var permitted = map[string]bool{
	"hf-add-chunk-trailer-auth": true, "hf-add-te-underscore": true, "hf-add-cl-underscore": true, "hf-in-too-large": true,
}

func TestHTTPFramingVectors(t *testing.T) {
	vectors.Run(t, "http_framing", stricter, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		outcome, got := judgeFraming(t, e)
		if outcome == vectors.Wrong && permitted[e.ID] && !strings.Contains(got, "fault") {
			return vectors.Permitted, got
		}
		return outcome, got
	})
}

func judgeFraming(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
	var in struct {
		Mode   string
		Raw    string
		Target string
		Tunnel struct {
			Host string
			Port uint16
			TLS  bool
		}
	}
	var want struct {
		Verdict  string
		Host     string
		Port     uint16
		Target   string
		Method   string
		Path     string
		Messages []struct {
			Method, Path, Body string
			BodyBytes          int `json:"body_bytes"`
		}
	}
	vectors.Decode(t, e.In, &in)
	vectors.Decode(t, e.Want, &want)
	switch in.Mode {
	case "response":
		return responseVector(t, e)
	case "connect_target":
		a, err := parseAuthority(in.Target, 0)
		if err == nil && want.Verdict == "accept" && (a.host.String() != want.Host || a.port != want.Port) {
			return vectors.Wrong, fmt.Sprint(a)
		}
		if err == nil && a.host.IsAddr() && netname.Classify(a.host.Addr()) == netname.AlwaysBlocked {
			err = errAuthority // the address rules refuse it
		}
		return vectors.Bool(err == nil, want.Verdict == "accept"), fmt.Sprint(a, err)
	case "proxy_uri":
		scheme, auth, origin, ok := parseAbsolute(in.Target)
		a, err := parseAuthority(auth, defaultPort(scheme))
		ok = ok && err == nil
		if ok && want.Verdict == "accept" && (a.host.String() != want.Host || a.port != want.Port || origin != want.Target) {
			return vectors.Wrong, fmt.Sprint(a, origin)
		}
		return vectors.Bool(ok, want.Verdict == "accept"), fmt.Sprint(a, origin)
	case "proxy_ingress":
		raw, _, f := readHead(&pieceConn{r: bytes.NewReader(latin1(in.Raw))})
		if f == nil && raw == nil {
			return vectors.Wrong, "nothing read"
		}
		var h *head
		if f == nil {
			h, f = parseHead(raw)
		}
		if f == nil && h.method != "CONNECT" {
			scheme, auth, origin, ok := parseAbsolute(h.target)
			a, err := parseAuthority(auth, 80)
			if !ok || err != nil || scheme != "http" {
				f = bad("not a URL that is taken")
			} else if _, f = h.origin("http", a); f == nil && want.Verdict == "accept" &&
				(a.host.String() != want.Host || a.port != want.Port || origin != want.Path || h.method != want.Method) {
				return vectors.Wrong, fmt.Sprint(a, origin)
			}
		}
		return vectors.Bool(f == nil, want.Verdict == "accept"), fmt.Sprint(f)
	}
	scheme := "http"
	if in.Tunnel.TLS {
		scheme = "https"
	}
	auth := authority{host(t, in.Tunnel.Host), in.Tunnel.Port}
	var out vectors.Outcome
	var text string
	for i, r := range []io.Reader{bytes.NewReader(latin1(in.Raw)), oneByte{bytes.NewReader(latin1(in.Raw))}} {
		list, fault, err := readRequests(r, scheme, auth)
		text = fmt.Sprintf("%+v, error %v", list, err)
		if fault != nil {
			text += ", fault: " + fault.reason
		}
		if len(list) > len(want.Messages) {
			return vectors.Wrong, text
		}
		for i, m := range list {
			w := want.Messages[i]
			if m.method != w.Method || m.path != w.Path || m.body != w.Body || m.size != w.BodyBytes {
				return vectors.Wrong, text
			}
		}
		var o vectors.Outcome
		refused := fault != nil || err != nil
		switch {
		case want.Verdict == "accept" && !refused && len(list) == len(want.Messages):
			o = vectors.Same
		case want.Verdict == "accept" && refused:
			o = vectors.Stricter
		case want.Verdict == "reject" && refused:
			o = vectors.Same
		case want.Verdict == "incomplete" && fault == nil && err != nil:
			o = vectors.Same
		}
		if i > 0 && o != out {
			return vectors.Wrong, "in pieces: " + text
		}
		out = o
	}
	return out, text
}

// TestStreamResumes: reads are interrupted by deadlines; nothing is lost.
func TestStreamResumes(t *testing.T) {
	nc := &pieceConn{r: &stutter{r: oneByte{strings.NewReader("3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\nGET")}}}
	f := &framed{s: newStream(nc, nil, nil), how: byChunks}
	var got []byte
	buf := make([]byte, 64)
	for {
		n, err := f.Read(buf)
		got = append(got, buf[:n]...)
		if errors.Is(err, errStutter) {
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != "abcde" || !f.ended() {
		t.Errorf("got %q, ended %v", got, f.ended())
	}
}

var errStutter = errors.New("interrupted")

type stutter struct {
	r    io.Reader
	turn bool
}

func (s *stutter) Read(b []byte) (int, error) {
	if s.turn = !s.turn; s.turn {
		return 0, errStutter
	}
	return s.r.Read(b)
}

func FuzzRequests(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: ok.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: ok.test\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: ok.test\r\nContent-Length: 3\r\nConnection: x-a\r\nX-A: 1\r\n\r\nabcGET"))
	want := authority{host(f, "ok.test"), 80}
	f.Fuzz(func(t *testing.T, b []byte) {
		all, fault, err := readRequests(bytes.NewReader(b), "http", want)
		one, fault1, err1 := readRequests(oneByte{bytes.NewReader(b)}, "http", want)
		if fmt.Sprint(all) != fmt.Sprint(one) || (fault == nil) != (fault1 == nil) || (err == nil) != (err1 == nil) {
			t.Errorf("at once: %v %v %v; in pieces: %v %v %v", all, fault, err, one, fault1, err1)
		}
	})
}

func FuzzParseAuthority(f *testing.F) {
	for _, s := range []string{"ok.test:443", "[::1]:80", "[::1", "a:b:c", "1.2.3.4:0", ":1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAuthority(s, 0)
		if err != nil {
			return
		}
		if b, err := parseAuthority(a.text(""), 80); err != nil || a != b {
			t.Errorf("%q is %v, and again %v %v", s, a, b, err)
		}
	})
}
