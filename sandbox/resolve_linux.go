package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// resolver follows declared paths on the host. An agent of an earlier run may
// have put a symbolic link where the operator meant a folder, so that the next
// start would mount what it leads to. A link is therefore followed only where no
// agent can have made it: in a folder that root owns and no one else writes, and
// that lies in nothing that a policy lets an agent write.
type resolver struct {
	writable []string // the workspace and every read_write path, as spelled and as they lead
}

// maxLinks is the kernel's own bound (MAXSYMLINKS).
const maxLinks = 40

func newResolver(c Config) resolver {
	var r resolver
	add := func(path string) {
		if path == "" {
			return
		}
		path = filepath.Clean(path)
		r.writable = append(r.writable, path)
		if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
			r.writable = append(r.writable, real)
		}
	}
	add(c.Workspace.Path)
	for _, d := range c.ReadWrite {
		add(d.Path)
	}
	return r
}

// resolve gives the path without links. With an error that is os.ErrNotExist it
// is the place where the path would be.
func (r resolver) resolve(path string) (string, os.FileInfo, error) {
	dir, todo := "/", split(path)
	var fi os.FileInfo
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case ".":
			continue
		case "..": // dir has no links: its parent is the one by name
			dir = filepath.Dir(dir)
			continue
		}
		next := filepath.Join(dir, name)
		var err error
		if fi, err = os.Lstat(next); err != nil {
			return filepath.Join(append([]string{next}, todo...)...), nil, fmt.Errorf("open declared path %s: %w", path, err)
		}
		if fi.Mode()&os.ModeSymlink == 0 {
			dir = next
			continue
		}
		if links++; links > maxLinks {
			return "", nil, fmt.Errorf("open declared path %s: %w", path, unix.ELOOP)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", nil, fmt.Errorf("open declared path %s: %w", path, err)
		}
		if why := r.distrust(dir); why != "" {
			real, _ := filepath.EvalSymlinks(path)
			return "", nil, &LinkError{Path: path, Link: next, Target: target, Real: real, Why: why}
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		todo = append(split(target), todo...)
	}
	var err error
	if fi, err = os.Lstat(dir); err != nil {
		return dir, nil, fmt.Errorf("open declared path %s: %w", path, err)
	}
	return dir, fi, nil
}

// distrust says why a link in a folder is not followed, or nothing.
func (r resolver) distrust(dir string) string {
	for _, w := range r.writable {
		if below(w, dir) {
			return "it lies in " + w + ", where an agent can write"
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "its folder cannot be read: " + err.Error()
	}
	switch {
	case st.Mode&0o022 != 0:
		return "others than its owner can write its folder"
	case st.Uid != 0 && int(st.Uid) == overflowID():
		// Creel runs in a user namespace: root's folders seem to be nobody's. The
		// agent is not their owner, whoever that is: its own id is mapped.
	case st.Uid != 0:
		return fmt.Sprintf("its folder belongs to uid %d, not to root", st.Uid)
	}
	return ""
}

// overflowID is which id stands for those that our user namespace does not
// map (user_namespaces(7)); -1 if it maps that id itself. Few starts ask.
var overflowID = sync.OnceValue(readOverflowID)

func readOverflowID() int {
	b, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return -1
	}
	id, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return -1
	}
	maps, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || mapped(string(maps), id) {
		return -1
	}
	return id
}

// mapped reports whether the text of a uid_map has an id inside; one that
// cannot be read has all.
func mapped(text string, id int) bool {
	for line := range strings.Lines(text) {
		var first, outer, count int
		if n, err := fmt.Sscan(line, &first, &outer, &count); n != 3 || err != nil {
			return true
		}
		if id >= first && id-first < count {
			return true
		}
	}
	return false
}

// below reports whether path is dir or lies in it; both are clean.
func below(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func split(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// openExact opens a path, following nothing. What stands there now may not be
// what the plan saw: the type is checked again.
func openExact(path string, file, device bool) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if !file {
		how.Flags |= unix.O_DIRECTORY
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err != nil {
		return -1, st, fmt.Errorf("open %s: %w", path, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, st, fmt.Errorf("stat %s: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		return fd, st, nil
	case unix.S_IFCHR, unix.S_IFBLK:
		if device {
			return fd, st, nil
		}
	}
	_ = unix.Close(fd)
	return -1, st, fmt.Errorf("open %s: %w", path, syscall.EINVAL)
}

// canOpenExact tells whether this kernel, and what surrounds Creel, has openat2.
func canOpenExact() error {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return &NotSupported{Feature: "openat2", MinKernel: "5.6", Err: err,
			Fix: "use a newer kernel, or let the container engine's seccomp profile allow openat2"}
	}
	_ = unix.Close(fd)
	return nil
}
