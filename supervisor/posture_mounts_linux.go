package supervisor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/spec"
)

// mountLayer compares the live mounts with the plan, both ways: each is there, is
// the file system that was asked for, with its flags, and there is no other.
func (s *supervisor) mountLayer(r reading) api.Layer {
	const want = "the declared paths and nothing else"
	live, err := sandbox.ReadMounts(r.init)
	if err != nil {
		return layer("mounts", false, err.Error(), want)
	}
	host, err := sandbox.ReadMounts(selfPID)
	if err != nil {
		return layer("mounts", false, err.Error(), want)
	}
	v := mountView{plan: &s.box.Plan, live: sandbox.Visible(live), host: sandbox.Visible(host)}
	faults := v.faults()
	return judged("mounts", faults, fmt.Sprintf("%d mounts, the declared ones alone; nosuid, nodev, root read-only", len(v.live)), want)
}

// selfPID is the reader's own process, as ReadMounts takes it.
const selfPID = 0

// mountView is what judges one table of mounts.
type mountView struct {
	plan       *spec.Spec
	live, host map[string]sandbox.MountPoint
}

func (v mountView) faults() (faults []string) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	planned := map[string]spec.Mount{}
	for _, m := range v.plan.Mounts {
		planned[m.Target] = m
		if _, ok := v.live[m.Target]; !ok && !m.Optional && !v.hidden(m.Target) {
			add("%s is not mounted", m.Target)
		}
	}
	for _, p := range v.plan.ReadOnly {
		if _, ok := v.live[p]; !ok && !strings.HasPrefix(p, "/proc/") {
			add("%s has lost its read-only mount", p)
		}
	}
	for _, p := range v.plan.Pins {
		if _, ok := v.live[p]; !ok {
			add("%s can be renamed, with what is mounted below it", p)
		}
	}
	for path, m := range v.live {
		if !m.Options["nosuid"] {
			add("%s honours setuid", path)
		}
		w, ok := planned[path]
		switch {
		case path == "/":
			if m.Type != "tmpfs" || !m.Options["ro"] {
				add("the root is not a read-only tmpfs")
			}
		case v.supplied(m):
		case slices.Contains(v.plan.ReadOnly, path):
			if !m.Options["ro"] {
				add("%s is writable", path)
			}
		case slices.Contains(v.plan.Masked, path): // the row "masks"
		case v.covered(path): // the row "protected"
		case ok:
			faults = append(faults, v.compare(m, w)...)
		default:
			faults = append(faults, v.unplanned(m)...)
		}
	}
	slices.Sort(faults)
	return faults
}

// compare judges a mount that was asked for.
func (v mountView) compare(m sandbox.MountPoint, w spec.Mount) (faults []string) {
	add := func(what string) { faults = append(faults, m.Path+" "+what) }
	if !m.Options["nodev"] && !w.Device && w.Kind != spec.MountPTS {
		add("opens devices")
	}
	if !m.Options["noexec"] && (w.NoExec || w.Kind == spec.MountProc || w.Kind == spec.MountSysfs || w.Kind == spec.MountPTS) {
		add("executes programs")
	}
	if !m.Options["ro"] && !w.Write && w.Kind != spec.MountProc && w.Kind != spec.MountPTS {
		add("is writable")
	}
	switch w.Kind {
	case spec.MountBind:
		if device, root, ok := sandbox.Origin(v.host, w.Source); !ok || device != m.Device || root != m.Root {
			add(fmt.Sprintf("is %s of device %s, not %s of %s", m.Root, m.Device, root, device))
		}
	case spec.MountOverlay:
		options := strings.Split(m.Super, ",")
		for _, must := range []string{"userxattr", "redirect_dir=nofollow"} {
			if !slices.Contains(options, must) {
				add("is an overlay without " + must)
			}
		}
		if m.Type != "overlay" || slices.Contains(options, "metacopy=on") {
			add("is not copy-on-write")
		}
	case spec.MountTmpfs:
		if m.Type != "tmpfs" || m.Root != "/" {
			add("is no folder of the sandbox's own")
		}
	case spec.MountProc:
		if m.Type != "proc" || m.Root != "/" || !slices.Contains(strings.Split(m.Super, ","), "hidepid=invisible") {
			add("shows processes of others")
		}
	case spec.MountPTS:
		if m.Type != "devpts" || m.Root != "/" {
			add("is not a devpts of its own")
		}
	case spec.MountSysfs:
		if m.Type != "sysfs" {
			add("is not sysfs")
		}
	default:
		add(fmt.Sprintf("is of a kind that nobody compares: %q", w.Kind))
	}
	return faults
}

// unplanned judges a mount that is in no list: a folder that was pinned is the
// one that was there, and the host's mounts below a declared folder come with it.
func (v mountView) unplanned(m sandbox.MountPoint) []string {
	if slices.Contains(v.plan.Pins, m.Path) {
		return v.pinned(m)
	}
	for _, w := range v.plan.Mounts {
		if w.Kind != spec.MountBind || !within(w.Target, m.Path) {
			continue
		}
		outside, ok := v.host[w.Source+strings.TrimPrefix(m.Path, w.Target)]
		switch {
		case !ok || outside.Device != m.Device || outside.Root != m.Root:
		case !w.Write && !m.Options["ro"]:
			return []string{m.Path + " is writable"}
		case !m.Options["nodev"] && !w.Device:
			return []string{m.Path + " opens devices"}
		default:
			return nil
		}
	}
	return []string{m.Path + " is mounted and was not asked for"}
}

// pinned judges a folder that is mounted over itself: the same as around it.
func (v mountView) pinned(m sandbox.MountPoint) []string {
	for dir := filepath.Dir(m.Path); ; dir = filepath.Dir(dir) {
		around, ok := v.live[dir]
		if !ok && dir != "/" {
			continue
		}
		if around.Device != m.Device || filepath.Join(around.Root, strings.TrimPrefix(m.Path, dir)) != m.Root {
			return []string{m.Path + " is not the folder that was pinned"}
		}
		for _, flag := range []string{"ro", "nodev", "noexec"} {
			if around.Options[flag] && !m.Options[flag] {
				return []string{m.Path + " is not " + flag + ", as around it"}
			}
		}
		return nil
	}
}

// supplied: one of Creel's small files; what they hold is the row "files".
func (v mountView) supplied(m sandbox.MountPoint) bool {
	i, err := strconv.Atoi(strings.TrimPrefix(m.Root, "/"))
	return err == nil && slices.ContainsFunc(v.plan.Files, func(f spec.File) bool { return f.Blob == i }) && m.Type == "tmpfs" && m.Options["ro"] && m.Options["nodev"] && m.Options["noexec"]
}

// maskLayer: what is masked and exists is covered by something empty that cannot be written.
func (s *supervisor) maskLayer(r reading) api.Layer {
	const want = "empty and read-only"
	live, err := sandbox.ReadMounts(r.init)
	if err != nil {
		return layer("masks", false, err.Error(), want)
	}
	host, err := sandbox.ReadMounts(selfPID)
	if err != nil {
		return layer("masks", false, err.Error(), want)
	}
	root, err := s.box.Root()
	if err != nil {
		return layer("masks", false, err.Error(), want)
	}
	defer root.Close()
	visible := sandbox.Visible(live)
	null, nullRoot, _ := sandbox.Origin(sandbox.Visible(host), "/dev/null")
	var faults []string
	covered := 0
	for _, p := range s.box.Plan.Masked {
		m, mounted := visible[p]
		exists, err := sandbox.Exists(root, p)
		switch {
		case err != nil:
			faults = append(faults, err.Error())
		case !exists:
		case !mounted:
			faults = append(faults, p+" can be seen")
		case !m.Options["ro"] || !(m.Type == "tmpfs" && m.Root == "/") && !(m.Device == null && m.Root == nullRoot):
			faults = append(faults, p+" is covered by something else")
		default:
			covered++
		}
	}
	for _, p := range s.box.Plan.ReadOnly {
		if exists, err := sandbox.Exists(root, p); strings.HasPrefix(p, "/proc/") && (err != nil || exists && !visible[p].Options["ro"]) {
			faults = append(faults, p+" is writable "+errorText(err))
		}
	}
	return judged("masks", faults, fmt.Sprintf("%d paths covered, kernel settings read-only", covered), want)
}

// fileLayer: names, certificates and accounts are those that Creel supplied.
func (s *supervisor) fileLayer() api.Layer {
	const want = "as supplied, read-only"
	root, err := s.box.Root()
	if err != nil {
		return layer("files", false, err.Error(), want)
	}
	defer root.Close()
	var faults []string
	held := 0
	for i, f := range s.box.Plan.Files {
		if exists, err := sandbox.Exists(root, f.Path); err == nil && !exists {
			// A read-only folder of the host without that file has no place for it.
			continue
		}
		if why := s.box.SuppliedIsIntact(root, i); why != "" {
			faults = append(faults, why)
			continue
		}
		held++
	}
	for _, must := range []string{"/etc/resolv.conf"} {
		if exists, err := sandbox.Exists(root, must); err != nil || !exists {
			faults = append(faults, must+" is missing "+errorText(err))
		}
	}
	return judged("files", faults, fmt.Sprintf("%d files of creel's (names, accounts, certificates), as supplied", held), want)
}
