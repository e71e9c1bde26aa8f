package egress

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/egress/websocket"
)

const socketPolicy = `version: 2
network_policies:
  sockets:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: websocket
        path: /ws/**
        rules:
          - allow: {method: GET, path: "/ws/**"}
          - allow: {method: WEBSOCKET_TEXT, path: "/ws/chat/**"}
      - host: ok.test
        ports: [80, 443]
        protocol: websocket
        path: /graphql
        rules:
          - allow: {method: GET, path: "/graphql"}
          - allow: {operation_type: query}
      - host: ok.test
        ports: [80, 443]
        protocol: rest
        path: /rest/**
        access: full
      - {host: raw.test, port: 443}
    binaries: any
  bound:
    endpoints:
      - {host: bound.test, port: 443}
    binaries: any
`

const exampleKey = "dGhlIHNhbXBsZSBub25jZQ=="

func upgradeTo(host, path, more string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
		"Sec-WebSocket-Key: " + exampleKey + "\r\nSec-WebSocket-Version: 13\r\n" + more + "\r\n"
}

// socketServer is an upstream that speaks the protocol and gives its connection to f.
func (r *rig) socketServer(host string, port uint16, answer func(q *http.Request) string, f func(*http.Request, net.Conn, *bufio.Reader)) {
	r.raw(host, port, func(nc net.Conn) {
		if port == 443 {
			conf := r.serverTLS(host)
			conf.NextProtos = []string{"http/1.1"}
			tc := tls.Server(nc, conf)
			if tc.Handshake() != nil {
				return
			}
			nc = tc
		}
		in := bufio.NewReader(nc)
		q, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		fmt.Fprint(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
			websocket.Accept(q.Header.Get("Sec-WebSocket-Key"))+"\r\n"+answer(q)+"\r\n")
		f(q, nc, in)
		_ = closeWrite(nc)
	})
}

func plain(*http.Request) string { return "" }

// echoFrames answers every message, ping and close frame, as a server does.
func echoFrames(_ *http.Request, nc net.Conn, in *bufio.Reader) { echoCompressed(nc, in, false, false) }

func echoCompressed(nc net.Conn, in *bufio.Reader, deflate, context bool) {
	r := websocket.NewReader(in, true, websocket.Limits{Text: 32 << 20, Binary: 32 << 20})
	w := websocket.Writer{To: nc}
	if deflate {
		r.Deflate(false)
	}
	r.Control = func(op websocket.Opcode, payload []byte) error {
		switch op {
		case websocket.Ping:
			return w.Frame(websocket.Pong, true, false, payload)
		case websocket.Close:
			return w.Frame(websocket.Close, true, false, payload)
		}
		return nil
	}
	for {
		kind, err := r.Next()
		if err != nil {
			return
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return
		}
		back := b
		if r.Compressed() {
			back = websocket.Compress(b)
		}
		if w.Frame(kind, true, r.Compressed(), back) != nil {
			return
		}
	}
}

// peer is an agent's end of a WebSocket, with the frames in its own hands.
type peer struct {
	t    testing.TB
	c    net.Conn
	in   *bufio.Reader
	resp *http.Response

	answers bool // a close frame is answered, as clients do
}

// dialSocket opens a WebSocket as an agent does. status is what the answer has to be.
func (r *rig) dialSocket(w way, to, path, more string, status int) *peer {
	r.t.Helper()
	c, refused := r.open(w, to)
	if refused != nil {
		r.t.Fatal(refused.Status)
	}
	host, port, _ := net.SplitHostPort(to)
	if port == "443" {
		tc, err := r.startTLS(c, host)
		if err != nil {
			r.t.Fatal(err)
		}
		c = tc
	}
	return r.answered(c, upgradeTo(host, path, more), status)
}

// answered sends a handshake.
func (r *rig) answered(c net.Conn, handshake string, status int) *peer {
	r.t.Helper()
	p := &peer{t: r.t, c: c, in: bufio.NewReader(c)}
	fmt.Fprint(c, handshake)
	var err error
	if p.resp, err = http.ReadResponse(p.in, &http.Request{Method: "GET"}); err != nil {
		r.t.Fatal(err)
	}
	if p.resp.StatusCode != status {
		b, _ := io.ReadAll(p.resp.Body)
		r.t.Fatalf("status %s, want %d: %s", p.resp.Status, status, b)
	}
	if status == 101 && p.resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		r.t.Errorf("the answer does not belong to the key: %v", p.resp.Header)
	}
	return p
}

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// frame makes a masked frame by hand: first is the byte with the bits and the opcode.
func frame(first byte, payload string) string {
	b := websocket.AppendHead(nil, websocket.Opcode(first&0x0f), false, false, &testKey, len(payload))
	b[0] = first
	for i := range len(payload) {
		b = append(b, payload[i]^testKey[i&3])
	}
	return string(b)
}

func (p *peer) send(frames ...string) {
	p.t.Helper()
	if _, err := io.WriteString(p.c, strings.Join(frames, "")); err != nil {
		p.t.Logf("write: %v", err)
	}
}

// next reads a frame of the server: opcode, whether it is the last, payload.
func (p *peer) next() (op byte, fin bool, payload string, err error) {
	var head [2]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, false, "", err
	}
	n := uint64(head[1])
	if head[1]&0x80 != 0 || head[0]&0x70 != 0 {
		return 0, false, "", fmt.Errorf("a head of a server that is none: %x", head)
	}
	for ext := map[uint64]int{126: 2, 127: 8}[n]; ext > 0; ext-- {
		if n > 125 && (n == 126 || n == 127) && (ext == 2 || ext == 8) {
			n = 0
		}
		b, err := p.in.ReadByte()
		if err != nil {
			return 0, false, "", err
		}
		n = n<<8 | uint64(b)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(p.in, b); err != nil {
		return 0, false, "", err
	}
	return head[0] & 0x0f, head[0]&0x80 != 0, string(b), nil
}

// all reads to the end: each message, and control frame, as one text.
func (p *peer) all() []string {
	var list []string
	message := ""
	for {
		op, fin, b, err := p.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				list = append(list, "broken off: "+err.Error())
			}
			return list
		}
		switch op {
		case 0, 1, 2:
			if message += b; fin {
				if len(message) > 200 {
					message = fmt.Sprintf("%d bytes", len(message))
				}
				list, message = append(list, message), ""
			}
		case 8:
			if p.answers {
				p.send(frame(0x88, b))
			}
			code := 0
			if len(b) >= 2 {
				code = int(b[0])<<8 | int(b[1])
			}
			list = append(list, fmt.Sprintf("close %d", code))
		case 9:
			list = append(list, "ping "+b)
		case 10:
			list = append(list, "pong "+b)
		}
	}
}

var ways101 = []struct {
	w  way
	to string
}{{viaRedirect, "ok.test:443"}, {viaConnect, "ok.test:443"}, {viaRedirect, "ok.test:80"}, {viaConnect, "ok.test:80"}}

func TestWebSocketPasses(t *testing.T) {
	for _, way := range ways101 {
		t.Run(fmt.Sprint(way), func(t *testing.T) {
			r := newRig(t, socketPolicy)
			heads := make(chan http.Header, 1)
			_, port, _ := net.SplitHostPort(way.to)
			answer := func(q *http.Request) string {
				return "Sec-WebSocket-Protocol: b\r\nSet-Cookie: a=b\r\nX-Hop: 1\r\nConnection: X-Hop\r\n"
			}
			n := uint16(443)
			if port == "80" {
				n = 80
			}
			r.socketServer("ok.test", n, answer, func(q *http.Request, nc net.Conn, in *bufio.Reader) {
				heads <- q.Header
				echoFrames(q, nc, in)
			})
			p := r.dialSocket(way.w, way.to, "/ws/chat/1?x=y", "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: x-webkit-deflate-frame, permessage-deflate\r\nOrigin: https://ok.test\r\n", 101)
			h := <-heads
			if h.Get("Upgrade") != "websocket" || h.Get("Connection") != "Upgrade" || h.Get("Sec-Websocket-Version") != "13" || h.Get("Sec-Websocket-Protocol") != "a, b" ||
				h.Get("Sec-Websocket-Extensions") != "" || h.Get("Origin") != "https://ok.test" || h.Get("Sec-Websocket-Key") == exampleKey {
				t.Errorf("the server got %v", h)
			}
			if a := p.resp.Header; a.Get("Sec-Websocket-Protocol") != "b" || a.Get("Set-Cookie") != "a=b" || a.Get("X-Hop") != "" || a.Get("Sec-Websocket-Extensions") != "" ||
				a.Get("Upgrade") != "websocket" || a.Get("Connection") != "Upgrade" {
				t.Errorf("the agent got %v", a)
			}
			p.send(frame(0x81, "one"), frame(0x01, "t"), frame(0x89, "beat"), frame(0x80, "wo"), frame(0x82, "\xff"), frame(0x88, "\x03\xe8bye"))
			got := p.all()
			if want := []string{"one", "pong beat", "two", "\xff", "close 1000"}; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %q, want %q", got, want)
			}
			r.event("handshake", func(ev audit.Event) bool {
				return ev.Kind == audit.Request && ev.Verdict == "allow" && ev.Method == "GET" && ev.Path == "/ws/chat/1"
			})
			r.event("message", func(ev audit.Event) bool {
				return ev.Kind == audit.Request && ev.Verdict == "allow" && ev.Method == "WEBSOCKET_TEXT" && ev.Path == "/ws/chat/1"
			})
			end := r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close })
			if end.Reason != "the agent closed the WebSocket" || end.BytesIn == 0 || end.BytesOut == 0 {
				t.Errorf("event %+v", end)
			}
		})
	}
}

// TestWebSocketIsFramedAnew: what reaches the server is one frame per message,
// masked with another key, and no payload of a control frame.
func TestWebSocketIsFramedAnew(t *testing.T) {
	r := newRig(t, socketPolicy)
	got := make(chan []byte, 1)
	r.socketServer("ok.test", 443, plain, func(_ *http.Request, nc net.Conn, in *bufio.Reader) {
		b := make([]byte, 36)
		n, _ := io.ReadFull(in, b)
		got <- b[:n]
	})
	p := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
	p.send(frame(0x01, "a"), frame(0x00, ""), frame(0x80, "b"), frame(0x89, "secret1"), frame(0x8a, "secret2"), frame(0x88, "\x0f\xa0secret3"))
	// 2+4+2 of the message, 2+4+8 of the ping, 2+4 of the pong, 2+4+2 of the close frame.
	b := <-got
	if len(b) != 36 {
		t.Fatalf("the server got %d bytes: %x", len(b), b)
	}
	if bytes.Contains(b, testKey[:]) || b[0] != 0x81 || b[1] != 0x82 || b[8] != 0x89 || b[9] != 0x88 || b[22] != 0x8a || b[23] != 0x80 || b[28] != 0x88 || b[29] != 0x82 {
		t.Errorf("the server got %x", b)
	}
}

func TestWebSocketDenials(t *testing.T) {
	for name, tt := range map[string]struct {
		path, send string
		reason     string
		asked      string
		missing    string // one line of what would allow it
	}{
		"no rule for messages": {"/ws/read/1", frame(0x81, "hello"), "text messages", "", "#   - allow: {method: WEBSOCKET_TEXT, path: /ws/read/1}"},
		"nor for binary ones":  {"/ws/read/1", frame(0x82, "hello"), "text messages", "", "#   - allow: {method: WEBSOCKET_TEXT, path: /ws/read/1}"},
		"a mutation":           {"/graphql", frame(0x81, `{"id":"1","type":"subscribe","payload":{"query":"mutation { drop }"}}`), "GraphQL", "graphql mutation{drop}", "#   - allow: {operation_type: mutation, fields: [drop]}"},
		"not GraphQL":          {"/graphql", frame(0x81, "hello"), "GraphQL", "", ""},
		"binary where GraphQL": {"/graphql", frame(0x82, `{"type":"ping"}`), "GraphQL", "", ""},
		"a type of the server": {"/graphql", frame(0x81, `{"id":"1","type":"next","payload":{}}`), "GraphQL", "", ""},
		"duplicate keys":       {"/graphql", frame(0x81, `{"type":"ping","type":"subscribe","id":"1","payload":{"query":"mutation { a }"}}`), "GraphQL", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, socketPolicy)
			rest := make(chan []byte, 1)
			r.socketServer("ok.test", 443, plain, func(_ *http.Request, nc net.Conn, in *bufio.Reader) {
				b, _ := io.ReadAll(in)
				rest <- b
			})
			p := r.dialSocket(viaRedirect, "ok.test:443", tt.path, "", 101)
			p.send(frame(0x89, "x"), tt.send, frame(0x81, "never"))
			if got := p.all(); fmt.Sprint(got) != "[close 1008]" {
				t.Errorf("the agent got %q", got)
			}
			// A ping and a close frame with 1008.
			if b := <-rest; len(b) != 14+8 || bytes.Contains(b, []byte("hello")) || b[14] != 0x88 {
				t.Errorf("the server got %x", b)
			}
			ev := r.event("denial", func(ev audit.Event) bool {
				return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Method == "WEBSOCKET_TEXT" && ev.Path == tt.path
			})
			if !strings.Contains(ev.Reason, tt.reason) {
				t.Errorf("reason %q", ev.Reason)
			}
			missing := ev.Detail[audit.RuleMissing]
			if ev.Asked() != tt.asked || tt.missing == "" && missing != "" || !strings.Contains(missing, tt.missing) || strings.Contains(missing, "hello") {
				t.Errorf("asked %q, missing %q", ev.Asked(), missing)
			}
		})
	}
}

func TestWebSocketGraphQL(t *testing.T) {
	r := newRig(t, socketPolicy)
	r.socketServer("ok.test", 443, plain, echoFrames)
	p := r.dialSocket(viaRedirect, "ok.test:443", "/graphql", "Sec-WebSocket-Protocol: graphql-transport-ws\r\n", 101)
	list := []string{`{"type":"connection_init"}`, `{"id":"1","type":"subscribe","payload":{"query":"{ me }"}}`, `{"id":"1","type":"complete"}`}
	for _, m := range list {
		p.send(frame(0x81, m))
	}
	p.send(frame(0x88, ""))
	if got := p.all(); fmt.Sprint(got) != fmt.Sprint(append(list, "close 0")) {
		t.Errorf("got %q", got)
	}
	r.event("an operation", func(ev audit.Event) bool {
		return ev.Verdict == "allow" && ev.Method == "WEBSOCKET_TEXT" && ev.Asked() == "graphql query{me}" && ev.Detail[audit.RuleMissing] == ""
	})
}

// TestWebSocketRefused: requests that open none.
func TestWebSocketRefused(t *testing.T) {
	handshake := upgradeTo("ok.test", "/ws/chat/1", "")
	for name, tt := range map[string]struct {
		raw    string
		status int
		code   string
	}{
		"another path":           {upgradeTo("ok.test", "/other", ""), 403, codePolicy},
		"an endpoint of rest":    {upgradeTo("ok.test", "/rest/a", ""), 403, codeUpgrade},
		"a plain GET":            {"GET /ws/chat/1 HTTP/1.1\r\nHost: ok.test\r\n\r\n", 403, codeUpgrade},
		"a plain GET of GraphQL": {"GET /graphql HTTP/1.1\r\nHost: ok.test\r\n\r\n", 403, codeUpgrade},
		"POST":                   {strings.Replace(handshake, "GET", "POST", 1), 403, codePolicy},
		"no version":             {strings.Replace(handshake, "Sec-WebSocket-Version: 13\r\n", "", 1), 400, codeRequest},
		"version 8":              {strings.Replace(handshake, ": 13", ": 8", 1), 400, codeRequest},
		"no Upgrade":             {strings.Replace(handshake, "Upgrade: WebSocket\r\n", "", 1), 400, codeRequest},
		"two Upgrades":           {strings.Replace(handshake, "Upgrade: WebSocket\r\n", "Upgrade: WebSocket\r\nUpgrade: h2c\r\n", 1), 400, codeRequest},
		"two in one":             {strings.Replace(handshake, "Upgrade: WebSocket\r\n", "Upgrade: WebSocket, h2c\r\n", 1), 400, codeRequest},
		"nominated key":          {strings.Replace(handshake, "keep-alive,", "Sec-WebSocket-Key,", 1), 400, codeRequest},
		"a short key":            {strings.Replace(handshake, exampleKey, "dGhl", 1), 400, codeRequest},
		"HTTP/1.0":               {strings.Replace(handshake, "HTTP/1.1", "HTTP/1.0", 1), 400, codeRequest},
		"a body":                 {strings.Replace(handshake, "\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx", 1), 400, codeRequest},
		"a bad subprotocol":      {strings.Replace(handshake, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: a b\r\n\r\n", 1), 400, codeRequest},
		"one twice":              {strings.Replace(handshake, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: a, a\r\n\r\n", 1), 400, codeRequest},
	} {
		for _, w := range bothWays {
			t.Run(name+" "+string(w), func(t *testing.T) {
				r := newRig(t, socketPolicy)
				resp, body := r.https(w, "ok.test:443", tt.raw)
				wantDenial(t, resp, body, tt.status, tt.code)
				r.event("denial", func(ev audit.Event) bool {
					return ev.Kind == audit.Request && ev.Verdict == "deny" && ev.Status == tt.status
				})
				if r.dialed() != 0 {
					t.Error("dialled")
				}
			})
		}
	}
}

// TestWebSocketEarlyBytes: what comes before the answer is taken for nothing.
func TestWebSocketEarlyBytes(t *testing.T) {
	for name, more := range map[string]string{"a frame": frame(0x81, "early"), "a request": "GET /rest/a HTTP/1.1\r\nHost: ok.test\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, socketPolicy)
			asked := make(chan struct{}, 4)
			r.socketServer("ok.test", 443, func(*http.Request) string { asked <- struct{}{}; return "" }, func(_ *http.Request, _ net.Conn, in *bufio.Reader) {
				if b, _ := io.ReadAll(in); len(b) > 0 {
					t.Errorf("the server got %x", b)
				}
			})
			c, _ := r.open(viaRedirect, "ok.test:443")
			tc, err := r.startTLS(c, "ok.test")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(tc, upgradeTo("ok.test", "/ws/chat/1", "")+more)
			b, _ := io.ReadAll(tc)
			if strings.Contains(string(b), "101 Switching") || strings.Contains(string(b), "200 OK") {
				t.Errorf("the agent got %q", b)
			}
			if r.event("end", func(ev audit.Event) bool { return ev.Kind == audit.Close }); len(asked) > 1 {
				t.Error("a second request")
			}
		})
	}
}

// TestWebSocketServerRefuses: an answer that is no WebSocket passes as it is;
// one that only looks like one does not.
func TestWebSocketServerRefuses(t *testing.T) {
	t.Run("401", func(t *testing.T) {
		r := newRig(t, socketPolicy)
		r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("X-Why", "because")
			w.WriteHeader(401)
			fmt.Fprint(w, "who are you")
		})
		c, _ := r.open(viaRedirect, "ok.test:443")
		tc, err := r.startTLS(c, "ok.test")
		if err != nil {
			t.Fatal(err)
		}
		resp, body := talk(t, tc, "GET", upgradeTo("ok.test", "/ws/chat/1", ""))
		if resp.StatusCode != 401 || body != "who are you" || resp.Header.Get("X-Why") != "because" || !resp.Close {
			t.Errorf("%v %q", resp, body)
		}
	})
	for name, answer := range map[string]string{
		"an extension":   "Sec-WebSocket-Extensions: permessage-deflate\r\n",
		"a subprotocol":  "Sec-WebSocket-Protocol: c\r\n",
		"a second one":   "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n",
		"another accept": "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
		"a body":         "Content-Length: 3\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, socketPolicy)
			r.socketServer("ok.test", 443, func(*http.Request) string { return answer }, func(_ *http.Request, _ net.Conn, in *bufio.Reader) {
				if b, _ := io.ReadAll(in); len(b) > 0 {
					t.Errorf("the server got %x", b)
				}
			})
			resp, body := r.https(viaRedirect, "ok.test:443", upgradeTo("ok.test", "/ws/chat/1", "Sec-WebSocket-Protocol: a, b\r\n"))
			wantDenial(t, resp, body, 502, codeUpstream)
		})
	}
}

// TestWebSocketRecheck: a revision that denies one ends it, and no other.
func TestWebSocketRecheck(t *testing.T) {
	r := newRig(t, socketPolicy)
	over := make(chan error, 2)
	r.socketServer("ok.test", 443, plain, func(q *http.Request, nc net.Conn, in *bufio.Reader) {
		echoFrames(q, nc, in)
		_, err := in.ReadByte()
		over <- err
	})
	gone := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
	kept := r.dialSocket(viaConnect, "ok.test:443", "/graphql", "", 101)
	lives := func(p *peer) {
		t.Helper()
		p.send(frame(0x89, "are you there"))
		if op, _, b, err := p.next(); err != nil || op != 10 || b != "are you there" {
			t.Fatalf("%d %q %v", op, b, err)
		}
	}
	lives(gone)
	lives(kept)
	r.swap(socketPolicy)
	lives(gone)
	r.swap(strings.Replace(socketPolicy, `{method: GET, path: "/ws/**"}`, `{method: GET, path: "/ws/else/**"}`, 1))
	if _, _, _, err := gone.next(); err == nil {
		t.Error("a WebSocket that is denied lives")
	}
	<-over
	lives(kept)
	ev := r.event("cut", func(ev audit.Event) bool { return ev.Kind == audit.Request && ev.Verdict == "deny" })
	if ev.Path != "/ws/chat/1" || ev.Method != "GET" || !strings.Contains(ev.Reason, policyChanged) {
		t.Errorf("event %+v", ev)
	}
	// Messages are judged by what is in force when they come.
	r.swap(strings.Replace(socketPolicy, "operation_type: query", "operation_type: mutation", 1))
	kept.send(frame(0x81, `{"id":"1","type":"subscribe","payload":{"query":"{ me }"}}`))
	if got := kept.all(); fmt.Sprint(got) != "[close 1008]" {
		t.Errorf("got %q", got)
	}
}

// TestWebSocketJudgedAnew: a message is judged by what governs its path then.
func TestWebSocketJudgedAnew(t *testing.T) {
	r := newRig(t, socketPolicy)
	r.socketServer("ok.test", 443, plain, echoFrames)
	p := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
	r.engine.Store(compile(t, strings.NewReplacer("path: /ws/**", "path: /else/**", `path: /rest/**`, `path: /ws/**`).Replace(socketPolicy)))
	p.send(frame(0x81, "hello"))
	if got := p.all(); fmt.Sprint(got) != "[close 1008]" {
		t.Errorf("got %q", got)
	}
}

// TestBoundWebSocket: the handshake gets the credential, no message brings
// one along or gives it back.
func TestBoundWebSocket(t *testing.T) {
	secrets := &fakeSecrets{value: canary, apply: func(q *http.Request) ([]string, error) {
		q.Header.Set("Authorization", "Bearer "+canary)
		return []string{"TKN"}, nil
	}}
	r := newRig(t, socketPolicy, func(_ *rig, c *Config) { c.Secrets = secrets })
	auth := make(chan string, 4)
	big := strings.Repeat("x", 32<<10-5) + canary + "y"
	r.socketServer("bound.test", 443, func(q *http.Request) string {
		auth <- q.Header.Get("Authorization")
		return "X-Echo: " + canary + "\r\n"
	}, func(_ *http.Request, nc net.Conn, in *bufio.Reader) {
		w := websocket.Writer{To: nc}
		_ = w.Frame(websocket.Text, true, false, []byte("token "+canary))
		_ = w.Frame(websocket.Text, false, false, []byte(canary[:9]))
		_ = w.Frame(websocket.Ping, true, false, []byte(canary))
		_ = w.Frame(websocket.Continuation, true, false, []byte(canary[9:]))
		_ = w.Frame(websocket.Binary, true, false, []byte(big))
		_ = w.Frame(websocket.Close, true, false, websocket.ClosePayload(4000, canary))
		_, _ = io.Copy(io.Discard, in)
	})
	p := r.dialSocket(viaRedirect, "bound.test:443", "/", "", 101)
	if a := <-auth; a != "Bearer "+canary || p.resp.Header.Get("X-Echo") != "PLACEHOLDER" {
		t.Errorf("the server got %q, the agent %v", a, p.resp.Header)
	}
	p.send(frame(0x88, ""))
	got := p.all()
	want := []string{"token PLACEHOLDER", "ping PLACEHOLDER", "PLACEHOLDER", fmt.Sprint(len(big)-len(canary)+len("PLACEHOLDER")) + " bytes", "close 4000"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestBoundWebSocketRefuses: what may hold another credential is not sent.
func TestBoundWebSocketRefuses(t *testing.T) {
	for name, message := range map[string]string{"binary": frame(0x82, "abc"), "a placeholder": frame(0x81, "a forbidden word")} {
		t.Run(name, func(t *testing.T) {
			secrets := &fakeSecrets{value: canary, apply: func(q *http.Request) ([]string, error) { return nil, nil }}
			r := newRig(t, socketPolicy, func(_ *rig, c *Config) { c.Secrets = secrets })
			r.socketServer("bound.test", 443, plain, func(_ *http.Request, _ net.Conn, in *bufio.Reader) {
				if b, _ := io.ReadAll(in); len(b) != 8 { // the close frame
					t.Errorf("the server got %x", b)
				}
			})
			p := r.dialSocket(viaRedirect, "bound.test:443", "/", "", 101)
			p.send(message)
			if got := p.all(); fmt.Sprint(got) != "[close 1008]" {
				t.Errorf("got %q", got)
			}
			r.event("denial", func(ev audit.Event) bool {
				return ev.Verdict == "deny" && ev.Method == "WEBSOCKET_TEXT" && ev.Detail["error"] == codeCredential
			})
		})
	}
}

func TestWebSocketAuditFails(t *testing.T) {
	r := newRig(t, socketPolicy)
	r.socketServer("ok.test", 443, plain, func(_ *http.Request, _ net.Conn, in *bufio.Reader) {
		if b, _ := io.ReadAll(in); len(b) != 8 { // the close frame
			t.Errorf("the server got %x", b)
		}
	})
	p := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
	r.book.mu.Lock()
	r.book.refuse = func(ev audit.Event) bool { return ev.Method == "WEBSOCKET_TEXT" }
	r.book.mu.Unlock()
	p.send(frame(0x81, "hello"))
	if got := p.all(); fmt.Sprint(got) != "[close 1011]" {
		t.Errorf("got %q", got)
	}
}

// TestWebSocketLimits: bytes of a WebSocket are counted as all others.
func TestWebSocketLimits(t *testing.T) {
	r := newRig(t, strings.Replace(socketPolicy, "  sockets:\n", "  sockets:\n    limits: {bytes_out: 5000}\n", 1))
	r.socketServer("ok.test", 443, plain, echoFrames)
	p := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
	for range 100 {
		if _, err := io.WriteString(p.c, frame(0x81, strings.Repeat("a", 100))); err != nil {
			break
		}
		if _, _, _, err := p.next(); err != nil {
			break
		}
	}
	r.event("limit", func(ev audit.Event) bool { return ev.Verdict == "deny" && strings.Contains(ev.Reason, "bytes_out") })
}

// TestWebSocketServerGone: an end without a close frame looks like one.
func TestWebSocketServerGone(t *testing.T) {
	r := newRig(t, socketPolicy)
	r.socketServer("ok.test", 443, plain, func(_ *http.Request, nc net.Conn, in *bufio.Reader) {
		_, _ = in.ReadByte()
		abort(nc)
		_ = nc.Close()
	})
	p := r.dialSocket(viaRedirect, "ok.test:443", "/ws/chat/1", "", 101)
	p.send(frame(0x81, "hello"))
	for _, m := range p.all() {
		if strings.HasPrefix(m, "close") {
			t.Errorf("the agent got a close frame: %s", m)
		}
	}
	r.event("end", func(ev audit.Event) bool {
		return ev.Kind == audit.Close && ev.Reason == "the server ended the WebSocket"
	})
}
