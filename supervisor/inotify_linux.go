package supervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// saves tells of some files when they are saved. It tells a file that took
// the place of another, and is whole, from one that was written, and is told
// nothing while a file is being written, be it the audit log beside the policy:
// package fsnotify does neither.
type saves struct {
	in      *os.File
	paths   []string
	folders map[int32]string // of them, by watch descriptor
	events  chan saved
}

// saved is one change of a file.
type saved struct {
	path  string
	whole bool // it was moved there
	lost  bool // changes were not told: any file may be another one
}

// watchFiles watches the folders of the files until ctx ends or close.
func watchFiles(ctx context.Context, paths []string) (*saves, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &saves{in: os.NewFile(uintptr(fd), "inotify"), paths: paths, folders: make(map[int32]string), events: make(chan saved)}
	for _, path := range paths {
		dir := filepath.Dir(path) // a folder that is watched twice is watched once
		wd, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE|unix.IN_CREATE)
		if err != nil {
			_ = w.in.Close()
			return nil, fmt.Errorf("watch %s: %w", dir, os.NewSyscallError("inotify_add_watch", err))
		}
		w.folders[int32(wd)] = dir //nolint:gosec // the kernel counts them so
	}
	go w.read(ctx)
	return w, nil
}

func (w *saves) close() { _ = w.in.Close() }

// read gives the events out; the channel is closed when nothing more comes.
func (w *saves) read(ctx context.Context) {
	defer close(w.events)
	var buf [64 * (unix.SizeofInotifyEvent + unix.NAME_MAX + 1)]byte
	for {
		n, err := w.in.Read(buf[:])
		if err != nil {
			return
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at])) //nolint:gosec // the kernel writes it there, aligned
			end := at + unix.SizeofInotifyEvent + int(e.Len)
			if end > n {
				return
			}
			name := strings.TrimRight(string(buf[at+unix.SizeofInotifyEvent:end]), "\x00")
			at = end
			one := saved{path: filepath.Join(w.folders[e.Wd], name), whole: e.Mask&unix.IN_MOVED_TO != 0, lost: e.Mask&unix.IN_Q_OVERFLOW != 0}
			if !one.lost && !slices.Contains(w.paths, one.path) {
				continue
			}
			select {
			case w.events <- one:
			case <-ctx.Done():
				return
			}
		}
	}
}
