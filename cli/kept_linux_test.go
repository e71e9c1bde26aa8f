package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/api"
)

// TestKeptHomes: what an agent left in its home is not forgotten about.
func TestKeptHomes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Setenv("XDG_STATE_HOME", t.TempDir())
	}
	state, err := api.StateDir()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("clitest-home-%d", os.Getpid())
	dir := filepath.Join(state, "homes", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	code, out, errs := command(t, "ls", "--all")
	if code != 0 || !strings.Contains(out, "rm -rf "+dir) || !strings.Contains(out, "home") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}
