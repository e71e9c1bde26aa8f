package supervisor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/creel-run/creel/api"
)

// settle is how long a file must be quiet before it is read: editors write in
// several steps, and half a policy is a faulty one.
const settle = 30 * time.Millisecond

// watch reloads the policy whenever its file is saved. The folder is watched,
// because editors replace files.
func (s *supervisor) watch(ctx context.Context) error {
	if s.source.path == "" {
		<-ctx.Done()
		return nil
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch policy file: %w", err)
	}
	defer w.Close()
	s.reload.Lock()
	path := s.source.path
	s.reload.Unlock()
	if err := w.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watch policy file: %w", err)
	}
	timer := time.NewTimer(0) // once at the start: the file may have changed since it was read
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Events:
			if !ok {
				return nil
			}
			if e.Name == path && !e.Has(fsnotify.Chmod) && !e.Has(fsnotify.Remove) {
				timer.Reset(settle)
			}
		case err, ok := <-w.Errors:
			if !ok {
				return nil
			}
			s.o.Notice("watch policy file: " + err.Error())
			timer.Reset(settle)
		case <-timer.C:
			s.reloadSaved(ctx)
		}
	}
}

func (s *supervisor) reloadSaved(ctx context.Context) {
	r, err := s.Reload(ctx, "")
	var bad *api.FaultyPolicy
	switch {
	case errors.As(err, &bad):
		s.o.Notice("the saved policy was not taken; revision " + fmt.Sprint(r.Revision) + " stays in force")
		for _, f := range bad.Faults {
			s.o.Notice(f.String())
		}
	case err != nil:
		s.o.Notice(err.Error())
	case r.Changed:
		s.o.Notice(fmt.Sprintf("policy revision %d is in force; %d connections closed", r.Revision, r.Closed))
	}
}
