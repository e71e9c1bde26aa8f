package pac

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"
)

// said is a child that says what it was given and reads nothing.
type said struct{ io.Reader }

func (said) Write(p []byte) (int, error) { return len(p), nil }
func (said) Close() error                { return nil }
func (said) SetDeadline(time.Time) error { return nil }

// FuzzChild: whatever a child says, which a script may have taken over, the answer is a
// bounded text, an error of the script that is plain text, or another error, and it is
// asked for few names, none of them long.
func FuzzChild(f *testing.F) {
	message := func(texts ...string) []byte {
		var b bytes.Buffer
		for _, t := range texts {
			b.Write([]byte{0, 0, byte(len(t) >> 8), byte(len(t))})
			b.WriteString(t)
		}
		return b.Bytes()
	}
	f.Add(message(`{"answer":"DIRECT"}`))
	f.Add(message(`{"lookup":"a.test"}`, `{"answer":"PROXY a.test:1"}`))
	f.Add(message(`{"error":"it threw\u0007\u202e"}`))
	f.Add(message(`{"lookup":"a","answer":"b"}`))
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		names := 0
		lookup := func(_ context.Context, name string) ([]netip.Addr, error) {
			if names++; names > maxLookups+1 || len(name) > maxName {
				t.Fatalf("asked for %q as the name %d", name, names)
			}
			return make([]netip.Addr, 2*maxAddrs), nil
		}
		e, err := New("", func() (Child, error) { return said{bytes.NewReader(b)}, nil }, lookup)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = e.Close() }()
		text, err := e.Find(context.Background(), "https://a.test/", "a.test")
		var script *ScriptError
		switch {
		case err == nil && len(text) > maxAnswer, err != nil && text != "":
			t.Fatalf("%d bytes, %v", len(text), err)
		case errors.As(err, &script):
			for _, r := range script.Text {
				if r < ' ' || r == 0x202e {
					t.Fatalf("the error has %q", script.Text)
				}
			}
		}
	})
}
