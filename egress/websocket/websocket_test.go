package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

var limits = Limits{Text: 1 << 16, Binary: 1 << 16, Fragments: 16}

// told is all that a Reader makes of a stream.
func told(in io.Reader, masked, deflate bool) (list []string, err error) {
	r := NewReader(bufio.NewReaderSize(in, MaxControl+3), masked, limits)
	if deflate {
		r.Deflate(true)
	}
	r.Control = func(op Opcode, b []byte) error {
		list = append(list, fmt.Sprintf("%d %q", op, b))
		return nil
	}
	for {
		kind, err := r.Next()
		if errors.Is(err, ErrClosed) {
			list = append(list, "closed")
			continue
		}
		if err != nil {
			return list, err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return list, err
		}
		if int64(len(b)) > limits.Text {
			return list, fmt.Errorf("a message of %d bytes", len(b))
		}
		if kind == Text && !utf8.Valid(b) {
			return list, errors.New("text that is not UTF-8")
		}
		list = append(list, fmt.Sprintf("%d %q %v", kind, b, r.Compressed()))
	}
}

func TestWriterAndReader(t *testing.T) {
	for _, masked := range []bool{false, true} {
		for _, n := range []int{0, 1, 2, 3, 7, 8, 125, 126, piece - 14, piece, piece + 1, 65535, 65536} {
			var b bytes.Buffer
			w := Writer{To: &b, Masked: masked}
			text := strings.Repeat("abc\u20ac", n/6+1)[:n]
			if err := w.Frame(Binary, true, false, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if err := w.Frame(Text, true, true, Compress([]byte("again and again and again"))); err != nil {
				t.Fatal(err)
			}
			if err := w.Frame(Close, true, false, ClosePayload(4000, strings.Repeat("\u20ac", 50))); err != nil {
				t.Fatal(err)
			}
			want := []string{fmt.Sprintf("2 %q false", text), `1 "again and again and again" true`, fmt.Sprintf("8 %q", "\x0f\xa0"+strings.Repeat("\u20ac", 41)), "closed"}
			for _, in := range []io.Reader{bytes.NewReader(b.Bytes()), iotest.OneByteReader(bytes.NewReader(b.Bytes()))} {
				if got, err := told(in, masked, true); !errors.Is(err, io.EOF) || fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%d %v: %v %v", n, masked, got, err)
				}
			}
			if _, err := told(bytes.NewReader(b.Bytes()), !masked, true); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("masked %v: %v", !masked, err)
			}
		}
	}
}

// TestStarted: a Reader knows that the end of something is due.
func TestStarted(t *testing.T) {
	raw := string(AppendHead(nil, Text, false, false, nil, 2)) + "ab" + string(AppendHead(nil, Ping, true, false, nil, 1)) + "x" +
		string(AppendHead(nil, Continuation, true, false, nil, 1)) + "c"
	for n := range len(raw) {
		pr, pw := io.Pipe()
		r := NewReader(bufio.NewReader(pr), false, limits)
		go func() { _, _ = io.WriteString(pw, raw[:n]); _ = pw.Close() }()
		for {
			if _, err := r.Next(); err != nil {
				break
			}
			if _, err := io.ReadAll(r); err != nil {
				break
			}
		}
		if r.Started() != (n > 0) {
			t.Errorf("after %d bytes: %v", n, r.Started())
		}
	}
}

func TestParseOfferKeepsOrder(t *testing.T) {
	q := Request{Method: "GET", HTTP11: true, Upgrade: "WebSocket", Connection: []string{"upgrade"}, Header: http.Header{
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Protocol": {"b, a", "c"},
		"Sec-Websocket-Extensions": {"permessage-deflate; client_max_window_bits", "permessage-deflate; client_no_context_takeover; server_no_context_takeover"},
	}}
	o, err := ParseOffer(q)
	if err != nil || fmt.Sprint(o) != "{[b a c] permessage-deflate; client_no_context_takeover; server_no_context_takeover}" {
		t.Errorf("%v %v", o, err)
	}
	for _, ext := range []string{"permessage-deflate; client_no_context_takeover=1", "permessage-deflate; client_no_context_takeover; server_max_window_bits=10",
		"permessage-deflate; client_no_context_takeover; x", "x; client_no_context_takeover", "permessage-deflate; server_no_context_takeover"} {
		q.Header["Sec-Websocket-Extensions"] = []string{ext}
		if o, err := ParseOffer(q); err != nil || o.Deflate.On {
			t.Errorf("%s: %v %v", ext, o, err)
		}
	}
}

// A part of a handshake makes the request one, and what it lists is well formed.
func TestHalfHandshakes(t *testing.T) {
	for _, name := range []string{"Sec-Websocket-Key", "Sec-Websocket-Version"} {
		if h := (http.Header{name: {"13"}}); !IsHandshake("", h) {
			t.Errorf("%s alone is no handshake", name)
		}
	}
	whole := func(name, value string) Request {
		return Request{Method: "GET", HTTP11: true, Upgrade: "websocket", Connection: []string{"upgrade"}, Header: http.Header{
			"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Version": {"13"}, name: {value},
		}}
	}
	for name, values := range map[string][]string{
		"Sec-Websocket-Protocol":   {"", "a,", ",a", "a,,b", "a b"},
		"Sec-Websocket-Extensions": {"", ",", "x,", "x;", "x;;y", "x; y=", "x; =1", `x; y="1"`, "x y", "permessage-deflate; client_no_context_takeover, "},
	} {
		for _, v := range values {
			if o, err := ParseOffer(whole(name, v)); err == nil {
				t.Errorf("%s %q: %v", name, v, o)
			}
		}
	}
	for _, v := range []string{"x", "x; y", "x;y=1 , z", "permessage-deflate; client_max_window_bits=10"} {
		if o, err := ParseOffer(whole("Sec-Websocket-Extensions", v)); err != nil || o.Deflate.On {
			t.Errorf("%q: %v %v", v, o, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{"\x81\x05Hello", "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "\x01\x03Hel\x80\x02lo", "\x89\x05Hello", "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
		"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "\x82\x7e\x01\x00", "\x88\x02\x03\xe8\x81\x00", "\xc1\x0b\x00\x05\x00\xfa\xffHello\x00"} {
		for i := range 4 {
			f.Add([]byte(s), i&1 != 0, i&2 != 0)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, masked, deflate bool) {
		all, err := told(bytes.NewReader(b), masked, deflate)
		one, err1 := told(iotest.OneByteReader(bytes.NewReader(b)), masked, deflate)
		if fmt.Sprint(all, err) != fmt.Sprint(one, err1) {
			t.Errorf("at once: %v %v; in pieces: %v %v", all, err, one, err1)
		}
		var fault *Fault
		switch {
		case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		case errors.As(err, &fault) && (fault.Code == CodeProtocol || fault.Code == CodeData || fault.Code == CodeTooBig):
		default:
			t.Error(err)
		}
	})
}

func FuzzUTF8(f *testing.F) {
	f.Add([]byte("a\u00e9\u20ac\U0001f600"), 2)
	f.Add([]byte("\xed\xa0\x80"), 1)
	f.Add([]byte("\xf4\x90\x80\x80"), 3)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 1 {
			n = 1
		}
		var s utf8State
		ok := true
		for rest := b; len(rest) > 0 && ok; {
			k := min(n, len(rest))
			ok = s.take(rest[:k])
			rest = rest[k:]
		}
		if got := ok && s.whole(); got != utf8.Valid(b) {
			t.Errorf("%q in pieces of %d: %v", b, n, got)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	var raw bytes.Buffer
	w := Writer{To: &raw, Masked: true}
	if err := w.Frame(Text, true, false, bytes.Repeat([]byte("x"), 1<<10)); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 4<<10)
	b.SetBytes(1 << 10)
	b.ReportAllocs()
	in := bytes.NewReader(nil)
	r := NewReader(bufio.NewReader(in), true, limits)
	for b.Loop() {
		in.Reset(raw.Bytes())
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Read(buf); err != nil {
				break
			}
		}
	}
}
