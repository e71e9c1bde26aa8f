package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/protected"
)

const (
	// absentEvery is how often absent names, of which there are about a hundred, are
	// looked for where nothing tells of them, and absentArmed where stirs do.
	absentEvery = time.Second
	absentArmed = 30 * time.Second
	// absentPause is between two looks at all of them, which an agent can cause by
	// making a folder again and again. Meanwhile events are kept.
	absentPause = 20 * time.Millisecond
)

// watchAbsent tells at once when a protected name appears that was absent at the
// start, if it vanishes again as well; what is there is judged at the end. An agent
// that runs for weeks has an end far away. Where nothing can be watched, what is
// there is told all the same, a moment later.
func (s *supervisor) watchAbsent(ctx context.Context) error {
	if s.watched == nil || len(s.found.Absent) == 0 {
		return nil
	}
	absent, watched := absentPaths(s.o.Workspace, s.found.Absent)
	w := s.watches.add(unix.IN_CREATE|unix.IN_MOVED_TO, true)
	defer w.close()
	told := map[string]bool{}
	tell := func(path string) error {
		rel, ok := absent[path]
		if !ok || told[rel] {
			return nil
		}
		told[rel] = true
		return s.tellAppeared(rel)
	}
	var stirred *stirs // where nothing can be watched
	for {
		pause, wake := absentPause, (<-chan os.Signal)(nil)
		err := w.set(watched)
		switch {
		case err != nil:
			if stirred == nil {
				stirred = newStirs(watched, true)
				defer stirred.close()
				s.unwatched("a protected name that appears and vanishes at once is not told of", err)
			}
			pause, wake = absentEvery, stirred.c
			if stirred.arm() {
				pause = absentArmed
			}
		case stirred != nil:
			stirred.disarm()
		}
		for path := range absent { // it may have been faster than the watch
			if _, err := os.Lstat(path); err == nil {
				if err := tell(path); err != nil {
					return err
				}
			}
		}
		for again := err != nil; !again; {
			select {
			case <-ctx.Done():
				return nil
			case <-w.woken:
			}
			n := w.take()
			again = n.lost || n.gone
			for path := range n.events {
				again = again || absent[path] == "" // a folder on the way
				if err := tell(path); err != nil {
					return err
				}
			}
		}
		if !rest(ctx, nil, pause, wake) || wake != nil && !rest(ctx, nil, absentPause, nil) {
			return nil
		}
	}
}

// absentPaths gives the names that are told, relative to the workspace, by their
// paths; and all that is watched for it, which is also the folders on the way: they
// may not be there yet. A name below another absent one is told with that.
func absentPaths(workspace string, absent []string) (names map[string]string, watched []string) {
	names = map[string]string{}
	for _, rel := range absent {
		var way []string
		for dir := filepath.Dir(rel); dir != "."; dir = filepath.Dir(dir) {
			way = append(way, filepath.Join(workspace, dir))
			if slices.Contains(absent, dir) {
				rel = ""
			}
		}
		if rel != "" {
			path := filepath.Join(workspace, rel)
			names[path] = rel
			watched = append(append(watched, path), way...)
		}
	}
	slices.Sort(watched)
	return names, slices.Compact(watched)
}

func (s *supervisor) tellAppeared(rel string) error {
	entry, _, _ := protected.Match(rel)
	if info, err := os.Lstat(filepath.Join(s.o.Workspace, rel)); rel == ".git" && err == nil && info.IsDir() {
		s.o.Notice("a git repository appeared in " + s.o.Workspace + "; it may stay, its hooks and settings are judged when the sandbox has ended")
	} else {
		s.o.Notice(rel + " appeared in " + s.o.Workspace + ": " + entry.Why + "; it is judged when the sandbox has ended")
	}
	return s.log.Record(audit.Event{Kind: audit.Protected, Path: rel, Reason: "appeared while the sandbox runs", Detail: map[string]string{"entry": entry.Path}})
}
