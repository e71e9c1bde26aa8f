package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// snapshot is every name below a folder with its type and content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(path)
			all[rel] = string(b)
			return err
		case d.Type()&os.ModeSymlink != 0:
			all[rel], err = os.Readlink(path)
			return err
		}
		all[rel] = d.Type().String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// files writes a tree; a name that ends in / is a folder.
func files(t *testing.T, dir string, all map[string]string) string {
	t.Helper()
	for name, text := range all {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(p, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, p, text)
	}
	return dir
}

// tries runs commands inside; none may print the text.
func (x *line) tries(never string, commands ...string) {
	x.Helper()
	x.way(inside)
	for _, c := range commands {
		if got := x.sh(c); never != "" && strings.Contains(got, never) {
			x.Errorf("%s: %s", c, got)
		}
	}
}

func fine(*line) string { return "" }

// TestEscapeProtected: FS, for a workspace that has everything.
func TestEscapeProtected(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		base := t.TempDir()
		ws := files(t, filepath.Join(base, "ws"), map[string]string{
			".git/HEAD": "ref: refs/heads/main\n", ".git/config": "[core]\n", ".git/hooks/pre-commit": "hook", ".git/objects/": "", ".vscode/tasks.json": "{}",
			".mcp.json": "{}", ".envrc": "x", "creel.yaml": "version: 2\n", "private/key": "host-secret", ".env": "host-secret", "src/a": "a", "tool": "x",
		})
		files(t, base, map[string]string{"outside": "host-secret"})
		before := snapshot(t, ws)
		policy := strings.Replace(policyHead(), "  include_workdir: true\n", "  include_workdir: true\n  hidden: [private, .env, "+ws+"/.mcp.json]\n  noexec: [src]\n", 1) + "network_policies: {}\n"
		name := fmt.Sprintf("e2e-protected-%d", os.Getpid())
		l := box{policy: policy, workspace: ws, name: name}.start(t)
		unchanged := func(x *line) string {
			after := snapshot(x.T, ws)
			for name, text := range before {
				if after[name] != text {
					return fmt.Sprintf("%s was %q and is %q", name, text, after[name])
				}
			}
			return ""
		}
		works := func(x *line) string {
			if got := x.sh("echo mine > src/new && cat src/new && rm src/new && echo y > .git/index.lock && mv .git/index.lock .git/index && cat .git/index && rm .git/index"); got != "mine\ny" {
				return got
			}
			return unchanged(x)
		}
		l.escape(t, nil, "FS-01", works, func(x *line) {
			x.tries("host-secret", "cat ../outside", "ln -s ../outside k; cat k", "ln -s "+base+" r; cat r/outside; ls r/", "ln -s /proc/1/root q; cat q"+base+"/outside", "ln ../outside h; cat h",
				"cat /proc/self/cwd/../outside", "mkdir d; mount --bind / d; ls d", "python3 -c 'import os; d=os.open(\".\", os.O_RDONLY); print(os.open(\"../outside\", os.O_RDONLY, dir_fd=d))'; cat ../outside")
		})
		l.escape(t, nil, "FS-05", works, func(x *line) {
			x.tries("WORKED", "echo x > .git/hooks/pre-commit && echo WORKED", "echo x > .git/hooks/post-checkout && echo WORKED", "rm -f .git/hooks/pre-commit && echo WORKED", "mv .git/hooks .git/h2 && echo WORKED",
				"mv .git .g && echo WORKED", "rm -rf .git/hooks; test -e .git/hooks/pre-commit || echo WORKED", "git config core.fsmonitor ./x && echo WORKED", "echo '[core] fsmonitor=x' >> .git/config && echo WORKED",
				"echo x > c && mv -f c .git/config && echo WORKED", "ln .git/config c && echo x > c && echo WORKED", "ln -sf /tmp/x .git/config && echo WORKED", "chmod 777 .git/hooks/pre-commit && echo WORKED",
				"python3 -c 'import os; os.renames(\".git\", \"x/.git\")' && echo WORKED", "python3 -c '\nimport ctypes\nl=ctypes.CDLL(None)\nopen(\"w\",\"w\").close()\nprint(\"WORKED\" if l.renameat2(-100,b\"w\",-100,b\".git/config\",2)==0 else \"refused\")'",
				"echo x > .envrc && echo WORKED", "rm .envrc && echo WORKED", "rm -rf .vscode && echo WORKED", "mv .vscode v && echo WORKED", "echo '{}' > .vscode/settings.json && echo WORKED", "echo 'version: 1' > creel.yaml && echo WORKED")
			x.sh("rm -f c w v")
		})
		l.escape(t, nil, "FS-07", works, func(x *line) {
			// On this file system other spellings are other files; what is made under them is looked for at the end.
			x.tries("WORKED", "echo x > ./.git//hooks/../hooks/pre-commit && echo WORKED", "cd .git/objects && echo x > ../config && echo WORKED", "cd .git && mv hooks HOOKS && echo WORKED", "exec 3<.git/hooks && echo x > /proc/self/fd/3/pre-commit && echo WORKED",
				"echo x > /proc/self/cwd/.envrc && echo WORKED")
		})
		l.escape(t, nil, "FS-08", works, func(x *line) {
			x.tries("host-secret", "cat private/key .env", "ls -A private; cat private/*", "mv private p2; cat p2/key", "cat < .env", "ln .env e; cat e", "cp .env e; cat e", "tar c . 2>/dev/null | grep -a secret", "cat /proc/self/cwd/.env", "python3 -c 'print(open(\".env\").read())'",
				"dd if=.env", "umount private; umount -l private; cat private/key", "mount --bind . /tmp; cat /tmp/.env", "unshare -Urm cat private/key", "ls -la /proc/self/fd/", "grep -r host-secret . /proc/self/mountinfo")
			x.tries("WORKED", "echo x > .env && echo WORKED", "echo x > private/key && echo WORKED", "rm -f .env && echo WORKED", "rm -rf private && echo WORKED", "cat .mcp.json && echo WORKED")
		})
		l.escape(t, nil, "FS-10", works, func(x *line) {
			// The kernel resolves every name once: relative, by descriptor, by /proc, encoded as a URL.
			x.tries("host-secret", "cat "+ws+"/./private/../private/key", "cat file://"+ws+"/private/key", "curl -sS file://"+ws+"/private/key", "curl -sS file://localhost"+base+"/outside", "git -C "+base+" status; cat "+base+"/outside")
		})
		l.escape(t, nil, "FS-11", works, func(x *line) {
			x.tries("host-secret", "cd / && cat ."+base+"/outside", "cd "+base+" && ls; cat "+base+"/outside", "python3 -c 'import os; os.chroot(\"/\")'; chroot / cat "+base+"/outside", "cd /proc/self/root && cat ."+base+"/outside")
		})
		l.escape(t, nil, "FS-14", works, func(x *line) {
			x.tries("WORKED", "mount -o remount,rw "+ws+"/.git/config && echo WORKED", "mount -o remount,rw /usr && touch /usr/x && echo WORKED", "umount "+ws+"/.git/hooks && echo WORKED", "unshare -Urm mount -o remount,rw,bind "+ws+"/.git/hooks && echo WORKED",
				"mount --bind src .git/hooks && echo WORKED", "cp /bin/true src/t && src/t && echo WORKED", "mount -o remount,exec src && echo WORKED")
			x.sh("rm -f src/t")
		})
		p := creelCmd(t, "posture", name).want(t, 0)
		p.out(t, "protected paths read-only", "3 hidden")
		for _, row := range posture(t, name) {
			if (row.Name == "mounts" || row.Name == "protected") && row.State != "enforced" {
				t.Error(row)
			}
		}
		// Somebody on the host replaces a protected file: its mount goes, and the posture says so.
		if err := os.Rename(filepath.Join(ws, ".git/config"), filepath.Join(ws, ".git/c")); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(ws, ".git/new"), "[core]\n")
		if err := os.Rename(filepath.Join(ws, ".git/new"), filepath.Join(ws, ".git/config")); err != nil {
			t.Fatal(err)
		}
		creelCmd(t, "posture", name).want(t, 0).out(t, ".git/config has lost its read-only mount", "degraded")
		// So does that of a hidden one. Whoever runs the sandbox is told of both at once.
		seq := len(l.events())
		write(t, filepath.Join(ws, "new"), "host-secret\n")
		if err := os.Rename(filepath.Join(ws, "new"), filepath.Join(ws, ".env")); err != nil {
			t.Fatal(err)
		}
		for path, cover := range map[string]string{".git/config": "read-only", ".env": "hidden"} {
			l.event(0, path+" has lost its cover", func(e audit.Event) bool {
				return e.Kind == audit.Protected && e.Path == filepath.Join(ws, path) && e.Detail["cover"] == cover && (cover != "hidden" || e.Seq > uint64(seq))
			})
		}
		for _, want := range []string{".git/config is no longer protected", ".env is no longer hidden", "hint: creel stop " + name} {
			if !eventually(func() bool { return strings.Contains(l.stderr.String(), want) }) {
				t.Errorf("%q is not told: %s", want, l.stderr.String())
			}
		}
		l.end()
		if names, _ := os.ReadDir(base); len(names) != 2 {
			t.Errorf("files of ours are left in %s: %v", base, names)
		}
		for name := range snapshot(t, ws) {
			info, err := os.Lstat(filepath.Join(ws, name))
			if err != nil {
				t.Fatal(err)
			}
			if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
				t.Errorf("%s belongs to %d", name, uid)
			}
		}
	})
}

// TestEscapeAbsent: FS-04: protected paths that are not there.
func TestEscapeAbsent(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		ws := files(t, t.TempDir(), map[string]string{"src/a": "a", "sub/.git/config": "[core]\n\tfilemode = true\n", "sub/.git/HEAD": "x"})
		l := box{policy: policyHead() + "network_policies: {}\n", workspace: ws}.start(t)
		l.escape(t, nil, "FS-04", fine, func(x *line) {
			x.tries("", "echo x > .envrc", "mkdir -p .vscode && echo '{}' > .vscode/tasks.json", "ln -s src .claude", "echo '{}' > .mcp.json", "mkdir s && echo x > s/x && mv s .cursor", "mkdir .GIT && echo x > .GIT/config; mkdir .Idea", "echo 'version: 2' > creel.yaml",
				"git init -q . ; mkdir -p .git/hooks; printf '[core]\\n\\tfsmonitor = ./x\\n' > .git/config; echo x > .git/hooks/pre-commit", "printf '[filter \"x\"]\\nclean = ./x\\n' >> sub/.git/config",
				"mkdir bare; cd bare; mkdir objects refs; echo x > HEAD; printf '[core]\\n\\tfsmonitor = ./x\\n' > config", "mkdir -p .git/rebase-merge; echo 'exec sh' > .git/rebase-merge/git-rebase-todo",
				"mkdir -p sub/.vscode && echo x > \"sub/.vscode/$(printf 'a\\033[2J')\"", "mkdir -p 'n\n\033[2Jforged/.git' && cd n*/.git && echo ref > HEAD && printf '[alias]\\n x = !sh\\n' > config")
		})
		l.event(0, "what appeared, while it runs", func(e audit.Event) bool { return e.Path == ".envrc" && strings.HasPrefix(e.Reason, "appeared") })
		l.end()
		after := snapshot(t, ws)
		for _, gone := range []string{".envrc", ".vscode", ".claude", ".mcp.json", ".cursor", ".GIT/config", ".Idea", "creel.yaml", ".git/config", ".git/hooks", ".git/rebase-merge", "bare/config", "sub/.git/config"} {
			if _, there := after[gone]; there {
				t.Errorf("%s stands where host tools take it", gone)
			}
			if !strings.Contains(l.stderr.String(), gone) || !strings.Contains(readFile(t, l.audit), `"path":"`+gone+`"`) {
				t.Errorf("nobody is told of %s", gone)
			}
		}
		for _, kept := range []string{".envrc.by-agent", ".git/config.by-agent", "sub/.git/HEAD", "src/a"} {
			if _, there := after[kept]; !there {
				t.Errorf("%s is not there", kept)
			}
		}
		if text := l.stderr.String() + readFile(t, l.audit); strings.ContainsAny(text, "\x1b") || strings.Contains(text, "\n\033") {
			t.Errorf("raw control bytes: %q", text)
		}
		if !strings.Contains(l.stderr.String(), "sub/.vscode was changed") {
			t.Error("a change below the root is not told")
		}
		creelCmd(t, "audit", "verify", l.audit).want(t, 0)
	})
}

// TestSweepAfterKill: what an agent of a killed creel left is looked for by the next start.
func TestSweepAfterKill(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		ws := t.TempDir()
		l := box{policy: policyHead() + "network_policies: {}\n", workspace: ws}.start(t)
		l.sh("echo x > .envrc")
		_ = l.cmd.Process.Kill()
		<-l.done
		time.Sleep(200 * time.Millisecond) // the kernel ends what was inside
		if _, err := os.Lstat(filepath.Join(ws, ".envrc")); err != nil {
			t.Fatal(err)
		}
		r := box{policy: policyHead() + "network_policies: {}\n"}.run(t, "true").want(t, 0)
		r.err(t, ".envrc.by-agent", ws)
		if _, err := os.Lstat(filepath.Join(ws, ".envrc")); err == nil {
			t.Error("it still stands there")
		}
		if r := (box{policy: policyHead() + "network_policies: {}\n"}).run(t, "true").want(t, 0); strings.Contains(r.stderr, ".envrc") {
			t.Errorf("it is told twice: %s", r.stderr)
		}
	})
}

// TestEscapeStart: FS-03, and starts that are refused because a wall cannot stand.
func TestEscapeStart(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		base := t.TempDir()
		ws := files(t, filepath.Join(base, "ws"), map[string]string{"f": "x", "data/g": "y"})
		outside := files(t, filepath.Join(base, "out"), map[string]string{"secret": "host-secret"})
		if err := os.Symlink(outside, filepath.Join(ws, "link")); err != nil {
			t.Fatal(err)
		}
		head := func(more string) string {
			return strings.Replace(policyHead(), "  include_workdir: true\n", "  include_workdir: true\n"+more, 1) + "network_policies: {}\n"
		}
		for what, tt := range map[string]struct {
			policy string
			words  []string
		}{
			"hidden and absent":      {head("  hidden: [nothing-there]\n"), []string{"hide", "does not exist", "optional: true"}},
			"hidden pattern":         {head("  hidden: [\"*.env\"]\n"), []string{"patterns are not taken"}},
			"hidden workspace":       {head("  hidden: [" + base + "]\n"), []string{"the workspace lies in it"}},
			"hidden by a link":       {head("  hidden: [link]\n"), []string{"symbolic link"}},
			"noexec not shown":       {head("  noexec: [/nowhere]\n"), []string{"no declared path shows it"}},
			"protected by two names": {head(""), []string{".envrc", "another name", "cp -p"}},
			"unknown protection":     {head("  workspace: {writable_protected: [.vscod]}\n"), []string{"did you mean .vscode?"}},
		} {
			where := ws
			if strings.Contains(what, "two names") {
				where = files(t, t.TempDir(), map[string]string{"innocent": "x"})
				if err := os.Link(filepath.Join(where, "innocent"), filepath.Join(where, ".envrc")); err != nil {
					t.Fatal(err)
				}
			}
			r := box{policy: tt.policy, workspace: where}.run(t, "sh", "-c", "echo STARTED")
			if r.code != 2 || strings.Contains(r.stdout, "STARTED") {
				t.Errorf("%s: status %d, %s%s", what, r.code, r.stdout, r.stderr)
			}
			r.err(t, tt.words...)
		}
		l := box{policy: strings.Replace(head(""), "read_write: [/tmp]", "read_write: [/tmp, "+ws+"/data]", 1), workspace: ws}.start(t)
		l.escape(t, nil, "FS-03", fine, func(x *line) {
			x.tries("host-secret", "cat link/secret", "mv data d2; ln -s "+outside+" data; cat data/secret", "rm -rf data; ln -s "+outside+" data; cat data/secret", "ln -s "+outside+"/secret s; chown 0 s; chmod 777 s; cat s")
		})
		l.end()
		// Between two runs the agent's link stands where the operator meant a folder.
		if err := os.Rename(filepath.Join(ws, "data"), filepath.Join(ws, "d3")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(ws, "data")); err != nil {
			t.Fatal(err)
		}
		r := box{policy: strings.Replace(head(""), "read_write: [/tmp]", "read_write: [/tmp, "+ws+"/data]", 1), workspace: ws}.run(t, "cat", outside+"/secret").want(t, 2)
		r.err(t, "symbolic link")
		info, err := os.Stat(filepath.Join(outside, "secret"))
		if err != nil || info.Mode().Perm()&0o007 == 0o007 || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			t.Errorf("the host's file was changed: %v %v", info, err)
		}
	})
}

// TestOpenedProtected: the policy opens a part of the list, and only that.
func TestOpenedProtected(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		ws := files(t, t.TempDir(), map[string]string{".git/config": "[core]\n", ".git/HEAD": "x", ".vscode/a": "x", ".envrc": "x"})
		policy := strings.Replace(policyHead(), "  include_workdir: true\n", "  include_workdir: true\n  workspace: {writable_protected: [.git/config, .vscode, .mcp.json]}\n", 1) + "network_policies: {}\n"
		r := box{policy: policy, workspace: ws}.run(t, "sh", "-c", "echo y > .git/config; echo y > .vscode/a; echo y > .mcp.json; echo y > .envrc; mkdir .git/hooks; true").want(t, 0)
		after := snapshot(t, ws)
		if after[".git/config"] != "y\n" || after[".vscode/a"] != "y\n" || after[".mcp.json"] != "y\n" || after[".envrc"] != "x" {
			t.Errorf("%v", after)
		}
		r.err(t, ".envrc") // the shell's own message
		// A policy that came with the folder cannot open anything.
		write(t, filepath.Join(ws, "creel.yaml"), policy)
		cmd := exec.Command(creel, "run", "--workspace", ws, "--audit", filepath.Join(t.TempDir(), "a"), "--", "true")
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Run(); err == nil || !strings.Contains(out.String(), "nobody has named it") && !strings.Contains(out.String(), "could be the agent's own") {
			t.Errorf("%v: %s", err, out.String())
		}
	})
}

// TestWithoutWorkdir: include_workdir: false in both versions.
func TestWithoutWorkdir(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, head := range []string{"version: 2\n", "version: 1\nlandlock: {compatibility: hard_requirement}\n"} {
			for _, word := range []string{"include_workdir: false, ", ""} {
				ws := files(t, t.TempDir(), map[string]string{"f": "host-secret"})
				r := box{policy: head + "filesystem_policy: {" + word + "read_only: [/usr, /etc]}\n", workspace: ws}.run(t, "sh", "-c", "cat f "+ws+"/f; echo x > "+ws+"/g; pwd").want(t, 0)
				if strings.Contains(r.stdout, "host-secret") || strings.Contains(r.stdout, ws) || len(snapshot(t, ws)) != 2 {
					t.Errorf("%s%s: %s", head, word, r.stdout)
				}
				r.err(t, "include_workdir")
			}
		}
	})
}
