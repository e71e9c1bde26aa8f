package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStoppedSupervisor: one that was stopped by a signal answers nothing; who
// asks is told so at once, and can end it all the same.
func TestStoppedSupervisor(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("e2e-still-%d", os.Getpid())
		l := box{policy: policyHead() + "network_policies: {}\n", name: name}.start(t)
		known := descendants(l.cmd.Process.Pid)
		if err := l.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for _, args := range [][]string{{"ls"}, {"stop", name}} {
			r := creelCmd(t, args...)
			r.err(t, fmt.Sprintf("(process %d) was stopped", l.cmd.Process.Pid), fmt.Sprintf("kill -CONT %d", l.cmd.Process.Pid), "creel stop --force "+name)
			if args[0] == "stop" {
				r.want(t, 1)
			}
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("that took %s", took)
		}
		creelCmd(t, "stop", "--force", name).want(t, 0).out(t, name+": stopped")
		if !eventually(func() bool {
			for _, p := range known {
				if p.lives() {
					return false
				}
			}
			return true
		}) {
			t.Error("processes of the sandbox live on")
		}
		creelCmd(t, "stop", "--force", name).want(t, 2).err(t, "no sandbox "+name+" is running")
	})
}

// TestKept: what ended sandboxes left is listed, with what to type.
func TestKept(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		type list struct {
			Running []struct{ Name string }
			Kept    []struct {
				Kind, Name, State, Path, Next string
				Bytes                         int64
			}
		}
		state := t.TempDir()
		env := "XDG_STATE_HOME=" + state // root has its own place: names tell them apart
		// Each start collects what was left before: the one to be killed comes last.
		states := []string{"ended 3", "ended 137", "running", "killed"}
		scripts := []string{"exit 3", "kill -9 $$", "sleep 1000", "sleep 1000"}
		name := func(state string) string {
			return fmt.Sprintf("e2e-kept-%d-%s", os.Getpid(), strings.ReplaceAll(state, " ", "-"))
		}
		for i, state := range states {
			script := scripts[i]
			b := box{name: name(state), env: []string{env}}
			cmd, _, _ := b.setup(t, "sh", "-c", script)
			for i, a := range cmd.Args { // the log goes where it goes by itself
				if a == "--audit" {
					cmd.Args = append(cmd.Args[:i:i], cmd.Args[i+2:]...)
					break
				}
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			switch state {
			case "killed", "running":
				if !eventually(func() bool { return len(descendants(cmd.Process.Pid)) > 1 && creelCmd(t, "posture", b.name).code == 0 }) {
					t.Fatal("it does not start")
				}
			}
			if state == "running" {
				t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
				continue
			}
			if state == "killed" {
				_ = cmd.Process.Kill()
			}
			_ = cmd.Wait()
		}
		t.Setenv("XDG_STATE_HOME", state)
		got := decode[list](t, creelCmd(t, "ls", "--all", "--json").want(t, 0).stdout)
		for _, state := range states {
			found := 0
			for _, k := range got.Kept {
				if k.Kind == "audit" && k.Name == name(state) {
					found++
					if k.State != state || k.Bytes == 0 || k.Next != "creel audit show "+k.Path {
						t.Errorf("%s: %+v", state, k)
					}
				}
			}
			if found != 1 {
				t.Errorf("%s is listed %d times", state, found)
			}
		}
		text := creelCmd(t, "ls", "--all").want(t, 0)
		text.out(t, name("running"), name("killed"), "ended 3", "creel audit show ")
		if strings.Contains(creelCmd(t, "ls").want(t, 0).stdout, name("killed")) {
			t.Error("without --all what ended is not listed")
		}
		if os.Geteuid() == 0 { // there were control groups
			left := false
			for _, k := range got.Kept {
				left = left || k.Kind == "leftover" && k.Name == name("killed")
			}
			if !left {
				t.Errorf("what the next start collects is not listed: %+v", got.Kept)
			}
			box{flags: []string{"--quiet"}}.run(t, "true").want(t, 0)
			if r := creelCmd(t, "ls", "--all"); strings.Contains(r.stdout, "leftover") {
				t.Errorf("the next start did not collect:\n%s", r.stdout)
			}
		}
	})
}
