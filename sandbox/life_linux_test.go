package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/sandbox/cgroup"
	"github.com/creel-run/creel/sandbox/spec"
)

func TestExitStatus(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -KILL $$": 137, "sleep 1000 & exit 3": 3} {
			c := config(t, "/bin/sh", "-c", script)
			if _, _, exit := run(t, c, ""); exit.Code() != want {
				t.Errorf("%s: %d, wanted %d", script, exit.Code(), want)
			}
		}
	})
}

func TestCommandThatCannotStart(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for command, want := range map[string]syscall.Errno{
			"no-such-program": syscall.ENOENT, "/no/such/program": syscall.ENOENT, "/etc/passwd": syscall.EACCES, "/usr": syscall.EACCES,
		} {
			c := config(t, command)
			s, err := Start(context.Background(), c)
			if err == nil {
				err = s.Release(context.Background())
				s.Close()
			}
			var ce *CommandError
			if !errors.As(err, &ce) || syscall.Errno(ce.Errno) != want {
				t.Errorf("%s: %v, wanted %v", command, err, want)
			}
		}
	})
}

// TestAgentKilledBeforeItsExec: the start fails at once, and does not look for it.
func TestAgentKilledBeforeItsExec(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := start(t, config(t, "/bin/true"))
		pid, err := s.AgentPID()
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for err == nil { // until init has reaped it
			_, err = s.AgentPID()
		}
		began := time.Now()
		if err := s.Release(context.Background()); !errors.Is(err, errAgentKilled) || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestStreams(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		out, errs, _ := run(t, config(t, "/bin/sh", "-c", "cat; echo end >&2"), "to and fro\n")
		if out != "to and fro\n" || errs != "end\n" {
			t.Errorf("out %q, err %q", out, errs)
		}
		// Large data both ways: nothing may be cut off at the end.
		big := strings.Repeat("0123456789abcdef", 1<<16)
		if out, _, _ := run(t, config(t, "/bin/cat"), big); out != big {
			t.Errorf("of %d bytes %d came back", len(big), len(out))
		}
	})
}

func TestTerminal(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		c := config(t, "/bin/sh", "-c", "tty; stty size; test -t 2 && echo tty2; read x; echo got $x; read y")
		c.Streams = [3]spec.StreamKind{spec.StreamTTY, spec.StreamTTY, spec.StreamTTY}
		c.Rows, c.Cols = 33, 77
		s := start(t, c)
		if err := s.Release(context.Background()); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(s.PTY)
		for _, want := range []string{"/dev/pts/0", "33 77", "tty2"} {
			line, err := r.ReadString('\n')
			if err != nil || strings.TrimSpace(line) != want {
				t.Fatalf("%q, %v, wanted %q", line, err, want)
			}
		}
		_, _ = io.WriteString(s.PTY, "hello\n")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(line) == "got hello" {
				break
			}
		}
		// Ctrl-Z stops the agent and is reported; Ctrl-C ends it.
		stopped := make(chan struct{})
		done := make(chan Exit, 1)
		go func() {
			exit, _ := s.Wait(func(syscall.Signal) { close(stopped) })
			done <- exit
		}()
		_, _ = s.PTY.Write([]byte{0x1a})
		<-stopped
		if err := s.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		_, _ = s.PTY.Write([]byte{0x03})
		if exit := <-done; exit.Code() != 130 {
			t.Errorf("after Ctrl-C: %d", exit.Code())
		}
	})
}

// roleOrphan makes the test binary a supervisor that can be killed.
const roleOrphan = "CREEL_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(roleOrphan) != "" {
		orphan()
	}
	os.Exit(m.Run())
}

func orphan() {
	t := &testing.T{}
	c := config(t, "/bin/sh", "-c", "while :; do :; done")
	var groups []string
	c.OnGroup = func(dirs []string) error { groups = dirs; return nil }
	s, err := Start(context.Background(), c)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("init", s.InitPID)
	if os.Getenv(roleOrphan) == "released" {
		if err := s.Release(context.Background()); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	fmt.Println("ready", strings.Join(groups, " "))
	select {}
}

// TestDeath kills the supervisor before and after the agent's exec: nothing of
// the sandbox may be left.
func TestDeath(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, when := range []string{"held", "released"} {
			for range 5 {
				cmd := exec.Command("/proc/self/exe")
				cmd.Env = append(os.Environ(), roleOrphan+"="+when)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				r := bufio.NewReader(out)
				line, err := r.ReadString('\n')
				pid, perr := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "init ")))
				if err != nil || perr != nil {
					t.Fatalf("%q: %v %v", line, err, perr)
				}
				ready, err := r.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
				if err != nil {
					t.Fatal(err)
				}
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				deadline := time.Now().Add(time.Second)
				for members(t, namespace) > 0 {
					if time.Now().After(deadline) {
						t.Fatalf("%s: %d processes are left after a second", when, members(t, namespace))
					}
				}
				groups := strings.Fields(ready)[1:]
				if err := cgroup.Collect(groups); err != nil {
					t.Error(err)
				}
				for _, g := range groups {
					if _, err := os.Lstat(g); err == nil {
						t.Errorf("the control group %s is left", g)
					}
				}
			}
		}
	})
}

// members counts the processes of a pid namespace.
func members(t *testing.T, namespace string) int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range links {
		// A zombie is only a line in a table that its parent has not read.
		stat, err := os.ReadFile(strings.TrimSuffix(l, "ns/pid") + "stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			continue
		}
		if got, err := os.Readlink(l); err == nil && got == namespace {
			n++
		}
	}
	return n
}
