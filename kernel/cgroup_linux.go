package kernel

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroups finds the version, and whether this process may make groups below
// its own with the controllers that limits need. Without it limits fall back to
// rlimits, which the posture shows as degraded.
func cgroups() Feature {
	f := Feature{Name: "cgroup limits"}
	own, mounts, err := Cgroups()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	return judgeCgroups(own, mounts, func(dir string) bool {
		return unix.Access(dir, unix.W_OK) == nil
	}, func(dir string) []string {
		b, err := os.ReadFile(dir + "/cgroup.controllers")
		if err != nil {
			return nil
		}
		return strings.Fields(string(b))
	})
}

// CgroupFix is how this process gets control groups of its own; "" if it has them.
func CgroupFix() string { return cgroups().Fix }

// Cgroups reads which groups this process is in, by controller ("" stands for
// version 2), and which hierarchies are mounted.
func Cgroups() (own map[string]string, mounts []CgroupMount, err error) {
	groups, err := ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, nil, err
	}
	table, err := ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, nil, err
	}
	return parseMemberships(bytes.NewReader(groups)), parseCgroupMounts(bytes.NewReader(table)), nil
}

// CgroupMount is one mounted hierarchy. Controllers is empty for version 2.
type CgroupMount struct {
	Dir, Root   string
	V2          bool
	Controllers []string
}

// parseMemberships reads /proc/self/cgroup: controller to path, "" for version 2.
func parseMemberships(r io.Reader) map[string]string {
	paths := map[string]string{}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		parts := strings.SplitN(sc.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for c := range strings.SplitSeq(parts[1], ",") {
			paths[c] = parts[2]
		}
	}
	return paths
}

// parseCgroupMounts picks the cgroup file systems out of mountinfo (proc(5)).
func parseCgroupMounts(r io.Reader) []CgroupMount {
	var list []CgroupMount
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		if !ok || !strings.HasPrefix(after, "cgroup") { // hosts have thousands of others
			continue
		}
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		m := CgroupMount{Root: left[3], Dir: left[4]}
		switch right[0] {
		case "cgroup2":
			m.V2 = true
		case "cgroup":
			m.Controllers = strings.Split(right[2], ",")
		default:
			continue
		}
		list = append(list, m)
	}
	return list
}

const delegateFix = "start it with: systemd-run --user --scope -p Delegate=yes creel run …"

// wanted are the controllers of the limits that a policy can set.
func wanted() []string { return []string{"memory", "pids", "cpu"} }

func judgeCgroups(own map[string]string, mounts []CgroupMount, writable func(string) bool, controllers func(string) []string) Feature {
	f := Feature{Name: "cgroup limits"}
	var closed []string // hierarchies that are there and not ours
	var usable []string
	v1 := false
	for _, m := range mounts {
		if m.V2 {
			dir, ok := m.Group(own[""])
			if !ok {
				continue
			}
			has := controllers(dir)
			if !slices.Contains(has, "memory") && !slices.Contains(has, "pids") {
				continue // the empty second version beside the first, or nothing delegated
			}
			f.Detail = "version 2 at " + dir + ": " + strings.Join(has, " ")
			if writable(dir) && writable(dir+"/cgroup.procs") {
				f.Outcome = Yes
				return f
			}
			f.Outcome, f.Fix = No, delegateFix
			f.Detail += " — not delegated to this user"
			return f
		}
		for _, c := range wanted() {
			if !slices.Contains(m.Controllers, c) {
				continue
			}
			v1 = true
			if dir, ok := m.Group(own[c]); ok && writable(dir) {
				usable = append(usable, c)
			} else {
				closed = append(closed, c)
			}
		}
	}
	switch {
	case !v1:
		f.Outcome, f.Detail = No, "no controllers are mounted or delegated; limits fall back to rlimits"
		f.Fix = delegateFix
	case len(closed) > 0 || !slices.Contains(usable, "memory"):
		f.Outcome, f.Detail = No, "version 1, not writable for this user: "+strings.Join(closed, " ")+"; limits fall back to rlimits"
		f.Fix = "start creel as root, or boot with systemd.unified_cgroup_hierarchy=1 for version 2"
	default:
		f.Outcome, f.Detail = Yes, "version 1: "+strings.Join(usable, " ")
	}
	return f
}

// Group is where path's group lies below the mount.
func (m CgroupMount) Group(path string) (string, bool) {
	if path == "" {
		return "", false
	}
	rel := path
	if m.Root != "/" {
		var ok bool
		if rel, ok = strings.CutPrefix(path, m.Root); !ok {
			return m.Dir, true // a container sees its own group as the root of the mount
		}
	}
	dir := filepath.Join(m.Dir, rel)
	// A path above our cgroup namespace ("/../x") lies outside of the mount.
	return dir, dir == m.Dir || strings.HasPrefix(dir, m.Dir+"/")
}
