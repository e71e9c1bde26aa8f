package egress

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/creel-run/creel/audit"
)

// TestHTTP2UpstreamFloods: a server that sends what nobody asked for, and that costs
// work, loses its connection, whether a request is on it or not; the next one gets
// another.
func TestHTTP2UpstreamFloods(t *testing.T) {
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	enc.SetMaxDynamicTableSize(0)
	_ = enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	found := bytes.Clone(head.Bytes())
	many := make([]http2.Setting, 2000)
	for i := range many {
		many[i] = http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(65535 + i)}
	}
	for name, send := range map[string]func(fr *http2.Framer) error{
		"PING":            func(fr *http2.Framer) error { return fr.WritePing(false, [8]byte{}) },
		"answers to PING": func(fr *http2.Framer) error { return fr.WritePing(true, [8]byte{}) },
		"SETTINGS":        func(fr *http2.Framer) error { return fr.WriteSettings() },
		"long SETTINGS":   func(fr *http2.Framer) error { return fr.WriteSettings(many...) },
		"WINDOW_UPDATE":   func(fr *http2.Framer) error { return fr.WriteWindowUpdate(0, 1) },
		"PRIORITY":        func(fr *http2.Framer) error { return fr.WritePriority(1, http2.PriorityParam{StreamDep: 3}) },
		"unknown":         func(fr *http2.Framer) error { return fr.WriteRawFrame(0xbe, 0, 0, []byte("?")) },
		"empty DATA":      func(fr *http2.Framer) error { return fr.WriteData(1, false, nil) },
		"resets":          func(fr *http2.Framer) error { return fr.WriteRSTStream(9, http2.ErrCodeCancel) },
		"answers to no one": func(fr *http2.Framer) error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 9, BlockFragment: found, EndHeaders: true})
		},
		"empty CONTINUATION": func(fr *http2.Framer) error { return fr.WriteContinuation(1, false, nil) },
	} {
		for _, idle := range []bool{false, true} {
			if idle && name == "empty CONTINUATION" {
				continue // it is inside of an answer
			}
			when := "while it is asked"
			if idle {
				when = "idle"
			}
			t.Run(name+" "+when, func(t *testing.T) {
				r := newRig(t, cutPolicy)
				ended := make(chan struct{}, 1)
				r.raw("ok.test", 80, func(c net.Conn) {
					fr, ok := firstRequest(c)
					if !ok {
						return
					}
					go func() { _, _ = io.Copy(io.Discard, c) }() // its own buffers bound nothing
					switch {
					case idle:
						_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: found, EndHeaders: true, EndStream: true})
					case name == "empty DATA":
						_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: found, EndHeaders: true})
					case name == "empty CONTINUATION":
						_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
					}
					for send(fr) == nil {
					}
					ended <- struct{}{}
				})
				f := r.framed("ok.test:80")
				f.open(1, true, ":method: GET", ":scheme: http", ":authority: ok.test", ":path: /keep/a")
				want := "502"
				switch {
				case idle:
					want = "200"
				case name == "empty DATA":
					want = "RST INTERNAL_ERROR" // its answer has begun
				}
				if o := f.result(1); o.end != want || want == "502" && !strings.Contains(o.body, reasonIdle) {
					t.Errorf("%+v, want %s", o, want)
				}
				<-ended
				ev := r.event("denial", func(ev audit.Event) bool {
					return ev.Verdict == "deny" && ev.Host == "ok.test" && ev.Port == 80 && strings.Contains(ev.Reason, reasonIdle)
				})
				if ev.Addr == "" || ev.Detail["layer"] != layerUpstream {
					t.Errorf("%+v", ev)
				}
			})
		}
	}
}

// firstRequest is the server's side of HTTP/2 up to the head of a request.
func firstRequest(c net.Conn) (*http2.Framer, bool) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return nil, false
	}
	fr := http2.NewFramer(c, c)
	fr.AllowIllegalWrites = true
	_ = fr.WriteSettings()
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return nil, false
		}
		if _, ok := f.(*http2.HeadersFrame); ok {
			return fr, true
		}
	}
}
