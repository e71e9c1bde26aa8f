package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/protected"
	"github.com/creel-run/creel/sandbox"
)

// homesDir holds, in the state folder, the homes that agents keep, one for each
// name of a sandbox.
const homesDir = "homes"

// keptHome makes and returns the folder that a named agent has as its home; ""
// if there is none to keep. The name is the sandbox's alone while it lives.
func (s *supervisor) keptHome() (string, error) {
	if s.o.Agent == nil || !s.o.KeepHome {
		return "", nil
	}
	state, err := api.StateDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(state, homesDir, s.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fault.Wrap(err, "make home", fault.General)
	}
	// Without links: the stage follows none.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", fault.Wrap(err, "open home", fault.General)
	}
	return dir, nil
}

// addAgent puts into a sandbox what a known agent needs besides the policy: its
// program to read, its settings files, its home.
func (s *supervisor) addAgent(c *sandbox.Config, doc *policy.Document) error {
	a := s.o.Agent
	if a == nil {
		return nil
	}
	shown := func(path string) bool {
		return slices.ContainsFunc(doc.Filesystem.ReadOnly, func(p policy.Path) bool {
			return within(p.Path, path) && within(realPath(p.Path), path)
		})
	}
	for _, path := range a.Show {
		if !shown(path) {
			c.ReadOnly = append(c.ReadOnly, sandbox.Declared{Path: path})
		}
	}
	for _, f := range a.Files {
		c.Files = append(c.Files, sandbox.File{Paths: []string{f.Path}, Data: []byte(f.Content)})
	}
	if c.Workspace.Write {
		// What the agent's next start outside would obey. Through a link it is not ours to judge.
		for _, path := range a.Settings {
			rel, err := filepath.Rel(s.o.Workspace, path)
			if err != nil || slices.ContainsFunc(doc.Filesystem.Workspace.WritableProtected, func(word string) bool { return protected.Opens(word, rel) }) {
				continue // the policy's word
			}
			if real, err := filepath.EvalSymlinks(path); err == nil && real == path && !slices.Contains(c.Protect, path) {
				c.Protect = append(c.Protect, path)
			}
		}
	}
	var err error
	s.homeFrom, err = s.keptHome()
	c.HomeFrom = s.homeFrom
	return err
}

// tellAgent says once, before the start, what an operator would otherwise find
// out later.
func (s *supervisor) tellAgent() {
	a := s.o.Agent
	if a == nil {
		return
	}
	if !s.o.KeepHome {
		s.o.Notice("the home of " + a.Title + " (settings, sessions, memory) ends with this sandbox; --name NAME keeps it")
	}
	if s.route.load() == nil {
		s.o.Notice("the policy " + s.policyName() + " names no model backend, so " + a.Title + " has no model: add its inference section, or --inference URL; creel agent policy " + a.Name + " shows one")
	}
}

// agentLayer tells whose program, settings and home the sandbox has, read back
// from its mounts.
func (s *supervisor) agentLayer(pid int) api.Layer {
	const want = "settings files read-only, a home of its own"
	a := s.o.Agent
	live, err := sandbox.ReadMounts(pid)
	if err != nil {
		return layer("agent", false, err.Error(), want)
	}
	mounted, readOnly := map[string]bool{}, map[string]bool{}
	for _, m := range live {
		mounted[m.Path], readOnly[m.Path] = true, m.Options["ro"]
	}
	var faults []string
	for _, f := range a.Files {
		if !readOnly[f.Path] {
			faults = append(faults, f.Path+" is not read-only")
		}
	}
	home := "its home ends with the sandbox"
	if !mounted[a.Home] {
		faults = append(faults, a.Home+" is not mounted")
	}
	if s.homeFrom != "" {
		home = "its home is kept in " + s.homeFrom
		if !sameFile(s.homeFrom, fmt.Sprintf("/proc/%d/root%s", pid, a.Home)) {
			faults = append(faults, a.Home+" is not "+s.homeFrom)
		}
	}
	return judged("agent", faults, a.Name+", policy "+s.policyName()+", "+home, want)
}

// sameFile compares two folders by device and inode.
func sameFile(a, b string) bool {
	fa, err := os.Stat(a)
	if err != nil {
		return false
	}
	fb, err := os.Stat(b)
	return err == nil && os.SameFile(fa, fb)
}
