package cow

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Take opens the layer of a name to write it, and makes it if there is none; had
// says that there was one. The caller closes it. While somebody else has it:
// ErrRunning.
func Take(state, name, workspace string, command []string) (l *Layer, had bool, err error) {
	l = &Layer{folder: filepath.Join(Base(state), name)}
	if err := os.MkdirAll(l.folder, 0o700); err != nil {
		return nil, false, fmt.Errorf("make layer %s: %w", name, err)
	}
	if err := l.hold(); err != nil {
		return nil, false, fmt.Errorf("take layer %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	if old, err := Read(state, name); err == nil {
		l.Meta = old.Meta
		return l, true, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(workspace, &st); err != nil {
		return nil, false, fmt.Errorf("make layer %s: open %s: %w", name, workspace, err)
	}
	l.Meta = Meta{Name: name, Workspace: workspace, Ino: st.Ino, Command: command}
	for _, dir := range []string{l.Data(), l.upper(), filepath.Join(l.Data(), "work")} {
		if err := l.makeFolder(dir, st); err != nil {
			return nil, false, fmt.Errorf("make layer %s: %w", name, err)
		}
	}
	// The kernel's clock for change times, which is a little behind the other.
	var made unix.Stat_t
	if err := unix.Lstat(l.upper(), &made); err != nil {
		return nil, false, fmt.Errorf("make layer %s: %w", name, err)
	}
	l.Created = time.Unix(made.Ctim.Unix())
	return l, false, l.save()
}

// makeFolder gives a folder the owner of the workspace: what the agent writes in
// it is to be that owner's. The folder above it lets nobody else in.
func (l *Layer) makeFolder(dir string, workspace unix.Stat_t) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(dir, int(workspace.Uid), int(workspace.Gid)); err != nil {
			return err
		}
	}
	if dir == l.upper() { // it is what the agent sees as the workspace
		return os.Chmod(dir, os.FileMode(workspace.Mode&0o777))
	}
	return nil
}

// Same reports whether the layer's workspace is this folder. Numbers of devices
// may change with the next start of the machine.
func (l *Layer) Same(workspace string) bool {
	var st unix.Stat_t
	return l.Workspace == workspace && unix.Lstat(workspace, &st) == nil && st.Ino == l.Ino
}

// Lock takes a layer that was opened for reading to write it.
func (l *Layer) Lock() error {
	if err := l.hold(); err != nil {
		return fmt.Errorf("take layer %s: %w", l.Name, err)
	}
	return nil
}

func (l *Layer) hold() error {
	f, err := os.OpenFile(filepath.Join(l.folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return ErrRunning
		}
		return err
	}
	l.lock = f
	return nil
}

// Running reports whether a sandbox, or another command, has the layer.
func (l *Layer) Running() bool {
	if l.lock != nil {
		return false
	}
	other := &Layer{folder: l.folder}
	err := other.hold()
	other.Close()
	return errors.Is(err, ErrRunning)
}

// Remove forgets the layer with everything in it; the caller has taken it.
func (l *Layer) Remove() error {
	// overlayfs leaves a folder without permissions; the agent may have, too.
	if err := removeAll(l.folder); err != nil {
		return fmt.Errorf("remove layer %s: %w", l.Name, err)
	}
	return nil
}

// removeAll removes a hostile tree, however deep, following no link.
func removeAll(path string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	err = root.RemoveAll(filepath.Base(path))
	if errors.Is(err, fs.ErrPermission) {
		if err = openUp(path); err == nil {
			err = root.RemoveAll(filepath.Base(path))
		}
	}
	return err
}

// openUp gives the owner the right to enter every folder below a path.
func openUp(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return openUpAt(fd, 0)
}

func openUpAt(fd, depth int) error {
	defer unix.Close(fd)
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := unix.Chmod(self, 0o700); err != nil {
		return err
	}
	if depth > 8*maxDepth {
		return nil
	}
	dir, err := os.Open(self)
	if err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	_ = dir.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		sub, err := unix.Openat(fd, e.Name(), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := openUpAt(sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}
