package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
)

// settle is how long a file must be quiet before it is read: editors write in
// several steps, and half a policy is a faulty one. A file that was moved there is
// whole, and read at once.
const settle = 30 * time.Millisecond

// settled waits until the start is over, and reports whether the sandbox still
// runs. What is watched through inotify is looked at then, and watched from then
// on: closing an inotify descriptor waits 10 ms in the kernel, even at exit, and
// most commands are over before anything changes.
func settled(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(200 * time.Millisecond):
		return true
	}
}

// watch reloads the policy whenever its file, or one that it extends, is saved.
// Their folders are watched, because editors replace files.
func (s *supervisor) watch(ctx context.Context) error {
	if !settled(ctx) {
		return nil
	}
	for ctx.Err() == nil {
		if err := s.watchOne(ctx); err != nil {
			return err
		}
	}
	return nil
}

// watchOne watches the present policy's files until others take their place
// (`creel reload --policy`, or another list of extends) or ctx ends.
func (s *supervisor) watchOne(ctx context.Context) error {
	paths := s.policyFiles()
	if len(paths) == 0 {
		select {
		case <-ctx.Done():
		case <-s.moved:
		}
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := watchFiles(ctx, paths)
	if err != nil {
		// Watches are counted per user, and an agent of the same user can use them up.
		s.o.Notice("the policy file is read every second, because watching it failed: " + err.Error())
		return s.poll(ctx, paths)
	}
	defer w.close()
	timer := time.NewTimer(0) // once at the start: the file may have changed since it was read
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.moved:
			return nil
		case e, ok := <-w.events:
			switch {
			case !ok:
				s.o.Notice("the policy file is read every second, because watching it ended")
				return s.poll(ctx, paths)
			case e.lost || e.whole:
				timer.Reset(0)
			default:
				timer.Reset(settle)
			}
		case <-timer.C:
			s.reloadSaved(ctx)
			if !slices.Equal(paths, s.policyFiles()) {
				return nil
			}
		}
	}
}

func (s *supervisor) policyFiles() []string {
	s.reload.Lock()
	defer s.reload.Unlock()
	return s.source.files()
}

// poll looks at the files' identity once a second.
func (s *supervisor) poll(ctx context.Context, paths []string) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := make([]os.FileInfo, len(paths))
	for {
		saved := false
		for i, path := range paths {
			fi, err := os.Stat(path)
			if err == nil && (last[i] == nil || !os.SameFile(fi, last[i]) || fi.ModTime() != last[i].ModTime() || fi.Size() != last[i].Size()) {
				last[i], saved = fi, true
			}
		}
		if saved {
			s.reloadSaved(ctx)
			if !slices.Equal(paths, s.policyFiles()) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.moved:
			return nil
		case <-tick.C:
		}
	}
}

func (s *supervisor) reloadSaved(ctx context.Context) {
	r, err := s.Reload(ctx, "")
	refused := s.refused
	s.refused = err != nil
	var bad *api.FaultyPolicy
	switch {
	case errors.As(err, &bad):
		s.o.Notice("the saved policy was not taken; revision " + fmt.Sprint(r.Revision) + " stays in force")
		for _, f := range bad.Faults {
			s.o.Notice(f.String())
		}
		if len(bad.Faults) > 0 {
			s.o.Notice("hint: creel policy check " + bad.Faults[0].File)
		}
	case err != nil:
		s.o.Notice(err.Error())
		var f *fault.Error
		if errors.As(err, &f) {
			for _, h := range f.Hints {
				s.o.Notice("hint: " + h)
			}
		}
	case refused && !r.Changed:
		s.o.Notice(fmt.Sprintf("the saved policy is the one in force again: revision %d", r.Revision))
	case r.Changed:
		s.o.Notice(fmt.Sprintf("policy revision %d is in force; %d connections closed", r.Revision, r.Closed))
	}
}
