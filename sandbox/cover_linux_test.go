package sandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write puts files into a folder of the test's.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// open lets every user in: read-only paths of root's sandboxes are not id-mapped.
func open(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCovers(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		c := config(t)
		ws := c.Workspace.Path
		write(t, ws, map[string]string{"secret/key": "canary", ".env": "canary", ".git/hooks/x": "hook", ".git/config": "config", "sub/deep/tool": "#!/bin/sh\necho runs\n", "tool": "#!/bin/sh\necho runs\n"})
		data := open(t, scratch(t))
		write(t, data, map[string]string{"a/secret": "canary", "a/open": "open"})
		c.ReadOnly = append(c.ReadOnly, Declared{Path: data}, Declared{Path: data + "/a"})
		c.Hidden = []Declared{{Path: ws + "/secret"}, {Path: ws + "/.env"}, {Path: data + "/a/secret"}, {Path: "/nowhere/shown"}, {Path: ws + "/not-there", Optional: true}}
		c.Protect = []string{ws + "/.git/hooks", ws + "/.git/config"}
		c.NoExec = []string{ws + "/sub", "/tmp"}
		for _, tt := range []struct{ name, script, want, never string }{
			{"hidden folder", "ls -A secret | wc -l; cat secret/key; ls secret/key", "0\n", "canary"},
			{"hidden file", "cat .env; wc -c < .env", "denied", "canary"},
			{"hidden in a read-only tree, declared twice", "cat " + data + "/a/secret; cat " + data + "/a/open", "open", "canary"},
			{"hidden stays", "rm -rf secret .env; mv secret s2; mv .env e2; ln .env e3; cat e2 e3 s2/key; echo x > secret/y; echo x > .env; cat secret/key .env", "", "canary"},
			{"protected", "echo x > .git/config; echo x > .git/hooks/pre-commit; rm -rf .git/hooks .git/config; mv .git g2; mv .git/config c2; cat .git/config .git/hooks/x", "confighook", "xx"},
			{"protected by other doors", "ln .git/config c3 && echo x >> c3; echo y > w; mv -f w .git/config; exec 3<>.git/config && echo z >&3; python3 -c 'import os; os.truncate(\".git/config\", 0)'; chmod 777 .git/config; cat .git/config", "config", "x\n"},
			{"beside it", "echo ok > .git/HEAD; cat .git/HEAD; mv .git/HEAD .git/H2 && cat .git/H2", "ok\nok", ""},
			{"noexec", "sh -c sub/deep/tool; sh -c ./tool; cp tool /tmp/t; /tmp/t; mv sub s3; sh sub/deep/tool", "denied", "runs\nruns\nruns"},
		} {
			got := sh(t, c, tt.script)
			if !strings.Contains(got+"\n", tt.want) || tt.never != "" && strings.Contains(got, tt.never) {
				t.Errorf("%s: %s\nprints %q", tt.name, tt.script, got)
			}
		}
		for path, want := range map[string]string{"secret/key": "canary", ".env": "canary", ".git/config": "config", ".git/hooks/x": "hook"} {
			if b, err := os.ReadFile(filepath.Join(ws, path)); err != nil || string(b) != want {
				t.Errorf("on the host %s is %q, %v", path, b, err)
			}
		}
		if _, err := os.Lstat(ws + "/not-there"); err == nil {
			t.Error("something was left on the host")
		}
	})
}

func TestCoversThatCannotBe(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for name, change := range map[string]func(c *Config){
			"absent":                  func(c *Config) { c.Hidden = []Declared{{Path: c.Workspace.Path + "/none"}} },
			"hard link":               func(c *Config) { c.Hidden = []Declared{{Path: c.Workspace.Path + "/twice"}} },
			"above the workspace":     func(c *Config) { c.Hidden = []Declared{{Path: filepath.Dir(c.Workspace.Path)}} },
			"link of an agent":        func(c *Config) { c.Hidden = []Declared{{Path: c.Workspace.Path + "/link"}} },
			"noexec of nothing":       func(c *Config) { c.NoExec = []string{"/nowhere"} },
			"protected and not there": func(c *Config) { c.Protect = []string{c.Workspace.Path + "/gone"} },
		} {
			c := config(t, "/bin/true")
			write(t, c.Workspace.Path, map[string]string{"once": "x"})
			if err := os.Link(c.Workspace.Path+"/once", c.Workspace.Path+"/twice"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/etc", c.Workspace.Path+"/link"); err != nil {
				t.Fatal(err)
			}
			change(&c)
			s, err := Start(context.Background(), c)
			if err == nil {
				s.Close()
				t.Errorf("%s: started", name)
			}
			var h *CoverError
			if errors.As(err, &h) && h.Fix == "" {
				t.Errorf("%s: no word of what to do", name)
			}
		}
	})
}

// TestWorkspaceApart: without include_workdir the workspace is what the declared
// paths show of it.
func TestWorkspaceApart(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		c := config(t)
		c.Workspace.Apart = true
		open(t, c.Workspace.Path)
		write(t, c.Workspace.Path, map[string]string{"f": "canary"})
		if got := sh(t, c, "pwd; cat "+c.Workspace.Path+"/f; ls "+c.Workspace.Path); !strings.HasPrefix(got, "/home/x") || strings.Contains(got, "canary") {
			t.Errorf("%q", got)
		}
		c.ReadOnly = append(c.ReadOnly, Declared{Path: c.Workspace.Path})
		if got := sh(t, c, "pwd; cat f; echo x > g"); !strings.HasPrefix(got, c.Workspace.Path) || !strings.Contains(got, "canary") || !strings.Contains(got, "Read-only") {
			t.Errorf("%q", got)
		}
		c.ReadWrite, c.Workspace.Write = []Declared{{Path: c.Workspace.Path}}, false
		if got := sh(t, c, "echo x > g"); !strings.Contains(got, "Read-only") {
			t.Errorf("%q", got)
		}
	})
}
