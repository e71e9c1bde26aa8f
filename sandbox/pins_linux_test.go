package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/sandbox/spec"
)

func TestPins(t *testing.T) {
	rw := func(p string) spec.Mount { return spec.Mount{Kind: spec.MountBind, Target: p, Write: true} }
	ro := func(p string) spec.Mount { return spec.Mount{Kind: spec.MountBind, Target: p} }
	for _, tt := range []struct {
		name      string
		mounts    []spec.Mount
		protected []string
		want      []string
	}{
		{"nothing below", []spec.Mount{rw("/ws"), ro("/usr")}, nil, nil},
		{"direct child", []spec.Mount{rw("/ws"), ro("/ws/x")}, []string{"/ws/creel.yaml"}, nil},
		{"protected", []spec.Mount{rw("/ws")}, []string{"/ws/a/b/creel.yaml"}, []string{"/ws/a", "/ws/a/b"}},
		{"mount point", []spec.Mount{rw("/home/u"), ro("/home/u/tools/bin")}, nil, []string{"/home/u/tools"}},
		{"both, once", []spec.Mount{rw("/ws"), ro("/ws/a/b")}, []string{"/ws/a/c/f"}, []string{"/ws/a", "/ws/a/c"}},
		{"read-only between", []spec.Mount{rw("/ws"), ro("/ws/a")}, []string{"/ws/a/b/f"}, nil},
		{"read-only outside", []spec.Mount{ro("/usr"), ro("/usr/a/b")}, []string{"/usr/x/y"}, nil},
		{"writable in read-only", []spec.Mount{ro("/srv"), rw("/srv/a/ws")}, []string{"/srv/a/ws/c/f"}, []string{"/srv/a/ws/c"}},
	} {
		if got := pins(tt.mounts, tt.protected); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, wanted %v", tt.name, got, tt.want)
		}
	}
}

// TestFoldersAboveProtectedFiles tries to put another tree in the place of one
// that holds a protected file, in the workspace and in a declared folder.
func TestFoldersAboveProtectedFiles(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, where := range []string{"workspace", "read_write"} {
			t.Run(where, func(t *testing.T) {
				c := config(t)
				base := c.Workspace.Path
				if where == "read_write" {
					base = scratch(t)
					c.ReadWrite = []Declared{{Path: base}}
				}
				file := filepath.Join(base, "conf", "sub", "creel.yaml")
				mustDo(t, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("mine"), 0o644), os.WriteFile(base+"/conf/other", nil, 0o644))
				c.Protect = []string{file}
				before, err := os.Stat(file)
				mustDo(t, err)
				got := sh(t, c, "cd "+base+`
					for d in conf conf/sub; do
						mv $d old 2>/dev/null && echo moved $d
						mkdir over && mv -T over $d 2>/dev/null && echo replaced $d
						rmdir over; rm -rf $d 2>/dev/null && echo removed $d
						mkdir -p $d; echo planted 2>/dev/null > conf/sub/creel.yaml && echo wrote
					done
					ln conf/sub/creel.yaml hard 2>/dev/null && echo linked
					test -e conf/other && echo other is left
					echo x > conf/new && mv conf/new conf/newer && rm conf/newer && echo x > conf/sub/beside && mkdir conf/d && rmdir conf/d && echo beside`)
				if got != "beside" {
					t.Errorf("%s", got)
				}
				after, err := os.Stat(file)
				if err != nil || !os.SameFile(before, after) {
					t.Fatalf("the file is another one: %v", err)
				}
				if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
					t.Errorf("%q, %v", b, err)
				}
				if _, err := os.Stat(filepath.Join(base, "conf", "sub", "beside")); err != nil {
					t.Errorf("what was written beside is not on the host: %v", err)
				}
				if owner(t, base) != owner(t, base+"/conf/sub/beside") {
					t.Error("what was written beside belongs to another")
				}
			})
		}
	})
}

// TestFoldersAboveMountPoints does the same to the folders that Creel makes in
// the home for a mount below it.
func TestFoldersAboveMountPoints(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		base := scratch(t)
		mustDo(t, os.Chmod(base, 0o755), os.MkdirAll(base+"/tools/deep/bin", 0o755), os.WriteFile(base+"/tools/deep/bin/fetch", []byte("mine"), 0o755))
		c := config(t)
		c.Home = base
		c.ReadOnly = append(c.ReadOnly, Declared{Path: base + "/tools/deep/bin"})
		got := sh(t, c, "cd "+base+`
			for d in tools tools/deep tools/deep/bin; do
				mv $d old 2>/dev/null && echo moved $d
				rm -rf $d 2>/dev/null && echo removed $d
				mkdir over && mv -T over $d 2>/dev/null && echo replaced $d
				rmdir over
			done
			echo x 2>/dev/null > tools/deep/bin/x && echo wrote
			cat tools/deep/bin/fetch; echo; touch tools/free && echo beside`)
		if want := "mine\nbeside"; !strings.HasSuffix(got, want) || strings.Contains(got, "ed ") || strings.Contains(got, "wrote") {
			t.Errorf("%q, wanted %q", got, want)
		}
	})
}
