package cow

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// layer takes a new layer over a workspace with these files, as a sandbox that
// has ended leaves it. change fills the upper folder as overlayfs would.
func layer(t *testing.T, files map[string]string) *Layer {
	t.Helper()
	ws := t.TempDir()
	tree(t, ws, files)
	time.Sleep(20 * time.Millisecond) // a tick of the kernel's clock for change times
	l, had, err := Take(t.TempDir(), "box", ws, []string{"sh"})
	if err != nil || had {
		t.Fatal(err, had)
	}
	t.Cleanup(l.Close)
	time.Sleep(20 * time.Millisecond)
	return l
}

func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(p)
		var err error
		switch to, link := strings.CutPrefix(text, "-> "); {
		case link:
			err = os.Symlink(to, p)
		case text == "whiteout":
			err = unix.Mknod(p, unix.S_IFCHR, 0)
		case text == "pipe":
			err = unix.Mkfifo(p, 0o644)
		case text == "opaque":
			if err = os.MkdirAll(p, 0o755); err == nil {
				err = unix.Setxattr(p, "user.overlay.opaque", []byte("y"), 0)
			}
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		default:
			err = os.WriteFile(p, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(name, err)
		}
	}
}

func describe(all []Change) []string {
	var out []string
	for _, c := range all {
		s := string(c.Kind) + " " + c.Path
		if c.From != "" {
			s += " from " + c.From
		}
		for what, text := range map[string]string{"protected": c.Protected, "conflict": c.Conflict, "refused": c.Refused} {
			if text != "" {
				s += " " + what
			}
		}
		out = append(out, s)
	}
	return out
}

func TestChanges(t *testing.T) {
	before := map[string]string{"keep": "k", "change": "old", "gone": "x", "dir/a": "a", "dir/b": "b", "link": "-> keep", "was-dir/x": "x", "was-file": "f", ".git/config": "[core]\nhooksPath = tools/hooks\n", "tools/hooks/pre-push": "x", "half/objects/": "", "half/refs/": "",
		".git/modules/a/HEAD": "x", ".git/modules/a/config": "", ".git/modules/a/objects/": "", ".git/modules/a/refs/": "", "moved": "content of it", "mode": "m", "touched": "same"}
	for name, tt := range map[string]struct {
		upper map[string]string
		do    func(upper, ws string) error
		want  []string
	}{
		"nothing":             {want: nil},
		"touched alone":       {upper: map[string]string{"touched": "same", "dir/": ""}},
		"content":             {upper: map[string]string{"change": "new"}, want: []string{"modified change"}},
		"added":               {upper: map[string]string{"n/e/w": "x"}, want: []string{"added n", "added n/e", "added n/e/w"}},
		"deleted":             {upper: map[string]string{"gone": "whiteout", "dir": "whiteout"}, want: []string{"deleted dir", "deleted gone"}},
		"whiteout of nothing": {upper: map[string]string{"never": "whiteout"}},
		"opaque":              {upper: map[string]string{"dir/": "opaque", "dir/a": "a", "dir/c": "c"}, want: []string{"deleted dir/b", "added dir/c"}},
		"link":                {upper: map[string]string{"link": "-> change", "new": "-> ../../etc/passwd", "abs": "-> /etc", "d": "-> .", "e": "-> d/../x", "deep/ok": "-> ../keep"}, want: []string{"added abs protected", "added d", "added deep", "added deep/ok", "added e protected", "modified link", "added new protected"}},
		"types":               {upper: map[string]string{"was-dir": "now a file", "was-file/x": "y"}, want: []string{"modified was-dir", "modified was-file", "added was-file/x"}},
		"special":             {upper: map[string]string{"p": "pipe"}, want: []string{"added p refused"}},
		"protected":           {upper: map[string]string{".git/config": "evil", ".git/HEAD": "h", "sub/.envrc": "x", ".GIT/hooks/x": "x"}, want: []string{"added .GIT", "added .GIT/hooks protected", "added .GIT/hooks/x protected", "added .git/HEAD", "modified .git/config protected", "added sub", "added sub/.envrc protected"}},
		"a submodule's settings": {upper: map[string]string{".git/modules/m/HEAD": "x", ".git/modules/m/config": "evil", ".git/modules/m/objects/": "", ".git/modules/m/refs/": "", ".git/modules/m/x": "x"},
			want: []string{"added .git/modules/m", "added .git/modules/m/HEAD protected", "added .git/modules/m/config protected", "added .git/modules/m/objects protected", "added .git/modules/m/refs protected", "added .git/modules/m/x"}},
		"bare repository":             {upper: map[string]string{"sub/HEAD": "x", "sub/commondir": "../c", "c/config": "x"}, want: []string{"added c", "added c/config", "added sub", "added sub/HEAD protected", "added sub/commondir protected"}},
		"becomes bare":                {upper: map[string]string{"half/HEAD": "x", "half/config": "x"}, want: []string{"added half/HEAD protected", "added half/config protected"}},
		"changed module":              {upper: map[string]string{".git/modules/a/config": "evil", ".git/modules/a/HEAD": "other"}, want: []string{"modified .git/modules/a/HEAD", "modified .git/modules/a/config protected"}},
		"folder of hooks":             {upper: map[string]string{"tools/hooks/pre-push": "evil", "tools/x": "x"}, want: []string{"modified tools/hooks/pre-push protected", "added tools/x"}},
		"link to settings":            {upper: map[string]string{".config": "-> x"}, want: []string{"added .config protected"}},
		"removed repository":          {upper: map[string]string{".git": "whiteout"}, want: []string{"deleted .git protected"}},
		"folder is a file now":        {upper: map[string]string{"was-dir": "f"}, do: func(_, ws string) error { return os.WriteFile(ws+"/was-dir/y", nil, 0o644) }, want: []string{"modified was-dir conflict"}},
		"moved":                       {upper: map[string]string{"moved": "whiteout", "to": "content of it"}, want: []string{"deleted moved", "added to from moved"}},
		"mode":                        {upper: map[string]string{"mode": "m"}, do: func(upper, _ string) error { return os.Chmod(upper+"/mode", 0o755) }, want: []string{"mode mode"}},
		"changed on the host":         {upper: map[string]string{"change": "new"}, do: func(_, ws string) error { return os.WriteFile(ws+"/change", []byte("host"), 0o644) }, want: []string{"modified change conflict"}},
		"deleted here, changed there": {upper: map[string]string{"dir": "whiteout"}, do: func(_, ws string) error { return os.WriteFile(ws+"/dir/b", []byte("host"), 0o644) }, want: []string{"deleted dir conflict"}},
		"made in both":                {upper: map[string]string{"n": "new"}, do: func(_, ws string) error { return os.WriteFile(ws+"/n", []byte("host"), 0o644) }, want: []string{"modified n conflict"}},
		"removed on the host": {upper: map[string]string{"change": "new"}, do: func(upper, ws string) error {
			if err := unix.Setxattr(upper+"/change", "user.overlay.origin", []byte("x"), 0); err != nil {
				return err
			}
			return os.Remove(ws + "/change")
		}, want: []string{"added change conflict"}},
		"a link on the host now": {upper: map[string]string{"dir/n": "x"}, do: func(_, ws string) error {
			if err := os.RemoveAll(ws + "/dir"); err != nil {
				return err
			}
			return os.Symlink("/etc", ws+"/dir")
		}, want: []string{"modified dir conflict", "added dir/n"}},
		"forged attributes": {upper: map[string]string{"dir/": "", "f": "x"}, do: func(upper, _ string) error {
			for _, name := range []string{"redirect", "metacopy", "whiteout", "origin"} {
				if err := unix.Setxattr(upper+"/f", "user.overlay."+name, []byte("/etc"), 0); err != nil {
					return err
				}
			}
			return unix.Setxattr(upper+"/dir", "user.overlay.redirect", []byte("/etc"), 0)
		}, want: []string{"added f conflict"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := layer(t, before)
			tree(t, l.upper(), tt.upper)
			if tt.do != nil {
				if err := tt.do(l.upper(), l.Workspace); err != nil {
					t.Fatal(err)
				}
			}
			all, err := l.Changes()
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(all); !slices.Equal(got, tt.want) {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}

func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(p)
			all[rel] = string(b)
			return err
		case d.Type()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			all[rel] = "-> " + to
			return err
		}
		all[rel] = "folder"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestApply(t *testing.T) {
	before := map[string]string{"change": "old", "gone": "x", "dir/a": "a", "dir/b": "b", "was-dir/x": "x", "was-file": "f", ".git/config": "c", "link": "-> change"}
	upper := map[string]string{"change": "new", "gone": "whiteout", "dir/": "opaque", "dir/c": "c", "was-dir": "file now", "was-file/x": "y", ".git/config": "evil", ".git/HEAD": "h",
		"link": "-> dir", "out": "-> /etc/passwd", "n/e/w": "x", "pipe": "pipe", "bad\n\x1b[2Jname": "x"}
	plain := map[string]string{"change": "new", "dir": "folder", "dir/c": "c", "was-dir": "file now", "was-file": "folder", "was-file/x": "y", ".git": "folder", ".git/config": "c", ".git/HEAD": "h",
		"link": "-> dir", "n": "folder", "n/e": "folder", "n/e/w": "x", "bad\n\x1b[2Jname": "x"}
	for name, tt := range map[string]struct {
		o       Options
		want    map[string]string // differences from plain; "" is absent
		base    map[string]string
		refused []string
	}{
		"everything":                          {base: plain, refused: []string{".git/config", "out", "pipe"}},
		"protected, too":                      {o: Options{Protected: true}, base: plain, want: map[string]string{".git/config": "evil", "out": "-> /etc/passwd"}, refused: []string{"pipe"}},
		"named":                               {o: Options{Paths: []string{".git/config", "n/e"}}, base: before, want: map[string]string{".git": "folder", "dir": "folder", "was-dir": "folder", ".git/config": "evil", "n": "folder", "n/e": "folder", "n/e/w": "x"}},
		"a folder that holds a protected one": {o: Options{Paths: []string{".git"}}, base: before, want: map[string]string{".git": "folder", "dir": "folder", "was-dir": "folder", ".git/HEAD": "h"}, refused: []string{".git/config"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := layer(t, before)
			tree(t, l.upper(), upper)
			results, err := l.Apply(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			var refused []string
			for _, r := range results {
				if !r.Applied {
					refused = append(refused, r.Path)
				}
			}
			if !slices.Equal(refused, tt.refused) {
				t.Errorf("refused %q, want %q: %+v", refused, tt.refused, results)
			}
			want := map[string]string{}
			for k, v := range tt.base {
				want[k] = v
			}
			for k, v := range tt.want {
				want[k] = v
			}
			got := content(t, l.Workspace)
			for k, v := range want {
				if got[k] != v {
					t.Errorf("%s is %q, want %q", k, got[k], v)
				}
			}
			for k := range got {
				if _, ok := want[k]; !ok {
					t.Errorf("%s is there", k)
				}
			}
			left, err := l.Prune()
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range left {
				for _, r := range results {
					if r.Path == c.Path && r.Applied {
						t.Errorf("%s was applied and is still a change: %+v", c.Path, c)
					}
				}
			}
		})
	}
}

// TestApplyHostile: what an agent may leave does nothing outside of the workspace.
func TestApplyHostile(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(outside+"/secret", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := layer(t, map[string]string{"a/x": "x", "b": "b"})
	tree(t, l.upper(), map[string]string{"a/x": "new", "c": "-> " + outside})
	// The workspace's folder becomes a link to elsewhere, as another run could have made it.
	if err := os.RemoveAll(l.Workspace + "/a"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, l.Workspace+"/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Apply(Options{}); err != nil {
		t.Fatal(err)
	}
	if names, _ := os.ReadDir(outside); len(names) != 1 {
		t.Errorf("something was written through a link: %v", names)
	}
	if fi, err := os.Lstat(l.Workspace + "/a"); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Error("the host's link was replaced without force")
	}
	// In the layer, a folder above is a link, and deep trees.
	deep := l.upper()
	for range maxDepth + 20 {
		deep += "/d"
		if err := os.Mkdir(deep, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	all, err := l.Changes()
	if err != nil || !slices.ContainsFunc(all, func(c Change) bool { return strings.Contains(c.Refused, "deeper") }) {
		t.Errorf("deep: %v", err)
	}
	// Permissions that hide, and setuid bits.
	if err := os.Mkdir(l.upper()+"/closed", 0o000); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.upper()+"/suid", []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(l.upper()+"/suid", 0o755|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Apply(Options{}); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(l.Workspace + "/suid"); err != nil || fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		t.Errorf("%v %v", fi, err)
	}
	if err := l.Remove(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(outside + "/secret"); string(b) != "secret" {
		t.Error("removing the layer followed a link")
	}
}

func TestLayers(t *testing.T) {
	state, ws := t.TempDir(), t.TempDir()
	l, had, err := Take(state, "one", ws, nil)
	if err != nil || had {
		t.Fatal(err, had)
	}
	if _, _, err := Take(state, "one", ws, nil); err == nil {
		t.Fatal("taken twice")
	}
	r, err := Read(state, "one")
	if err != nil || !r.Running() || !r.Same(ws) || r.Same(t.TempDir()) {
		t.Fatal(err)
	}
	l.Close()
	if r.Running() {
		t.Error("it seems to run")
	}
	if l, had, err = Take(state, "one", ws, nil); err != nil || !had {
		t.Fatal(err, had)
	}
	if err := os.Mkdir(filepath.Join(Base(state), "half-made"), 0o700); err != nil {
		t.Fatal(err)
	}
	if all, err := List(state); err != nil || len(all) != 1 || all[0].Workspace != ws {
		t.Error(all, err)
	}
	if err := l.Remove(); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if names := Names(state); len(names) != 0 {
		t.Error(names)
	}
	if fi, err := os.Stat(ws); err != nil || fi.Sys().(*syscall.Stat_t).Nlink == 0 {
		t.Error(err)
	}
}

func TestMany(t *testing.T) {
	l := layer(t, nil)
	for i := range 10_000 {
		if err := os.WriteFile(fmt.Sprintf("%s/f%05d", l.upper(), i), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	all, err := l.Changes()
	if err != nil || len(all) != 10_000 {
		t.Fatal(len(all), err)
	}
	t.Logf("10,000 changes read in %v", time.Since(start))
	if time.Since(start) > 10*time.Second {
		t.Error("too slow")
	}
}

func TestDiscard(t *testing.T) {
	l := layer(t, map[string]string{"a": "a", "b": "b", "d/x": "x", "d/y": "y"})
	tree(t, l.upper(), map[string]string{"a": "new", "b": "whiteout", "d/": "opaque", "d/x": "new", "n": "n"})
	if n, err := l.Discard([]string{"a", "b"}); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	if _, err := l.Discard([]string{"d/x"}); err == nil {
		t.Error("a part of an opaque folder was discarded")
	}
	if _, err := l.Discard([]string{"d"}); err != nil {
		t.Error(err)
	}
	all, err := l.Changes()
	if got := describe(all); err != nil || !slices.Equal(got, []string{"added n"}) {
		t.Error(got, err)
	}
}

func TestText(t *testing.T) {
	l := layer(t, map[string]string{"a": "one\ntwo\n", "bin": "x\x00y"})
	tree(t, l.upper(), map[string]string{"a": "one\nthree\n", "bin": "x\x00z", "n": "new\n", "empty": ""})
	all, err := l.Changes()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		text, err := l.Text(c)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"a": "-two\n+three\n", "bin": "+ binary or large: 3 bytes, sha256 ", "n": "+new\n", "empty": ""}[c.Path]
		if !strings.Contains(text, want) {
			t.Errorf("%s: %q", c.Path, text)
		}
	}
}

// TestApplyOwner: what root applies belongs to the folder's owner, and nothing
// else of root's is given away that somebody puts at the name.
func TestApplyOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const owner = 1234
	l := layer(t, map[string]string{"old": "x"})
	for _, p := range []string{"", "/old"} {
		if err := os.Chown(l.Workspace+p, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	tree(t, l.upper(), map[string]string{"old": "new", "d/f": "x", "l": "-> d"})
	if _, err := l.Apply(Options{Force: true}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"old", "d", "d/f", "l"} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(l.Workspace, p), &st); err != nil || st.Uid != owner || st.Gid != owner {
			t.Errorf("%s: uid %d gid %d %v", p, st.Uid, st.Gid, err)
		}
	}
	dir := t.TempDir()
	tree(t, dir, map[string]string{"secrets/key": "x", "file": "x"})
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for name, kind := range map[string]uint32{"secrets": unix.S_IFDIR, "file": unix.S_IFLNK} {
		if err := (ids{owner, owner}).give(fd, name, kind); err == nil {
			t.Errorf("%s was given away", name)
		}
	}
}

// TestApplySparse: holes stay holes, so that a file without end fills no disk.
func TestApplySparse(t *testing.T) {
	l := layer(t, nil)
	const size = 1 << 40
	f, err := os.Create(filepath.Join(l.upper(), "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, text := range map[int64]string{0: "begin", 1 << 30: "middle"} {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Apply(Options{}); err != nil || len(r) != 1 || !r[0].Applied {
		t.Fatalf("%+v %v", r, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(l.Workspace, "big"), &st); err != nil || st.Size != size || st.Blocks > 1<<12 {
		t.Fatalf("%d bytes in %d blocks, %v", st.Size, st.Blocks, err)
	}
	if left, err := l.Prune(); err != nil || len(left) != 0 {
		t.Errorf("left %v %v", left, err)
	}
	got := make([]byte, 6)
	to, err := os.Open(filepath.Join(l.Workspace, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := to.ReadAt(got, 1<<30); err != nil || string(got) != "middle" {
		t.Errorf("%q %v", got, err)
	}
}
