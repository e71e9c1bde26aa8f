package expect

import (
	"os"
	"strings"
	"testing"
)

// Every key is documented.
func TestKeysAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := ""
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "| `") {
			first, _, _ := strings.Cut(l[2:], " |")
			rows += first + " "
		}
	}
	for _, k := range keys {
		if !strings.Contains(rows, "`"+k+"`") {
			t.Errorf("docs/policy/testing.md has no row for %s", k)
		}
	}
}
