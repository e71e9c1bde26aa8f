package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path, "box")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func record(t *testing.T, l *Log, events ...Event) {
	t.Helper()
	for _, e := range events {
		if err := l.Record(e); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func verify(t *testing.T, b []byte) Report {
	t.Helper()
	rep, err := Verify(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestLogIsContinuedByTheNextOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "folder", "audit.jsonl")
	l := open(t, path)
	var teed []Event
	l.Tee(func(e Event) { teed = append(teed, e) })
	record(t, l, Event{Kind: SandboxStart}, Event{Kind: Request, Path: "/a?token=hunter2", Host: "a.test"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(Event{Kind: SandboxExit}); !errors.Is(err, ErrClosed) {
		t.Errorf("Record after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	l = open(t, path)
	record(t, l, Event{Kind: SandboxExit})

	b := read(t, path)
	rep := verify(t, b)
	if !rep.OK() || rep.Lines != 3 || rep.LastSeq != 3 || !rep.Ended || len(rep.Head) != hashLen {
		t.Errorf("report %+v", rep)
	}
	if bytes.Contains(b, []byte("hunter2")) || bytes.ContainsRune(b, '?') {
		t.Errorf("query in the log: %s", b)
	}
	if len(teed) != 2 || teed[1].Seq != 2 || teed[1].Sandbox != "box" || teed[1].Hash == "" || teed[1].Path != "/a" {
		t.Errorf("teed %+v", teed)
	}
	for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(p); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, want %v (%v)", p, info.Mode(), want, err)
		}
	}
}

func TestRecordFromManyGoroutines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := l.Record(Event{Kind: Connect, Host: "a.test"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if rep := verify(t, read(t, path)); !rep.OK() || rep.Lines != 400 {
		t.Errorf("report %+v", rep)
	}
}

func TestHostileStringsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path)
	big := strings.Repeat("\x00", 1<<20)
	detail := map[string]string{}
	for i := range 500 {
		detail[fmt.Sprint(i)+big] = big
	}
	record(t, l, Event{Kind: Request, Host: big, Path: big, Reason: big, Method: big, Binary: big, Model: big,
		Rule: big, RuleAt: big, Addr: big, Protocol: big, Verdict: big, Via: Via(big), Detail: detail})
	record(t, l, Event{Kind: SandboxExit, Reason: "a\nb\xff"})
	_ = l.Close()
	open(t, path) // finds the last line again
	if rep := verify(t, read(t, path)); !rep.OK() || rep.Lines != 2 {
		t.Errorf("report %+v", rep)
	}
}

// TestHarmedLog: events are not written to where nobody will find them, nor
// behind what somebody else has written.
func TestHarmedLog(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"removed":  os.Remove,
		"cut":      func(path string) error { return os.Truncate(path, 10) },
		"replaced": func(path string) error { return os.Rename(path+".other", path) },
		"written": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.WriteString("{}\n")
				_ = f.Close()
			}
			return err
		},
	} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		if err := os.WriteFile(path+".other", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open(t, path)
		record(t, l, Event{Kind: SandboxStart}, Event{Kind: Connect, Host: "a\u009b31m\u202e.test\x7f"})
		if strings.ContainsAny(string(read(t, path)), "\u009b\u202e\x7f") {
			t.Errorf("%s: control characters stand in the log: %q", name, read(t, path))
		}
		if err := harm(path); err != nil {
			t.Fatal(err)
		}
		if err := l.Record(Event{Kind: Connect}); err == nil || l.Err() == nil {
			t.Errorf("%s: an event was taken", name)
		}
	}
	// Moved aside by a log rotation it goes on.
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path)
	record(t, l, Event{Kind: SandboxStart})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	record(t, l, Event{Kind: SandboxExit})
	if rep := verify(t, read(t, path+".1")); !rep.OK() || rep.Lines != 2 {
		t.Errorf("moved: %+v", rep)
	}
}

func TestTornTailIsKeptAndReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l := open(t, path)
	record(t, l, Event{Kind: SandboxStart}, Event{Kind: Connect, Host: "a.test"})
	_ = l.Close()
	whole := read(t, path)
	torn := whole[:len(whole)-7]
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(whole, '\n') + 1
	rep := verify(t, torn)
	if rep.OK() || rep.Torn == nil || rep.Torn.Offset != int64(first) || rep.Lines != 1 {
		t.Fatalf("torn tail: %+v", rep)
	}

	l = open(t, path)
	if l.Torn() == nil || l.Torn().Bytes != int64(len(torn)-first) {
		t.Errorf("Torn: %+v", l.Torn())
	}
	record(t, l, Event{Kind: SandboxExit})
	b := read(t, path)
	if rep := verify(t, b); !rep.OK() || rep.Lines != 3 {
		t.Errorf("after repair: %+v", rep)
	}
	if !bytes.HasPrefix(b, whole[:first]) || !bytes.Contains(b, []byte(Recovered)) {
		t.Errorf("log after repair: %s", b)
	}
	if kept := read(t, l.Torn().SavedAs); !bytes.Equal(kept, append(bytes.Clone(torn[first:]), '\n')) {
		t.Errorf("kept %q", kept)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	l := open(t, good)
	record(t, l, Event{Kind: SandboxStart, Host: "abc.test"})
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, want string }{
		{"written by another", good, "another process"},
		{"device", os.DevNull, "not a regular file"},
		{"folder", dir, "not a regular file"},
		{"link", link, "not a regular file"},
		{"changed last line", write("changed", strings.Replace(string(read(t, good)), "abc", "xyz", 1)), "changed"},
		{"other text", write("text", "hello\n"), "no audit event"},
		{"parent is a file", filepath.Join(good, "x"), "not a directory"},
	}
	for _, tt := range tests {
		if l, err := Open(tt.path, "box"); err == nil {
			_ = l.Close()
			t.Errorf("%s: opened", tt.name)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("the target of the link was made")
	}
}

// lines builds a sound log of n events.
func lines(t testing.TB, n int) [][]byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, "box")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.now = func() time.Time { return time.Unix(1_900_000_000, 0) }
	for i := range n {
		if err := l.Record(Event{Kind: Connect, Host: "a.test", Port: uint16(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

// TestDiscard: only a file that the log made itself, and that holds nothing, goes away.
func TestDiscard(t *testing.T) {
	for _, c := range []struct {
		name          string
		there, record bool
		gone          bool
	}{
		{"made and empty", false, false, true},
		{"made and written", false, true, false},
		{"somebody's empty file", true, false, false},
	} {
		path := filepath.Join(t.TempDir(), "a.jsonl")
		if c.there {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := Open(path, "box")
		if err != nil {
			t.Fatal(err)
		}
		if c.record {
			if err := l.Record(Event{Kind: SandboxStart}); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(l.Discard(), l.Close()); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) != c.gone {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
