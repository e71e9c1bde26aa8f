package stage

import (
	"fmt"
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// covers lays what takes something away over the finished mounts. The agent's
// folders are followed by no link, and what is not there any more is an error: the
// supervisor saw it.
func (b *batch) covers(covers []spec.Cover) {
	for _, c := range covers {
		b.step("make "+string(c.Kind), c.Path)
		at := b.get(unix.SYS_OPENAT2, unix.AT_FDCWD, c.Path,
			unsafe.Pointer(&unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}), unix.SizeofOpenHow)
		var fd *int32
		switch {
		case c.Kind == spec.CoverHidden && !c.File:
			fd = b.fileSystem("tmpfs", []option{{"mode", "0555"}, {"size", "4k"}, {"nr_inodes", "2"}},
				unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		case c.Kind == spec.CoverHidden:
			// A device on a mount without devices: opening it is refused.
			fd = b.copyOf(unix.AT_FDCWD, "/dev/null", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
		case c.Kind == spec.CoverReadOnly:
			fd = b.copyOf(at, "", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID)
		case c.Kind == spec.CoverNoExec:
			fd = b.copyOf(at, "", unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOSUID)
		default:
			b.fail(fmt.Errorf("cover %s: unknown kind %q", c.Path, c.Kind))
			return
		}
		b.add(unix.SYS_MOVE_MOUNT, fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		b.close(fd)
		b.close(at)
	}
}

// copyOf gives a detached copy of what is mounted at and below a path, with more attributes.
func (b *batch) copyOf(dir any, path string, attr uint64) *int32 {
	fd := b.get(unix.SYS_OPEN_TREE, dir, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	b.mountAttr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr})
	return fd
}
