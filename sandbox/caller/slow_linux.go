package caller

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxBlocked is when a connect that was not to block and does is ended; the watch
// looks as often, so that one may last twice as long.
const maxBlocked = 500 * time.Millisecond

// slowCalls are the connects that are under way, and ends those that last. One
// watch looks at all of them, and only while there are any: a timer for each call
// wakes another thread of the Go runtime every time, which was a third of what a
// connect took.
type slowCalls struct {
	mu      sync.Mutex
	began   map[int]time.Time // by descriptor, which stays open as long as it stands here
	count   uint64            // of all that ever began
	idle    bool              // watch waits for wake
	wake    chan struct{}
	looked  uint64 // watch's own: count at its last look
	stopped chan struct{}
}

func newSlowCalls() slowCalls {
	return slowCalls{began: map[int]time.Time{}, idle: true, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

func (s *slowCalls) begin(fd int) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began[fd] = now
	s.count++
	if s.idle {
		s.idle = false
		s.wake <- struct{}{} // has room: watch took the one before it became idle
	}
}

func (s *slowCalls) end(fd int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.began, fd)
}

// watch ends calls until ctx does, which must not be before the last of them.
func (s *slowCalls) watch(ctx context.Context) {
	defer close(s.stopped)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for again := true; again; again = s.look() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(maxBlocked):
			}
		}
	}
}

// look ends what lasts, and reports whether to look again. Where nothing was going
// on, the next call wakes watch.
func (s *slowCalls) look() (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for fd, began := range s.began {
		if now.Sub(began) >= maxBlocked {
			_ = unix.Shutdown(fd, unix.SHUT_RDWR)
		}
	}
	s.idle = len(s.began) == 0 && s.count == s.looked
	s.looked = s.count
	return !s.idle
}
