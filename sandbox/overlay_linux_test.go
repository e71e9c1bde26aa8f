package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// layer makes a folder for a copy-on-write mount.
func layer(t *testing.T) string {
	t.Helper()
	dir := scratch(t)
	for _, d := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "work/work"), 0o700) })
	return dir
}

func TestCopyOnWrite(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		c := config(t)
		ws := c.Workspace.Path
		write(t, ws, map[string]string{"keep": "keep", "change": "old", "gone": "x", "dir/in": "x", "secret/key": "canary", ".git/config": "[core]"})
		c.Workspace.Layer = layer(t)
		c.Hidden = []Declared{{Path: ws + "/secret"}}
		got := sh(t, c, "echo new > change; rm gone; rm -r dir; mkdir dir; echo y > dir/out; echo made > made; chmod 700 keep; echo x > .git/config; mkdir -p d/e; ln -s /etc link; cat keep change made dir/out; ls secret; stat -c %u made")
		if !strings.HasPrefix(got, "keep"+"new\nmade\ny\n") {
			t.Errorf("inside: %q", got)
		}
		for path, want := range map[string]string{"keep": "keep", "change": "old", "gone": "x", "dir/in": "x", ".git/config": "[core]"} {
			if b, err := os.ReadFile(filepath.Join(ws, path)); err != nil || string(b) != want {
				t.Errorf("on the host %s is %q, %v", path, b, err)
			}
		}
		if _, err := os.Lstat(filepath.Join(ws, "made")); err == nil {
			t.Error("a new file reached the host")
		}
		fi, err := os.Lstat(filepath.Join(c.Workspace.Layer, "upper/made"))
		if err != nil || int(fi.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			t.Errorf("in the layer: %v %v", fi, err)
		}
		// The next sandbox goes on with it. Attributes of overlayfs are not the agent's.
		got = sh(t, c, `cat change made; ls; python3 -c '
import os
for name in ("user.overlay.opaque", "user.overlay.redirect", "user.overlay.metacopy", "user.overlay.whiteout", "trusted.overlay.opaque"):
    for path in ("d", "change", "."):
        try: os.setxattr(path, name, b"y"); print("set", name, path)
        except OSError: pass
print(os.listxattr("dir"), os.listxattr("change"))'`)
		if !strings.Contains(got, "new\nmade\n") || strings.Contains(got, "gone") {
			t.Errorf("the second time: %q", got)
		}
		for _, p := range []string{"d", "change", ""} {
			buf := make([]byte, 64)
			for _, name := range []string{"user.overlay.redirect", "user.overlay.metacopy", "user.overlay.whiteout"} {
				if n, err := syscall.Getxattr(filepath.Join(c.Workspace.Layer, "upper", p), name, buf); err == nil {
					t.Errorf("the agent set %s of %q to %q", name, p, buf[:n])
				}
			}
		}
	})
}
