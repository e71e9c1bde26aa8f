package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// selfTested is what `creel selftest --json` prints.
type selfTested struct {
	OK     bool
	Millis int64 `json:"ms"`
	Layers []struct {
		Layer, State string
		Attempts     int
		Evidence     []string
	}
}

func selftest(t *testing.T, dir string, env []string, args ...string) (result, selfTested) {
	t.Helper()
	cmd := exec.Command(creel, append([]string{"selftest", "--json"}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	r := finish(t, cmd)
	return r, decode[selfTested](t, r.stdout)
}

// TestSelftest: under the built-in policy and under one of the user's, everything
// that is built holds; a policy that shows what it should not is found out.
func TestSelftest(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		own := filepath.Join(dir, "own.yaml")
		write(t, own, twoHosts(restFull, "ok.test"))
		beside := t.TempDir() // where a policy is found by itself
		write(t, filepath.Join(beside, "creel.yaml"), creelCmd(t, "policy", "default").want(t, 0).stdout)
		for _, args := range [][]string{nil, {"--policy", own}, {beside}} {
			at := dir
			if len(args) == 1 {
				at, args = beside, nil
			}
			r, got := selftest(t, at, nil, args...)
			attempts, weak := 0, false
			for _, l := range got.Layers {
				attempts += l.Attempts
				weak = weak || l.State != "enforced"
				if l.State != "enforced" && (l.Layer != "resources" || os.Geteuid() == 0) { // an ordinary user has no control groups here
					t.Errorf("%v: %s is %s: %v", args, l.Layer, l.State, l.Evidence)
				}
				if len(l.Evidence) == 0 {
					t.Errorf("%v: no evidence for %s", args, l.Layer)
				}
			}
			if attempts < 100 || len(got.Layers) < 14 {
				t.Errorf("%v: %d attempts on %d layers", args, attempts, len(got.Layers))
			}
			if got.OK == weak || (r.code == 0) != got.OK {
				t.Errorf("%v: ok %v, status %d, weak %v", args, got.OK, r.code, weak)
			}
			if got.Millis > 10_000 {
				t.Errorf("%v: it took %d ms", args, got.Millis)
			}
		}
		// The place for temporary files is declared: what lies there is no secret any more.
		open := filepath.Join(dir, "open")
		if err := os.Mkdir(open, 0o755); err != nil {
			t.Fatal(err)
		}
		wide := filepath.Join(dir, "wide.yaml")
		write(t, wide, strings.Replace(policyHead(), "    - /usr\n", "    - /usr\n    - "+open+"\n", 1)+"network_policies: {}\n")
		r, got := selftest(t, dir, []string{"TMPDIR=" + open}, "--policy", wide)
		broken := ""
		for _, l := range got.Layers {
			if l.State == "broken" {
				broken += l.Layer + ": " + strings.Join(l.Evidence, ", ")
			}
		}
		if r.code != 1 || got.OK || !strings.HasPrefix(broken, "mounts: open ") || !strings.Contains(broken, "undeclared: opened") {
			t.Errorf("status %d, broken: %s", r.code, broken)
		}
		if left, _ := os.ReadDir(open); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if all := creelCmd(t, "ls", "--all").want(t, 0); strings.Contains(all.stdout, "selftest") {
			t.Errorf("left behind: %s", all.stdout)
		}
		text := finish(t, exec.Command(creel, "selftest"))
		text.out(t, "LAYER", "VERDICT", "EVIDENCE", "death", "attempts from inside were refused")
	})
}
