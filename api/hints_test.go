package api

import (
	"os"
	"testing"
)

// TestMoveHints: root's folders have fixed places, so no variable moves them.
func TestMoveHints(t *testing.T) {
	if got, root := MoveHints("export XDG_STATE_HOME=DIR"), os.Geteuid() == 0; (len(got) == 0) != root {
		t.Errorf("root %v: %q", root, got)
	}
}
