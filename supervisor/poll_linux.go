package supervisor

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/api"
)

const (
	// pollEvery is how often the policy's files are looked at where nothing tells of
	// them. It costs half a percent of a processor, nearly all of it for waking up
	// (docs/decisions/0075).
	pollEvery = 25 * time.Millisecond
	// pollArmed is how often they are looked at where something does, all the same:
	// a folder that was moved away tells nothing.
	pollArmed = time.Second
	// pollNew is how long a file that took another's place must be quiet. Mostly it
	// was moved there and is whole, but a look cannot tell that from one that an
	// editor makes anew and still writes. It is the coarsest clock that files have
	// (CONFIG_HZ=100): what is written after the file was read has another time. It is
	// also the least time between two looks.
	pollNew = 10 * time.Millisecond
	// pollRefused is the pause after a file that was refused for where it lies, not
	// for what it says: an agent can put others there as fast as it likes, and each
	// refusal is told and recorded.
	pollRefused = time.Second
)

// poll takes saved policies as watchPolicy does, without inotify, until other files
// take their place or ctx ends. why is the reason for it.
func (s *supervisor) poll(ctx context.Context, paths []string, why error) {
	stirred := newStirs(paths, false)
	defer stirred.close()
	files := newLook(paths)
	told, changed := false, files.again() != same // what is there may be another one since it was read
	for {
		armed, started := stirred.arm(), time.Now()
		if !told {
			how := "every " + pollEvery.String()
			if armed {
				how = "when its folder changes"
			}
			s.unwatched("the policy file is looked at "+how, why)
			told = true
		}
		pause, wake := pollEvery, stirred.c
		if armed {
			pause = pollArmed
		}
		switch files.again() {
		case replaced:
			changed, pause, wake = true, pollNew, nil
		case written:
			changed, pause, wake = true, settle, nil
		case same:
			if !changed {
				break
			}
			changed = false
			err := s.reloadSaved(ctx)
			if !slices.Equal(paths, s.policyFiles()) {
				return
			}
			if bad := new(api.FaultyPolicy); err != nil && !errors.As(err, &bad) {
				pause, wake = pollRefused, nil
			}
		}
		if !rest(ctx, s.moved, pause, wake) || !rest(ctx, s.moved, pollNew-time.Since(started), nil) {
			return
		}
	}
}

// rest waits for a while, or until it is woken, and reports whether to go on.
func rest(ctx context.Context, end <-chan struct{}, while time.Duration, wake <-chan os.Signal) bool {
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-end:
		return false
	case <-wake:
	case <-timer.C:
	}
	return true
}

// look is how some files were when they were looked at the last time.
type look struct {
	paths []string
	last  []state
}

// state is a file's identity and version; zero if it was never seen.
type state struct {
	dev, ino uint64
	size     int64
	mtime    unix.Timespec
	ctime    unix.Timespec
}

// difference is between two looks.
type difference int

const (
	same     difference = iota
	written             // in place
	replaced            // by another file, which may be whole
)

func newLook(paths []string) *look { return &look{paths, make([]state, len(paths))} }

// again looks at the files and says what became of them; replaced if there was
// both. A file that is not there, for a moment or for good, is as it was.
func (l *look) again() difference {
	most := same
	for i, path := range l.paths {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			continue
		}
		now := state{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim} //nolint:unconvert // not everywhere 64 bits
		last := l.last[i]
		l.last[i] = now
		switch {
		case now == last:
		case now.dev == last.dev && now.ino == last.ino:
			most = max(most, written)
		default:
			most = replaced
		}
	}
	return most
}
