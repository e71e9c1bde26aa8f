package supervisor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/spec"
)

// covered reports whether something of the plan takes away from a path.
func (v mountView) covered(path string) bool {
	return slices.ContainsFunc(v.plan.Covers, func(c spec.Cover) bool { return c.Path == path })
}

// hidden reports whether a path lies below a hidden one.
func (v mountView) hidden(path string) bool {
	return slices.ContainsFunc(v.plan.Covers, func(c spec.Cover) bool {
		return c.Kind == spec.CoverHidden && within(c.Path, path)
	})
}

// coverLayer: hidden, protected and noexec paths are covered by what the plan says.
func (s *supervisor) coverLayer(r reading) api.Layer {
	const name, want = "protected", "every hidden, protected and noexec path covered"
	live, err := sandbox.ReadMounts(r.init)
	if err != nil {
		return layer(name, false, err.Error(), want)
	}
	host, err := sandbox.ReadMounts(selfPID)
	if err != nil {
		return layer(name, false, err.Error(), want)
	}
	v := mountView{plan: &s.box.Plan, live: sandbox.Visible(live), host: sandbox.Visible(host)}
	detail := fmt.Sprintf("%d protected paths read-only, %d hidden, %d noexec", v.count(spec.CoverReadOnly), v.count(spec.CoverHidden), v.count(spec.CoverNoExec))
	detail += fmt.Sprintf("; %d absent names looked for at the end", len(s.found.Absent)+len(s.found.Linked))
	if opened := s.rev.Load().doc.Filesystem.Workspace.WritableProtected; len(opened) > 0 {
		detail += "; writable by the policy: " + strings.Join(opened, " ")
	}
	return judged(name, v.coverFaults(), detail, want)
}

func (v mountView) count(kind spec.CoverKind) (n int) {
	for _, c := range v.plan.Covers {
		if c.Kind == kind {
			n++
		}
	}
	if kind == spec.CoverNoExec { // whole mounts; the row "mounts" compares them
		for _, m := range v.plan.Mounts {
			if m.NoExec {
				n++
			}
		}
	}
	return n
}

func (v mountView) coverFaults() (faults []string) {
	null, nullRoot, _ := sandbox.Origin(v.host, "/dev/null")
	flags := map[string][]string{} // several covers of one path: all of their flags
	hidden := map[string]bool{}
	for _, c := range v.plan.Covers {
		switch c.Kind {
		case spec.CoverReadOnly:
			flags[c.Path] = append(flags[c.Path], "ro")
		case spec.CoverNoExec:
			flags[c.Path] = append(flags[c.Path], "noexec")
		default:
			hidden[c.Path] = true
		}
	}
	for _, c := range v.plan.Covers {
		m, ok := v.live[c.Path]
		switch {
		case !ok:
			// On the host the file was replaced by another one, which takes a mount away.
			faults = append(faults, c.Path+" has lost its "+string(c.Kind)+" mount")
		case hidden[c.Path]:
			if !m.Options["ro"] || !m.Options["nodev"] || !(m.Type == "tmpfs" && m.Root == "/") && !(m.Device == null && m.Root == nullRoot) {
				faults = append(faults, c.Path+" is covered by something else")
			}
		default:
			for _, flag := range flags[c.Path] {
				if !m.Options[flag] {
					faults = append(faults, c.Path+" is not "+flag)
				}
			}
			if len(v.pinned(m)) > 0 {
				faults = append(faults, c.Path+" is not the path that was covered")
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}
