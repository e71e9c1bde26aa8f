package selftest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creel-run/creel/supervisor"
)

// deathTime is how long anything of a sandbox may outlive its supervisor.
const deathTime = time.Second

// held is what the part that holds a second sandbox is told.
type held struct {
	Name      string `json:"name"`
	Policy    string `json:"policy"`
	Found     bool   `json:"found"`
	Workspace string `json:"workspace"`
	Audit     string `json:"audit"`
	Program   string `json:"program"`
}

// hold runs a sandbox that waits, until it is killed.
func hold(args []string) error {
	var h held
	if err := json.Unmarshal([]byte(args[0]), &h); err != nil {
		return err
	}
	_, err := supervisor.Run(context.Background(), supervisor.Options{
		Command: []string{h.Program, role, "wait"}, Name: h.Name, Policy: h.Policy, PolicyFound: h.Found, Workspace: h.Workspace, Audit: h.Audit, Program: h.Program,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	return err
}

// death kills the supervisor of a second sandbox and reports how long the last
// of its processes outlived it.
func death(ctx context.Context, h held) (time.Duration, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, h.Program, role, "hold", string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var says strings.Builder
	cmd.Stderr = &says
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, fmt.Errorf("start second sandbox: %w %s", err, says.String())
	}
	if line != "there\n" {
		err = fmt.Errorf("start second sandbox: it says %q", line)
	}
	family := descendants(cmd.Process.Pid)
	if err == nil && len(family) < 2 { // init and the agent
		err = errors.New("start second sandbox: its processes are not to be seen")
	}
	_ = cmd.Process.Kill()
	start := time.Now()
	defer func() { _ = cmd.Wait() }()
	if err != nil {
		return 0, err
	}
	for {
		alive := 0
		for _, p := range family {
			if p.alive() {
				alive++
			}
		}
		took := time.Since(start)
		if alive == 0 {
			return took, nil
		}
		if took > deathTime {
			return took, fmt.Errorf("%d of %d processes are still there after %s", alive, len(family), deathTime)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// process is told from a later one with the same number by its start.
type process struct {
	pid   int
	start string
}

// descendants are all children of a process and theirs.
func descendants(pid int) (all []process) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for word := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(word); err == nil {
				if _, start := stat(child); start != "" {
					all = append(all, process{child, start})
				}
				all = append(all, descendants(child)...)
			}
		}
	}
	return all
}

func (p process) alive() bool {
	state, start := stat(p.pid)
	return start == p.start && state != "Z" && state != "X"
}

// stat gives a process's state and start time (proc(5)).
func stat(pid int) (state, start string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 20 {
		return "", ""
	}
	return f[0], f[19]
}
