package policy

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// findVersion reads the version alone; 0 after a fault.
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
		n, _ := d.number(v, 1, 2, want)
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
	for _, p := range fs.ReadWrite {
		if p.Path == "/" {
			d.faultAt(p.At, "filesystem_policy.read_write", BadValue, "the root of the file system", "paths below it", "name the folders that the agent has to write to")
		}
	}
	if n := len(fs.ReadOnly) + len(fs.ReadWrite); n > maxPaths {
		d.fault(v, TooMuch, fmt.Sprintf("%d paths", n), fmt.Sprintf("at most %d in both lists", maxPaths), "name their common parent")
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

func (d *decoder) paths(v value, landlock Compatibility) []Path {
	var paths []Path
	d.list(v, "paths", func(_ int, item value) {
		p := Path{Optional: landlock == BestEffort, At: d.at(item.n)}
		at := item
		if item.n.Kind == yaml.MappingNode && d.version >= 2 {
			s, ok := d.section(item, "a path", pathWords)
			if !ok {
				return
			}
			if o, ok := s.get("optional"); ok {
				p.Optional = d.boolean(o)
			}
			if at, ok = s.get("path"); !ok {
				d.fault(value{item.n, item.path + ".path"}, Missing, "", "the path", "")
				return
			}
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

// cleanPath normalises as OpenShell does: "//" and "." go, ".." is a fault,
// symbolic links are left to whoever opens the path.
func (d *decoder) cleanPath(v value, text string) (string, bool) {
	hint := ""
	if strings.HasPrefix(text, "~") || strings.HasPrefix(text, "$") {
		hint = "write the path out; nothing is expanded"
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
