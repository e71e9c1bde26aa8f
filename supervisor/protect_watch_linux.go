package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/protected"
)

// watchAbsent tells at once when a protected name appears that was absent at the
// start; it is judged at the end. An agent that runs for weeks has an end far
// away. Where watches are used up, the end is soon enough.
func (s *supervisor) watchAbsent(ctx context.Context) error {
	if s.watched == nil || !settled(ctx) {
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil
	}
	defer w.Close()
	folders := map[string]bool{}
	for _, rel := range s.found.Absent {
		folders[filepath.Dir(filepath.Join(s.o.Workspace, rel))] = true
	}
	for dir := range folders {
		_ = w.Add(dir) // one that does not exist is made in another one of them, mostly
	}
	told := map[string]bool{}
	tell := func(rel string) error {
		if told[rel] || !slices.Contains(s.found.Absent, rel) {
			return nil
		}
		told[rel] = true
		entry, _, _ := protected.Match(rel)
		if info, err := os.Lstat(filepath.Join(s.o.Workspace, rel)); rel == ".git" && err == nil && info.IsDir() {
			s.o.Notice("a git repository appeared in " + s.o.Workspace + "; it may stay, its hooks and settings are judged when the sandbox has ended")
		} else {
			s.o.Notice(rel + " appeared in " + s.o.Workspace + ": " + entry.Why + "; it is judged when the sandbox has ended")
		}
		return s.log.Record(audit.Event{Kind: audit.Protected, Path: rel, Reason: "appeared while the sandbox runs", Detail: map[string]string{"entry": entry.Path}})
	}
	for _, rel := range s.found.Absent { // it may have been faster than the watch
		if _, err := os.Lstat(filepath.Join(s.o.Workspace, rel)); err == nil {
			if err := tell(rel); err != nil {
				return err
			}
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.Errors:
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			rel, err := filepath.Rel(s.o.Workspace, e.Name)
			if err != nil || !e.Has(fsnotify.Create) {
				continue
			}
			if err := tell(rel); err != nil {
				return err
			}
		}
	}
}
