package stage

import (
	"fmt"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// cover lays what takes something away over the finished mounts. The agent's
// folders are followed by no link, and what is not there any more is an error: the
// supervisor saw it.
func cover(covers []spec.Cover) error {
	for _, c := range covers {
		if err := coverOne(c); err != nil {
			return fmt.Errorf("make %s %s: %w", c.Path, c.Kind, err)
		}
	}
	return nil
}

func coverOne(c spec.Cover) error {
	at, err := unix.Openat2(unix.AT_FDCWD, c.Path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return err
	}
	defer unix.Close(at)
	fd := -1
	switch {
	case c.Kind == spec.CoverHidden && !c.File:
		fd, err = newFS("tmpfs", map[string]string{"mode": "0555", "size": "4k", "nr_inodes": "2"},
			unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	case c.Kind == spec.CoverHidden:
		// A device on a mount without devices: opening it is refused.
		fd, err = clone(unix.AT_FDCWD, "/dev/null", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	case c.Kind == spec.CoverReadOnly:
		fd, err = clone(at, "", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID)
	case c.Kind == spec.CoverNoExec:
		fd, err = clone(at, "", unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOSUID)
	default:
		return unix.EINVAL
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// clone gives a detached copy of what is mounted at and below a path, with more attributes.
func clone(dir int, path string, attr uint64) (int, error) {
	fd, err := unix.OpenTree(dir, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, err
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr}); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
