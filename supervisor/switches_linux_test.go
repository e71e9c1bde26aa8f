package supervisor

import (
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/sandbox/seccomp"
)

// TestSwitchesOfThePolicy: the words of the policy are the switches of the
// filter, each by its own default.
func TestSwitchesOfThePolicy(t *testing.T) {
	parse := func(section string) policy.Syscalls {
		t.Helper()
		doc, _, err := policy.Parse("test.yaml", []byte("version: 2\nnetwork_policies: {}\n"+section))
		if err != nil {
			t.Fatal(err)
		}
		return doc.Syscalls
	}
	byDefault := switches(parse(""))
	for _, w := range seccomp.Switches() {
		if w.Open != slices.Contains(byDefault, w.Name) {
			t.Errorf("%s: open by default: %t", w.Name, !w.Open)
		}
		for _, text := range []string{"true", "false"} {
			open := switches(parse("syscalls: {" + string(w.Name) + ": " + text + "}\n"))
			if slices.Contains(open, w.Name) != (text == "true") {
				t.Errorf("%s: %s opens %v", w.Name, text, open)
			}
			if text == "true" == w.Open && !slices.Equal(open, byDefault) {
				t.Errorf("%s: the default, written, changes %v to %v", w.Name, byDefault, open)
			}
		}
	}
	_, _, err := policy.Parse("test.yaml", []byte("version: 2\nnetwork_policies: {}\nsyscalls: {bpf: true, perf: yes please}\n"))
	if err == nil || !strings.Contains(err.Error(), "bpf") || !strings.Contains(err.Error(), "perf") {
		t.Errorf("faults: %v", err)
	}
}
