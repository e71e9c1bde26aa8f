package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/kernel"
	"github.com/creel-run/creel/sandbox/cgroup"
	"github.com/creel-run/creel/sandbox/spec"
)

// limits is how the limits of one sandbox are enforced.
type limits struct {
	asked Limits // as the operator wrote them
	want  Limits // with the defaults
	group *cgroup.Group
	adj   []byte // our own oom_score_adj, changed with the agent's while it shares our memory
}

// planLimits makes the control group and fits the plan's own folders. What was
// asked for and cannot be enforced is an error, unless it was accepted.
func planLimits(c Config, p *plan, early *earlyGroup) (*limits, error) {
	l := &limits{asked: c.Limits, want: withDefaults(c.Limits)}
	if l.want.Disk > 0 {
		shareOut(p.spec.Mounts, l.want.Disk)
		if at := hostWrite(p.spec.Mounts); at != "" && !c.Limits.BestEffort {
			return nil, &NotSupported{Feature: "a limit on what all files together may take in " + at + ", a folder of the host that the agent may write,",
				Fix: "let it be read-only (--workspace DIR:ro), or accept a limit for each file alone: --limits best_effort (in a policy: resources: {compatibility: best_effort})"}
		}
	}
	if early == nil {
		early = makeGroup(c)
	}
	if early.limits != c.Limits {
		return nil, errors.New("plan limits: the control group was made for others")
	}
	l.group = early.take()
	for _, need := range []struct {
		controller string
		asked      bool
		what       string
	}{
		{cgroup.Memory, c.Limits.Memory > 0, "a memory limit"},
		{cgroup.CPU, c.Limits.CPU > 0, "a processor limit"},
	} {
		why := l.group.Missing[need.controller]
		if why == "" || !need.asked {
			continue
		}
		if !c.Limits.BestEffort {
			_ = l.group.Close()
			return nil, &NotSupported{Feature: need.what, Err: errors.New(why), Fix: acceptLess(groupFix())}
		}
		p.degraded = append(p.degraded, need.what+" is not enforced: "+why)
	}
	return l, nil
}

func acceptLess(fix string) string {
	const less = "accept less: --limits best_effort (in a policy: resources: {compatibility: best_effort})"
	if fix == "" {
		return less
	}
	return fix + ", or " + less
}

// earlyGroup is a control group that is being made beside other work.
type earlyGroup struct {
	limits Limits
	made   chan *cgroup.Group // gives it once
}

func makeGroup(c Config) *earlyGroup {
	e := &earlyGroup{c.Limits, make(chan *cgroup.Group, 1)}
	name, want := c.Name, withDefaults(c.Limits)
	if name == "" {
		name = "sandbox"
	}
	go func() {
		defer close(e.made)
		e.made <- cgroup.Make(name, cgroup.Limits{Memory: want.Memory, PIDs: want.PIDs + ofInit, CPU: want.CPU}, c.OnGroup)
	}()
	return e
}

// take gives the group to the first that asks, and nil to all others.
func (e *earlyGroup) take() *cgroup.Group { return <-e.made }

func withDefaults(l Limits) Limits {
	if l.Memory == 0 {
		l.Memory = totalMemory() / 100 * defaultMemory &^ (1<<20 - 1)
	}
	if l.PIDs == 0 {
		l.PIDs = defaultPIDs
	}
	if l.OpenFiles == 0 {
		l.OpenFiles = defaultOpenFiles
	}
	return l
}

// ofInit is how many threads creel's own process in the sandbox may need: it is in
// the group, too, and a bomb must not keep it from reaping.
const ofInit = 16

// groupFix is how this user gets a control group, as doctor says it: what helps with
// version 2 does not with version 1.
func groupFix() string { return kernel.CgroupFix() }

// Close removes the control group; the sandbox must have ended.
func (l *limits) Close() error {
	if l == nil || l.group == nil {
		return nil
	}
	return l.group.Close()
}

func totalMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(uint64(info.Totalram) * uint64(info.Unit))
}

// shareOut gives each of the sandbox's own folders its part of the bytes, in
// proportion to their usual sizes.
func shareOut(mounts []spec.Mount, total int64) {
	share := func(m spec.Mount) int64 {
		n, err := strconv.ParseInt(strings.TrimSuffix(m.Size, "%"), 10, 64)
		if m.Kind != spec.MountTmpfs || !strings.HasSuffix(m.Size, "%") || err != nil {
			return 0
		}
		return n
	}
	var all int64
	for _, m := range mounts {
		all += share(m)
	}
	page := int64(os.Getpagesize())
	for i, m := range mounts {
		if n := share(m); n > 0 {
			bytes := max(total*n/all/page*page, page) // the kernel takes 0 for no limit
			mounts[i].Size = strconv.FormatInt(bytes, 10)
			mounts[i].Inodes = min(m.Inodes, max(uint64(bytes/1024), 64))
		}
	}
}

// hostWrite names a folder of the host that the agent may write; "" is none.
func hostWrite(mounts []spec.Mount) string {
	for _, m := range mounts {
		if ofHost(m) && m.Write && !m.Device && !m.File {
			return m.Target
		}
	}
	return ""
}

// apply sets what hangs on the agent's process, from outside, while it still
// waits for go: everything that it starts inherits it, and it can raise none of it.
func (l *limits) apply(ctx context.Context, s *Sandbox) error {
	pid, err := s.waitAgent(ctx)
	if err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	for _, r := range l.rlimits() {
		var now unix.Rlimit
		if err := unix.Prlimit(pid, r.which, nil, &now); err != nil {
			return fmt.Errorf("set limits: read %s: %w", r.name, err)
		}
		next := unix.Rlimit{Cur: min(r.value, now.Cur, now.Max), Max: min(r.value, now.Max)}
		if r.which == unix.RLIMIT_NPROC {
			next.Cur = next.Max
		}
		if err := unix.Prlimit(pid, r.which, &next, nil); err != nil {
			return fmt.Errorf("set limits: %s: %w", r.name, err)
		}
	}
	// Where creel has CAP_SYS_RESOURCE this is for good; elsewhere an agent can take
	// the raise back, never more. The memory limit is the wall, this the order
	// behind it.
	if l.adj, err = kernel.ReadFile("/proc/self/oom_score_adj"); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	if err := kernel.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), strconv.Itoa(oomScore)); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	for _, c := range cgroup.Controllers() {
		if l.group.Missing[c] == "" && !l.group.Holds(pid, c) {
			return fmt.Errorf("set limits: the agent is not in its %s control group", c)
		}
	}
	return nil
}

// restore takes back what the agent's oom_score_adj did to ours: until its exec
// the two share their memory, and the kernel gives such processes one value.
func (l *limits) restore() error {
	if err := kernel.WriteFile("/proc/self/oom_score_adj", string(l.adj)); err != nil {
		return fmt.Errorf("restore oom_score_adj: %w", err)
	}
	return nil
}

// waitAgent waits for the agent's process, which a busy machine may take its time
// to show, unless process 1 has already told its end.
func (s *Sandbox) waitAgent(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for {
		pid, err := s.AgentPID()
		if err == nil {
			return pid, nil
		}
		if s.agentEnded() {
			return 0, errAgentKilled
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(time.Millisecond):
		}
	}
}

// errAgentKilled: nobody but the host can have done it, for the agent has run nothing.
var errAgentKilled = errors.New("the agent was killed before it began")

// agentEnded reports whether process 1 has told the agent's end.
func (s *Sandbox) agentEnded() bool {
	raw, err := s.control.SyscallConn()
	if err != nil {
		return true
	}
	ended := true
	err = raw.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 8), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ended = !errors.Is(err, unix.EAGAIN) && (err != nil || n != 1)
	})
	return err != nil || ended
}

type rlimit struct {
	which int
	name  string
	value uint64
}

// rlimits are those of the agent. RLIMIT_NPROC counts the processes of the
// agent's user namespace alone (Linux 5.14), so it is a limit of this sandbox.
func (l *limits) rlimits() []rlimit {
	list := []rlimit{
		{unix.RLIMIT_NPROC, "RLIMIT_NPROC", uint64(l.want.PIDs + ofInit)}, // the group refuses first, and counts
		{unix.RLIMIT_NOFILE, "RLIMIT_NOFILE", uint64(l.want.OpenFiles)},
	}
	if l.group.Missing[cgroup.PIDs] != "" {
		list[0].value = uint64(l.want.PIDs)
	}
	if l.want.Disk > 0 {
		list = append(list, rlimit{unix.RLIMIT_FSIZE, "RLIMIT_FSIZE", uint64(l.want.Disk)})
	}
	if l.group.Missing[cgroup.Memory] != "" && l.want.Memory > 0 {
		// Not RLIMIT_AS: runtimes reserve far more addresses than they use.
		list = append(list, rlimit{unix.RLIMIT_DATA, "RLIMIT_DATA", uint64(l.want.Memory)})
	}
	return list
}

// SweepGroups removes what dead supervisors left beside this sandbox's control group.
func (s *Sandbox) SweepGroups() { s.limits.group.Sweep() }

// Hits says in words which limits the sandbox ran into until its exit; empty: none.
func (s *Sandbox) Hits(e Exit) []string {
	if s.limits == nil {
		return nil
	}
	now := s.limits.group.Counts()
	if now == (cgroup.Counts{}) {
		return nil
	}
	limit := s.limits.group.Read()
	var hits []string
	switch {
	case now.OOMKills > 0 && e.Signal == int(syscall.SIGKILL):
		hits = append(hits, fmt.Sprintf("the agent was killed by its memory limit (%s): raise --memory", Size(limit.Memory)))
	case now.OOMKills > 0:
		hits = append(hits, fmt.Sprintf("its memory limit (%s) killed %d of its processes: raise --memory", Size(limit.Memory), now.OOMKills))
	}
	if now.PIDsRefused > 0 {
		hits = append(hits, fmt.Sprintf("its process limit (%d) refused %d forks: raise --pids", limit.PIDs-ofInit, now.PIDsRefused))
	}
	return hits
}

// Limits reads back what is in force for the agent.
func (s *Sandbox) Limits() ([]Limit, error) {
	pid, err := s.AgentPID()
	if err != nil {
		return nil, err
	}
	l := s.limits
	now := l.group.Read()
	group := fmt.Sprintf("control group version %d", l.group.Version)
	in := func(c string) bool { return l.group.Missing[c] == "" && l.group.Holds(pid, c) }
	rl := func(which int) uint64 {
		var r unix.Rlimit
		if unix.Prlimit(pid, which, nil, &r) != nil {
			return unix.RLIM_INFINITY
		}
		return r.Max
	}
	return []Limit{
		l.memory(in(cgroup.Memory), now, group, rl(unix.RLIMIT_DATA)),
		l.cpu(in(cgroup.CPU), now, group),
		l.pids(in(cgroup.PIDs), now, group, rl(unix.RLIMIT_NPROC)),
		l.openFiles(rl(unix.RLIMIT_NOFILE)),
		l.disk(pid, s.Plan.Mounts, rl(unix.RLIMIT_FSIZE)),
		oomOrder(pid),
	}, nil
}

func (l *limits) memory(in bool, now cgroup.State, group string, data uint64) Limit {
	r := Limit{Name: "memory", Want: "at most " + Size(l.want.Memory) + " for all its processes together"}
	switch {
	case in && now.Memory > 0:
		r.Held = now.Memory <= l.want.Memory && now.SwapCounted
		r.Detail = fmt.Sprintf("at most %s, %s", Size(now.Memory), group)
		if !now.SwapCounted {
			r.Detail += "; swap is not counted"
			r.Fix = "boot with swapaccount=1, or without swap: swapoff -a"
		}
	case in:
		r.Detail = "no limit in its " + group
	case data <= uint64(l.want.Memory):
		r.Detail = fmt.Sprintf("at most %s for each process alone: %s", Size(int64(data)), l.why(cgroup.Memory))
		r.Fix = groupFix()
	default:
		r.Absent, r.Detail, r.Fix = true, l.why(cgroup.Memory), groupFix()
	}
	return r
}

func (l *limits) cpu(in bool, now cgroup.State, group string) Limit {
	r := Limit{Name: "cpu", Want: "a control group of its own"}
	switch {
	case in && l.want.CPU == 0:
		r.Held, r.Detail = true, "no limit asked; all its processes together weigh as one, "+group
	case in && now.CPU > 0:
		r.Held = now.CPU <= l.want.CPU
		r.Detail = fmt.Sprintf("at most %s processors, %s", strconv.FormatFloat(float64(now.CPU)/1000, 'f', -1, 64), group)
	case in:
		r.Detail = "no limit in its " + group
	case l.want.CPU == 0:
		r.Detail, r.Fix = "no limit asked; each of its processes weighs as one: "+l.why(cgroup.CPU), groupFix()
	default:
		r.Absent, r.Detail, r.Fix = true, l.why(cgroup.CPU), groupFix()
	}
	return r
}

func (l *limits) pids(in bool, now cgroup.State, group string, nproc uint64) Limit {
	r := Limit{Name: "processes", Want: "at most " + strconv.FormatInt(l.want.PIDs, 10)}
	var by []string
	if in && now.PIDs > 0 && now.PIDs <= l.want.PIDs+ofInit {
		by = append(by, fmt.Sprintf("%s (%d for creel's init among them)", group, ofInit))
	}
	most := nproc
	if len(by) > 0 {
		most = min(most, uint64(now.PIDs))
	}
	if nproc <= uint64(l.want.PIDs+ofInit) {
		by = append(by, "RLIMIT_NPROC in its user namespace")
	}
	r.Held = len(by) > 0
	r.Detail = fmt.Sprintf("at most %d, threads included: %s", most, strings.Join(by, ", "))
	if !r.Held {
		r.Detail = "no limit: " + l.why(cgroup.PIDs)
	}
	return r
}

func (l *limits) openFiles(most uint64) Limit {
	return Limit{Name: "open files", Held: most <= uint64(l.want.OpenFiles), Want: "at most " + strconv.FormatInt(l.want.OpenFiles, 10),
		Detail: fmt.Sprintf("at most %d for each process", most)}
}

func (l *limits) disk(pid int, mounts []spec.Mount, file uint64) Limit {
	r := Limit{Name: "disk", Want: "a limit on all that it writes"}
	total, err := ownSize(pid, mounts)
	if err != nil {
		r.Absent, r.Detail = true, err.Error()
		return r
	}
	r.Held, r.Detail = true, fmt.Sprintf("at most %s in its own folders together", Size((total+1<<20-1)&^(1<<20-1)))
	if l.want.Disk > 0 {
		r.Held = total <= l.want.Disk && file <= uint64(l.want.Disk)
		r.Detail += fmt.Sprintf(", %s in any single file", Size(int64(min(file, math.MaxInt64))))
	}
	if hostWrite(mounts) != "" {
		r.Held = false
		r.Detail += "; folders of the host that it may write: not limited"
		r.Fix = "creel run --workspace DIR:ro …, or a quota of the file system"
	}
	return r
}

// ownSize adds up the sizes that the kernel gives the sandbox's own folders.
func ownSize(pid int, mounts []spec.Mount) (int64, error) {
	live, err := ReadMounts(pid)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, m := range mounts {
		if m.Kind != spec.MountTmpfs || m.Size == "" {
			continue
		}
		size := int64(-1)
		for _, at := range live { // the last one at a path is the one that is seen
			if at.Path == m.Target {
				size = tmpfsSize(at)
			}
		}
		if size < 0 {
			return 0, fmt.Errorf("%s has no size", m.Target)
		}
		total += size
	}
	return total, nil
}

// tmpfsSize reads "size=…k"; -1 if there is none.
func tmpfsSize(m MountPoint) int64 {
	for _, o := range strings.Split(m.Super, ",") {
		if text, ok := strings.CutPrefix(o, "size="); ok && m.Type == "tmpfs" {
			n, err := strconv.ParseInt(strings.TrimSuffix(text, "k"), 10, 64)
			if err == nil && strings.HasSuffix(text, "k") {
				return n << 10
			}
		}
	}
	return -1
}

// oomOrder: the kernel's choice when the machine is out of memory.
func oomOrder(pid int) Limit {
	r := Limit{Name: "oom", Want: "oom_score_adj " + strconv.Itoa(oomScore)}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	n, perr := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || perr != nil {
		r.Absent, r.Detail = true, "oom_score_adj cannot be read"
		return r
	}
	r.Held = n >= oomScore
	r.Detail = fmt.Sprintf("the agent goes before creel (oom_score_adj %d)", n)
	return r
}

func (l *limits) why(controller string) string {
	if w := l.group.Missing[controller]; w != "" {
		return w
	}
	return "the agent is not in its control group"
}

// Size shows bytes as an operator writes them.
func Size(n int64) string {
	for _, u := range []struct {
		unit string
		n    int64
	}{{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if n >= u.n && n%u.n == 0 {
			return strconv.FormatInt(n/u.n, 10) + u.unit
		}
	}
	if n >= 1<<20 {
		return strconv.FormatInt(n>>20, 10) + "M"
	}
	return strconv.FormatInt(n, 10)
}
