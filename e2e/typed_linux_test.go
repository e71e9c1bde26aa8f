package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadmeStart types what the README prints under "Start", in one folder, with
// true in place of a shell that would wait.
func TestReadmeStart(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(readme), "\n## Start\n")
	_, part, _ = strings.Cut(part, "```\n")
	part, _, _ = strings.Cut(part, "```")
	dir, home, typed := t.TempDir(), t.TempDir(), 0
	for line := range strings.Lines(part) {
		line, _, _ = strings.Cut(line, "#")
		if !strings.HasPrefix(line, "creel run") && !strings.HasPrefix(line, "creel policy") {
			continue
		}
		typed++
		cmd := exec.Command("sh", "-ec", strings.Replace(line, "-- bash", "-- true", 1))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+home, "PATH="+filepath.Dir(creel)+":"+os.Getenv("PATH"))
		finish(t, cmd).want(t, 0)
	}
	if typed < 3 {
		t.Errorf("%d commands were found under Start", typed)
	}
}

// TestHomeAsWorkspace: an ordinary user is told what would be shown, and not where
// creel keeps its state.
func TestHomeAsWorkspace(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		if os.Geteuid() == 0 {
			return // its state lies elsewhere; keys in its home are refused as everybody's
		}
		home := t.TempDir()
		cmd := exec.Command(creel, "run", "--", "true")
		cmd.Dir, cmd.Env = home, append(os.Environ(), "HOME="+home, "XDG_STATE_HOME=")
		finish(t, cmd).want(t, 2).err(t, "your home folder as workspace would show the agent your keys", "hint: cd to the project's folder")
	})
}
