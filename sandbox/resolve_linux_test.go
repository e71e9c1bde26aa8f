package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestPlantedLink lets an agent turn a folder into a link between two runs. The
// second run must not start, whatever the path is declared as.
func TestPlantedLink(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		secret := scratch(t)
		note := filepath.Join(secret, "pip", "note")
		mustDo(t, os.Mkdir(filepath.Dir(note), 0o755), os.WriteFile(note, []byte("canary"), 0o644))
		for _, tt := range []struct {
			name string
			set  func(c *Config, path string)
		}{
			{"read_write", func(c *Config, path string) { c.ReadWrite = append(c.ReadWrite, Declared{Path: path}) }},
			{"read_only", func(c *Config, path string) { c.ReadOnly = append(c.ReadOnly, Declared{Path: path}) }},
			{"optional", func(c *Config, path string) {
				c.ReadOnly = append(c.ReadOnly, Declared{Path: path, Optional: true})
			}},
			{"below another read_write", func(c *Config, path string) {
				c.ReadWrite = append(c.ReadWrite, Declared{Path: c.Workspace.Path})
				c.ReadOnly = append(c.ReadOnly, Declared{Path: path})
				c.Workspace.Path = ""
			}},
			{"read-only workspace", func(c *Config, path string) {
				c.ReadOnly = append(c.ReadOnly, Declared{Path: path})
				c.Workspace.Write = false
			}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := config(t)
				cache := filepath.Join(c.Workspace.Path, "cache")
				mustDo(t, os.MkdirAll(filepath.Join(cache, "pip"), 0o755))
				if got := sh(t, c, "mv cache c.old && ln -s "+secret+" cache && echo planted"); got != "planted" {
					t.Fatal(got)
				}
				tt.set(&c, filepath.Join(cache, "pip"))
				c.Command = []string{"/bin/sh", "-c", "cat " + cache + "/pip/note; echo x > " + cache + "/pip/note"}
				s, err := Start(t.Context(), c)
				if err == nil {
					s.Close()
				}
				var le *LinkError
				if !errors.As(err, &le) || !errors.Is(err, os.ErrPermission) {
					t.Fatalf("start: %v, wanted a refused link", err)
				}
				if le.Link != cache || le.Target != secret || !strings.Contains(le.Hint(), filepath.Dir(note)) {
					t.Errorf("%v; hint %s", le, le.Hint())
				}
			})
		}
	})
}

func TestResolve(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		base := scratch(t)
		at := func(p string) string { return filepath.Join(base, p) }
		mustDo(t,
			os.MkdirAll(at("real/sub"), 0o755), os.Mkdir(at("loose"), 0o755), os.Chmod(at("loose"), 0o775), os.Mkdir(at("ws"), 0o755),
			os.WriteFile(at("real/file"), nil, 0o644),
			os.Symlink("real", at("link")), os.Symlink("../real", at("loose/link")), os.Symlink("../real", at("ws/link")),
			os.Symlink("loop", at("loop")), os.Symlink("nowhere", at("dangling")), os.Symlink("ws/link/sub", at("via")),
		)
		root := os.Geteuid() == 0
		r := newResolver(Config{Workspace: Workspace{Path: at("ws")}})
		for _, tt := range []struct {
			path, want string // want: empty for a refused link
			missing    bool
			ofRoot     bool // a user's folder is not root's: refused there
		}{
			{path: at("real/sub"), want: at("real/sub")},
			{path: at("real/sub/../file"), want: at("real/file")},
			{path: at("real/none/x"), want: at("real/none/x"), missing: true},
			{path: at("link/sub"), want: at("real/sub"), ofRoot: true},
			{path: at("link/none"), want: at("real/none"), ofRoot: true, missing: true},
			{path: at("dangling"), want: at("nowhere"), ofRoot: true, missing: true},
			{path: at("loose/link/sub")},
			{path: at("ws/link")},
			{path: at("via")},
			{path: "/proc/self/root", want: "/", ofRoot: true}, // of proc: refused for a user's own process
		} {
			got, fi, err := r.resolve(tt.path)
			var le *LinkError
			if tt.want == "" || (tt.ofRoot && !root) {
				if !errors.As(err, &le) {
					t.Errorf("%s: %q, %v, wanted a refused link", tt.path, got, err)
				}
				continue
			}
			if got != tt.want || errors.Is(err, os.ErrNotExist) != tt.missing || (err == nil) == tt.missing || (fi == nil) != tt.missing {
				t.Errorf("%s: %q, %v, wanted %q", tt.path, got, err, tt.want)
			}
		}
		if _, _, err := r.resolve(at("loop")); err == nil {
			t.Error("a loop is no error")
		}
		if _, _, err := r.resolve(at("real/file/x")); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("below a file: %v", err)
		}
		// The links of the system stay what they are.
		for _, path := range []string{"/bin", "/sbin", "/lib", "/var/run", "/etc/mtab"} {
			want, err := filepath.EvalSymlinks(path)
			if err != nil {
				continue
			}
			if path == "/etc/mtab" {
				continue // by way of this process's own /proc
			}
			if got, _, err := r.resolve(path); err != nil || got != want {
				t.Errorf("%s: %q, %v, wanted %q", path, got, err, want)
			}
		}
	})
}

// TestSystemLinks declares links of the system: they lead to the same programs inside.
func TestSystemLinks(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		c := config(t)
		c.ReadOnly = []Declared{{Path: "/bin"}, {Path: "/lib"}, {Path: "/lib64", Optional: true}, {Path: "/usr/lib"}, {Path: "/var/run"}}
		if got := sh(t, c, "test -x /bin/sh && echo there; test ! -e /run || ls -A /run"); got != "there" {
			t.Errorf("%q", got)
		}
	})
}

// TestOpenExact is what closes the time between the plan and the mount.
func TestOpenExact(t *testing.T) {
	base := scratch(t)
	at := func(p string) string { return filepath.Join(base, p) }
	mustDo(t, os.MkdirAll(at("d/e"), 0o755), os.WriteFile(at("d/f"), nil, 0o644), os.Symlink("d", at("l")), os.Symlink("f", at("d/lf")),
		unix.Mkfifo(at("fifo"), 0o600))
	for _, tt := range []struct {
		path         string
		file, device bool
		want         error
	}{
		{at("d/e"), false, false, nil},
		{at("d/f"), true, false, nil},
		{"/dev/null", true, true, nil},
		{at("l"), false, false, unix.ELOOP},
		{at("l/e"), false, false, unix.ELOOP},
		{at("d/lf"), true, false, unix.ELOOP},
		{"/proc/self/root", false, false, unix.ELOOP},
		{at("d/f"), false, false, unix.ENOTDIR},
		{at("fifo"), true, true, unix.EINVAL},
		{"/dev/null", true, false, unix.EINVAL},
	} {
		fd, _, err := openExact(tt.path, tt.file, tt.device)
		if err == nil {
			_ = unix.Close(fd)
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, wanted %v", tt.path, err, tt.want)
		}
	}
}

func TestMapped(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n": true,
		"      1001       1001          1\n": false,
		"0 1000 1\n1 100000 65536\n":         true,
		"0 1000 1\n1 100000 65533\n":         false,
		"":                                   false,
		"0 zero 1\n":                         true,
	} {
		if got := mapped(text, 65534); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
