package stage

import (
	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// overlay gives a detached overlay of a layer over a folder of the host. It is
// mounted in the sandbox's own user namespace, so overlayfs keeps what it has to
// remember in user.overlay attributes: the agent cannot set them through the
// mount, and none of those that redirect is followed.
func (b *batch) overlay(m spec.Mount, lower, layer *int32) *int32 {
	b.step(spec.StepOverlay, m.Target)
	if lower == nil {
		lower = b.hostTree(m.Source)
	}
	if layer == nil {
		layer = b.hostTree(m.Layer)
	}
	// Layers are given by path and have to be mounted in this namespace. Both lie
	// over /tmp for as long as that takes; the overlay then holds clones of its own.
	for _, fd := range []*int32{lower, layer} {
		b.add(unix.SYS_MOVE_MOUNT, fd, "", unix.AT_FDCWD, layerDir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	b.add(unix.SYS_FCHDIR, lower)
	fd := b.fileSystem("overlay", []option{
		{"lowerdir", "."}, {"upperdir", layerDir + "/upper"}, {"workdir", layerDir + "/work"},
		{"userxattr", ""}, {"metacopy", "off"}, {"redirect_dir", "nofollow"}, {"index", "off"},
	}, attrs(m))
	b.add(unix.SYS_CHDIR, "/")
	for _, fd := range []*int32{layer, lower} {
		b.add(unix.SYS_UMOUNT2, layerDir, unix.MNT_DETACH)
		b.close(fd)
	}
	return fd
}

const layerDir = "/tmp"

// hostTree gives a detached copy of a folder of the host.
func (b *batch) hostTree(path string) *int32 {
	exact := b.openExact(path, false)
	fd := b.get(unix.SYS_OPEN_TREE, exact, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	b.close(exact)
	return fd
}
