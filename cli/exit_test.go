package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

func TestExitCodeAndReport(t *testing.T) {
	faults := policy.Faults{
		{At: policy.Position{File: "p.yaml", Line: 3, Column: 5}, Kind: policy.UnknownKey, Found: "polcy\x1b", Hint: "did you mean policy?"},
		{At: policy.Position{File: "p.yaml", Line: 4, Column: 1}, Kind: policy.Missing, Want: "host"},
	}
	faultText := "p.yaml:3:5: unknown key polcy\\x1b\n  hint: did you mean policy?\np.yaml:4:1: missing, want host\n"
	tests := []struct {
		name string
		err  error
		code int
		text string
	}{
		{"nothing", nil, 0, ""},
		{"status of the command", Status(42), 42, ""},
		{"killed by a signal", fmt.Errorf("end: %w", Status(fault.Signal+9)), 137, ""},
		{"said already", quiet{fault.Host}, 3, ""},
		{"plain", errors.New("a\nb"), 1, "creel: a\\nb\n"},
		{"zero code", &fault.Error{Op: "do it"}, 1, "creel: do it\n"},
		{"usage", fault.UsageError("read x", "bad", "try y"), 2, "creel: read x: bad\nhint: try y\n"},
		{"host", fmt.Errorf("run: %w", fault.HostError("start", "no", "creel doctor")), 3, "creel: run: start: no\nhint: creel doctor\n"},
		{"internal", &fault.Error{Op: "relay", Code: fault.Internal}, 125, "creel: relay\n"},
		{"unsupported", errors.ErrUnsupported, 3, "creel: unsupported operation\n"},
		{"interrupted", context.Canceled, 130, "creel: context canceled\n"},
		{"faults", faults, 2, faultText + "creel: read policy: 2 faults\n"},
		{"wrapped faults", fmt.Errorf("start: %w", faults), 2, faultText + "creel: start: 2 faults\n"},
		{"faults with hints", fault.Wrap(faults, "reload", fault.Usage, "creel policy check p.yaml"), 2,
			faultText + "creel: reload: 2 faults\nhint: creel policy check p.yaml\n"},
		{"refused reload", api.NewFaultyPolicy("nothing was changed", []api.Fault{{File: "p", Line: 1, Column: 2, Message: "m", Hint: "h"}}, "next"), 2,
			"p:1:2: m\n  hint: h\ncreel: load policy: 1 fault, nothing was changed\nhint: next\n"},
	}
	for _, tt := range tests {
		if got := ExitCode(tt.err); got != tt.code {
			t.Errorf("%s: status %d, want %d", tt.name, got, tt.code)
		}
		var b bytes.Buffer
		if tt.err != nil {
			report(&b, tt.err)
		}
		if b.String() != tt.text {
			t.Errorf("%s: %q, want %q", tt.name, b.String(), tt.text)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"run", "reload", "posture", "policy", "version"}
	for word, want := range map[string]string{
		"rnu": "run", "rum": "run", "polcy": "policy", "postrue": "posture", "ver": "version", "relaod": "reload",
		"": "", "zzz": "", "x": "", "completely-else": "",
	} {
		if got, ok := nearest(word, known); got != want || ok != (want != "") {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"a/b.yaml": "a/b.yaml", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'"} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
