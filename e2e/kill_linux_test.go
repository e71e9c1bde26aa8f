package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// kills is the variable with the number of kills, and their number without it;
// `make kill-test` sets more.
const (
	kills        = "CREEL_KILLS"
	defaultKills = 60
)

// work is what an agent does until it is killed or done: children that outlive
// it, one in a session of its own, requests that are allowed, and others.
const work = `mark=$0
(exec -a $mark sleep 1000) &
(setsid bash -c "exec -a $mark sleep 1000" </dev/null >/dev/null 2>&1 &)
ask() { exec 3<>/dev/tcp/$1/80 && printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' $2 $1 >&3 && cat <&3; exec 3>&-; }
for i in 1 2 3; do ask ok.test /public/$mark/$i; ask ok.test /secret/$mark; ask no.test /public/$mark; done >/dev/null 2>&1
kill %1; wait`

// TestRandomKill kills supervisor, init or agent at a random moment of a run: at
// the start, under load, in the middle of reloads, in the middle of a stop. After
// a second nothing of the sandbox lives; no request went out that was not
// allowed; what had to stay stayed; the next start works and cleans up.
func TestRandomKill(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		n := defaultKills
		if v, err := strconv.Atoi(os.Getenv(kills)); err == nil && v > 0 {
			n = v
		}
		n = (n + 1) / 2 // the other half is the other user's
		k := &killer{T: t, sink: newSink(t), seed: rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(time.Now().UnixNano()))), count: map[string]int{}}
		begin := time.Now()
		k.round(-1, "nobody", "load", 0)
		k.life = time.Since(begin)
		mounts := readFile(t, "/proc/self/mountinfo")
		for i := range n {
			victim := []string{"supervisor", "supervisor", "init", "agent"}[k.seed.IntN(4)]
			what := []string{"load", "load", "reload", "stop"}[k.seed.IntN(4)]
			k.round(i, victim, what, time.Duration(k.seed.Int64N(int64(k.life)*3/2)))
			if t.Failed() {
				break
			}
		}
		if now := readFile(t, "/proc/self/mountinfo"); now != mounts {
			t.Errorf("mounts were left:\n%s", now)
		}
		var lines []string
		for what, n := range k.count {
			lines = append(lines, fmt.Sprintf("%s %d", what, n))
		}
		slices.Sort(lines)
		t.Logf("%d kills as %s, a run takes %s, slowest end %s; %d allowed requests arrived: %s",
			n, userKind(), k.life.Round(time.Millisecond), k.slowest.Round(time.Millisecond), len(k.sink.requests()), strings.Join(lines, ", "))
	})
}

type killer struct {
	*testing.T
	sink    *sink
	seed    *rand.Rand
	life    time.Duration
	slowest time.Duration
	count   map[string]int
}

// process is one that cannot be mistaken for a later one with its number.
type process struct {
	pid   int
	start string // field 22 of stat
}

func (p process) lives() bool {
	start, state := statOf(p.pid)
	return start == p.start && state != "Z" && state != "X" && start != ""
}

func statOf(pid int) (start, state string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return "", ""
	}
	return f[19], f[0]
}

// exiting begins what is said of a process that was killed and whose memory the
// kernel is taking down: it runs no instruction of its own any more, but is there
// until it got the processor for that.
const exiting = "(exiting) "

func exits(pid int) string {
	const pfExiting = 4 // PF_EXITING, linux/sched.h
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 7 {
		return exiting // gone since
	}
	if flags, err := strconv.ParseUint(f[6], 10, 64); err != nil || flags&pfExiting == 0 {
		return ""
	}
	return exiting
}

// descendants are all processes below pid, the nearest first.
func descendants(pid int) (all []process) {
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", next[0]))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			for _, w := range strings.Fields(string(b)) {
				if child, err := strconv.Atoi(w); err == nil {
					start, _ := statOf(child)
					all = append(all, process{child, start})
					next = append(next, child)
				}
			}
		}
	}
	return all
}

func (k *killer) round(i int, victim, what string, moment time.Duration) {
	name := fmt.Sprintf("kill-%d-%d", os.Getpid(), i+1)
	b := box{policy: restPolicy(), name: name, flags: append([]string{"--quiet"}, k.sink.upstreams("ok.test", "no.test")...)}
	cmd, log, policy := b.setup(k.T, "bash", "-c", work, name)
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
	if err := cmd.Start(); err != nil {
		k.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	defer func() { _ = cmd.Process.Kill(); <-exited }()
	if victim == "nobody" {
		// The control: while it runs, what is looked for afterwards is there to be seen.
		seen, held := false, false
		for ended := false; !ended; {
			select {
			case <-exited:
				ended = true
			default:
				seen = seen || argvBegins(name) > 0
				now := namespacesOf(descendants(cmd.Process.Pid))
				held = held || inNamespaces(now) != ""
				now.close()
			}
		}
		if !seen || !held {
			k.Fatalf("what a running sandbox has is not seen: processes %v, namespaces %v", seen, held)
		}
		<-exited
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			k.Fatalf("an undisturbed run ends with %d", code)
		}
		return
	}
	where := fmt.Sprintf("round %d: %s killed after %s, %s", i, victim, moment, what)

	// What goes on beside it ends with the round.
	disturb := make(chan struct{})
	disturbed := make(chan struct{})
	go func() {
		defer close(disturbed)
		for j := 0; what == "reload"; j++ {
			select {
			case <-disturb:
				return
			case <-time.After(5 * time.Millisecond):
				_ = os.WriteFile(policy, fmt.Appendf(nil, "%s# %d\n", b.policy, j), 0o600)
			}
		}
		if what == "stop" {
			select {
			case <-disturb:
				return
			case <-time.After(moment * 3 / 4):
				_ = exec.Command(creel, "stop", name).Run()
			}
		}
	}()

	time.Sleep(moment)
	known := descendants(cmd.Process.Pid)
	held := namespacesOf(known)
	defer held.close()
	target := process{pid: cmd.Process.Pid}
	switch {
	case victim == "init" && len(known) > 0:
		target = known[0]
	case victim == "agent" && len(known) > 1:
		target = known[1]
	case victim != "supervisor":
		victim = "supervisor (no " + victim + " at the time)"
	}
	k.count[victim]++
	killed := time.Now()
	if victim == "supervisor" || target.pid == cmd.Process.Pid {
		_ = cmd.Process.Kill()
	} else {
		_ = syscall.Kill(target.pid, syscall.SIGKILL)
	}
	// Streams that a child holds are drained for half a second when the agent ends.
	bound := time.Second
	if victim == "agent" {
		bound += 500 * time.Millisecond
	}
	left := func() string {
		for _, p := range known {
			if p.lives() {
				b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
				return fmt.Sprintf("%sprocess %d lives: %s", exits(p.pid), p.pid, b)
			}
		}
		if n := argvBegins(name); n > 0 {
			return fmt.Sprintf("%d processes of the agent live", n)
		}
		return inNamespaces(held)
	}
	for wrong := left(); wrong != ""; wrong = left() {
		limit := bound
		if strings.HasPrefix(wrong, exiting) { // of a machine that is busy
			limit = 10 * time.Second
		}
		if time.Since(killed) > limit {
			k.Errorf("%s: after %s %s", where, bound, wrong)
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	k.slowest = max(k.slowest, time.Since(killed))
	select {
	case <-exited:
	case <-time.After(5 * time.Second):
		k.Errorf("%s: the supervisor does not end", where)
	}
	close(disturb)
	<-disturbed

	for _, r := range k.sink.requests() {
		if r.Host != "ok.test" || !strings.HasPrefix(r.URI, "/public/") {
			k.Errorf("%s: the sink got %s %s", where, r.Host, r.URI)
		}
	}
	if text, err := os.ReadFile(log); err == nil {
		if report, err := audit.Verify(bytes.NewReader(text)); err != nil || len(report.Faults) > 0 {
			k.Errorf("%s: the audit log does not hold: %v %+v", where, err, report.Faults)
		}
	}
	box{flags: []string{"--quiet"}}.run(k.T, "true").want(k.T, 0)
	for _, pattern := range []string{"/sys/fs/cgroup/*/creel-" + name + "-*", "/sys/fs/cgroup/*/*/*/creel-" + name + "-*", "/run/creel/" + name,
		filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "creel", name)} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 && filepath.IsAbs(pattern) {
			k.Errorf("%s: the next start did not collect %s", where, found)
		}
	}
	if k.Failed() && cmd.ProcessState == nil {
		k.Logf("children now: %v", descendants(cmd.Process.Pid))
	}
}

// spaces are namespaces that are held open: the number of one that is gone is
// given to another sandbox of the machine.
type spaces map[string]*os.File

func (s spaces) close() {
	for _, f := range s {
		_ = f.Close()
	}
}

// namespacesOf opens the namespaces of the processes that can be read.
func namespacesOf(list []process) spaces {
	all := spaces{}
	for _, p := range list {
		for _, kind := range []string{"user", "mnt", "pid", "net"} {
			f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", p.pid, kind))
			if err != nil {
				continue
			}
			ours, err := os.Readlink("/proc/self/ns/" + kind)
			theirs, err2 := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
			if err != nil || err2 != nil || ours == theirs || all[theirs] != nil {
				_ = f.Close()
				continue
			}
			all[theirs] = f
		}
	}
	return all
}

// inNamespaces names a process that lives in one of them, or "".
func inNamespaces(all spaces) string {
	links, _ := filepath.Glob("/proc/[0-9]*/ns/*")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && all[to] != nil {
			pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
			if start, state := statOf(pid); start != "" && state != "Z" && state != "X" {
				return fmt.Sprintf("%sprocess %d holds the namespace %s", exits(pid), pid, to)
			}
		}
	}
	return ""
}

// argvBegins counts the processes that call themselves so.
func argvBegins(name string) int {
	n := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(b), name+"\x00") {
			n++
		}
	}
	return n
}
