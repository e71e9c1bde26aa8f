package policy

import (
	"errors"
	"testing"
)

// TestMargin: a section that was pasted with spaces before it lands in the one
// above; the fault says so, instead of the keys that are known there.
func TestMargin(t *testing.T) {
	for _, tt := range []struct{ key, text, hint string }{
		{"network_policies", "version: 2\nlandlock:\n  compatibility: best_effort\n  network_policies: {}\n",
			"network_policies belongs at the left margin: remove the spaces before it"},
		{"inference", "version: 2\nfilesystem_policy:\n  include_workdir: true\n  inference: {}\n",
			"inference belongs at the left margin: remove the spaces before it"},
		{"open", "version: 2\nlandlock:\n  open: []\n", "known keys: compatibility"}, // a short word, of a list
		{"hidden", "version: 2\nhidden: []\n", `"hidden" belongs into filesystem_policy`},
		{"networkpolicies", "version: 2\nlandlock:\n  networkpolicies: {}\n", "known keys: compatibility"},
	} {
		_, _, err := Parse("p.yaml", []byte(tt.text))
		var faults Faults
		if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Hint != tt.hint {
			t.Errorf("%s: %+v", tt.key, err)
		}
	}
}
