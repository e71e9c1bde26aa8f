package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/kernel"
)

// TestDoctorParentProxy: what runs would go through is told without credentials,
// and one that cannot be read stops them.
func TestDoctorParentProxy(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for value, want := range map[string]struct {
		code int
		text string
	}{
		"":                              {0, ""},
		"http://u:s3cret@p.test:3128":   {0, "ok  parent proxy    http://p.test:3128 with credentials (all ports but 80) from HTTPS_PROXY"},
		"gopher://u:s3cret@p.test:3128": {fault.Host, "FAIL  parent proxy    in HTTPS_PROXY: want http://"},
	} {
		var out bytes.Buffer
		env := func(k string) (string, bool) {
			if k != "HTTPS_PROXY" {
				return "", false
			}
			return value, true
		}
		err := runDoctor(t.Context(), func(context.Context, kernel.Paths) []kernel.Feature { return nil }, false, IO{Out: &out, Getenv: env})
		if ExitCode(err) != want.code || !strings.Contains(out.String(), want.text) || strings.Contains(out.String(), "s3cret") {
			t.Errorf("%q: %v\n%s", value, err, out.String())
		}
		if value == "" && strings.Contains(out.String(), "proxy") {
			t.Errorf("a row for no proxy:\n%s", out.String())
		}
	}
}

func TestDoctor(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	good := kernel.Feature{Name: "one", Outcome: kernel.Yes, Required: true, Detail: "fine"}
	missing := kernel.Feature{Name: "two", Outcome: kernel.No, Required: true, Detail: "off", Fix: "sysctl -w two=1"}
	weak := kernel.Feature{Name: "three", Outcome: kernel.No, Fix: "do it"}
	unknown := kernel.Feature{Name: "four", Required: true, Detail: "hidden"}
	tests := []struct {
		name  string
		found []kernel.Feature
		code  int
		want  []string
	}{
		{"sound", []kernel.Feature{good}, 0, []string{"ok  one", "creel run can work here"}},
		{"warning", []kernel.Feature{good, weak}, 0, []string{"warn  three", "fix: do it"}},
		{"cannot tell", []kernel.Feature{unknown}, 0, []string{"?   four", "hidden"}},
		{"missing", []kernel.Feature{good, missing}, fault.Host, []string{"FAIL  two", "fix: sysctl -w two=1", "1 required feature missing"}},
	}
	for _, tt := range tests {
		probe := func(context.Context, kernel.Paths) []kernel.Feature { return tt.found }
		var out bytes.Buffer
		err := runDoctor(t.Context(), probe, false, IO{Out: &out})
		if ExitCode(err) != tt.code {
			t.Errorf("%s: status %d, want %d", tt.name, ExitCode(err), tt.code)
		}
		for _, want := range tt.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", tt.name, want, out.String())
			}
		}
		out.Reset()
		err = runDoctor(t.Context(), probe, true, IO{Out: &out})
		if ExitCode(err) != tt.code || strings.Contains(out.String(), `"ok": true`) != (tt.code == 0) {
			t.Errorf("%s: as JSON: %v\n%s", tt.name, err, out.String())
		}
	}
}
