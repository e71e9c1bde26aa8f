package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What waits for a decision, runs or was not collected is always shown.
func TestNewestAudits(t *testing.T) {
	list := []kept{
		{Kind: "audit", Name: "a", State: "ended 0"}, {Kind: "changes", Name: "b"}, {Kind: "audit", Name: "c", State: "running"},
		{Kind: "audit", Name: "d", State: "killed"}, {Kind: "leftover", Name: "e"}, {Kind: "audit", Name: "f", State: "ended 1"},
	}
	for n, want := range map[int]string{0: "bce", 1: "bcef", 2: "bcdef", 3: "abcdef", 9: "abcdef"} {
		short, older := newestAudits(list, n)
		got := ""
		for _, k := range short {
			got += k.Name
		}
		if d := cmp.Diff(want, got); d != "" || older != len(list)-len(want) {
			t.Errorf("%d: %d older, %s", n, older, d)
		}
	}
}
