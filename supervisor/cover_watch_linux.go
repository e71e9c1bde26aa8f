package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/spec"
)

// uncovered says what the agent can do from now on, by what a path has lost.
var uncovered = map[spec.CoverKind]string{
	spec.CoverHidden:   "is no longer hidden: it was replaced on the host, and the agent can read what is there now",
	spec.CoverReadOnly: "is no longer protected: it was replaced on the host, and the agent can write what is there now",
	spec.CoverNoExec:   "is no longer noexec: it was replaced on the host, and the agent can execute what is there now",
}

// watchCovers tells at once when something that was mounted over a hidden or
// protected path has gone: a mount goes with the file that it lies over, and many
// programs save a file by putting another one in its place. Nothing inside can do
// that, and nothing here can undo it: by now the agent may have read the file. The
// kernel wakes whoever polls the list of mounts; inotify could be used up by the agent.
func (s *supervisor) watchCovers(ctx context.Context) error {
	if len(s.box.Plan.Covers) == 0 || !settled(ctx) {
		return nil
	}
	// Not os.Open: Go's own poller would take the news of a change.
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/mountinfo", s.box.InitPID), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // the sandbox has ended
	}
	list := os.NewFile(uintptr(fd), "mountinfo")
	defer list.Close()
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	defer unix.Close(wake)
	woken := make(chan struct{})
	context.AfterFunc(ctx, func() {
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		close(woken)
	})
	defer func() { <-woken }()
	told := map[spec.Cover]bool{}
	for {
		lost, err := lostCovers(list, s.box.Plan.Covers)
		if err != nil {
			return err
		}
		for _, c := range lost {
			if told[c] {
				continue
			}
			told[c] = true
			s.o.Notice(c.Path + " " + uncovered[c.Kind])
			s.o.Notice("hint: creel stop " + s.name + "  (the next start covers it again)")
			if err := s.log.Record(audit.Event{Kind: audit.Protected, Path: c.Path, Reason: "replaced on the host while the sandbox runs, no longer " + string(c.Kind), Detail: map[string]string{"cover": string(c.Kind)}}); err != nil {
				<-ctx.Done() // the log's end is the network's, and is told there
				return nil
			}
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll list of mounts: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// lostCovers are the covers that are no mounts any more. The open list is of the
// sandbox's mounts, whoever has the number of its init by now.
func lostCovers(list *os.File, covers []spec.Cover) (lost []spec.Cover, err error) {
	if _, err := list.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(list)
	if err != nil {
		return nil, err
	}
	live, err := sandbox.ParseMounts(b)
	if err != nil {
		return nil, err
	}
	visible := sandbox.Visible(live)
	for _, c := range covers {
		if _, ok := visible[c.Path]; !ok {
			lost = append(lost, c)
		}
	}
	return lost, nil
}
