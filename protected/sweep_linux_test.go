package protected

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tree writes files into a new folder; a value "-> x" is a link, a name that
// ends in / a folder.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, p)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	ws := t.TempDir()
	tree(t, ws, map[string]string{
		".git/HEAD": "ref", ".git/hooks/": "", ".git/config": "[core]\n\thooksPath = tools/hooks\n", "tools/hooks/pre-push": "x",
		".git/modules/a/b/HEAD": "ref", ".git/modules/a/b/config": "[core]\n\tworktree = ../../../../lib/b\n", "lib/b/.git": "gitdir: ../../.git/modules/a/b\n",
		".vscode": "-> /etc", ".claude/settings.json": "{}", ".envrc": "x", "sub/.envrc": "x",
	})
	f, err := Find(ws, []string{".claude"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".envrc", ".git/config", ".git/hooks", ".git/modules/a/b/config", "lib/b/.git", "tools/hooks"}
	if !slices.Equal(f.Here, want) {
		t.Errorf("here %q, want %q", f.Here, want)
	}
	if f.Linked[".vscode"] != "/etc" || len(f.Linked) != 1 {
		t.Errorf("linked %q", f.Linked)
	}
	for _, p := range []string{".mcp.json", ".git/commondir", ".git/modules/a/b/hooks"} {
		if !slices.Contains(f.Absent, p) {
			t.Errorf("%s is not absent", p)
		}
	}
	if slices.Contains(f.Absent, ".git") || slices.Contains(f.Absent, ".claude") {
		t.Errorf("absent %q", f.Absent)
	}
}

func TestFindOutsideRepository(t *testing.T) {
	base := t.TempDir()
	tree(t, base, map[string]string{
		"ws/.git": "gitdir: .bare/worktrees/x\n", "ws/.bare/worktrees/x/commondir": "../..\n", "ws/.bare/config": "", "ws/.bare/hooks/": "",
		"out/.git": "gitdir: ../elsewhere\n", "abs/.git": "gitdir: " + base + "/abs/real\n", "abs/real/config": "",
	})
	for dir, want := range map[string][]string{
		"ws": {".bare/config", ".bare/hooks", ".bare/worktrees/x/commondir", ".git"}, "out": {".git"}, "abs": {".git", "real/config"},
	} {
		f, err := Find(filepath.Join(base, dir), nil)
		if err != nil || !slices.Equal(f.Here, want) {
			t.Errorf("%s: %q %v, want %q", dir, f.Here, err, want)
		}
	}
}

// TestSweep: before is the operator's, made is the agent's; moved and told are
// the findings.
func TestSweep(t *testing.T) {
	for name, tt := range map[string]struct {
		before, made map[string]string
		open         []string
		moved, told  []string
	}{
		"nothing":          {made: map[string]string{"src/a.go": "x", ".gitignore": "x"}},
		"missing settings": {made: map[string]string{".envrc": "x", ".mcp.json": "{}", ".vscode/tasks.json": "{}", ".claude": "-> src"}, moved: []string{".claude", ".envrc", ".mcp.json", ".vscode"}},
		"opened":           {made: map[string]string{".vscode/tasks.json": "{}"}, open: []string{".vscode"}},
		"there before":     {before: map[string]string{".envrc": "x", "sub/.envrc": "x", "sub/.git/config": "[core]\nfsmonitor=x\n"}},
		"new repository": {made: map[string]string{".git/HEAD": "x", ".git/config": "[core]\n\tbare = false\n[remote \"o\"]\n\turl = https://x.test/y\n",
			".git/hooks/pre-commit.sample": "x", ".git/objects/aa/": ""}},
		"new repository with hooks": {made: map[string]string{".git/HEAD": "x", ".git/config": "[core]\n\tfsmonitor = x\n", ".git/hooks/pre-commit": "x"}, moved: []string{".git/config", ".git/hooks"}},
		"repository elsewhere":      {made: map[string]string{".git": "gitdir: x\n", "x/config": "[core]\nfsmonitor=y\n"}, moved: []string{".git"}},
		"repository by link":        {made: map[string]string{".git": "-> x", "x/config": "[core]\nfsmonitor=y\n"}, moved: []string{".git"}},
		"common folder":             {before: map[string]string{".git/HEAD": "x", ".git/config": ""}, made: map[string]string{".git/commondir": "../x"}, moved: []string{".git/commondir"}},
		"nested repository":         {made: map[string]string{"a/b/.git/HEAD": "x", "a/b/.git/config": "[filter \"x\"]\nclean=x\n", "a/b/.git/hooks/post-checkout": "x"}, moved: []string{"a/b/.git/config", "a/b/.git/hooks"}},
		"hook in a nested one":      {before: map[string]string{"a/.git/hooks/x.sample": "x", "a/.git/config": ""}, made: map[string]string{"a/.git/hooks/pre-commit": "x"}, moved: []string{"a/.git/hooks"}},
		"submodule":                 {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{".git/modules/m/HEAD": "x", ".git/modules/m/config": "", "m/.git": "gitdir: ../.git/modules/m\n"}},
		"a file for a repository":   {made: map[string]string{"m/.git": "gitdir: ../x\n"}, moved: []string{"m/.git"}},
		"module":                    {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{".git/modules/m/HEAD": "x", ".git/modules/m/config": "[core]\nfsmonitor=y\n"}, moved: []string{".git/modules/m/config"}},
		"other spelling":            {made: map[string]string{".CURSOR/mcp.json": "x", ".Envrc": "x"}, moved: []string{".CURSOR", ".Envrc"}},
		"settings below the root":   {made: map[string]string{"sub/.vscode/tasks.json": "x", "sub/.envrc": "x"}, told: []string{"sub/.envrc", "sub/.vscode"}},
		"changed below the root":    {before: map[string]string{"sub/.vscode/old": "x"}, made: map[string]string{"sub/.vscode/tasks.json": "x"}, told: []string{"sub/.vscode"}},
		"a link is replaced":        {before: map[string]string{".vscode": "-> /etc", ".idea": "-> /etc"}, made: map[string]string{".vscode/tasks.json": "x"}, moved: []string{".vscode"}},
		"replaced on the host":      {before: map[string]string{".git/HEAD": "x", ".git/config": ""}, made: map[string]string{".git/config": "[core]\nfsmonitor=x\n"}, told: []string{".git/config"}},
		"bare repository":           {made: map[string]string{"sub/HEAD": "x", "sub/objects/": "", "sub/refs/": "", "sub/config": "[core]\nfsmonitor=x\n", "sub/hooks/x": "y"}, moved: []string{"sub/config", "sub/hooks"}},
		"bare at the root":          {made: map[string]string{"HEAD": "x", "objects/": "", "refs/": "", "config": "[core]\nfsmonitor=x\n"}, moved: []string{"config"}},
		"worktree":                  {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{".git/worktrees/w/commondir": "../..\n", ".git/worktrees/w/HEAD": "x", "w/.git": "gitdir: ../.git/worktrees/w\n"}},
		"worktree elsewhere":        {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{".git/worktrees/w/commondir": "../../../x\n"}, moved: []string{".git/worktrees/w/commondir"}},
		"submodule below another": {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{".git/modules/a/HEAD": "x", ".git/modules/a/b/HEAD": "x", ".git/modules/a/b/config": "[core]\nfsmonitor=y\n",
			"m/.git": "gitdir: ../.git/modules/a/b\n"}, moved: []string{".git/modules/a/b/config"}},
		"module with a link for HEAD": {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{".git/modules/m/HEAD": "-> refs/heads/main", ".git/modules/m/config": "[core]\nfsmonitor=y\n"}, moved: []string{".git/modules/m/config"}},
		"module by link":              {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{".git/modules/m": "-> ../../x", "x/config": "y", "m/.git": "gitdir: ../.git/modules/m\n"}, moved: []string{"m/.git"}},
		"module that is nowhere":      {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{"m/.git": "gitdir: ../.git/modules/m\n"}, moved: []string{"m/.git"}},
		"what an old file names": {before: map[string]string{".git/HEAD": "x", ".git/worktrees/w/HEAD": "x", ".git/worktrees/w/v/HEAD": "x", "m/.git": "gitdir: ../.git/worktrees/w/v\n"},
			made: map[string]string{".git/worktrees/w/v/config": "[core]\nfsmonitor=y\n"}, moved: []string{".git/worktrees/w/v/config"}},
		"bare with a common folder":  {made: map[string]string{"sub/HEAD": "x", "sub/commondir": "../c", "c/objects/": "", "c/refs/": "", "c/config": "[core]\npager=x\n"}, moved: []string{"sub/commondir"}},
		"a name like one moved":      {made: map[string]string{"x.by-agent/.git/config": "[core]\nfsmonitor=y\n"}, moved: []string{"x.by-agent/.git/config"}},
		"a link above settings":      {made: map[string]string{".config": "-> x", "x/fish/config.fish": "x"}, moved: []string{".config"}},
		"rebase":                     {before: map[string]string{".git/HEAD": "x"}, made: map[string]string{".git/rebase-merge/git-rebase-todo": "exec sh\n"}, moved: []string{".git/rebase-merge"}},
		"names are taken":            {before: map[string]string{".envrc.by-agent": "old"}, made: map[string]string{".envrc": "new"}, moved: []string{".envrc"}},
		"hooks of an opened setting": {made: map[string]string{".git/HEAD": "x", ".git/hooks/pre-commit": "x", "n/.git/hooks/x": "x"}, open: []string{".git"}},
	} {
		t.Run(name, func(t *testing.T) {
			ws := t.TempDir()
			tree(t, ws, tt.before)
			found, err := Find(ws, tt.open)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond) // a tick of the kernel's clock for change times
			w := Watch{Root: ws, Started: time.Now().Add(-10 * time.Millisecond), Found: found, Open: tt.open}
			for p := range tt.made {
				if to, err := os.Readlink(filepath.Join(ws, strings.Split(p, "/")[0])); err == nil && to == "/etc" {
					_ = os.Remove(filepath.Join(ws, strings.Split(p, "/")[0]))
				}
			}
			tree(t, ws, tt.made)
			r, err := w.Sweep()
			if err != nil || r.Unseen {
				t.Fatal(err, r.Unseen)
			}
			var moved, told []string
			for _, f := range r.Findings {
				if f.Moved == "" {
					told = append(told, f.Path)
					continue
				}
				moved = append(moved, f.Path)
				if _, err := os.Lstat(filepath.Join(ws, f.Path)); err == nil {
					t.Errorf("%s is still there", f.Path)
				}
				if _, err := os.Lstat(filepath.Join(ws, f.Moved)); err != nil {
					t.Error(err)
				}
			}
			if !slices.Equal(moved, tt.moved) || !slices.Equal(told, tt.told) {
				t.Errorf("moved %q told %q, want %q %q", moved, told, tt.moved, tt.told)
			}
			for p := range tt.before {
				if _, err := os.Lstat(filepath.Join(ws, p)); err != nil && !slices.Contains(tt.moved, filepath.Dir(p)) && tt.made[".vscode/tasks.json"] == "" {
					t.Errorf("the operator's %s is gone", p)
				}
			}
		})
	}
}

// TestSweepRenamed: what was laid down in an earlier run becomes a repository by a
// rename, which does not change the files in it.
func TestSweepRenamed(t *testing.T) {
	for name, tt := range map[string]struct {
		before map[string]string
		run    func(ws string) error
		told   []string
	}{
		"repository": {before: map[string]string{"a/x/HEAD": "x", "a/x/config": "[core]\nfsmonitor=y\n"},
			run: func(ws string) error { return os.Rename(ws+"/a/x", ws+"/a/.git") }, told: []string{"a/.git/config"}},
		"bare": {before: map[string]string{"a/objects/": "", "a/refs/": "", "a/config": "[core]\nfsmonitor=y\n"},
			run: func(ws string) error { return os.WriteFile(ws+"/a/HEAD", []byte("x"), 0o600) }, told: []string{"a/config"}},
		"plain": {before: map[string]string{"a/x/HEAD": "x", "a/x/config": "[core]\nbare=false\n"},
			run: func(ws string) error { return os.Rename(ws+"/a/x", ws+"/a/.git") }},
	} {
		t.Run(name, func(t *testing.T) {
			ws := t.TempDir()
			tree(t, ws, tt.before)
			found, err := Find(ws, nil)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			w := Watch{Root: ws, Started: time.Now().Add(-10 * time.Millisecond), Found: found}
			if err := tt.run(ws); err != nil {
				t.Fatal(err)
			}
			r, err := w.Sweep()
			var told []string
			for _, f := range r.Findings {
				if f.Moved == "" {
					told = append(told, f.Path)
				}
			}
			if err != nil || !slices.Equal(told, tt.told) {
				t.Errorf("told %q %v, want %q", told, err, tt.told)
			}
		})
	}
}

// TestSweepOfWhatCannotBeListed: a folder that can be entered and not listed hides
// nothing. (Root lists it anyway.)
func TestSweepOfWhatCannotBeListed(t *testing.T) {
	ws := t.TempDir()
	w := Watch{Root: ws, Started: time.Now().Add(-time.Second)}
	tree(t, ws, map[string]string{"a/b/.git/HEAD": "x", "a/b/.git/config": "[core]\nfsmonitor=y\n"})
	for _, dir := range []string{"a/b/.git", "a"} {
		if err := os.Chmod(filepath.Join(ws, dir), 0o311); err != nil {
			t.Fatal(err)
		}
	}
	r, err := w.Sweep()
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Path != "a/b/.git/config" || r.Findings[0].Moved == "" {
		t.Errorf("%+v %v", r, err)
	}
}

// TestSweepOfAnotherFolder: a folder that was put in the workspace's place, by a
// link above it, is not touched.
func TestSweepOfAnotherFolder(t *testing.T) {
	base := t.TempDir()
	tree(t, base, map[string]string{"a/ws/": "", "other/ws/.envrc": "mine"})
	found, err := Find(base+"/a/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := Watch{Root: base + "/a/ws", Started: time.Now().Add(-time.Minute), Found: found}
	if err := os.Rename(base+"/a", base+"/b"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("other", base+"/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Sweep(); err == nil {
		t.Error("swept another folder")
	}
	if _, err := os.Stat(base + "/other/ws/.envrc"); err != nil {
		t.Error(err)
	}
}

// TestSweepOfWhatCannotBeWritten: a folder without the right to write keeps
// nothing in its place. (Root needs no right.)
func TestSweepOfWhatCannotBeWritten(t *testing.T) {
	ws := t.TempDir()
	found, err := Find(ws, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := Watch{Root: ws, Started: time.Now().Add(-time.Second), Found: found}
	tree(t, ws, map[string]string{".envrc": "x"})
	if err := os.Chmod(ws, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(ws, 0o700) })
	r, err := w.Sweep()
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Moved == "" {
		t.Errorf("%+v %v", r, err)
	}
	if fi, err := os.Stat(ws); err != nil || fi.Mode().Perm() != 0o555 {
		t.Error("its permissions were changed", err)
	}
}
