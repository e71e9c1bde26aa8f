package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/kernel"
)

// Group is the control group of one sandbox.
type Group struct {
	Version int               // 2 or 1; 0: no controller was to be had
	Missing map[string]string // controller: why it is not here

	dirs map[string]string // controller: folder. Version 2: one folder for all
}

// Claim is told which folders are about to be made, so that a record of them
// exists before they do. An error stops them from being made.
type Claim func(dirs []string) error

// Make makes the group of a sandbox with its limits set and nobody in it. name
// must be fit for a file name; claim may be nil. What could not be had stands in
// Missing.
func Make(name string, l Limits, claim Claim) *Group {
	own, mounts, err := kernel.Cgroups()
	if err != nil {
		g := &Group{dirs: map[string]string{}, Missing: map[string]string{}}
		for _, c := range Controllers() {
			g.Missing[c] = err.Error()
		}
		return g
	}
	return makeIn(name, l, claim, own, mounts)
}

// made tells apart the groups of one process.
var made atomic.Uint64

func makeIn(name string, l Limits, claim Claim, own map[string]string, mounts []kernel.CgroupMount) *Group {
	g := &Group{dirs: map[string]string{}, Missing: map[string]string{}}
	folder := fmt.Sprintf("%s%s-%d-%d", prefix, name, os.Getpid(), made.Add(1))
	for _, m := range mounts {
		if dir, ok := m.Group(own[""]); ok && m.V2 && len(words(filepath.Join(dir, "cgroup.controllers"))) > 0 && g.Version == 0 {
			g.findV2(folder, m.Dir, dir)
		}
	}
	if g.Version == 0 {
		g.findV1(folder, own, mounts)
	}
	if err := g.make(claim); err != nil {
		for _, c := range Controllers() {
			g.Missing[c] = err.Error()
		}
	}
	for _, c := range Controllers() {
		if g.dirs[c] != "" && g.Missing[c] == "" {
			if err := g.limit(c, l); err != nil {
				g.Missing[c] = err.Error()
			}
		} else if g.Missing[c] == "" {
			g.Missing[c] = "no control group that this user may write"
		}
	}
	all := g.Dirs()
	for c := range g.Missing {
		delete(g.dirs, c)
	}
	// What is not used after all must not stay.
	for _, d := range all {
		if !slices.Contains(g.Dirs(), d) {
			_ = os.Remove(d)
		}
	}
	return g
}

// make makes the folders that were found.
func (g *Group) make(claim Claim) error {
	dirs := g.Dirs()
	if len(dirs) == 0 {
		return nil
	}
	if claim != nil {
		if err := claim(dirs); err != nil {
			return err
		}
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			for c, d := range g.dirs {
				if d == dir {
					g.Missing[c] = err.Error()
				}
			}
		}
	}
	return nil
}

// findV1 looks for the hierarchy of each controller that we need.
func (g *Group) findV1(folder string, own map[string]string, mounts []kernel.CgroupMount) {
	for _, c := range Controllers() {
		for _, m := range mounts {
			if m.V2 || !slices.Contains(m.Controllers, c) {
				continue
			}
			parent, ok := m.Group(own[c])
			if !ok {
				continue
			}
			err := unix.Access(parent, unix.W_OK)
			if err != nil {
				g.Missing[c] = "version 1, and its groups are not this user's: " + err.Error()
				break
			}
			g.Version = 1
			g.dirs[c] = filepath.Join(parent, folder) // two controllers may share one hierarchy
			break
		}
	}
}

// findV2 looks from our own group upwards for one that may have children with
// controllers, and takes the one that gives most, the nearest first.
func (g *Group) findV2(folder, top, own string) {
	var best string
	var most []string
	for dir := own; ; dir = filepath.Dir(dir) {
		if got := delegate(dir, dir == own); len(got) > len(most) {
			best, most = dir, got
		}
		if len(most) == len(Controllers()) || len(dir) <= len(top) {
			break
		}
	}
	if best == "" {
		return
	}
	g.Version = 2
	for _, c := range most {
		g.dirs[c] = filepath.Join(best, folder)
	}
}

// delegate lets the children of a group have our controllers and reports which
// they have then.
func delegate(dir string, own bool) []string {
	if unix.Access(dir, unix.W_OK) != nil || unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) != nil {
		return nil
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	has := words(filepath.Join(dir, "cgroup.controllers"))
	for _, c := range Controllers() {
		if !slices.Contains(has, c) || slices.Contains(words(control), c) {
			continue
		}
		err := put(control, "+"+c)
		// A group of our own, alone in it, as a scope with Delegate=yes is: we make room.
		if errors.Is(err, unix.EBUSY) && own && aside(dir) == nil {
			_ = put(control, "+"+c)
		}
	}
	var got []string
	for _, c := range words(control) {
		if slices.Contains(Controllers(), c) {
			got = append(got, c)
		}
	}
	return got
}

// aside moves this process and its children, of which the sandbox's first may be
// one already, into a leaf of its group, if nobody else is in the group.
func aside(dir string) error {
	procs := words(filepath.Join(dir, "cgroup.procs"))
	if len(procs) == 0 || slices.ContainsFunc(procs, func(pid string) bool { return !ours(pid) }) {
		return unix.EBUSY
	}
	leaf := filepath.Join(dir, "supervisor")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, pid := range procs {
		if err := put(filepath.Join(leaf, "cgroup.procs"), pid); err != nil {
			return err
		}
	}
	return nil
}

// ours reports whether a process is this one or its child (proc(5), stat).
func ours(pid string) bool {
	me := strconv.Itoa(os.Getpid())
	if pid == me {
		return true
	}
	b, err := kernel.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return false
	}
	rest := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // the name before may hold anything
	return len(rest) > 1 && rest[1] == me
}

// limit writes one controller's limits; 0 leaves the kernel's, which is none.
func (g *Group) limit(c string, l Limits) error {
	dir := g.dirs[c]
	at := func(name string) string { return filepath.Join(dir, name) }
	switch c {
	case Memory:
		if l.Memory == 0 {
			return nil
		}
		if g.Version == 2 {
			if err := put(at("memory.max"), strconv.FormatInt(l.Memory, 10)); err != nil {
				return err
			}
			return absent(put(at("memory.swap.max"), "0"))
		}
		if err := put(at("memory.limit_in_bytes"), strconv.FormatInt(l.Memory, 10)); err != nil {
			return err
		}
		return absent(put(at("memory.memsw.limit_in_bytes"), strconv.FormatInt(l.Memory, 10)))
	case PIDs:
		if l.PIDs == 0 {
			return nil
		}
		return put(at("pids.max"), strconv.FormatInt(l.PIDs, 10))
	case CPU:
		if l.CPU == 0 {
			return nil
		}
		quota := strconv.FormatInt(max(l.CPU*period/1000, 1000), 10) // the kernel's least is 1 ms
		if g.Version == 2 {
			return put(at("cpu.max"), quota+" "+strconv.Itoa(period))
		}
		if err := put(at("cpu.cfs_period_us"), strconv.Itoa(period)); err != nil {
			return err
		}
		return put(at("cpu.cfs_quota_us"), quota)
	}
	return errors.New("unknown controller " + c)
}

// absent: a kernel that does not count swap has no file for it; Read looks
// whether there is any swap.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Entrances are the files by which a process enters the group: it writes "0",
// which stands for the writer, to each. The caller closes them.
func (g *Group) Entrances() ([]*os.File, error) {
	name := "cgroup.procs"
	if g.Version == 1 {
		name = "tasks" // of one thread, and without a lock on all
	}
	var all []*os.File
	for _, d := range g.Dirs() {
		path := filepath.Join(d, name)
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0) // not the poller's, see kernel.ReadFile
		if err != nil {
			for _, f := range all {
				_ = f.Close()
			}
			return nil, fmt.Errorf("enter control group: open %s: %w", path, err)
		}
		all = append(all, os.NewFile(uintptr(fd), path))
	}
	return all, nil
}

// Dirs are the folders of the group, sorted.
func (g *Group) Dirs() []string {
	var all []string
	for _, d := range g.dirs {
		if !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all
}

// Holds reports whether a process is in the group of a controller, as the kernel says.
func (g *Group) Holds(pid int, controller string) bool {
	return g.dirs[controller] != "" && slices.Contains(words(filepath.Join(g.dirs[controller], "cgroup.procs")), strconv.Itoa(pid))
}

// Read reads the live limits and counts back.
func (g *Group) Read() State {
	s := State{Counts: g.Counts()}
	at := func(c, name string) string { return filepath.Join(g.dirs[c], name) }
	if g.dirs[Memory] != "" {
		if g.Version == 2 {
			s.Memory, s.MemoryNow = number(at(Memory, "memory.max")), number(at(Memory, "memory.current"))
			s.SwapCounted = slices.Equal(words(at(Memory, "memory.swap.max")), []string{"0"})
		} else {
			s.Memory, s.MemoryNow = number(at(Memory, "memory.limit_in_bytes")), number(at(Memory, "memory.usage_in_bytes"))
			s.SwapCounted = s.Memory > 0 && number(at(Memory, "memory.memsw.limit_in_bytes")) == s.Memory
		}
		var info unix.Sysinfo_t
		if unix.Sysinfo(&info) == nil && info.Totalswap == 0 {
			s.SwapCounted = true
		}
	}
	if g.dirs[PIDs] != "" {
		s.PIDs, s.PIDsNow = number(at(PIDs, "pids.max")), number(at(PIDs, "pids.current"))
	}
	if g.dirs[CPU] != "" {
		quota, per := int64(0), int64(0)
		if g.Version == 2 {
			if w := words(at(CPU, "cpu.max")); len(w) == 2 && w[0] != "max" {
				quota, _ = strconv.ParseInt(w[0], 10, 64)
				per, _ = strconv.ParseInt(w[1], 10, 64)
			}
		} else {
			quota, per = number(at(CPU, "cpu.cfs_quota_us")), number(at(CPU, "cpu.cfs_period_us"))
		}
		if quota > 0 && per > 0 {
			s.CPU = quota * 1000 / per
		}
	}
	return s
}

// Counts reads how often its limits were met.
func (g *Group) Counts() (n Counts) {
	if dir := g.dirs[Memory]; dir != "" {
		file := "memory.oom_control"
		if g.Version == 2 {
			file = "memory.events"
		}
		n.OOMKills = field(filepath.Join(dir, file), "oom_kill")
	}
	if dir := g.dirs[PIDs]; dir != "" {
		n.PIDsRefused = field(filepath.Join(dir, "pids.events"), "max")
	}
	return n
}

// unlimited is above what any machine has: version 1 shows "no limit" as the
// largest page-aligned number.
const unlimited = 1 << 62

// number reads one number; 0 stands for none.
func number(file string) int64 {
	w := words(file)
	if len(w) != 1 {
		return 0
	}
	n, err := strconv.ParseInt(w[0], 10, 64)
	if err != nil || n < 0 || n > unlimited {
		return 0
	}
	return n
}

// field reads one line of a file of "key number" lines.
func field(file, key string) int64 {
	w := words(file)
	for i := 0; i+1 < len(w); i += 2 {
		if w[i] == key {
			n, _ := strconv.ParseInt(w[i+1], 10, 64)
			return n
		}
	}
	return 0
}

func words(file string) []string {
	b, err := kernel.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

// put writes a file of a control group in one write.
func put(file, text string) error {
	return kernel.WriteFile(file, text)
}

// removeTime bounds the wait for a group to empty: its processes were killed,
// and the kernel takes them out one by one.
const removeTime = time.Second

// Close removes the group. Whoever is in it must be dead or dying.
func (g *Group) Close() error {
	return remove(g.Dirs(), removeTime)
}

// Sweep removes empty groups beside this one whose supervisor is dead, and of which
// no record is left. Who has a process in it is never touched.
func (g *Group) Sweep() {
	for _, own := range g.Dirs() {
		parent := filepath.Dir(own)
		entries, err := os.ReadDir(parent)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if pid, ok := madeBy(e.Name()); ok && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
				_ = unix.Rmdir(filepath.Join(parent, e.Name())) // refused while it is in use
			}
		}
	}
}

// madeBy reads the supervisor's pid out of a group's name: creel-NAME-PID-N.
func madeBy(name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	parts := strings.Split(rest, "-")
	if len(parts) < 3 {
		return 0, false
	}
	pid, err := strconv.Atoi(parts[len(parts)-2])
	return pid, err == nil && pid > 1
}

func remove(dirs []string, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	var failed error
	for _, d := range dirs {
		for {
			err := unix.Rmdir(d)
			if err == nil || errors.Is(err, unix.ENOENT) {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				failed = fmt.Errorf("remove control group %s: %w", d, err)
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	return failed
}

// Collect removes groups that a dead supervisor left and kills who is still in
// them. Folders that are not creel's are left alone.
func Collect(dirs []string) error {
	dirs = slices.DeleteFunc(dirs, func(d string) bool { return errors.Is(unix.Access(d, unix.F_OK), unix.ENOENT) })
	if len(dirs) == 0 { // removed in good order
		return nil
	}
	_, mounts, err := kernel.Cgroups()
	if err != nil {
		return err
	}
	var ours []string
	for _, d := range dirs {
		d = filepath.Clean(d)
		below := slices.ContainsFunc(mounts, func(m kernel.CgroupMount) bool { return strings.HasPrefix(d, m.Dir+"/") })
		if below && strings.HasPrefix(filepath.Base(d), prefix) {
			ours = append(ours, d)
		}
	}
	for _, d := range ours {
		for _, w := range words(filepath.Join(d, "cgroup.procs")) {
			if pid, err := strconv.Atoi(w); err == nil && pid > 0 && pid != os.Getpid() {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
	return remove(ours, removeTime)
}
