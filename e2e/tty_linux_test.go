package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// screen is a terminal with a program on it.
type screen struct {
	t    *testing.T
	tty  *os.File
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
	cmd  *exec.Cmd
}

func onScreen(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, tty: f, done: make(chan struct{}), cmd: cmd}
	go func() {
		defer close(s.done)
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			s.mu.Lock()
			s.text.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = f.Close()
		<-s.done
	})
	return s
}

func (s *screen) shown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// see waits for a text behind what was seen before.
func (s *screen) see(text string) {
	s.t.Helper()
	if !eventually(func() bool { return strings.Contains(s.shown(), text) }) {
		s.t.Fatalf("the terminal does not show %q:\n%s", text, s.shown())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, rest, _ := strings.Cut(s.text.String(), text)
	s.text.Reset()
	s.text.WriteString(rest)
}

func (s *screen) key(text string) {
	s.t.Helper()
	if _, err := s.tty.Write([]byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) resize(rows, cols uint16) {
	s.t.Helper()
	if err := pty.Setsize(s.tty, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) exit() int {
	s.t.Helper()
	ended := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		s.t.Fatalf("does not end:\n%s", s.shown())
	}
	return s.cmd.ProcessState.ExitCode()
}

// TestTerminal: a real terminal inside, with the size of the one outside, its
// changes, and its keys.
func TestTerminal(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		b := box{flags: []string{"--quiet"}}
		cmd, _, _ := b.setup(t, "bash", "--norc", "-c", `
			test -t 0 && test -t 1 && test -t 2 && tty && stty size
			trap 'echo resized $(stty size)' WINCH; trap 'echo interrupted' INT
			echo ready; while ! read -r -t 0.2 line || [ "$line" != end ]; do :; done; echo bye; exit 5`)
		s := onScreen(t, cmd)
		s.see("/dev/pts/")
		s.see("33 101")
		s.see("ready")
		s.resize(44, 123)
		s.see("resized 44 123")
		s.key("\x03")
		s.see("interrupted")
		s.key("end\r")
		s.see("bye")
		if code := s.exit(); code != 5 {
			t.Errorf("status %d", code)
		}
	})
}

// TestInterruptEnds: Ctrl-C ends a program that does not catch it, and the
// shell's status is that of a signal.
func TestInterruptEnds(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		b := box{flags: []string{"--quiet"}}
		cmd, _, _ := b.setup(t, "sh", "-c", "echo ready; exec sleep 100")
		s := onScreen(t, cmd)
		s.see("ready")
		s.key("\x03")
		if code := s.exit(); code != 130 {
			t.Errorf("status %d, want 130", code)
		}
	})
}

// TestJobControl: Ctrl-Z gives the terminal back to the shell that started
// creel, fg goes on where it was; an interactive shell inside has jobs of its own.
func TestJobControl(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		b := box{flags: []string{"--quiet"}}
		inner, _, _ := b.setup(t, "sh", "-c", "echo ready; exec cat")
		cmd := exec.Command("bash", "--norc", "--noprofile", "-i")
		cmd.Dir, cmd.Env = inner.Dir, append(inner.Env, "PS1=outer> ", "HISTFILE=")
		s := onScreen(t, cmd)
		s.see("outer> ")
		quoted := make([]string, len(inner.Args))
		for i, a := range inner.Args {
			quoted[i] = "'" + a + "'"
		}
		s.key(strings.Join(quoted, " ") + "\r")
		s.see("ready\r\n")
		s.key("one\r")
		s.see("one\r\none")
		s.key("\x1a")
		s.see("Stopped")
		s.see("outer> ")
		s.key("echo between$((1+1))\r")
		s.see("between2")
		s.key("fg\r")
		s.see("creel")
		s.key("two\r")
		s.see("two\r\ntwo")
		s.key("\x04")
		s.see("outer> ")
		s.key("echo status=$?\r")
		s.see("status=0")

		shell := box{flags: []string{"--quiet"}}
		cmd, _, _ = shell.setup(t, "bash", "--norc", "--noprofile", "-i")
		cmd.Env = append(cmd.Env, "TERM=dumb")
		s = onScreen(t, cmd)
		s.see("$ ")
		s.key("PS1=inner:\r")
		s.see("\ninner:")
		s.key("sh -c 'echo as''leep; exec sleep 100'\r")
		s.see("asleep\r\n")
		s.key("\x1a")
		s.see("Stopped")
		// Not wait, which returns at once while bash takes the job for stopped; then exit asks once more.
		s.key("jobs; kill -9 %1; while [ \"$(jobs -s)\" ]; do sleep 0.1; done; echo job$((1+1))\r")
		s.see("job2")
		if strings.Contains(s.shown(), "no job control") {
			t.Error("no job control inside")
		}
		s.key("exit 3\r")
		if code := s.exit(); code != 3 {
			t.Errorf("status %d", code)
		}
	})
}

// TestLateAnswers: what a terminal answers after the agent has ended, as one behind
// a network does, is not typed into the operator's shell.
func TestLateAnswers(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		cmd, _, _ := (&box{policy: policyHead()}).setup(t, "/bin/sh", "-c", `printf 'asked\033[21t\033[5n'`)
		cmd.Path, cmd.Args = "/bin/bash", append([]string{"bash", "-c", `"$@"; read -r line; echo "typed:[$line]"`, "-"}, cmd.Args...)
		s := onScreen(t, cmd)
		s.see("asked")
		s.see("\x1b[!p")
		s.see("\x1b[5n") // the agent's was before
		s.key("\x1b]lecho owned\r\x1b\\\x1b[0n\x1b[0n")
		s.see("creel: ")
		s.key("mine\r")
		s.see("typed:[mine]")
		if got := s.exit(); got != 0 {
			t.Errorf("status %d", got)
		}
	})
}

// TestTerminalIsCalmed: an agent that leaves the terminal hiding or swallowing
// text cannot keep Creel's summary from the operator, nor type into his shell.
func TestTerminalIsCalmed(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		cmd, _, _ := (&box{policy: policyHead()}).setup(t, "/bin/sh", "-c", `printf '\033[8m\033[?1003h\033]0;never ended'`)
		s := onScreen(t, cmd)
		s.see("never ended")
		s.see("\x18\x1b\\\x1b[!p")
		s.see("\x1b[?1003l")
		s.see("creel: ")
		if got := s.exit(); got != 0 {
			t.Errorf("status %d", got)
		}
	})
}
