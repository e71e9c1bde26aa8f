package supervisor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// watches are all that a supervisor watches, through one inotify instance: a user
// has few of them (fs.inotify.max_user_instances, mostly 128), and whoever gets
// none has to poll. The zero value is closed; the first watch opens it.
//
// What is kept is bounded by what was asked for, however many files an agent makes
// beside it, and the reader waits for nobody: each watch has one mask for each of
// its paths, and one wake-up.
type watches struct {
	mu      sync.Mutex
	in      *os.File          // nil: closed
	fd      int               // of in
	read    chan struct{}     // closed when the reader has ended
	folders map[int32]*folder // by watch descriptor
	wds     map[string]int32  // of the folders' paths
	all     []*watch
}

// folder is one that is watched, by everybody with the same mask: the kernel has
// one mask for a folder, whatever the name that it was given.
type folder struct{ names map[string][]target }

// target is a name in a folder, as somebody watches it.
type target struct {
	by   *watch
	path string
}

// watch is what one part of the supervisor wants to be told of.
type watch struct {
	of    *watches
	mask  uint32        // of the events that are told: one or more of those in allEvents
	some  bool          // folders that do not exist are left out; else they are an error
	woken chan struct{} // of capacity 1: there is something to take

	paths []string // of.mu guards it, and what follows
	told  news
}

// news is what happened since it was taken the last time.
type news struct {
	events map[string]uint32 // masks, by the path that was asked for
	lost   bool              // the kernel's queue was full: anything may have happened
	gone   bool              // a folder was moved or removed, or no more events come
}

// any reports whether one of these events happened to one of the paths.
func (n news) any(mask uint32) bool {
	for _, m := range n.events {
		if m&mask != 0 {
			return true
		}
	}
	return false
}

// allEvents are the masks of a folder's files that watches may ask for. A file
// that is being written tells nothing until it is closed.
const allEvents = unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_CREATE

// add makes a watch that watches nothing yet.
func (w *watches) add(mask uint32, some bool) *watch {
	return &watch{of: w, mask: mask, some: some, woken: make(chan struct{}, 1)}
}

// set watches the folders of these files from now on, and those alone. When it
// fails, nothing is watched.
func (w *watch) set(paths []string) error {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	if err := w.of.open(); err != nil {
		return err
	}
	w.paths, w.told.gone = paths, false
	if !slices.Contains(w.of.all, w) {
		w.of.all = append(w.of.all, w)
	}
	err := w.of.sync(w)
	if err != nil {
		w.of.drop(w)
	}
	return err
}

// take gives what happened, each thing once.
func (w *watch) take() news {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	n := w.told
	w.told = news{}
	return n
}

func (w *watch) close() {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.of.drop(w)
}

// close ends all watches. Closing an inotify descriptor takes 10 ms in the kernel.
func (w *watches) close() {
	w.mu.Lock()
	in := w.in
	w.forget()
	w.mu.Unlock()
	if in != nil {
		_ = in.Close()
		<-w.read
	}
}

func (w *watches) forget() { w.in, w.folders, w.wds, w.all = nil, nil, nil, nil }

func (w *watches) open() error {
	if w.in != nil {
		return nil
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	w.in, w.fd, w.read = os.NewFile(uintptr(fd), "inotify"), fd, make(chan struct{})
	go w.run(w.in)
	return nil
}

func (w *watches) drop(one *watch) {
	one.paths = nil
	w.all = slices.DeleteFunc(w.all, func(other *watch) bool { return other == one })
	if w.in != nil {
		_ = w.sync(nil)
	}
}

// sync makes the kernel watch what is asked for now. The error is the first of
// one's folders; others are told when theirs is another one now, or none.
func (w *watches) sync(one *watch) error {
	var first error
	wds := map[string]int32{}
	kept := map[int32]*folder{}
	for _, by := range w.all {
		for _, path := range by.paths {
			dir, name := filepath.Dir(path), filepath.Base(path)
			wd, known := wds[dir]
			if !known {
				n, err := unix.InotifyAddWatch(w.fd, dir, allEvents|unix.IN_MOVE_SELF|unix.IN_ONLYDIR)
				if err != nil {
					missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
					if by == one && first == nil && !(by.some && missing) {
						first = fmt.Errorf("watch %s: %w", dir, os.NewSyscallError("inotify_add_watch", err))
					}
					n = -1
				}
				wd = int32(n) //nolint:gosec // the kernel counts them so
				wds[dir] = wd
			}
			if was, ok := w.wds[dir]; ok && was != wd && by != one {
				by.told.gone = true
				by.wake()
			}
			if wd < 0 {
				continue
			}
			if kept[wd] == nil {
				kept[wd] = &folder{names: map[string][]target{}}
			}
			kept[wd].names[name] = append(kept[wd].names[name], target{by, path})
		}
	}
	for wd := range w.folders {
		if kept[wd] == nil {
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) //nolint:gosec // as above
		}
	}
	w.folders, w.wds = kept, wds
	return first
}

// run reads until the descriptor is closed.
func (w *watches) run(in *os.File) {
	defer close(w.read)
	var buf [64 * (unix.SizeofInotifyEvent + unix.NAME_MAX + 1)]byte
	for {
		n, err := in.Read(buf[:])
		w.mu.Lock()
		if w.in != in { // closed
			w.mu.Unlock()
			return
		}
		if err != nil {
			for _, one := range w.all {
				one.told.gone = true
				one.wake()
			}
			w.forget()
			w.mu.Unlock()
			_ = in.Close()
			return
		}
		w.dispatch(buf[:n])
		w.mu.Unlock()
	}
}

// dispatch tells everybody what one read brought (inotify(7), struct inotify_event).
func (w *watches) dispatch(buf []byte) {
	for len(buf) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(buf)) //nolint:gosec // a descriptor, or -1
		mask := binary.NativeEndian.Uint32(buf[4:])
		size := int(binary.NativeEndian.Uint32(buf[12:]))
		buf = buf[unix.SizeofInotifyEvent:]
		if size > len(buf) {
			return
		}
		name, _, _ := bytes.Cut(buf[:size], []byte{0})
		buf = buf[size:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			for _, one := range w.all {
				one.told.lost = true
				one.wake()
			}
			continue
		}
		f := w.folders[wd]
		if f == nil {
			continue // it is not watched any more
		}
		if mask&(unix.IN_IGNORED|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0 {
			for _, targets := range f.names {
				for _, t := range targets {
					t.by.told.gone = true
					t.by.wake()
				}
			}
			if mask&unix.IN_IGNORED != 0 {
				delete(w.folders, wd)
			}
			continue
		}
		for _, t := range f.names[string(name)] { // no string is made
			if mask &= allEvents; mask&t.by.mask != 0 {
				t.by.tell(t.path, mask&t.by.mask)
			}
		}
	}
}

func (w *watch) tell(path string, mask uint32) {
	if w.told.events == nil {
		w.told.events = map[string]uint32{}
	}
	w.told.events[path] |= mask
	w.wake()
}

func (w *watch) wake() {
	select {
	case w.woken <- struct{}{}:
	default: // it is awake
	}
}
