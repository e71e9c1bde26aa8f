package creel_test

import (
	"bytes"
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
		named := regexp.MustCompile("`([a-z0-9_/]+_test\\.go): ([^`]+)`").FindAllSubmatch(row[2], -1)
		if len(named) == 0 {
			t.Errorf("note %s names no test", row[1])
		}
		for _, n := range named {
			if body, err := os.ReadFile(string(n[1])); err != nil || !bytes.Contains(body, n[2]) {
				t.Errorf("note %s: %s has no %s (%v)", row[1], n[1], n[2], err)
			}
		}
	}
}
