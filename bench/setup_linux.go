package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long one measurement may take; beyond it a peer hangs.
const patience = 30 * time.Second

// bench is the set-up that all figures share.
type bench struct {
	dir          string // readable by every user: creel's copy, policies, folders of the users
	creel, self  string
	built        string // this program where it was built, others beside it
	creelVersion string
	tools        string // absolute
	size         int64
}

// who runs a command: root, or the ordinary user that most people are.
type who struct {
	label string
	cred  *syscall.Credential // nil: as this process
	home  string
}

func prepare(creel, tools string) (*bench, error) {
	// Not below /tmp: codex puts no helpers there, and creel's own /tmp hides it.
	dir, err := os.MkdirTemp("/var/tmp", "creel-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, creel: filepath.Join(dir, "creel"), self: filepath.Join(dir, "bench")}
	if b.tools, err = filepath.Abs(tools); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b.built = self
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := copyProgram(creel, b.creel); err != nil {
		return nil, fmt.Errorf("copy creel (make build first): %w", err)
	}
	if err := copyProgram(self, b.self); err != nil {
		return nil, err
	}
	info, err := os.Stat(b.creel)
	if err != nil {
		return nil, err
	}
	b.size = info.Size()
	b.creelVersion = firstLine(b.creel, "version")
	return b, nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// users are the identities to measure as.
func (b *bench) users() []who {
	if os.Geteuid() != 0 {
		return []who{b.person("an ordinary user", nil)}
	}
	return []who{b.person("root", nil), b.person("an ordinary user", ordinary())}
}

// ordinary is the first login user, else a free id: a namespace needs no entry
// in passwd.
func ordinary() *syscall.Credential {
	for _, id := range []string{"1000", "1001"} {
		if u, err := user.LookupId(id); err == nil {
			uid, _ := strconv.ParseUint(u.Uid, 10, 32)
			gid, _ := strconv.ParseUint(u.Gid, 10, 32)
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return &syscall.Credential{Uid: 4242, Gid: 4242}
}

// person makes a user's folders: home, workspace, runtime, state.
func (b *bench) person(label string, cred *syscall.Credential) who {
	w := who{label: label, cred: cred, home: filepath.Join(b.dir, strings.ReplaceAll(label, " ", "-"))}
	for _, d := range []string{"", "run", "state", "work"} {
		p := filepath.Join(w.home, d)
		if err := os.MkdirAll(p, 0o700); err == nil && cred != nil {
			_ = os.Chown(p, int(cred.Uid), int(cred.Gid))
		}
	}
	return w
}

func (w who) work() string { return filepath.Join(w.home, "work") }

// command prepares a program with a small environment of its own.
func (w who) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = w.work()
	cmd.Env = []string{"HOME=" + w.home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8",
		"XDG_RUNTIME_DIR=" + filepath.Join(w.home, "run"), "XDG_STATE_HOME=" + filepath.Join(w.home, "state")}
	// A group of its own, so that a peer that hangs ends with its children, and
	// none of them outlives this program.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.cred, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// output runs a program to its end and gives what it printed.
func (w who) output(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := w.command(ctx, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine([]byte(errs.String())))
	}
	return out, nil
}

// milliseconds times a command from start to exit. Its output is kept from the
// terminal: both ends of the pipe would be timed as well.
func (w who) milliseconds(args ...string) func() (float64, error) {
	return func() (float64, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := w.command(ctx, args...)
		begin := time.Now()
		err := cmd.Run()
		took := time.Since(begin)
		if err != nil {
			out, _ := w.command(ctx, args...).CombinedOutput()
			return 0, fmt.Errorf("%w: %s", err, lastLine(out))
		}
		return float64(took.Microseconds()) / 1000, nil
	}
}

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	line := lines[len(lines)-1]
	if len(line) > 160 {
		line = line[:160] + "…"
	}
	return strings.ToValidUTF8(line, "?")
}

func firstLine(args ...string) string {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// policy writes a policy file that every user can read.
func (b *bench) policy(name, text string) string {
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		panic(err) // a folder that was made a moment ago
	}
	return path
}
