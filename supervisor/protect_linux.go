package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/protected"
)

// inWorkspace is a path of the policy that may be relative to the workspace.
func (s *supervisor) inWorkspace(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(s.o.Workspace, path)
}

// findProtected looks what of the list the workspace has, if the agent can write there.
func (s *supervisor) findProtected(doc *policy.Document) error {
	if !doc.Filesystem.IncludeWorkdir && !s.visible(doc)(s.o.Workspace) {
		s.o.Notice("the workspace " + s.o.Workspace + " does not exist inside: the policy says no include_workdir: true, and no path shows it")
	}
	if s.areas.holding(s.o.Workspace) == "" {
		return nil
	}
	found, err := protected.Find(s.o.Workspace, doc.Filesystem.Workspace.WritableProtected)
	if err != nil {
		return fault.Wrap(err, "start sandbox", fault.Usage, "creel run --workspace "+s.o.Workspace+":ro -- …")
	}
	// A path that the policy itself lets the agent write is its operator's word.
	declared := func(rel string) bool {
		return slices.ContainsFunc(doc.Filesystem.ReadWrite, func(p policy.Path) bool {
			return p.Path == filepath.Join(s.o.Workspace, rel)
		})
	}
	found.Here = slices.DeleteFunc(found.Here, declared)
	found.Absent = slices.DeleteFunc(found.Absent, declared)
	if len(found.Shared) > 0 {
		one := filepath.Join(s.o.Workspace, found.Shared[0])
		return fault.UsageError("start sandbox", "host tools run or trust "+strings.Join(found.Shared, ", ")+", and the agent could write it through another name (a hard link)",
			"cp -p "+one+" "+one+".new && mv "+one+".new "+one, "or open it: filesystem_policy: {workspace: {writable_protected: […]}}")
	}
	s.found = found
	var linked []string
	for rel := range found.Linked {
		linked = append(linked, rel)
	}
	if len(linked) > 0 {
		slices.Sort(linked)
		s.o.Notice("symbolic links cannot be mounted read-only; what replaces them is looked for at the end: " + strings.Join(linked, ", "))
	}
	return nil
}

// protectedPaths are the workspace's protected paths and the policy, where they
// lie in reach of the agent.
func (s *supervisor) protectedPaths() []string {
	var all []string
	for _, rel := range s.found.Here {
		all = append(all, filepath.Join(s.o.Workspace, rel))
	}
	for _, path := range s.source.exposedFiles() {
		if !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	return all
}

// watch of the workspace for the sweep.
func (s *supervisor) workspaceWatch() protected.Watch {
	return protected.Watch{Root: s.o.Workspace, Started: s.started, Found: s.found, Open: s.rev.Load().doc.Filesystem.Workspace.WritableProtected}
}

// sweep looks, when no process of the agent lives any more, for protected paths
// that it made where nothing was, and moves them aside.
func (s *supervisor) sweep() {
	if s.watched == nil {
		return
	}
	defer s.watched.done()
	report, err := s.workspaceWatch().Sweep()
	if err != nil {
		s.o.Notice(err.Error())
	}
	s.tellSwept(s.o.Workspace, report)
}

func (s *supervisor) tellSwept(root string, report protected.Report) {
	for _, f := range report.Findings {
		s.o.Notice("in " + root + ": " + f.String())
		if err := s.log.Record(audit.Event{Kind: audit.Protected, Path: f.Path, Reason: f.Reason(), Detail: f.Detail()}); err != nil {
			s.o.Notice(err.Error())
		}
	}
	if report.Unseen {
		s.o.Notice(root + " is too large to look for what the agent made in all of its folders")
	}
}

// pending is a sweep that has to be made, on disk: its file is locked by the
// supervisor that will make it. When that dies the lock goes, and the next
// start makes it.
type pending struct{ file *os.File }

// promised is what its file holds.
type promised struct {
	protected.Watch
	Init int // process 1 of the sandbox, as the host sees it
}

// ended waits until the kernel has ended the sandbox of a killed supervisor.
func (p promised) ended() {
	for range 100 {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", p.Init)); err != nil || p.Init <= 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func pendingFolder() (string, error) {
	state, err := api.StateDir()
	return filepath.Join(state, "sweeps"), err
}

// promise writes the sweep of this run down before the agent begins.
func (s *supervisor) promise() error {
	if s.areas.holding(s.o.Workspace) == "" {
		return nil
	}
	dir, err := pendingFolder()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Wrap(err, "start sandbox", fault.Internal)
	}
	f, err := lockNew(dir, s.name+"-*.json")
	if err == nil {
		err = json.NewEncoder(f).Encode(promised{s.workspaceWatch(), s.box.InitPID})
	}
	if err != nil {
		return fault.Wrap(err, "start sandbox", fault.Internal)
	}
	s.watched = &pending{f}
	return nil
}

// lockNew makes a file and locks it. Another start, which looks for what killed
// supervisors left, may be first, and remove it: then another one is made.
func lockNew(dir, pattern string) (*os.File, error) {
	for range 1000 {
		f, err := os.CreateTemp(dir, pattern)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && stillNamed(f) {
			return f, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, os.NewSyscallError("flock", err)
		}
	}
	return nil, fmt.Errorf("lock a file in %s: others take it away each time", dir)
}

// stillNamed reports that the path of f still leads to f.
func stillNamed(f *os.File) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(held, named)
}

func (p *pending) done() {
	_ = os.Remove(p.file.Name())
	_ = p.file.Close()
}

// catchUp makes the sweeps that killed supervisors left.
func (s *supervisor) catchUp() {
	if dir, err := pendingFolder(); err == nil {
		s.catchUpIn(dir)
	}
}

func (s *supervisor) catchUpIn(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		f, err := os.OpenFile(filepath.Join(dir, e.Name()), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		p := &pending{f}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			_ = f.Close()
			continue
		}
		var w promised
		if err := json.NewDecoder(f).Decode(&w); err == nil {
			w.ended()
			report, err := w.Sweep()
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				s.o.Notice(err.Error())
			}
			s.tellSwept(w.Root, report)
		}
		p.done() // a half-written one is of a start that never let its agent go
	}
}
