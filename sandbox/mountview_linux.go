package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Visible are the mounts that a look-up by path can still reach, by path: those
// that others lie over are left out.
func Visible(mounts []MountPoint) map[string]MountPoint {
	byID, children := map[int]MountPoint{}, map[int][]MountPoint{}
	for _, m := range mounts {
		byID[m.ID] = m
		if m.Parent != m.ID {
			children[m.Parent] = append(children[m.Parent], m)
		}
	}
	// reached: no sibling lies over the way to it, nor to any of its parents.
	reached := map[int]bool{}
	var reach func(MountPoint) bool
	reach = func(m MountPoint) bool {
		if r, ok := reached[m.ID]; ok {
			return r
		}
		reached[m.ID] = false // a circle of parents is none that the kernel has
		r := true
		for _, s := range children[m.Parent] {
			if s.ID != m.ID && below(s.Path, m.Path) {
				r = false
			}
		}
		if parent, ok := byID[m.Parent]; ok && m.Parent != m.ID {
			r = r && reach(parent)
		}
		reached[m.ID] = r
		return r
	}
	top := map[string]MountPoint{}
	for _, m := range mounts {
		stacked := false
		for _, c := range children[m.ID] {
			stacked = stacked || c.Path == m.Path
		}
		if !stacked && reach(m) {
			top[m.Path] = m
		}
	}
	return top
}

// Origin says which file system a path without links lies on, and where in it,
// as mountinfo names the root of a bind mount of it.
func Origin(visible map[string]MountPoint, path string) (device, root string, ok bool) {
	for dir := path; ; dir = filepath.Dir(dir) {
		if m, found := visible[dir]; found {
			return m.Device, filepath.Join(m.Root, strings.TrimPrefix(path, dir)), true
		}
		if dir == "/" || dir == "." {
			return "", "", false
		}
	}
}

// Root opens the sandbox's root folder, through its init: what the agent does to
// itself does not matter.
func (s *Sandbox) Root() (*os.File, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", s.InitPID), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open root of the sandbox: %w", err)
	}
	return f, nil
}

// Exists reports whether a path exists below the sandbox's root; links are
// followed as inside.
func Exists(root *os.File, path string) (bool, error) {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err == nil {
		_ = unix.Close(fd)
		return true, nil
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	return false, &os.PathError{Op: "open", Path: path, Err: err}
}

// SuppliedIsIntact reports whether the file that Creel put at a path inside is
// still what is found there. why is empty if so.
func (s *Sandbox) SuppliedIsIntact(root *os.File, index int) (why string) {
	file := s.Plan.Files[index]
	want := s.blobs[file.Blob]
	fd, err := unix.Openat2(int(root.Fd()), file.Path, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY, // whatever it may be by now
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return file.Path + ": " + err.Error()
	}
	f := os.NewFile(uintptr(fd), file.Path)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != int64(len(want)) {
		return file.Path + " is not the file that was supplied"
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Flags&unix.ST_RDONLY == 0 {
		return file.Path + " is writable"
	}
	got, err := io.ReadAll(io.LimitReader(f, st.Size+1))
	if err != nil {
		return file.Path + ": " + err.Error()
	}
	if !bytes.Equal(got, want) {
		return file.Path + " does not hold what was supplied"
	}
	return ""
}
