package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/kernel"
)

// bomb forks as often as it may until its time is over. Every process of it
// carries the mark in its command line.
const bomb = `python3 -c '
import os, time
end = time.time() + 3
while time.time() < end:
    try: os.fork()
    except OSError: pass
os._exit(0)' `

// balloon takes memory and writes to it until it is stopped.
const balloon = `python3 -c '
import sys
kept = []
while len(kept) < 600: kept.append(bytearray(b"x" * (1 << 20)))
print("took it all")'`

// TestEscapeLoad: DOS-01 and DOS-04. What counts is seen from outside: others
// work on, the supervisor answers, the numbers stay below the limit.
func TestEscapeLoad(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("e2e-load-%d", os.Getpid())
		flags := []string{"--pids", "150", "--memory", "300M", "--limits", "best_effort"}
		l := box{policy: policyHead() + "network_policies: {}\n", name: name, flags: flags}.start(t)
		witness := exec.Command("sleep", "1000")
		if err := witness.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = witness.Process.Kill(); _ = witness.Wait() }()
		unhurt := func(*line) string {
			if witness.Process.Signal(syscall.Signal(0)) != nil || exec.Command("true").Run() != nil {
				return "a process outside was hurt"
			}
			if r := creelCmd(t, "posture", name); r.code != 0 {
				return "the supervisor does not answer: " + r.stderr
			}
			return ""
		}
		l.escape(t, nil, "DOS-01", unhurt, func(x *line) {
			x.way(inside)
			mark := x.mark()
			done := make(chan string, 1)
			go func() { done <- x.sh(bomb + mark) }()
			most, slowest := 0, time.Duration(0)
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true
				default:
					begin := time.Now()
					if err := exec.Command("true").Run(); err != nil {
						x.Errorf("outside nothing can be started: %v", err)
					}
					slowest = max(slowest, time.Since(begin))
					most = max(most, withMark(mark))
				}
			}
			if most < 20 || most > 166 { // creel's init may leave some of its 16
				x.Errorf("%d processes of the bomb at once, want some and at most 166", most)
			}
			if slowest > 5*time.Second {
				x.Errorf("starting a program outside took %s", slowest)
			}
			if !eventually(func() bool { return withMark(mark) == 0 }) {
				x.Errorf("%d processes of the bomb are left", withMark(mark))
			}
			// Threads count as processes do.
			if got := x.sh(`python3 -c '
import threading, time
n = 0
try:
    while True: threading.Thread(target=time.sleep, args=(2,), daemon=True).start(); n += 1
except RuntimeError: print(n)'`); !below(got, 166) {
				x.Errorf("threads: %s", got)
			}
			if got := x.sh("ulimit -Hn; ulimit -Sn 999999 2>&1 | grep -c . || true"); !below(strings.Fields(got + " x")[0], 16384) {
				x.Errorf("open files: %s", got)
			}
		})
		l.escape(t, nil, "DOS-04", unhurt, func(x *line) {
			x.way(inside)
			if got := x.sh(balloon + " 2>&1"); strings.Contains(got, "took it all") {
				x.Errorf("600 MB were taken of 300: %s", got)
			}
			// The agent can take the raise back, and never go behind the supervisor.
			own := strings.TrimSpace(readFile(x.T, fmt.Sprintf("/proc/%d/oom_score_adj", x.cmd.Process.Pid)))
			score := strings.Fields(x.sh("cat /proc/self/oom_score_adj; for v in -1000 -1; do echo $v 2>/dev/null > /proc/self/oom_score_adj; done; cat /proc/self/oom_score_adj"))
			if len(score) < 2 || score[0] != "800" || score[len(score)-1] != "800" || own != "0" {
				x.Errorf("the kernel's order: agent %q, supervisor %s", score, own)
			}
		})
		l.end()
	})
}

// TestLimits: what is asked for is in force or stops the start, and its end is told.
func TestLimits(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		group := os.Geteuid() == 0
		big := func(b box) result { return b.run(t, "sh", "-c", "exec "+balloon) }
		asked := box{policy: policyHead() + "network_policies: {}\nresources: {memory: 64M, cpu: 0.5}\n"}
		if group {
			r := big(asked).want(t, 137).err(t, "the agent was killed by its memory limit (64M): raise --memory")
			events := readEvents(t, r.audit)
			if last := events[len(events)-1]; last.Kind != audit.SandboxExit || !strings.Contains(last.Reason, "memory limit (64M)") {
				t.Errorf("the end is recorded as %+v", last)
			}
			box{flags: []string{"--pids", "20"}}.run(t, "sh", "-c", "for i in $(seq 40); do sleep 1 & done; wait").err(t, "its process limit (20) refused", "raise --pids")
			// A limit of half a processor, as the kernel counts.
			r = box{flags: []string{"--cpu", "0.5"}}.run(t, "bash", "-c", "timeout 2 sh -c 'while :; do :; done'; times").want(t, 0)
			child := strings.Fields(strings.TrimSpace(r.stdout[strings.LastIndexByte(strings.TrimSpace(r.stdout), '\n')+1:]))
			if len(child) != 2 || child[0] < "0m0.2" || child[0] > "0m1.4" {
				t.Errorf("half a processor gave %q in two seconds", child)
			}
		} else {
			r := big(asked).want(t, 3).err(t, "a memory limit is not available", "--limits best_effort", kernel.CgroupFix())
			if _, err := os.Lstat(r.audit); err == nil && len(readEvents(t, r.audit)) > 0 {
				t.Error("something was started")
			}
			asked.flags = []string{"--limits", "best_effort"}
			if r := big(asked).err(t, "degraded: a memory limit is not enforced"); r.code == 0 || strings.Contains(r.stdout, "took it all") {
				t.Errorf("status %d: %s", r.code, r.stdout)
			}
		}
		box{flags: []string{"--disk", "64M"}}.run(t, "true").want(t, 3).err(t, "--workspace DIR:ro", "--limits best_effort")
		accepted := box{flags: []string{"--disk", "64M", "--limits", "best_effort"}}.run(t, "sh", "-c",
			"for d in /tmp /var/tmp /dev/shm ~ .; do head -c 70000000 /dev/zero > $d/big; stat -c '%s' $d/big; done 2>/dev/null; true")
		total := 0
		for i, f := range strings.Fields(accepted.want(t, 0).stdout) {
			n, _ := strconv.Atoi(f)
			if total += n; i == 4 && n != 64<<20 {
				t.Errorf("a file in the workspace grew to %d", n)
			}
		}
		if total == 0 || total > 2*64<<20 {
			t.Errorf("all files together have %d bytes:\n%s%s", total, accepted.stdout, accepted.stderr)
		}
		for flag, bad := range map[string]string{"--memory": "5", "--cpu": "0", "--pids": "none", "--disk": "1k", "--limits": "some"} {
			box{flags: []string{flag, bad}}.run(t, "true").want(t, 2).err(t, flag)
		}
	})
}

// TestLimitsInDelegatedGroup: an ordinary user who was given control groups has
// limits in them.
func TestLimitsInDelegatedGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can delegate")
	}
	uid, gid := ordinaryUser()
	var join []string
	for _, c := range []string{"memory", "pids", "cpu"} {
		parent := filepath.Join("/sys/fs/cgroup", c)
		if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
			t.Skip("version 1 is not mounted here")
		}
		dir := filepath.Join(parent, fmt.Sprintf("e2e-delegated-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		for _, f := range []string{"", "cgroup.procs", "tasks"} {
			if err := os.Chown(filepath.Join(dir, f), int(uid), int(gid)); err != nil {
				t.Fatal(err)
			}
		}
		join = append(join, "echo $$ > "+dir+"/cgroup.procs")
	}
	home, err := os.MkdirTemp("/tmp", "creel-e2e-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chown(home, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	ws := filepath.Join(home, "ws")
	cmd := exec.Command("sh", "-c", strings.Join(join, " && ")+` && mkdir ws && exec "$0" "$@"`, creel, "run", "--memory", "64M", "--workspace", ws, "--", "sh", "-c", "exec "+balloon)
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	finish(t, cmd).want(t, 137).err(t, "killed by its memory limit (64M)")
}

// withMark counts the processes whose command line holds the mark.
func withMark(mark string) int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), mark) && strings.HasPrefix(string(b), "python3") {
			n++
		}
	}
	return n
}

func below(text string, most int) bool {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	return err == nil && n <= most
}
