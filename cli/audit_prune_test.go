//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
)

// pruneNow is the time of these tests.
var pruneNow = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// oldLogs makes a folder of logs that were last written so many days ago.
func oldLogs(t *testing.T, days map[string]int) string {
	t.Helper()
	dir := t.TempDir()
	for name, age := range days {
		written := pruneNow.Add(-time.Duration(age) * 24 * time.Hour)
		path := filepath.Join(dir, name+"-"+written.Format("20060102T150405.000")+".jsonl")
		if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func namesIn(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), "-2026")
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestAuditPrune(t *testing.T) {
	for _, tt := range []struct {
		f     pruneFlags
		names []string
		left  string
	}{
		{pruneFlags{olderThan: "30d"}, nil, "a b"},
		{pruneFlags{olderThan: "30d", dry: true}, nil, "a b c d-e"},
		{pruneFlags{keep: 1, keepSet: true}, nil, "a"},
		{pruneFlags{keep: 9, keepSet: true}, nil, "a b c d-e"},
		{pruneFlags{olderThan: "30d", keep: 3, keepSet: true}, nil, "a b c"},
		{pruneFlags{olderThan: "30d", keep: 1, keepSet: true}, nil, "a b"},
		{pruneFlags{olderThan: "1d"}, []string{"d-e", "b"}, "a c"},
		{pruneFlags{olderThan: "1h"}, []string{"d"}, "a b c d-e"},
	} {
		dir := oldLogs(t, map[string]int{"a": 0, "b": 20, "c": 40, "d-e": 60})
		var out bytes.Buffer
		err := runAuditPrune(dir, tt.names, tt.f, pruneNow, IO{Out: &out, Err: &out})
		if unknown := tt.names != nil && tt.names[0] == "d"; (err != nil) != unknown {
			t.Errorf("%+v: %v", tt, err)
		}
		if got := namesIn(t, dir); got != tt.left {
			t.Errorf("%+v: left %q, want %q", tt, got, tt.left)
		}
	}
}

// What is written, what is no log and what a link leads to stays.
func TestAuditPruneLetsStay(t *testing.T) {
	dir := oldLogs(t, map[string]int{"old": 60})
	elsewhere := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(elsewhere, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := pruneNow.Add(-60 * 24 * time.Hour)
	at := "-" + long.Format("20060102T150405.000") + ".jsonl"
	for _, name := range []string{"notes.txt", "old.jsonl", "old-20260101.jsonl", "-" + at, "fresh" + at} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), long, long); err != nil {
			t.Fatal(err)
		}
	}
	// A start that has just made its log, by whatever time its name tells.
	if err := os.Chtimes(filepath.Join(dir, "fresh"+at), pruneNow.Add(-time.Second), pruneNow.Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "link"+at)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"+at), 0o700); err != nil {
		t.Fatal(err)
	}
	live, err := audit.Open(filepath.Join(dir, "live"+at), "live")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if err := live.Record(audit.Event{Kind: audit.SandboxStart}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(live.Path(), long, long); err != nil {
		t.Fatal(err)
	}
	before := namesIn(t, dir)
	var out, errs bytes.Buffer
	for _, dry := range []bool{true, false} {
		out.Reset()
		errs.Reset()
		if err := runAuditPrune(dir, nil, pruneFlags{olderThan: "1d", asJSON: true, dry: dry}, pruneNow, IO{Out: &out, Err: &errs}); err != nil {
			t.Fatal(err)
		}
		var got pruned
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Removed) != 1 || got.Removed[0].Name != "old" || len(got.InUse) != 1 || got.InUse[0].Name != "live" || got.Left != 2 || got.DryRun != dry || got.Bytes != 3 {
			t.Errorf("%+v", got)
		}
	}
	if got, want := namesIn(t, dir), strings.Replace(before, "old ", "", 1); got != want {
		t.Errorf("left %q, want %q", got, want)
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Error(err)
	}
	if err := live.Record(audit.Event{Kind: audit.SandboxExit}); err != nil {
		t.Errorf("the log that is written was hurt: %v", err)
	}

	// The folder itself by a link is not followed; one that is not there has no logs.
	link := filepath.Join(t.TempDir(), "audit")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	var failed *fault.Error
	if err := runAuditPrune(link, nil, pruneFlags{olderThan: "1d"}, pruneNow, IO{Out: &out, Err: &errs}); !errors.As(err, &failed) || !strings.Contains(err.Error(), "a link is not followed") {
		t.Errorf("%v", err)
	}
	out.Reset()
	if err := runAuditPrune(filepath.Join(t.TempDir(), "none"), nil, pruneFlags{olderThan: "1d"}, pruneNow, IO{Out: &out, Err: &errs}); err != nil || out.String() != "0 logs removed, 0 left\n" {
		t.Errorf("%v %q", err, out.String())
	}
}
