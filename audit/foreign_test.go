package audit

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestForeign(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	l, err := Open(file, "box")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.Record(Event{Kind: Connect, Host: "a.test"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	log := string(data)
	for _, tt := range []struct {
		name, text string
		want       bool
	}{
		{"a log", log, false},
		{"a log whose lines were changed", strings.ReplaceAll(log, "a.test", "b.test"), false},
		{"a log with a damaged beginning", "x\ny\n" + log, false},
		{"a torn line alone", log[:20], false},
		{"empty", "", false},
		{"a policy", "version: 2\nnetwork_policies: {}\n", true},
		{"many lines", strings.Repeat("x\n", 1<<20), true},
		{"empty lines", "\n\n", true},
		{"one long line", strings.Repeat("x", 1<<20), false}, // torn, and told so
	} {
		in := bufio.NewReaderSize(strings.NewReader(tt.text), 64<<10)
		if got := Foreign(in); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		rest, err := io.ReadAll(in)
		if err != nil || !bytes.Equal(rest, []byte(tt.text)) {
			t.Errorf("%s: %d of %d bytes are left, %v", tt.name, len(rest), len(tt.text), err)
		}
	}
}
