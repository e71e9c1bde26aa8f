package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/policy"
)

// TestWorkspaceNamedReadOnly: a policy that lists the workspace as read-only and has
// it written is refused, by whatever path it names it; in version 1 it is told.
func TestWorkspaceNamedReadOnly(t *testing.T) {
	dir := t.TempDir()
	ws, link := filepath.Join(dir, "ws"), filepath.Join(dir, "link")
	if err := os.Mkdir(ws, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(ws, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		o          Options
		err, told  string
	}{
		{"version 2", "version: 2\nfilesystem_policy: {include_workdir: true, read_only: [" + ws + "]}\n", Options{}, "p:2:56: filesystem_policy.read_only: ", ""},
		{"by a link", "version: 2\nfilesystem_policy: {include_workdir: true, read_only: [" + link + "]}\n", Options{}, "is the workspace", ""},
		{"copy on write", "version: 2\nfilesystem_policy: {include_workdir: true, read_only: [" + ws + "]}\n", Options{CopyOnWrite: true}, "is the workspace", ""},
		{"version 1", "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [" + ws + "]}\n", Options{}, "", "p:2:56: filesystem_policy.read_only: "},
		{"read-only by the flag", "version: 2\nfilesystem_policy: {include_workdir: true, read_only: [" + ws + "]}\n", Options{ReadOnly: true}, "", ""},
		{"not writable", "version: 2\nfilesystem_policy: {include_workdir: false, read_only: [" + ws + "]}\n", Options{}, "", ""},
		{"above and below", "version: 2\nfilesystem_policy: {include_workdir: true, read_only: [" + dir + ", " + ws + "/sub]}\n", Options{}, "", ""},
	} {
		doc, _, err := policy.Parse("p", []byte(tt.text))
		if err != nil {
			t.Fatal(err)
		}
		told := ""
		tt.o.Workspace, tt.o.Notice = ws, func(text string) { told += text }
		s := &supervisor{o: tt.o, mode: workspaceMode(tt.o, doc)}
		err = s.contradiction(doc)
		if got := errText(err); tt.err == "" && got != "" || !strings.Contains(got, tt.err) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.err)
		}
		if tt.told == "" && told != "" || !strings.Contains(told, tt.told) {
			t.Errorf("%s: told %q, want %q", tt.name, told, tt.told)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
