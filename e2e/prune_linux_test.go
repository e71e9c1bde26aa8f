package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestAuditPrune: however old the log of a sandbox that runs looks, it stays; when the
// sandbox has ended it goes. Logs of other sandboxes are not looked at.
func TestAuditPrune(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("e2e-prune-%d", os.Getpid())
		cmd := exec.Command(creel, "run", "--name", name, "--workspace", t.TempDir(), "--", "sleep", "300")
		ended := make(chan result, 1)
		go func() { ended <- finish(t, cmd) }()
		log := ""
		poll(t, "the sandbox", func() bool {
			for _, b := range decode[[]struct{ Name, Audit string }](t, creelCmd(t, "ls", "--json").want(t, 0).stdout) {
				if b.Name == name {
					log = b.Audit
				}
			}
			return log != ""
		})
		defer os.Remove(log)
		age := func() {
			t.Helper()
			old := time.Now().Add(-48 * time.Hour)
			if err := os.Chtimes(log, old, old); err != nil {
				t.Fatal(err)
			}
		}
		prune := func(removed, inUse int, flags ...string) {
			t.Helper()
			got := decode[struct {
				Removed []struct{ Path string }
				Used    []struct{ Path string } `json:"in_use"`
			}](t, creelCmd(t, append([]string{"audit", "prune", name, "--older-than", "1d", "--json"}, flags...)...).want(t, 0).stdout)
			if len(got.Removed) != removed || len(got.Used) != inUse || removed == 1 && got.Removed[0].Path != log {
				t.Errorf("%+v, want %d removed, %d in use", got, removed, inUse)
			}
		}
		age()
		prune(0, 1)
		creelCmd(t, "audit", "verify", log).want(t, 0)
		creelCmd(t, "stop", name).want(t, 0)
		<-ended
		prune(0, 0) // its end was written just now
		age()
		prune(1, 0, "--dry-run")
		creelCmd(t, "audit", "verify", log).want(t, 0).out(t, "ok: ")
		prune(1, 0)
		if _, err := os.Lstat(log); err == nil {
			t.Error("the log is still there")
		}
		creelCmd(t, "audit", "prune", name, "--older-than", "1d").want(t, 2).err(t, name)
	})
}
