package supervisor

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// What F_NOTIFY is asked for (linux/fcntl.h): a file in the folder was written, was
// made or moved there, was given another name.
const dnModify, dnCreate, dnRename = 0x2, 0x4, 0x10

// stirs wake when something happens in the folders of some files. They are the
// kernel's older way (F_NOTIFY, fcntl(2)), which has no bound for each user and
// tells neither file nor event: whoever is woken looks at the files. Not every
// kernel has it (CONFIG_DNOTIFY, fs.dir-notify-enable), and some folders cannot be
// opened.
//
// One wake-up is told for each time that they are armed: an agent that makes
// millions of files beside a policy wakes nobody a second time.
type stirs struct {
	dirs []string
	some bool // folders that do not exist are left out; else they cannot be armed
	fds  []int
	c    chan os.Signal // what wakes; for all stirs of the process alike
}

func newStirs(paths []string, some bool) *stirs {
	s := &stirs{some: some, c: make(chan os.Signal, 1)}
	for _, path := range paths {
		if dir := filepath.Dir(path); !slices.Contains(s.dirs, dir) {
			s.dirs = append(s.dirs, dir)
		}
	}
	signal.Notify(s.c, unix.SIGIO)
	return s
}

// arm reports whether the next thing that happens will be told. The folders are
// opened anew: they may be other ones by now.
func (s *stirs) arm() bool {
	s.disarm()
	for _, dir := range s.dirs {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if s.some && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)) {
			continue
		}
		if err == nil {
			s.fds = append(s.fds, fd)
			_, err = unix.FcntlInt(uintptr(fd), unix.F_NOTIFY, dnModify|dnCreate|dnRename)
		}
		if err != nil {
			s.disarm()
			return false
		}
	}
	return true
}

func (s *stirs) disarm() {
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	s.fds = s.fds[:0]
}

func (s *stirs) close() {
	s.disarm()
	signal.Stop(s.c)
}
