package egress

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/creel-run/creel/egress/websocket"
)

const offerDeflate = "Sec-WebSocket-Extensions: foo, permessage-deflate; client_max_window_bits, permessage-deflate; client_no_context_takeover\r\n"

// deflated compresses one message, after what w has compressed before.
func deflated(w *flate.Writer, out *bytes.Buffer, text string) string {
	out.Reset()
	_, _ = io.WriteString(w, text)
	_ = w.Flush()
	return strings.TrimSuffix(out.String(), "\x00\x00\xff\xff")
}

func newDeflater(level int) (*flate.Writer, *bytes.Buffer) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	if err != nil {
		panic(err)
	}
	return w, &out
}

func deflateOnce(text string) string {
	w, out := newDeflater(flate.BestCompression)
	return deflated(w, out, text)
}

// TestWebSocketDeflate follows sections 12 and 13 of Autobahn: sizes, and parameters.
func TestWebSocketDeflate(t *testing.T) {
	for name, tt := range map[string]struct {
		answer  string // of the server
		context bool   // that it keeps
	}{
		"plain":            {"permessage-deflate", true},
		"client":           {"permessage-deflate; client_no_context_takeover", true},
		"both":             {"permessage-deflate; server_no_context_takeover; client_no_context_takeover", false},
		"a smaller window": {"permessage-deflate; server_max_window_bits=9; client_no_context_takeover", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, socketPolicy)
			offered := make(chan string, 1)
			compressed := make(chan bool, 100)
			r.socketServer("ok.test", 80, func(q *http.Request) string {
				offered <- q.Header.Get("Sec-Websocket-Extensions")
				return "Sec-WebSocket-Extensions: " + tt.answer + "\r\n"
			}, func(_ *http.Request, nc net.Conn, in *bufio.Reader) {
				out := websocket.Writer{To: nc}
				w, buf := newDeflater(flate.DefaultCompression)
				echoMessages(in, func(op websocket.Opcode, was bool, b []byte) error {
					if op == websocket.Close {
						return out.Frame(op, true, false, b)
					}
					compressed <- was
					if !tt.context {
						w.Reset(buf)
					}
					text := deflated(w, buf, string(b))
					half := len(text) / 2
					if err := out.Frame(op, false, true, []byte(text[:half])); err != nil {
						return err
					}
					return out.Frame(websocket.Continuation, true, false, []byte(text[half:]))
				})
			})
			p := r.dialSocket(viaRedirect, "ok.test:80", "/ws/chat/1", offerDeflate, 101)
			if o := <-offered; o != "permessage-deflate; client_no_context_takeover" {
				t.Errorf("offered %q", o)
			}
			if e := p.resp.Header.Get("Sec-Websocket-Extensions"); e != "permessage-deflate; client_no_context_takeover" {
				t.Errorf("the agent got %q", e)
			}
			var texts []string
			for _, n := range []int{0, 1, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072} {
				texts = append(texts, strings.Repeat("lorem ipsum ", n/12+1)[:n])
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i, text := range texts {
					if i%3 == 2 {
						p.send(frame(0x81, text)) // not compressed, as any message may be
						continue
					}
					p.send(frame(0xc1, deflateOnce(text)))
				}
				p.send(frame(0xc2, deflateOnce("\xff\x00")), frame(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), frame(0x88, "\x03\xe8"))
			}()
			var want []string
			for _, text := range append(texts, "\xff\x00", "Hello") {
				if len(text) > 200 {
					text = fmt.Sprintf("%d bytes", len(text))
				}
				want = append(want, text)
			}
			got := p.all()
			<-done
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", append(want, "close 1000")) {
				t.Errorf("got %q\nwant %q", got, want)
			}
			for i := range texts {
				if was := <-compressed; was != (i%3 != 2) {
					t.Errorf("message %d reached the server compressed: %v", i, was)
				}
			}
		})
	}
}

// echoMessages hands every message and close frame of a client over.
func echoMessages(in *bufio.Reader, f func(op websocket.Opcode, compressed bool, b []byte) error) {
	r := websocket.NewReader(in, true, websocket.Limits{Text: 64 << 20, Binary: 64 << 20})
	r.Deflate(false)
	r.Control = func(op websocket.Opcode, b []byte) error {
		if op == websocket.Close {
			return f(op, false, b)
		}
		return nil
	}
	for {
		kind, err := r.Next()
		if err != nil {
			return
		}
		b, err := io.ReadAll(r)
		if err != nil || f(kind, r.Compressed(), b) != nil {
			return
		}
	}
}

// TestWebSocketDeflateFaults: what an agent compresses is bounded by what comes out.
func TestWebSocketDeflateFaults(t *testing.T) {
	context, buf := newDeflater(flate.BestCompression)
	first := deflated(context, buf, strings.Repeat("what was said before ", 10))
	second := deflated(context, buf, strings.Repeat("what was said before ", 10))
	for name, tt := range map[string]struct {
		frames string
		code   string
	}{
		"a bomb":               {frame(0xc1, deflateOnce(strings.Repeat("\x00", maxText+1))), "close 1009"},
		"a bomb in parts":      {frame(0x41, deflateOnce(strings.Repeat("a", maxText))+"\x00\x00\xff\xff") + frame(0x80, deflateOnce(strings.Repeat("b", maxText))), "close 1009"},
		"a binary bomb":        {frame(0xc2, deflateOnce(strings.Repeat("\x00", maxBinary+1))), "close 1009"},
		"garbage":              {frame(0xc1, "\xff\xff\xff\xff"), "close 1007"},
		"nothing":              {frame(0xc1, ""), "close 1007"},
		"a context":            {frame(0xc1, first) + frame(0xc1, second), "close 1007"},
		"no UTF-8":             {frame(0xc1, deflateOnce("\xff")), "close 1007"},
		"streams":              {frame(0xc1, strings.Repeat("\x03\x00", 1000)), "close 1007"},
		"compressed ping":      {frame(0xc9, deflateOnce("x")), "close 1002"},
		"compressed fragment":  {frame(0x41, "\x00") + frame(0xc0, "\x00"), "close 1002"},
		"too long on the wire": {frame(0xc1, strings.Repeat("\x00\x00\x00\xff\xff", maxText)), "close 1009"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, socketPolicy)
			r.socketServer("ok.test", 80, func(*http.Request) string {
				return "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
			}, func(_ *http.Request, _ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) })
			p := r.dialSocket(viaRedirect, "ok.test:80", "/ws/chat/1", offerDeflate, 101)
			done := make(chan struct{})
			go func() { defer close(done); p.send(tt.frames) }()
			if got := p.all(); len(got) == 0 || got[0] != tt.code {
				t.Errorf("got %q, want %s", got, tt.code)
			}
			_ = p.c.Close()
			<-done
		})
	}
}
