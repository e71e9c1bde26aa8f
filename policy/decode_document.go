package policy

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/creel-run/creel/protected"
)

// findVersion reads the version alone; 0 after a fault that does not tell which
// one is meant. A number in quotes does.
func (d *decoder) findVersion(root value) int {
	const want = "version: 1 (the OpenShell schema) or version: 2 (safe defaults)"
	if root.n.Kind != yaml.MappingNode {
		d.fault(root, WrongType, describe(root.n), "a mapping (the policy)", "begin the file with version: 2")
		return 0
	}
	for i := 0; i+1 < len(root.n.Content); i += 2 {
		if root.n.Content[i].Value != "version" {
			continue
		}
		v, ok := d.enter(root.n.Content[i+1], "version")
		if !ok {
			return 0
		}
		n, ok := d.number(v, 1, 2, want)
		if quoted := v.n; !ok && quoted.Kind == yaml.ScalarNode && quoted.ShortTag() == "!!str" && (quoted.Value == "1" || quoted.Value == "2") {
			n = int(quoted.Value[0] - '0')
		}
		return n
	}
	d.fault(value{root.n, "version"}, Missing, "", want, "begin the file with version: 2")
	return 0
}

// maxPaths bounds read_only and read_write together, as OpenShell does.
const maxPaths = 256

func (d *decoder) filesystem(v value, landlock Compatibility) Filesystem {
	fs := Filesystem{At: d.at(v.n)}
	s, ok := d.section(v, "filesystem_policy", filesystemWords)
	if !ok {
		return fs
	}
	if w, ok := s.get("include_workdir"); ok {
		fs.IncludeWorkdir = d.boolean(w)
	}
	if l, ok := s.get("read_only"); ok {
		fs.ReadOnly = d.paths(l, landlock)
	}
	if l, ok := s.get("read_write"); ok {
		fs.ReadWrite = d.paths(l, landlock)
	}
	if l, ok := s.get("hidden"); ok {
		fs.Hidden = d.parts(l, true)
	}
	if l, ok := s.get("noexec"); ok {
		fs.NoExec = d.parts(l, false)
	}
	if w, ok := s.get("workspace"); ok {
		fs.Workspace = d.workspace(w)
	}
	for _, p := range fs.ReadWrite {
		if p.Path == "/" {
			d.faultAt(p.At, "filesystem_policy.read_write", BadValue, "the root of the file system", "paths below it", "name the folders that the agent has to write to")
		}
	}
	if n := len(fs.ReadOnly) + len(fs.ReadWrite); n > maxPaths {
		d.fault(v, TooMuch, fmt.Sprintf("%d paths", n), fmt.Sprintf("at most %d in both lists", maxPaths), "name their common parent")
	}
	if n := len(fs.Hidden) + len(fs.NoExec); n > maxPaths {
		d.fault(v, TooMuch, fmt.Sprintf("%d paths", n), fmt.Sprintf("at most %d in hidden and noexec", maxPaths), "name their common parent")
	}
	return fs
}

// openByDefault are the switches that a policy closes instead of opening.
var openByDefault = []string{"memfd_exec"}

func (d *decoder) syscalls(v value) Syscalls {
	y := Syscalls{At: d.at(v.n)}
	s, ok := d.section(v, "syscalls", syscallWords)
	if !ok {
		return y
	}
	for _, w := range syscallWords {
		at, ok := s.get(w.name)
		if !ok {
			continue
		}
		switch open := d.boolean(at); {
		case open == slices.Contains(openByDefault, w.name):
		case open:
			y.Open = append(y.Open, w.name)
		default:
			y.Closed = append(y.Closed, w.name)
		}
	}
	slices.Sort(y.Open)
	return y
}

// parts decodes a list of paths that take something away from what others show:
// absolute, or relative to the workspace.
func (d *decoder) parts(v value, optional bool) []Path {
	const want = "an absolute path, or one below the workspace"
	var paths []Path
	d.list(v, "paths", func(_ int, item value) {
		p := Path{At: d.at(item.n)}
		at, ok := d.pathOf(item, &p, optional)
		if !ok {
			return
		}
		text, ok := d.text(at, want)
		if !ok {
			return
		}
		switch {
		case strings.ContainsAny(text, "*?"):
			d.fault(at, BadValue, show(text), want, "patterns are not taken here, because what appears later would not be covered: name the folder")
		case strings.HasPrefix(text, "~"), strings.HasPrefix(text, "$"):
			d.fault(at, BadValue, show(text), want, "write the path out; nothing is expanded")
		case strings.HasPrefix(text, "/"):
			if p.Path, ok = d.cleanPath(at, text); !ok {
				return
			}
			if p.Path == "/" {
				d.fault(at, BadValue, "the root of the file system", "a path below it", "")
				return
			}
			paths = append(paths, p)
		case text == "" || slices.Contains(strings.Split(text, "/"), ".."):
			d.fault(at, BadValue, show(text), want, "")
		case path.Clean(text) == "." && optional:
			d.fault(at, BadValue, "the workspace itself", want, "write include_workdir: false")
		default:
			p.Path = path.Clean(text)
			paths = append(paths, p)
		}
	})
	return paths
}

// workspace decodes a mode alone, or a mapping.
func (d *decoder) workspace(v value) Workspace {
	w := Workspace{At: d.at(v.n)}
	if v.n.Kind == yaml.ScalarNode && !isNull(v.n) {
		w.Mode = d.workspaceMode(v)
		return w
	}
	s, ok := d.section(v, "workspace", workspaceWords)
	if !ok {
		return w
	}
	if m, ok := s.get("mode"); ok {
		w.Mode = d.workspaceMode(m)
	}
	if l, ok := s.get("writable_protected"); ok {
		d.list(l, "protected paths", func(_ int, item value) {
			text, ok := d.text(item, "a protected path")
			if !ok {
				return
			}
			if !protected.Known(text) {
				d.fault(item, BadValue, show(text), "an entry of the list of protected paths, a folder of entries, or all",
					didYouMean(text, protectedPaths()...))
				return
			}
			if text == protected.All {
				d.warn(item, Weak, "all protected paths are writable: what the agent leaves there runs when host tools use the folder", "name the paths that it needs")
			}
			w.WritableProtected = append(w.WritableProtected, text)
		})
	}
	return w
}

func protectedPaths() []string {
	names := []string{protected.All}
	for _, e := range protected.List() {
		names = append(names, e.Path)
	}
	return names
}

func (d *decoder) workspaceMode(v value) WorkspaceMode {
	const want = "read-write, copy-on-write or read-only"
	text, ok := d.text(v, want)
	if !ok {
		return ReadOnly
	}
	for m, name := range workspaceModes {
		if name == text && name != "" {
			return WorkspaceMode(m)
		}
	}
	d.fault(v, BadValue, show(text), want, didYouMean(text, workspaceModes[1:]...))
	return ReadOnly
}

func (d *decoder) paths(v value, landlock Compatibility) []Path {
	var paths []Path
	d.list(v, "paths", func(_ int, item value) {
		p := Path{Optional: landlock == BestEffort, At: d.at(item.n)}
		at, ok := d.pathOf(item, &p, d.version >= 2)
		if !ok {
			return
		}
		text, ok := d.text(at, "an absolute path")
		if !ok {
			return
		}
		if p.Path, ok = d.cleanPath(at, text); ok {
			paths = append(paths, p)
		}
	})
	return paths
}

// pathOf gives the text of one path of a list: of a scalar, or of a mapping that
// says beside it whether the path may be absent.
func (d *decoder) pathOf(item value, p *Path, mapping bool) (at value, ok bool) {
	if item.n.Kind != yaml.MappingNode || !mapping {
		return item, true
	}
	s, ok := d.section(item, "a path", pathWords)
	if !ok {
		return value{}, false
	}
	if o, ok := s.get("optional"); ok {
		p.Optional = d.boolean(o)
	}
	if at, ok = s.get("path"); !ok {
		d.fault(value{item.n, item.path + ".path"}, Missing, "", "the path", "")
	}
	return at, ok
}

// cleanPath normalises as OpenShell does: "//" and "." go, ".." is a fault,
// symbolic links are left to whoever opens the path.
func (d *decoder) cleanPath(v value, text string) (string, bool) {
	hint := ""
	if strings.HasPrefix(text, "~") || strings.HasPrefix(text, "$") {
		hint = "write the path out; nothing is expanded"
	} else if text != "" && !strings.HasPrefix(text, "/") {
		hint = "begin it with /"
	}
	if !strings.HasPrefix(text, "/") {
		d.fault(v, BadValue, show(text), "an absolute path", hint)
		return "", false
	}
	for _, c := range strings.Split(text, "/") {
		if c == ".." {
			d.fault(v, BadValue, show(text), "a path without ..", "write "+path.Clean(text)+" if that is meant")
			return "", false
		}
	}
	return path.Clean(text), true
}

func (d *decoder) landlock(v value) Landlock {
	l := Landlock{At: d.at(v.n)}
	if word := v.n.Value; v.n.Kind == yaml.ScalarNode && (word == "best_effort" || word == "hard_requirement") {
		d.fault(v, WrongType, describe(v.n), "a mapping (landlock)", "write landlock: {compatibility: "+word+"}")
		return l
	}
	s, ok := d.section(v, "landlock", landlockWords)
	if !ok {
		return l
	}
	word := ""
	c, written := s.get("compatibility")
	if written {
		if word, ok = d.text(c, "best_effort or hard_requirement"); !ok {
			return l
		}
	}
	switch word {
	case "hard_requirement":
	case "best_effort":
		l.Compatibility = BestEffort
	case "":
		if d.version == 1 {
			l.Compatibility = BestEffort
			d.warnDefaultLandlock(v)
		}
	default:
		d.fault(c, BadValue, show(word), "best_effort or hard_requirement", didYouMean(word, "best_effort", "hard_requirement"))
	}
	return l
}

func (d *decoder) warnDefaultLandlock(v value) {
	d.warn(v, Weak, "landlock.compatibility is not written: in version 1 that is best_effort, so a kernel without Landlock is accepted",
		"write landlock: {compatibility: hard_requirement}, or move to version: 2")
}

func (d *decoder) process(v value) Process {
	p := Process{At: d.at(v.n)}
	s, ok := d.section(v, "process", processWords)
	if !ok {
		return p
	}
	p.RunAsUser = d.identity(s, "run_as_user")
	p.RunAsGroup = d.identity(s, "run_as_group")
	return p
}

// identity: root is refused by every road, as 0, as a name, as an overflow.
func (d *decoder) identity(s section, key string) string {
	const want = `"sandbox" or a quoted number of 1..4294967294`
	v, ok := s.get(key)
	if !ok {
		return ""
	}
	id, ok := d.text(v, want)
	if !ok || id == "" || id == "sandbox" {
		return id
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil || !decimal(id) || n == 0 || n == 1<<32-1 {
		hint := ""
		if id == "root" || id == "0" {
			hint = "an agent never runs as root"
		}
		d.fault(v, BadValue, show(id), want, hint)
		return ""
	}
	return id
}

func didYouMean(s string, candidates ...string) string {
	if near := nearest(s, candidates); near != "" {
		return "did you mean " + near + "?"
	}
	return ""
}
