package sandbox

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHostFile compares programs that run inside, as the kernel names them, with
// the host's files.
func TestHostFile(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		base := scratch(t)
		program, err := os.Open("/bin/sleep")
		mustDo(t, err, os.Chmod(base, 0o755), os.MkdirAll(base+"/tools/bin", 0o755))
		defer program.Close()
		f, err := os.OpenFile(base+"/tools/bin/fetch", os.O_CREATE|os.O_WRONLY, 0o755)
		mustDo(t, err)
		_, err = io.Copy(f, program)
		mustDo(t, err, f.Close())
		for _, tt := range []struct {
			name, script string // ends by running the program
			path         string
			want         bool
		}{
			{"of the host", "exec /bin/sleep 1000", "", true},
			{"of a declared folder", "exec " + base + "/tools/bin/fetch 1000", base + "/tools/bin/fetch", true},
			{"of the workspace", "cp /bin/sleep mine; exec ./mine 1000", "WS/mine", true},
			{"made in the home", "cp /bin/sleep " + base + "/tools/fetch; exec " + base + "/tools/fetch 1000", base + "/tools/fetch", false},
			{"made in /tmp", "cp /bin/sleep /tmp/x; exec /tmp/x 1000", "/tmp/x", false},
			{"made in a folder beside", "mkdir -p " + base + "/other/bin; cp /bin/sleep " + base + "/other/bin/fetch; exec " + base + "/other/bin/fetch 1000",
				base + "/other/bin/fetch", false},
		} {
			t.Run(tt.name, func(t *testing.T) {
				c := config(t)
				c.Home = base
				c.ReadOnly = append(c.ReadOnly, Declared{Path: base + "/tools/bin"})
				c.Command = []string{"/bin/sh", "-c", tt.script}
				s := start(t, c)
				if err := s.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				pid, err := s.AgentPID()
				if err != nil {
					t.Fatal(err)
				}
				exe := "/proc/" + strconv.Itoa(pid) + "/exe"
				deadline := time.Now().Add(10 * time.Second)
				for { // until the shell has become the program
					args, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
					if strings.HasSuffix(string(args), "\x001000\x00") && !strings.Contains(string(args), "-c\x00") {
						break
					}
					if time.Now().After(deadline) {
						t.Fatalf("the program does not run: %q", args)
					}
				}
				path, err := os.Readlink(exe)
				mustDo(t, err)
				if want := strings.Replace(tt.path, "WS", c.Workspace.Path, 1); want != "" && path != want {
					t.Fatalf("runs %s, wanted %s", path, want)
				}
				fi, err := os.Stat(exe)
				mustDo(t, err)
				st := fi.Sys().(*syscall.Stat_t)
				if got := s.HostFile(path, st.Dev, st.Ino); got != tt.want {
					t.Errorf("%s: %v, wanted %v", path, got, tt.want)
				}
				if s.HostFile(path, st.Dev, st.Ino+1) || s.HostFile(path+"/", st.Dev, st.Ino) || s.HostFile(strings.TrimPrefix(path, "/"), st.Dev, st.Ino) ||
					s.HostFile(filepath.Dir(path)+"/../"+filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), st.Dev, st.Ino) {
					t.Error("another inode or an untidy path is taken")
				}
			})
		}
	})
}
