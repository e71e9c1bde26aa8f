package supervisor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

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

// watchFiles watches the policy's files and the absent protected names until ctx
// ends.
func (s *supervisor) watchFiles(ctx context.Context) error {
	if !settled(ctx) {
		return nil
	}
	defer s.watches.close()
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error {
		for ctx.Err() == nil {
			s.watchPolicy(ctx)
		}
		return nil
	})
	parts.Go(func() error { return s.watchAbsent(ctx) })
	return parts.Wait()
}

// watchPolicy reloads the policy whenever its file, or one that it extends, is
// saved, until others take their place (`creel reload --policy`, or another list of
// extends) or ctx ends. Their folders are watched, because editors replace files.
func (s *supervisor) watchPolicy(ctx context.Context) {
	paths := s.policyFiles()
	if len(paths) == 0 {
		select {
		case <-ctx.Done():
		case <-s.moved:
		}
		return
	}
	w := s.watches.add(unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE|unix.IN_CREATE, false)
	defer w.close()
	if err := w.set(paths); err != nil {
		s.poll(ctx, paths, err)
		return
	}
	files := newLook(paths)
	timer := time.NewTimer(0) // once at the start: the file may have changed since it was read
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.moved:
			return
		case <-w.woken:
			n := w.take()
			if n.lost && !n.gone { // also that the folder is another one
				if err := w.set(paths); err != nil {
					s.poll(ctx, paths, err)
					return
				}
			}
			switch {
			case n.gone:
				w.close()
				s.poll(ctx, paths, errors.New("its folder was moved or removed"))
				return
			case n.any(unix.IN_MOVED_TO):
				timer.Reset(0)
			case n.any(unix.IN_CLOSE_WRITE | unix.IN_CREATE), n.lost && files.again() != same:
				timer.Reset(settle)
			}
			continue
		case <-timer.C:
		}
		files.again()
		_ = s.reloadSaved(ctx)
		if !slices.Equal(paths, s.policyFiles()) {
			return
		}
	}
}

// unwatched tells the operator what is done instead of watching, and why. inotify's
// instances and watches are counted per user: an agent of the same user can take them.
func (s *supervisor) unwatched(instead string, why error) {
	s.o.Notice(instead + ", because it cannot be watched: " + why.Error())
	bound := ""
	switch {
	case errors.Is(why, unix.EMFILE):
		bound = "fs.inotify.max_user_instances=1024"
	case errors.Is(why, unix.ENOSPC):
		bound = "fs.inotify.max_user_watches=524288"
	default:
		return
	}
	s.hinted.Do(func() { s.o.Notice("hint: sysctl -w " + bound + "  (as root; all that this user runs counts)") })
}

func (s *supervisor) policyFiles() []string {
	s.reload.Lock()
	defer s.reload.Unlock()
	return s.source.files()
}

// reloadSaved takes the saved policy, tells the operator what became of it, and
// gives the error that it was refused with.
func (s *supervisor) reloadSaved(ctx context.Context) error {
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
	return err
}
