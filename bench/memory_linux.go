package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// many is how many idle sandboxes run at once for B2.
const many = 100

// idle is B2: the memory of an idle sandbox, all processes but the command
// itself. PSS counts a page that n processes share as one n-th.
func (b *bench) idle(w who) *comparison {
	c := &comparison{
		id: "B2", title: "Memory of an idle sandbox, as " + w.label, unit: "MB of PSS", reference: "creel, the first",
		target:     "at most 30 MB for the first, 15 MB for the 100th, aim 8 MB for the 100th",
		conditions: fmt.Sprintf("All processes but the command itself (sleep), two seconds after the start. The 100th: %d at once; the values are those of each of them.", many),
	}
	take := func(name string, n, rounds int, args func(i int) []string) {
		x := &contender{name: name}
		for range rounds {
			values, err := w.residents(n, args)
			if err != nil {
				c.skipped = append(c.skipped, fmt.Sprintf("%s: %v", name, err))
				return
			}
			x.values = append(x.values, values...)
		}
		c.list = append(c.list, x)
	}
	creel := func(i int) []string {
		return []string{b.creel, "run", "--quiet", "--name", fmt.Sprintf("bench-%d-%d", os.Getpid(), i), "--workspace", w.work(), "--", "sleep", "1000"}
	}
	take("creel, the first", 1, 5, creel)
	take("creel, the 100th", many, 1, creel)
	if node, cli := b.srt(); node == "" {
		c.skipped = append(c.skipped, "srt: not installed")
	} else if w.cred != nil && !w.reaches(cli) {
		c.skipped = append(c.skipped, "srt: its folder cannot be read by this user")
	} else {
		take("srt, the first", 1, 3, func(int) []string { return []string{node, cli, "sleep", "1000"} })
	}
	return c
}

// residents starts n commands, waits until all run their sleep, and gives the
// PSS of each in MB.
func (w who) residents(n int, args func(i int) []string) (values []float64, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	var started []*exec.Cmd
	defer func() {
		cancel()
		for _, cmd := range started {
			_ = cmd.Wait()
		}
	}()
	for i := range n {
		cmd := w.command(ctx, args(i)...)
		var out bytes.Buffer
		cmd.Stderr = &out
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		started = append(started, cmd)
		deadline := time.Now().Add(patience)
		for {
			if _, slept := family(cmd.Process.Pid); slept {
				break
			}
			if time.Now().After(deadline) {
				return nil, errors.New("its command does not start: " + lastLine(out.Bytes()))
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	time.Sleep(2 * time.Second)
	for _, cmd := range started {
		pids, _ := family(cmd.Process.Pid)
		total := 0.0
		for _, pid := range pids {
			kb, err := pss(pid)
			if err != nil {
				return nil, err
			}
			total += kb / 1000
		}
		values = append(values, total)
	}
	return values, nil
}

// family is a process with all below it, sleep aside, and whether there is one.
func family(root int) (pids []int, slept bool) {
	for next := []int{root}; len(next) > 0; next = next[1:] {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", next[0]))
		if err != nil {
			continue
		}
		if strings.TrimSpace(string(comm)) == "sleep" {
			slept = true
			continue
		}
		pids = append(pids, next[0])
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", next[0]))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			for _, word := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(word); err == nil {
					next = append(next, pid)
				}
			}
		}
	}
	return pids, slept
}

// pss reads a process's proportional share, kB.
func pss(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "Pss:" {
			return strconv.ParseFloat(f[1], 64)
		}
	}
	return 0, errors.New("no Pss line")
}

// small is B15 for what exists: a sandbox in a group of 256 MB without swap.
func (b *bench) small(w who) *comparison {
	const limit = 256
	c := &comparison{
		id: "B15", title: "Least memory, as " + w.label, unit: "MB", reference: "creel run, peak",
		target:     "works in 256 MB without swap",
		conditions: "Supervisor and sandbox in one control group of 256 MB, swap included. Peak: of the whole group, page cache included. Least: the smallest group, in steps of 4 MB, in which /bin/true ends well. The gateway is not built yet.",
	}
	run := []string{b.creel, "run", "--quiet", "--workspace", w.work(), "--"}
	for _, x := range []struct {
		name  string
		rest  []string
		group int
	}{
		{"creel run, peak", []string{"/bin/true"}, limit},
		{"creel run of a program that takes 200 MB, peak", []string{"python3", "-c", "x = bytearray(b'x' * 100_000_000)"}, limit},
	} {
		c.list = append(c.list, &contender{name: x.name, measure: func() (float64, error) {
			return w.within(x.group, append(append([]string{}, run...), x.rest...)...)
		}})
	}
	c.list = append(c.list, &contender{name: "creel run, least", measure: func() (float64, error) {
		for mb := 8; mb <= limit; mb += 4 {
			if _, err := w.within(mb, append(append([]string{}, run...), "/bin/true")...); err == nil {
				return float64(mb), nil
			}
		}
		return 0, errors.New("not even in 256 MB")
	}})
	return c
}

// within runs a command in a memory group of so many MB and gives the group's
// peak in MB.
func (w who) within(mb int, args ...string) (float64, error) {
	g, err := newGroup(mb)
	if err != nil {
		return 0, err
	}
	defer g.remove()
	if w.cred != nil {
		for _, f := range []string{"cgroup.procs", "tasks"} {
			_ = os.Chown(filepath.Join(g.dir, f), int(w.cred.Uid), int(w.cred.Gid))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := w.command(ctx, append([]string{"sh", "-c", "echo $$ > " + g.dir + `/cgroup.procs && exec "$@"`, "sh"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, lastLine(out))
	}
	text, err := os.ReadFile(filepath.Join(g.dir, g.peak))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	return n / 1e6, err
}

// group is a memory control group of version 1 or 2.
type group struct{ dir, peak string }

func newGroup(mb int) (*group, error) {
	g := &group{dir: fmt.Sprintf("/sys/fs/cgroup/memory/bench-%d", os.Getpid()), peak: "memory.max_usage_in_bytes"}
	limits := [][2]string{{"memory.limit_in_bytes", strconv.Itoa(mb << 20)}, {"memory.memsw.limit_in_bytes", strconv.Itoa(mb << 20)}}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		g = &group{dir: fmt.Sprintf("/sys/fs/cgroup/bench-%d", os.Getpid()), peak: "memory.peak"}
		limits = [][2]string{{"memory.max", strconv.Itoa(mb << 20)}, {"memory.swap.max", "0"}}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make control group: %w", err)
	}
	for i, l := range limits {
		if err := os.WriteFile(filepath.Join(g.dir, l[0]), []byte(l[1]), 0); err != nil && i == 0 {
			g.remove()
			return nil, fmt.Errorf("limit control group: %w", err)
		}
	}
	return g, nil
}

// remove waits for the kernel to empty the group, and those that a creel which
// was killed in it left.
func (g *group) remove() {
	for range 200 {
		below, _ := filepath.Glob(filepath.Join(g.dir, "creel-*"))
		for _, d := range below {
			_ = syscall.Rmdir(d)
		}
		if err := syscall.Rmdir(g.dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
