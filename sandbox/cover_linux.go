package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// cover plans what is taken away from the mounts again: hidden paths, protected
// ones, places where nothing is executed; and the pins that keep their parents
// where they are. What cannot be done for sure is an error.
func (p *plan) cover(c Config) error {
	var covers []spec.Cover
	for _, path := range c.NoExec {
		more, err := p.noExec(filepath.Clean(path))
		if err != nil {
			return err
		}
		covers = append(covers, more...)
	}
	for _, path := range c.Protect {
		if nearest := mountOf(p.spec.Mounts, path); nearest == nil || !nearest.Write {
			continue // not there, or read-only as it is
		}
		fi, err := os.Lstat(path)
		if err != nil {
			return fmt.Errorf("protect %s: %w", path, err)
		}
		covers = append(covers, spec.Cover{Path: path, Kind: spec.CoverReadOnly, File: !fi.IsDir()})
	}
	for _, h := range c.Hidden {
		cover, err := p.hide(h, c)
		if err != nil {
			return err
		}
		if cover != nil {
			covers = append(covers, *cover)
		}
	}
	// A path may be named twice: what hides lies on top.
	rank := map[spec.CoverKind]int{spec.CoverNoExec: 0, spec.CoverReadOnly: 1, spec.CoverHidden: 2}
	slices.SortStableFunc(covers, func(a, b spec.Cover) int {
		if a.Path != b.Path {
			return strings.Compare(a.Path, b.Path) // a parent is a prefix of its children
		}
		return rank[a.Kind] - rank[b.Kind]
	})
	covers = slices.Compact(covers)
	hidden := "\x00"
	for _, cv := range covers {
		if below(hidden, cv.Path) && cv.Path != hidden {
			continue // nothing is left there to cover
		}
		if cv.Kind == spec.CoverHidden {
			hidden = cv.Path
		}
		p.spec.Covers = append(p.spec.Covers, cv)
	}
	var paths []string
	for _, cv := range p.spec.Covers {
		paths = append(paths, cv.Path)
	}
	p.spec.Pins = pins(p.spec.Mounts, paths)
	return nil
}

// mountOf is the planned mount that shows a path; nil if none does.
func mountOf(mounts []spec.Mount, path string) *spec.Mount {
	var nearest *spec.Mount
	for i, m := range mounts {
		if below(m.Target, path) && (nearest == nil || len(m.Target) > len(nearest.Target)) {
			nearest = &mounts[i]
		}
	}
	return nearest
}

// noExec makes the mounts at and below a path noexec, or plans a mount of its own
// for a path inside one.
func (p *plan) noExec(path string) ([]spec.Cover, error) {
	found := false
	for i := range p.spec.Mounts {
		if m := &p.spec.Mounts[i]; below(path, m.Target) {
			m.NoExec = true
			found = found || m.Target == path
		}
	}
	if found {
		return nil, nil
	}
	m := mountOf(p.spec.Mounts, path)
	if m == nil {
		return nil, &CoverError{Op: "forbid execution in", Path: path, Why: "no declared path shows it", Fix: "remove it from filesystem_policy.noexec, or correct the path"}
	}
	if m.NoExec {
		return nil, nil
	}
	if !ofHost(*m) {
		return nil, &CoverError{Op: "forbid execution in", Path: path, Why: "it does not exist", Fix: "name the folder above it: " + m.Target}
	}
	real, fi, err := p.paths.resolve(path)
	if err != nil {
		return nil, err
	}
	return []spec.Cover{{Path: real, Kind: spec.CoverNoExec, File: !fi.IsDir()}}, nil
}

// hide plans the cover of a hidden path; nil when nothing shows it.
func (p *plan) hide(h Declared, c Config) (*spec.Cover, error) {
	path := filepath.Clean(h.Path)
	real, fi, err := p.paths.resolve(path)
	shown := func(path string) bool {
		if m := mountOf(p.spec.Mounts, path); m != nil && ofHost(*m) {
			return true
		}
		// A hidden folder may hold what is declared.
		return slices.ContainsFunc(p.spec.Mounts, func(m spec.Mount) bool { return ofHost(m) && below(path, m.Target) })
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		switch {
		case !shown(real):
			return nil, nil
		case !h.Optional:
			return nil, &CoverError{Op: "hide", Path: path, Why: "it does not exist, so nothing can lie over it; whoever makes it would show it",
				Fix: "correct the path, or accept it: {path: " + path + ", optional: true}"}
		}
		p.degraded = append(p.degraded, "hidden path "+path+" does not exist; if it is made while the sandbox runs, the agent sees it")
		return nil, nil
	case err != nil:
		return nil, err
	case !shown(real):
		return nil, nil
	case below(real, c.Workspace.Path) && c.Workspace.Path != "":
		return nil, &CoverError{Op: "hide", Path: path, Why: "the workspace lies in it", Fix: "choose another workspace, or hide the folders beside it"}
	}
	var st unix.Stat_t
	if err := unix.Lstat(real, &st); err != nil {
		return nil, fmt.Errorf("hide %s: %w", path, err)
	}
	if !fi.IsDir() && st.Nlink > 1 {
		return nil, &CoverError{Op: "hide", Path: path, Why: "the file has other names (hard links), which would show it",
			Fix: "copy it: cp -p " + path + " " + path + ".new && mv " + path + ".new " + path}
	}
	return &spec.Cover{Path: real, Kind: spec.CoverHidden, File: !fi.IsDir()}, nil
}
