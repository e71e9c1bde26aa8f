package creel_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// TestKernelNotes: each of the numbered facts about the kernel names a test that exists.
func TestKernelNotes(t *testing.T) {
	const notes = 21
	text, err := os.ReadFile("docs/kernel-notes-tests.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| [^|]+ \| (.+) \|$`).FindAllSubmatch(text, -1)
	if len(rows) != notes {
		t.Errorf("%d rows, want %d", len(rows), notes)
	}
	for i, row := range rows {
		if n, err := strconv.Atoi(string(row[1])); err != nil || n != i+1 {
			t.Errorf("row %d is %s", i+1, row[1])
		}
		namesTests(t, "note "+string(row[1]), row[2])
	}
}

// namesTests checks that a cell names tests, and that each of them exists.
func namesTests(t *testing.T, row string, cell []byte) {
	t.Helper()
	named := regexp.MustCompile("`([a-z0-9_/]+_test\\.go): ([^`]+)`").FindAllSubmatch(cell, -1)
	if len(named) == 0 {
		t.Errorf("%s names no test", row)
	}
	for _, n := range named {
		what := string(n[2])
		if regexp.MustCompile(`^Test\w+$`).MatchString(what) {
			what = "func " + what + "("
		}
		if body, err := os.ReadFile(string(n[1])); err != nil || !bytes.Contains(body, []byte(what)) {
			t.Errorf("%s: %s has no %s (%v)", row, n[1], n[2], err)
		}
	}
}

// TestClientsTable: each client that docs/clients.md tells of names tests that
// exist, and what is locked stands there in the version that is locked.
func TestClientsTable(t *testing.T) {
	text, err := os.ReadFile("docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| [^|]+ \| [^|]+ \| ([^|]+) \|$`).FindAllSubmatch(text, -1)
	versions := map[string]bool{}
	for _, row := range rows[min(1, len(rows)):] { // under the head
		namesTests(t, string(row[1]), row[3])
		versions[string(row[2])] = true
	}
	locked := []string{}
	for _, file := range []string{"tools/clients/package.json", "tools/mcp/package.json"} {
		var set struct{ Dependencies map[string]string }
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, &set)
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, version := range set.Dependencies {
			locked = append(locked, name+" "+version)
		}
	}
	wheels, err := os.ReadFile("tools/clients/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^(requests|httpx|aiohttp|websockets)==(\S+)$`).FindAllSubmatch(wheels, -1) {
		locked = append(locked, string(m[1])+" "+string(m[2]))
	}
	if m := regexp.MustCompile(`(?m)^aiosmtpd==(\S+)$`).FindSubmatch(wheels); m != nil {
		locked = append(locked, "aiosmtpd "+string(m[1])+" as server")
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?m)^\s+(google\.golang\.org/grpc v\S+)`).FindSubmatch(mod); m != nil {
		locked = append(locked, string(m[1]))
	}
	if len(locked) != 11 || len(rows) < 25 {
		t.Fatalf("%d rows, %d clients are locked: %q", len(rows), len(locked), locked)
	}
	for _, l := range locked {
		if !versions[l] {
			t.Errorf("docs/clients.md has no row with the version %s", l)
		}
	}
}
