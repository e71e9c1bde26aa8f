package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// buildRoot assembles the root file system and makes it the root. Every source
// is opened as a detached mount before the first is attached, so that no mount
// of ours can hide a later source. Returned are the optional mounts that were
// skipped because their source is absent.
func buildRoot(s *spec.Spec, blobs []byte) (skipped []string, err error) {
	// The namespace is a copy of the host's: nothing may propagate either way.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	trees := make([]int, len(s.Mounts))
	for i, m := range s.Mounts {
		fd, err := openTree(m)
		switch {
		case errors.Is(err, unix.ENOENT) && m.Optional:
			skipped = append(skipped, m.Target)
			trees[i] = -1
			continue
		case err != nil:
			return nil, fmt.Errorf("open %s: %w", m.Target, err)
		}
		trees[i] = fd
	}
	root, err := newFS("tmpfs", map[string]string{"mode": "0755", "size": "4m", "nr_inodes": "4096"}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, fmt.Errorf("make root: %w", err)
	}
	// The new root covers /tmp of this namespace only until the pivot.
	err = attach(root, "/tmp")
	_ = unix.Close(root)
	if err != nil {
		return nil, fmt.Errorf("attach root: %w", err)
	}
	if err := unix.Chdir("/tmp"); err != nil {
		return nil, fmt.Errorf("enter root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return nil, fmt.Errorf("pivot root: %w", err)
	}
	// The old root lies stacked over the new one; detach it before anything of
	// the new root is touched by path.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return nil, fmt.Errorf("detach host root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return nil, fmt.Errorf("enter root: %w", err)
	}
	for i, m := range s.Mounts {
		if trees[i] < 0 {
			continue
		}
		if err := makeTarget(m); err != nil {
			return nil, fmt.Errorf("make mount point %s: %w", m.Target, err)
		}
		// Not by a link either: below the workspace it may be the agent's.
		at, err := openExact(m.Target, m.File, true)
		if err != nil {
			return nil, fmt.Errorf("open mount point %s: %w", m.Target, err)
		}
		err = unix.MoveMount(trees[i], "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		_ = unix.Close(at)
		_ = unix.Close(trees[i])
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	if err := pin(s.Pins); err != nil {
		return nil, err
	}
	for _, l := range s.Links {
		if err := os.MkdirAll(filepath.Dir(l.Path), 0o755); err != nil {
			return nil, fmt.Errorf("make link %s: %w", l.Path, err)
		}
		if err := os.Symlink(l.Target, l.Path); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("make link %s: %w", l.Path, err)
		}
	}
	if err := supplyFiles(s, blobs); err != nil {
		return nil, err
	}
	if err := protect(s); err != nil {
		return nil, err
	}
	if err := cover(s.Covers); err != nil {
		return nil, err
	}
	if err := setAttr("/", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, false); err != nil {
		return nil, fmt.Errorf("make root read-only: %w", err)
	}
	return skipped, nil
}

func attrs(m spec.Mount) uint64 {
	a := uint64(unix.MOUNT_ATTR_NOSUID)
	if !m.Device && m.Kind != spec.MountPTS {
		a |= unix.MOUNT_ATTR_NODEV
	}
	if !m.Write {
		a |= unix.MOUNT_ATTR_RDONLY
	}
	if m.NoExec {
		a |= unix.MOUNT_ATTR_NOEXEC
	}
	return a
}

// openTree gives a detached mount for m.
func openTree(m spec.Mount) (int, error) {
	switch m.Kind {
	case spec.MountBind:
		fd := m.FD
		if fd <= 0 {
			exact, err := openExact(m.Source, m.File, m.Device)
			if err != nil {
				return -1, err
			}
			// AT_RECURSIVE: in a less privileged namespace the submounts are locked
			// to their parent and cannot be left out.
			fd, err = unix.OpenTree(exact, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
			_ = unix.Close(exact)
			if err != nil {
				return -1, err
			}
		}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
			Attr_set: attrs(m), Propagation: unix.MS_PRIVATE,
		}); err != nil {
			return -1, fmt.Errorf("set attributes: %w", err)
		}
		return fd, nil
	case spec.MountOverlay:
		fd, err := openOverlay(m)
		var no syscall.Errno
		if errors.As(err, &no) {
			return -1, &failure{step: spec.StepOverlay, errno: no, text: err.Error()}
		}
		return fd, err
	case spec.MountTmpfs:
		opts := map[string]string{"mode": fmt.Sprintf("%04o", m.Mode)}
		if m.Size != "" {
			opts["size"] = m.Size
		}
		if m.Inodes > 0 {
			opts["nr_inodes"] = strconv.FormatUint(m.Inodes, 10)
		}
		return newFS("tmpfs", opts, attrs(m))
	case spec.MountProc:
		m.Write = true
		// The agent sees what it may trace: its own processes, and not init.
		fd, err := newFS("proc", map[string]string{"hidepid": "invisible"}, attrs(m)|unix.MOUNT_ATTR_NOEXEC)
		if errors.Is(err, unix.EPERM) { // kernel-notes 4
			return -1, &failure{step: spec.StepProc, errno: unix.EPERM, text: err.Error()}
		}
		return fd, err
	case spec.MountSysfs:
		return newFS("sysfs", nil, attrs(m)|unix.MOUNT_ATTR_NOEXEC)
	case spec.MountPTS:
		m.Write = true
		return newFS("devpts", map[string]string{"newinstance": "", "ptmxmode": "0666", "mode": "0620"}, attrs(m)|unix.MOUNT_ATTR_NOEXEC)
	}
	return -1, fmt.Errorf("unknown kind of mount %q", m.Kind)
}

// openExact opens a path, following no link: the supervisor resolved it, and
// what was swapped since then is refused.
func openExact(path string, file, device bool) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if !file {
		how.Flags |= unix.O_DIRECTORY
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		return fd, nil
	case unix.S_IFCHR, unix.S_IFBLK:
		if device {
			return fd, nil
		}
	}
	_ = unix.Close(fd)
	return -1, unix.EINVAL
}

// newFS makes a detached file system of its own.
func newFS(kind string, options map[string]string, attr uint64) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", kind, err)
	}
	defer unix.Close(fs)
	for k, v := range options {
		if v == "" {
			err = unix.FsconfigSetFlag(fs, k)
		} else {
			err = unix.FsconfigSetString(fs, k, v)
		}
		if err != nil {
			return -1, fmt.Errorf("set %s option %s: %w", kind, k, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create %s: %w", kind, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(attr))
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", kind, err)
	}
	return fd, nil
}

// attach moves a detached mount to a path, without following a symlink there.
func attach(fd int, target string) error {
	return unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func setAttr(path string, attr uint64, recursive bool) error {
	flags := uint(unix.AT_SYMLINK_NOFOLLOW)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(unix.AT_FDCWD, path, flags, &unix.MountAttr{Attr_set: attr})
}

// makeTarget creates a mount point in the sandbox's own root. Below a bind
// mount it must exist already: nothing is ever created on the host.
func makeTarget(m spec.Mount) error {
	if fi, err := os.Lstat(m.Target); err == nil {
		if fi.IsDir() == m.File {
			return fmt.Errorf("is a directory: %v, wanted the opposite", fi.IsDir())
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(m.Target), 0o755); err != nil {
		return err
	}
	if !m.File {
		return os.Mkdir(m.Target, 0o755)
	}
	f, err := os.OpenFile(m.Target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// pin makes folders mounts of themselves, with all that is mounted below them
// and the same attributes and id maps. One that does not exist protects nothing;
// below one that the stage cannot search the agent cannot rename either.
func pin(folders []string) error {
	for _, p := range folders {
		exact, err := openExact(p, false, false)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
			continue
		}
		if err != nil {
			return fmt.Errorf("pin %s: %w", p, err)
		}
		fd, err := unix.OpenTree(exact, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
		if err == nil {
			err = unix.MoveMount(fd, "", exact, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
			_ = unix.Close(fd)
		}
		_ = unix.Close(exact)
		if err != nil {
			return fmt.Errorf("pin %s: %w", p, err)
		}
	}
	return nil
}

// filesDir holds the supplied files before they are bound to their places. Its
// tmpfs is detached at the end; the binds keep it alive.
const filesDir = "/.creel"

func blobPath(i int) string { return fmt.Sprintf("%s/%d", filesDir, i) }

// supplyFiles puts Creel's small files over the places where programs look for
// them. A path of the host that is a symlink is followed inside the new root;
// where neither file nor folder exists on a bind mount, the file is left out.
func supplyFiles(s *spec.Spec, blobs []byte) error {
	if len(s.Files) == 0 {
		return nil
	}
	fs, err := newFS("tmpfs", map[string]string{"mode": "0755", "size": "16m"}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return fmt.Errorf("make files: %w", err)
	}
	if err := os.Mkdir(filesDir, 0o755); err != nil {
		return fmt.Errorf("make files: %w", err)
	}
	if err := attach(fs, filesDir); err != nil {
		return fmt.Errorf("make files: %w", err)
	}
	_ = unix.Close(fs)
	for i, b := range s.Blobs {
		if err := os.WriteFile(blobPath(i), blobs[b.Offset:b.Offset+b.Size], 0o444); err != nil {
			return fmt.Errorf("write files: %w", err)
		}
	}
	for _, f := range s.Files {
		src := blobPath(f.Blob)
		target, err := resolve(f.Path)
		if err != nil {
			return fmt.Errorf("find place of %s: %w", f.Path, err)
		}
		if _, err := os.Lstat(target); err != nil {
			if err := makeTarget(spec.Mount{Target: target, File: true}); err != nil {
				if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
					continue // a read-only host folder without such a file
				}
				return fmt.Errorf("make place of %s: %w", f.Path, err)
			}
		}
		if err := bindReadOnly(src, target, unix.MOUNT_ATTR_NOEXEC); err != nil {
			return fmt.Errorf("supply %s: %w", f.Path, err)
		}
	}
	if err := unix.Unmount(filesDir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("hide files: %w", err)
	}
	return os.Remove(filesDir)
}

// resolve follows symlinks inside the new root, which is the root by now. What
// does not exist resolves to the last component below its resolved folder.
func resolve(path string) (string, error) {
	for range 40 { // the kernel's own bound (MAXSYMLINKS)
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if errors.Is(err, os.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, filepath.Base(path))
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(dir, link)
		}
		path = filepath.Clean(link)
	}
	return "", unix.ELOOP
}

func bindReadOnly(src, target string, extra uint64) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, src, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | extra,
	}); err != nil {
		return err
	}
	return attach(fd, target)
}

// protect makes the listed paths empty or read-only, after all mounts. What does
// not exist needs no protection here; a failure on what exists is an error.
func protect(s *spec.Spec) error {
	for _, p := range s.ReadOnly {
		if _, err := os.Lstat(p); err != nil {
			continue
		}
		if err := bindReadOnly(p, p, 0); err != nil {
			return fmt.Errorf("make %s read-only: %w", p, err)
		}
	}
	for _, p := range s.Masked {
		fi, err := os.Lstat(p)
		if err != nil {
			continue
		}
		if fi.IsDir() {
			err = maskFolder(p)
		} else {
			err = bindReadOnly("/dev/null", p, unix.MOUNT_ATTR_NOEXEC)
		}
		if err != nil {
			return fmt.Errorf("mask %s: %w", p, err)
		}
	}
	return nil
}

// maskFolder puts an empty folder over one.
func maskFolder(path string) error {
	empty, err := newFS("tmpfs", map[string]string{"mode": "0555", "size": "4k", "nr_inodes": "2"},
		unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(empty)
	return attach(empty, path)
}

// tidyPath reports whether p is an absolute, clean path.
func tidyPath(p string) bool {
	return strings.HasPrefix(p, "/") && filepath.Clean(p) == p
}
