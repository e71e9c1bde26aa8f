package egress

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/egress/websocket"
)

// socketCase is one case of a set that follows the sections of the Autobahn test
// suite (which wants Python 2): frames that one side sends, and what the other
// side gets of them.
type socketCase struct {
	id     string
	frames []sent
	chop   int      // bytes that are written at once; 0: all
	want   []string // messages, "ping P", "pong P" of pongs that nobody asked for, "close N"
}

// sent is a frame: the byte with its bits and opcode, and the payload.
type sent struct {
	first   byte
	payload string
}

const (
	fin, rsv1, rsv2, rsv3 = 0x80, 0x40, 0x20, 0x10
	opText, opBinary      = 1, 2
	opClose, opPing       = 8, 9
	opPong                = 10
)

var bye = sent{fin | opClose, "\x03\xe8"}

func star(n int) string { return strings.Repeat("*", n) }

// fragments cuts a message.
func fragments(op byte, text string, size int) []sent {
	var list []sent
	for first := op; ; first = 0 {
		n := min(size, len(text))
		list = append(list, sent{first, text[:n]})
		if text = text[n:]; text == "" {
			list[len(list)-1].first |= fin
			return list
		}
	}
}

func socketCases() []socketCase {
	var list []socketCase
	add := func(id string, chop int, want []string, frames ...sent) {
		list = append(list, socketCase{id: id, frames: frames, chop: chop, want: want})
	}
	ok := func(id string, chop int, want []string, frames ...sent) {
		add(id, chop, append(want, "close 1000"), append(frames, bye)...)
	}
	bad := func(id string, code int, before []string, frames ...sent) {
		add(id, 0, append(before, fmt.Sprint("close ", code)), append(frames, bye)...)
	}
	show := func(s string) string {
		if len(s) > 200 {
			return fmt.Sprintf("%d bytes", len(s))
		}
		return s
	}

	for op, section := range map[byte]string{opText: "1.1", opBinary: "1.2"} { // framing
		for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536} {
			ok(fmt.Sprint(section, ".", i+1), 0, []string{show(star(n))}, sent{fin | op, star(n)})
		}
		ok(section+".8", 997, []string{"65536 bytes"}, sent{fin | op, star(65536)})
	}

	ok("2.1", 0, []string{"ping "}, sent{fin | opPing, ""}) // pings and pongs
	ok("2.2", 0, []string{"ping Hello"}, sent{fin | opPing, "Hello"})
	ok("2.3", 0, []string{"ping \x00\xff\xfe\xfd\xfc\xfb\x00\xff"}, sent{fin | opPing, "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"})
	ok("2.4", 0, []string{"ping " + star(125)}, sent{fin | opPing, star(125)})
	bad("2.5", 1002, nil, sent{fin | opPing, star(126)})
	ok("2.6", 1, []string{"ping " + star(125)}, sent{fin | opPing, star(125)})
	ok("2.7", 0, []string{"pong "}, sent{fin | opPong, ""})
	ok("2.8", 0, []string{"pong "}, sent{fin | opPong, "unsolicited"})
	ok("2.9", 0, []string{"pong ", "ping x"}, sent{fin | opPong, "unsolicited"}, sent{fin | opPing, "x"})
	var pings []sent
	var pongs []string
	for i := range 10 {
		pings, pongs = append(pings, sent{fin | opPing, fmt.Sprint("payload-", i)}), append(pongs, fmt.Sprint("ping payload-", i))
	}
	ok("2.10", 0, pongs, pings...)
	ok("2.11", 1, pongs, pings...)

	hello := sent{fin | opText, "Hello, world!"} // reserved bits
	bad("3.1", 1002, nil, sent{fin | rsv1 | opText, "x"})
	bad("3.2", 1002, []string{"Hello, world!"}, hello, sent{fin | rsv2 | opText, "x"}, sent{fin | opPing, ""})
	bad("3.3", 1002, []string{"Hello, world!"}, hello, sent{fin | rsv1 | rsv2 | opText, "x"})
	bad("3.4", 1002, []string{"Hello, world!"}, hello, sent{fin | rsv3 | opText, "x"})
	bad("3.5", 1002, nil, sent{fin | rsv1 | rsv3 | opBinary, "x"})
	bad("3.6", 1002, nil, sent{fin | rsv2 | rsv3 | opPing, "x"})
	bad("3.7", 1002, nil, sent{fin | rsv1 | rsv2 | rsv3 | opClose, "\x03\xe8"})

	for op := byte(3); op < 8; op++ { // opcodes
		bad(fmt.Sprint("4.1.", op-2), 1002, []string{"Hello, world!"}, hello, sent{fin | op, "x"}, sent{fin | opPing, ""})
		bad(fmt.Sprint("4.2.", op-2), 1002, []string{"Hello, world!"}, hello, sent{fin | op + 8, ""})
	}

	a, b := sent{opText, "fragment1"}, sent{fin, "fragment2"} // fragmentation
	both := "fragment1fragment2"
	bad("5.1", 1002, nil, sent{opPing, "fragment1"}, b)
	bad("5.2", 1002, nil, sent{opPong, "fragment1"}, b)
	ok("5.3", 0, []string{both}, a, b)
	ok("5.4", 7, []string{both}, a, b)
	ok("5.5", 1, []string{both}, a, b)
	ping := sent{fin | opPing, "between"}
	for i, chop := range []int{0, 7, 1} {
		ok(fmt.Sprint("5.", 6+i), chop, []string{"ping between", both}, a, ping, b)
		bad(fmt.Sprint("5.", 9+i), 1002, nil, sent{fin, "non-continuation"}, hello)
		bad(fmt.Sprint("5.", 12+i), 1002, nil, sent{0, "non-continuation"}, hello)
	}
	bad("5.15", 1002, []string{both}, a, b, sent{0, "fragment3"}, sent{fin | opText, "fragment4"})
	bad("5.16", 1002, nil, sent{0, "fragment1"}, a, b)
	bad("5.17", 1002, nil, sent{fin, "fragment1"}, a, b)
	bad("5.18", 1002, nil, a, sent{fin | opText, "fragment2"})
	five := []sent{{opText, "1"}, {0, "2"}, {fin | opPing, "p1"}, {0, "3"}, {0, "4"}, {fin | opPing, "p2"}, {fin, "5"}}
	ok("5.19", 0, []string{"ping p1", "ping p2", "12345"}, five...)
	ok("5.20", 1, []string{"ping p1", "ping p2", "12345"}, five...)

	ok("6.1.1", 0, []string{""}, sent{fin | opText, ""}) // UTF-8
	ok("6.1.2", 0, []string{""}, sent{opText, ""}, sent{0, ""}, sent{fin, ""})
	ok("6.1.3", 0, []string{"middle"}, sent{opText, ""}, sent{0, "middle"}, sent{fin, ""})
	valid := "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!"
	ok("6.2.1", 0, []string{valid}, sent{fin | opText, valid})
	ok("6.2.2", 0, []string{valid}, fragments(opText, valid, 10)...)
	ok("6.2.3", 0, []string{valid}, fragments(opText, valid, 1)...)
	ok("6.2.4", 0, []string{"\u03ba\u1f79\u03c3\u03bc\u03b5"}, fragments(opText, "\u03ba\u1f79\u03c3\u03bc\u03b5", 1)...)
	broken := "\u03ba\u1f79\u03c3\u03bc\u03b5\xed\xa0\x80edited"
	bad("6.3.1", 1007, nil, sent{fin | opText, broken})
	bad("6.3.2", 1007, nil, fragments(opText, broken, 1)...)
	// Refused before the message is complete.
	add("6.4.1", 0, []string{"close 1007"}, sent{opText, "\u03ba"}, sent{0, "\xf4\x90"})
	add("6.4.2", 0, []string{"close 1007"}, sent{opText, "\u03ba\xf4"}, sent{0, "\x90"})
	add("6.4.3", 0, []string{"close 1007"}, sent{opText, "\u03ba\xed"}, sent{0, "\xa0"})
	for i, s := range []string{"\u03ba\u1f79\u03c3\u03bc\u03b5", "\x00", "\u0080", "\u0800", "\U00010000", "\x7f", "\u07ff", "\uffff", "\U0010ffff",
		"\ud7ff", "\ue000", "\ufffd", "\ufffe", "\U0001fffe", "\U000ffffe"} {
		ok(fmt.Sprint("6.valid.", i+1), 0, []string{s}, sent{fin | opText, s})
		ok(fmt.Sprint("6.valid.cut.", i+1), 1, []string{s}, fragments(opText, s, 1)...)
	}
	for i, s := range []string{"\xce", "\xce\xba\xe1", "\xe1\xbd", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf",
		"\xf4\x90\x80\x80", "\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80\xbf\x80\xbf", "\xc0 \xc1 ", "\xe0 \xef ", "\xf0 \xf7 ", "\xf8 ", "\xfc ", "\xc0", "\xe0\x80", "\xf0\x80\x80",
		"\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfe", "\xff", "\xfe\xfe\xff\xff", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",
		"\xc0\x80", "\xed\xa0\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80"} {
		bad(fmt.Sprint("6.invalid.", i+1), 1007, nil, sent{fin | opText, s})
		bad(fmt.Sprint("6.invalid.cut.", i+1), 1007, nil, fragments(opText, s, 1)...)
	}

	closing := func(code int) string { return string([]byte{byte(code >> 8), byte(code)}) } // close frames
	ok("7.1.1", 0, []string{"Hello, world!"}, hello)
	add("7.1.2", 0, []string{"close 1000"}, bye, bye)
	add("7.1.3", 0, []string{"close 1000"}, bye, ping)
	add("7.1.4", 0, []string{"close 1000"}, bye, hello)
	add("7.1.5", 0, []string{"close 1000"}, a, bye, b)
	add("7.1.6", 0, []string{"262144 bytes", "close 1000"}, sent{fin | opText, star(1 << 18)}, bye, ping)
	add("7.3.1", 0, []string{"close 0"}, sent{fin | opClose, ""})
	add("7.3.2", 0, []string{"close 1002"}, sent{fin | opClose, "a"})
	add("7.3.3", 0, []string{"close 1000"}, bye)
	add("7.3.4", 0, []string{"close 1000"}, sent{fin | opClose, closing(1000) + "Hello World!"})
	add("7.3.5", 0, []string{"close 1000"}, sent{fin | opClose, closing(1000) + star(123)})
	add("7.3.6", 0, []string{"close 1002"}, sent{fin | opClose, closing(1000) + star(124)})
	add("7.5.1", 0, []string{"close 1007"}, sent{fin | opClose, closing(1000) + broken})
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		add(fmt.Sprint("7.7.", code), 0, []string{fmt.Sprint("close ", code)}, sent{fin | opClose, closing(code)})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		add(fmt.Sprint("7.9.", code), 0, []string{"close 1002"}, sent{fin | opClose, closing(code)})
	}

	for i, n := range []int{64 << 10, 1 << 20, 4 << 20} { // limits
		ok(fmt.Sprint("9.1.", i+1), 0, []string{fmt.Sprint(n, " bytes")}, sent{fin | opText, star(n)})
		ok(fmt.Sprint("9.2.", i+1), 0, []string{fmt.Sprint(n, " bytes")}, sent{fin | opBinary, star(n)})
		ok(fmt.Sprint("9.5.", i+1), 2048, []string{fmt.Sprint(n, " bytes")}, sent{fin | opText, star(n)})
	}
	ok("9.2.6", 0, []string{"16777216 bytes"}, sent{fin | opBinary, star(16 << 20)})
	for i, size := range []int{1 << 10, 4 << 10, 64 << 10, 1 << 20} {
		ok(fmt.Sprint("9.3.", i+3), 0, []string{"4194304 bytes"}, fragments(opText, star(4<<20), size)...)
		ok(fmt.Sprint("9.4.", i+3), 0, []string{"4194304 bytes"}, fragments(opBinary, star(4<<20), size)...)
	}
	ok("10.1", 0, []string{"65536 bytes"}, fragments(opText, star(65536), 1300)...)
	return list
}

// TestWebSocketCasesOfAgent: what an agent sends, with a server that echoes.
func TestWebSocketCasesOfAgent(t *testing.T) {
	r := newRig(t, socketPolicy)
	r.socketServer("ok.test", 80, plain, echoFrames)
	cases := socketCases()
	for _, c := range append(cases,
		// Bounds that the server's side does not have.
		socketCase{id: "9.1.over", frames: []sent{{fin | opText, star(maxText + 1)}}, want: []string{"close 1009"}},
		socketCase{id: "9.2.over", frames: []sent{{fin | opBinary, star(maxBinary + 1)}}, want: []string{"close 1009"}},
		socketCase{id: "9.3.over", frames: fragments(opText, star(maxText+1), 1<<20), want: []string{"close 1009"}},
		socketCase{id: "9.3.1", frames: fragments(opText, star(4<<20), 64), want: []string{"close 1002"}},
	) {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			var raw bytes.Buffer
			for _, f := range c.frames {
				raw.WriteString(frame(f.first, f.payload))
			}
			p := r.dialSocket(viaRedirect, "ok.test:80", "/ws/chat/"+c.id, "", 101)
			_ = p.c.SetDeadline(time.Now().Add(5 * patience))
			done := make(chan struct{})
			go func() { defer close(done); chopped(p.c, raw.Bytes(), c.chop) }()
			got := p.all()
			_ = p.c.Close()
			<-done
			want := make([]string, len(c.want))
			for i, w := range c.want {
				if strings.HasPrefix(w, "pong ") {
					continue // it went to the server
				}
				want[i] = strings.Replace(w, "ping ", "pong ", 1)
			}
			if last := len(want) - 1; len(got) == 1 && strings.HasPrefix(want[last], "close 100") && want[last] != "close 1000" {
				want = want[last:] // what broke the rules came before the echo
			}
			compareCase(t, got, want)
		})
	}
}

// TestWebSocketCasesOfServer: the same from the other side, unmasked.
func TestWebSocketCasesOfServer(t *testing.T) {
	r := newRig(t, socketPolicy)
	byID := map[string]socketCase{}
	cases := socketCases()
	for _, c := range cases {
		byID[c.id] = c
	}
	r.socketServer("ok.test", 80, plain, func(q *http.Request, nc net.Conn, in *bufio.Reader) {
		c := byID[strings.TrimPrefix(q.URL.Path, "/ws/chat/")]
		var raw bytes.Buffer
		for _, f := range c.frames {
			b := websocket.AppendHead(nil, websocket.Opcode(f.first&0x0f), false, false, nil, len(f.payload))
			b[0] = f.first
			raw.Write(b)
			raw.WriteString(f.payload)
		}
		chopped(nc, raw.Bytes(), c.chop)
		_, _ = io.Copy(io.Discard, in)
	})
	for _, c := range cases {
		t.Run(c.id, func(t *testing.T) {
			t.Parallel()
			p := r.dialSocket(viaRedirect, "ok.test:80", "/ws/chat/"+c.id, "", 101)
			p.answers = true
			_ = p.c.SetDeadline(time.Now().Add(5 * patience))
			compareCase(t, p.all(), c.want)
		})
	}
}

// compareCase: fragments of a message that is broken off later may have passed;
// the rest is equal. Empty texts in want stand for messages or for nothing.
func compareCase(t *testing.T, got, want []string) {
	t.Helper()
	trim := func(list []string) (out []string) {
		for _, s := range list {
			if s != "" {
				out = append(out, s)
			}
		}
		return out
	}
	if g, w := fmt.Sprintf("%q", trim(got)), fmt.Sprintf("%q", trim(want)); g != w {
		t.Errorf("got %s, want %s", g, w)
	}
}

// chopped writes in pieces; the peer may end before.
func chopped(w io.Writer, b []byte, n int) {
	if n == 0 {
		n = len(b)
	}
	for len(b) > 0 {
		n = min(n, len(b))
		if _, err := w.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}
