package egress

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sync/semaphore"
)

// screened passes a stream through an eventScreen that knows one message.
func screened(r io.Reader) (string, error) {
	x := &exchange{c: &conn{s: &Server{bodies: bodies{semaphore.NewWeighted(maxBodies)}}}}
	s := &eventScreen{ReadCloser: io.NopCloser(r), x: x, apply: func(b []byte) ([]byte, error) {
		if bytes.Contains(b, []byte("bad")) {
			return nil, errors.New("it is bad")
		}
		return bytes.ReplaceAll(b, []byte("hidden"), []byte("shown")), nil
	}}
	out, err := io.ReadAll(s)
	return string(out), err
}

func TestEventScreen(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"data: a\n\n":                      "data: a\n\n",
		"data: a\r\n\r\n":                  "data: a\n\n",
		"data: a\r\r":                      "data: a\n\n",
		"\ufeffdata: a\n\n":                "data: a\n\n",
		"data:a\ndata: b\ndata\n\n":        "data: a\ndata: b\ndata: \n\n",
		"data:  a\n\n":                     "data:  a\n\n",
		"data: hidden\n\n":                 "data: shown\n\n",
		"data: hid\ndata: den\n\n":         "data: hid\ndata: den\n\n",
		"data: a\n\ndata: cut off":         "data: a\n\n",
		"data: a\n\ndata: cut off\n":       "data: a\n\n",
		"event: message\ndata: hidden\n\n": "event: message\ndata: shown\n\n",
		"event: x\nevent: message\ndata: hidden\n\n": "event: message\ndata: shown\n\n",
		"event: other\ndata: hidden\n\n":             "event: other\ndata: hidden\n\n",
		"event: other\ndata: {hidden}\n\n":           "event: other\ndata: {shown}\n\n",
		"event: other\ndata:  [bad]\n\n":             "\n",
		"event: other\ndata: bad\n\n":                "event: other\ndata: bad\n\n",
		"id: 1\nid: 2\ndata: a\n\n":                  "id: 1\nid: 2\ndata: a\n\n",
		":c\n: d\n\n":                                ":\n:\n\n",
		"what: hidden\nData: x\n data: y\n\n":        "\n",
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(in), "byte by byte": iotest.OneByteReader(strings.NewReader(in)), "with the end": iotest.DataErrReader(strings.NewReader(in))} {
			if got, err := screened(r); err != nil || got != want {
				t.Errorf("%q %s: %q %v, want %q", in, name, got, err, want)
			}
		}
	}
	for in, want := range map[string]string{"data: a\n\ndata: bad\n\ndata: b\n\n": "data: a\n\n", "event: message\ndata: bad\n\n": ""} {
		got, err := screened(strings.NewReader(in))
		if refused := (*screenError)(nil); !errors.As(err, &refused) || got != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
	}
	for _, in := range []string{"data: ", ":", "id: ", "event: ", "what", "data: x\ndata: "} {
		if got, err := screened(io.MultiReader(strings.NewReader(in), iotest.DataErrReader(strings.NewReader(strings.Repeat("x", maxScreened+1))))); err == nil || got != "" {
			t.Errorf("%q and no end: %d bytes, %v", in, len(got), err)
		}
	}
	lines := strings.Repeat("id: "+strings.Repeat("x", 1000)+"\n", maxScreened/1000)
	if _, err := screened(strings.NewReader(lines)); err == nil {
		t.Error("fields without end")
	}
}

// FuzzEventScreen: what passed is read the same again, and nothing that is hidden
// is a message of it, as another reader sees it.
func FuzzEventScreen(f *testing.F) {
	f.Add([]byte("event: message\nid: 1\ndata: hid\ndata: den\n\n"))
	f.Add([]byte("\ufeff:x\rdata: hidden\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := screened(bytes.NewReader(in))
		if err != nil {
			return
		}
		again, err := screened(strings.NewReader(got))
		if err != nil || again != got {
			t.Fatalf("%q: %q, then %q %v", in, got, again, err)
		}
		for _, m := range simpleEvents(got) {
			if strings.Contains(m, "hidden") {
				t.Fatalf("%q: passes %q", in, m)
			}
		}
	})
}

// simpleEvents is another reader: the data of events of type message.
func simpleEvents(text string) (all []string) {
	text = strings.TrimPrefix(text, "\ufeff")
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	blocks := strings.Split(text, "\n\n")
	for _, block := range blocks[:max(len(blocks)-1, 0)] {
		var data []string
		kind := ""
		for line := range strings.SplitSeq(block, "\n") {
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "data":
				data = append(data, value)
			case "event":
				kind = value
			}
		}
		if slices.Contains([]string{"", "message"}, kind) && data != nil {
			all = append(all, strings.Join(data, "\n"))
		}
	}
	return all
}
