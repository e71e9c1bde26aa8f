package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creel-run/creel/audit"
)

func cowPolicy() string { return policyHead() + "network_policies: {}\n" }

// cowBox is a box whose workspace is copy-on-write, with a name of its own.
func cowBox(t *testing.T, ws, name string) box {
	return box{policy: cowPolicy(), workspace: ws, name: fmt.Sprintf("%s-%d", name, os.Getpid()), flags: []string{"--workspace", ws + ":cow"}}
}

// TestCopyOnWrite is the whole way: run, look, apply a part, go on, discard.
func TestCopyOnWrite(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		ws := files(t, filepath.Join(t.TempDir(), "ws"), map[string]string{"keep": "keep\n", "change": "one\ntwo\n", "gone": "x\n", "dir/in": "x\n", ".git/config": "[core]\n", ".git/HEAD": "ref\n"})
		before := snapshot(t, ws)
		b := cowBox(t, ws, "e2e-cow")
		r := b.run(t, "sh", "-c", "echo three >> change; rm gone; rm -r dir; mkdir dir; echo y > dir/out; echo new > made; echo evil > .git/config; ln -s /etc/passwd link; cat made").want(t, 0)
		r.out(t, "new")
		r.err(t, "files changed (2 protected): creel diff "+b.name)
		if after := snapshot(t, ws); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("the workspace was changed: %v", after)
		}
		d := creelCmd(t, "diff", b.name).want(t, 0)
		d.out(t, "M  change", "D  gone", "D  dir/in", "A  dir/out", "A  made", "M  .git/config  [protected:", "A  link -> /etc/passwd  [protected:")
		creelCmd(t, "diff", b.name, "change").want(t, 0).out(t, "+three", "workspace/change")
		creelCmd(t, "diff", b.name, filepath.Join(ws, "change")).want(t, 0).out(t, "+three")
		creelCmd(t, "ls", "--all").want(t, 0).out(t, b.name, "undecided", "creel diff "+b.name)
		creelCmd(t, "diff", "--json", b.name).want(t, 0).out(t, `"path": "change"`, `"kind": "modified"`)
		creelCmd(t, "diff", b.name, "keep").want(t, 1)
		creelCmd(t, "diff", b.name, "../x").want(t, 2)
		creelCmd(t, "diff", b.name+"x").want(t, 2).err(t, "did you mean: "+b.name)
		creelCmd(t, "__complete", "apply", "").want(t, 0).out(t, b.name)
		creelCmd(t, "__complete", "apply", b.name, "").want(t, 0).out(t, "change", "dir/out")
		// A part of it.
		creelCmd(t, "apply", b.name, "change", "dir").want(t, 0).out(t, "applied")
		if got := readFile(t, filepath.Join(ws, "change")); got != "one\ntwo\nthree\n" {
			t.Errorf("applied: %q", got)
		}
		creelCmd(t, "diff", b.name).want(t, 0)
		// The next run goes on.
		r = b.run(t, "sh", "-c", "cat made change dir/out; ls; test -e gone && echo THERE; true").want(t, 0)
		r.out(t, "new", "three", "y").err(t, "goes on with")
		if strings.Contains(r.stdout, "THERE") {
			t.Error("a deleted file came back")
		}
		// What the operator changed meanwhile is not overwritten.
		write(t, filepath.Join(ws, "gone"), "mine\n")
		a := creelCmd(t, "apply", b.name).want(t, 1)
		a.out(t, "left out: gone", "left out: .git/config", "left out: link").err(t, "creel apply "+b.name)
		after := snapshot(t, ws)
		if after["made"] != "new\n" || after["gone"] != "mine\n" || after[".git/config"] != "[core]\n" || after["link"] != "" {
			t.Errorf("%v", after)
		}
		creelCmd(t, "apply", b.name, "--force", "gone").want(t, 0)
		creelCmd(t, "apply", b.name, ".git/config").want(t, 0)
		after = snapshot(t, ws)
		if _, there := after["gone"]; there || after[".git/config"] != "evil\n" {
			t.Errorf("%v", after)
		}
		for name := range after {
			info, err := os.Lstat(filepath.Join(ws, name))
			if err != nil {
				t.Fatal(err)
			}
			if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
				t.Errorf("%s belongs to %d", name, uid)
			}
		}
		creelCmd(t, "discard", b.name).want(t, 0)
		creelCmd(t, "diff", b.name).want(t, 2).err(t, "no undecided changes")
	})
}

// TestCopyOnWriteLive: a running sandbox; a killed creel; another workspace; no change.
func TestCopyOnWriteLive(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		ws := files(t, filepath.Join(t.TempDir(), "ws"), map[string]string{"f": "old\n", "g": "old\n"})
		b := cowBox(t, ws, "e2e-live")
		l := b.start(t)
		l.sh("echo new > f; echo new > g; echo n > h")
		creelCmd(t, "diff", b.name).want(t, 0).out(t, "M  f", "M  g", "A  h")
		creelCmd(t, "apply", b.name, "f").want(t, 0)
		if got := readFile(t, filepath.Join(ws, "f")); got != "new\n" {
			t.Errorf("%q", got)
		}
		l.event(0, "the operator's apply", func(e audit.Event) bool { return e.Reason == "apply" && e.Detail["paths"] == "f" })
		creelCmd(t, "discard", b.name).want(t, 2).err(t, "creel stop "+b.name)
		if got := l.sh("cat f; echo newer > f; cat f"); got != "new\nnewer" {
			t.Errorf("the agent's view: %q", got)
		}
		// Its own earlier version was applied: this is no conflict.
		creelCmd(t, "apply", b.name, "f").want(t, 0)
		for _, row := range posture(t, b.name) {
			if row.Name == "mounts" && row.State != "enforced" {
				t.Error(row)
			}
		}
		cowBox(t, ws, "e2e-live").run(t, "true").want(t, 2) // the name is taken
		_ = l.cmd.Process.Kill()
		<-l.done
		creelCmd(t, "diff", b.name).want(t, 0).out(t, "M  g", "A  h")
		other := cowBox(t, t.TempDir(), "e2e-live")
		other.run(t, "true").want(t, 2).err(t, "another workspace", "creel discard "+b.name)
		b.run(t, "cat", "g", "h").want(t, 0).out(t, "new", "n")
		creelCmd(t, "discard", b.name, "g").want(t, 0)
		b.run(t, "cat", "g", "h").want(t, 0).out(t, "old", "n")
		creelCmd(t, "discard", b.name).want(t, 0)
		// Without a change nothing is kept.
		r := b.run(t, "sh", "-c", "cat f; m=$(stat -c %a f); touch f; chmod 700 f; chmod $m f").want(t, 0)
		if strings.Contains(r.stderr, "changed") {
			t.Error(r.stderr)
		}
		creelCmd(t, "diff", b.name).want(t, 2)
		// By the policy, and the stricter counts.
		policy := strings.Replace(cowPolicy(), "  include_workdir: true\n", "  include_workdir: true\n  workspace: copy-on-write\n", 1)
		box{policy: policy, workspace: ws, name: b.name}.run(t, "sh", "-c", "echo x > f").want(t, 0).err(t, "1 file changed: creel diff "+b.name)
		creelCmd(t, "discard", b.name).want(t, 0)
		box{policy: policy, workspace: ws, name: b.name, flags: []string{"--workspace", ws + ":ro"}}.run(t, "sh", "-c", "echo x > f || echo refused").want(t, 0).out(t, "refused")
	})
}

// TestEscapeLayer: what a hostile agent leaves in a layer does nothing outside of
// the workspace, and nothing on a terminal.
func TestEscapeLayer(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		base := t.TempDir()
		ws := files(t, filepath.Join(base, "ws"), map[string]string{"dir/f": "f", "a": "a"})
		files(t, base, map[string]string{"outside": "host-secret", "victim/f": "f"})
		b := cowBox(t, ws, "e2e-layer")
		l := b.start(t)
		l.escape(t, nil, "FS-02", fine, func(x *line) {
			x.tries("host-secret", "printf 'text\\033[2J\\342\\200\\256\\n' > \"$(printf 'n\\033]0;x\\007\\nforged')\"", "rm -r dir; ln -s "+base+"/victim dir", "mkfifo pipe", "ln -s / root", "mkdir -p deep; cd deep; for i in $(seq 250); do mkdir d && cd d; done",
				"for i in $(seq 2000); do echo $i > many$i; done", "python3 -c 'import os; os.setxattr(\"a\", \"user.overlay.redirect\", b\"/etc\")'", "mknod dev c 1 3", "mknod wh c 0 0", "chmod 4755 a; chmod 000 a", "mkdir shut; touch shut/x; chmod 000 shut", "echo x > 'a b'; echo x > -rf",
				"python3 -c 'open(bytes([0x66,0xff,0xfe]), \"w\").write(\"x\")'", "cat root"+base+"/outside dir/../outside")
			// While it changes under creel's hands.
			x.sh("(for i in $(seq 100); do rm -rf swap; mkdir swap; echo x > swap/f; rm -rf swap; ln -s " + base + "/victim swap; done) >/dev/null 2>&1 &")
			for range 5 {
				r := creelCmd(x.T, "apply", b.name, "--force", "swap")
				if r.code > 2 {
					x.Errorf("status %d: %s%s", r.code, r.stdout, r.stderr)
				}
			}
			for _, args := range [][]string{{"diff", b.name}, {"diff", "--patch", b.name}, {"diff", "--json", b.name}, {"apply", b.name}, {"apply", "--force", b.name}} {
				r := creelCmd(x.T, args...)
				if i := strings.IndexFunc(r.stdout+r.stderr, isRaw); i >= 0 {
					x.Errorf("%v prints raw control bytes: %q", args, (r.stdout + r.stderr)[max(0, i-40):min(len(r.stdout+r.stderr), i+40)])
				}
				for _, text := range strings.Split(r.stdout, "\n") {
					if strings.HasPrefix(text, "forged") {
						x.Errorf("%v: a forged line: %q", args, text)
					}
				}
			}
		})
		l.end()
		creelCmd(t, "apply", b.name, "--force", "--protected")
		if got := snapshot(t, filepath.Join(base, "victim")); len(got) != 2 || got["f"] != "f" {
			t.Errorf("something was written outside: %v", got)
		}
		if names, _ := os.ReadDir(base); len(names) != 3 {
			t.Errorf("%v", names)
		}
		err := filepath.Walk(ws, func(p string, info os.FileInfo, err error) error {
			if err != nil {
				return nil
			}
			if info.Mode()&(os.ModeSetuid|os.ModeSetgid|os.ModeNamedPipe|os.ModeDevice|os.ModeSocket) != 0 {
				t.Errorf("%q is %v", p, info.Mode())
			}
			if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
				t.Errorf("%q belongs to %d", p, uid)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		creelCmd(t, "discard", b.name).want(t, 0)
		_ = os.Chmod(filepath.Join(ws, "shut"), 0o700)
	})
}
