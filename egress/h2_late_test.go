package egress

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/creel-run/creel/audit"
)

// TestHTTP2LateTrailers: fields behind a body whose request was answered, denied or
// cut off end nothing but what has ended, and what compresses later heads is kept.
func TestHTTP2LateTrailers(t *testing.T) {
	r := newRig(t, cutPolicy)
	stay := make(chan struct{})
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/keep/stay" {
			<-stay
		}
		_, _ = io.WriteString(w, q.Method+" "+q.Header.Get("X-Sum"))
	})
	defer close(stay)
	for name, send := range map[string]func(f *h2agent, block []byte) error{
		"one frame": func(f *h2agent, block []byte) error {
			return f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndHeaders: true, EndStream: true})
		},
		"padded, with a priority": func(f *h2agent, block []byte) error {
			return f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block, EndHeaders: true, EndStream: true, PadLength: 7,
				Priority: http2.PriorityParam{StreamDep: 1, Weight: 3}})
		},
		"three frames": func(f *h2agent, block []byte) error {
			err := f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndStream: true})
			if err == nil {
				err = f.fr.WriteContinuation(3, false, block[:1])
			}
			if err == nil {
				err = f.fr.WriteContinuation(3, true, block[1:])
			}
			return err
		},
		"none": func(f *h2agent, _ []byte) error {
			f.hb.Reset() // the table of the encoder has not changed
			f.enc.SetMaxDynamicTableSize(0)
			return f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndHeaders: true, EndStream: true})
		},
	} {
		for path, want := range map[string]string{"/keep/a": "200", "/none": "403"} {
			t.Run(name+" "+want, func(t *testing.T) {
				f := r.framed("ok.test:443")
				f.open(1, true, get("/keep/stay")...)
				f.open(3, false, post(path, "trailer: x-sum")...)
				if o := f.result(3); o.end != want {
					t.Fatalf("%+v", o)
				}
				f.ended(3)
				f.ok(send(f, f.block("x-sum: 42", "x-more: a")))
				f.open(5, true, get("/keep/a", "x-sum: 42")...) // by its number in the table
				if o := f.result(5); o.end != "200" || o.body != "GET 42" {
					t.Errorf("the next request: %+v", o)
				}
				stay <- struct{}{}
				f.open(7, true, get("/keep/a")...)
				if o := f.result(7); o.end != "200" {
					t.Errorf("the one after it: %+v", o)
				}
				_ = f.c.Close()
			})
		}
	}
	if ev, _, ok := r.book.find(func(ev audit.Event) bool { return strings.Contains(ev.Reason, "breaks the rules") }); ok {
		t.Errorf("recorded as a fault: %+v", ev)
	}

	// A second time nothing is on its way any more, and what never began is none.
	f := r.framed("ok.test:443")
	f.open(3, false, post("/none")...)
	f.result(3)
	f.ended(3)
	for range 2 {
		f.ok(f.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: f.block("x-sum: 42"), EndHeaders: true, EndStream: true}))
	}
	if o := f.result(5); o.end != "GOAWAY PROTOCOL_ERROR" {
		t.Errorf("a second time: %+v", o)
	}
}

// ended reads until a reset says that a stream takes nothing more.
func (f *h2agent) ended(id uint32) {
	f.t.Helper()
	for {
		_ = f.c.SetReadDeadline(time.Now().Add(patience))
		fr, err := f.fr.ReadFrame()
		f.ok(err)
		if rst, ok := fr.(*http2.RSTStreamFrame); ok && rst.StreamID == id {
			return
		}
	}
}
