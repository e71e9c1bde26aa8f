package supervisor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/sandbox"
)

// TestSecretHints: what cannot be read is said once, with what to type.
func TestSecretHints(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	s := &supervisor{o: Options{Secrets: []string{"X=env:GH_TOKEN@api.test"}, Getenv: none}}
	_, err := s.prepare(t.Context())
	wantFault(t, err, "read --secret X: env:GH_TOKEN: the variable is not set", "export GH_TOKEN=…")

	r := &route{flags: Options{Getenv: none}}
	doc := &policy.Document{Inference: &policy.Inference{Backend: "https://models.test", Key: "env:OPENAI_API_KEY"}}
	_, err = r.build(doc)
	wantFault(t, err, "read inference key: env:OPENAI_API_KEY: the variable is not set", "export OPENAI_API_KEY=…", "without a key: docs/agents.md")

	denied := &fs.PathError{Op: "open", Path: "/k", Err: fs.ErrPermission}
	if got := secretHints(denied, nil); !slices.Equal(got, []string{"chmod u+r /k"}) {
		t.Errorf("hints %q", got)
	}
}

// wantFault checks the text of an error, and that the hints are among its own.
func wantFault(t *testing.T, err error, text string, hints ...string) {
	t.Helper()
	var told *fault.Error
	if !errors.As(err, &told) || told.Error() != text {
		t.Errorf("got %v, want %q", err, text)
		return
	}
	for _, h := range hints {
		if !slices.Contains(told.Hints, h) {
			t.Errorf("hints %q, want %q", strings.Join(told.Hints, "\n"), h)
		}
	}
}

func TestNoExecHints(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"plain.sh": 0o644, "fit.sh": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ command, want string }{
		{"./plain.sh", "chmod +x ./plain.sh"}, {filepath.Join(dir, "plain.sh"), "chmod +x " + filepath.Join(dir, "plain.sh")},
		{"/etc/passwd", "name a program, or the one that reads it: creel run -- sh /etc/passwd"},
		{"./fit.sh", ""}, {"./absent.sh", ""}, {"plain.sh", ""}, {dir, ""},
	} {
		_, err := commandError(&sandbox.CommandError{Step: "exec", Errno: int(syscall.EACCES), Text: "x"}, tt.command, dir)
		var told *fault.Error
		if !errors.As(err, &told) || strings.Join(told.Hints, "") != tt.want {
			t.Errorf("%s: %v, want %q", tt.command, err, tt.want)
		}
	}
}
