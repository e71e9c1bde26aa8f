package stage

import (
	"fmt"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// openOverlay gives a detached overlay of a layer over a folder of the host. It is
// mounted in the sandbox's own user namespace, so overlayfs keeps what it has to
// remember in user.overlay attributes: the agent cannot set them through the
// mount, and none of those that redirect is followed.
func openOverlay(m spec.Mount) (int, error) {
	lower, err := overlayTree(m.FD, m.Source)
	if err != nil {
		return -1, fmt.Errorf("open folder: %w", err)
	}
	defer unix.Close(lower)
	layer, err := overlayTree(m.LayerFD, m.Layer)
	if err != nil {
		return -1, fmt.Errorf("open layer: %w", err)
	}
	defer unix.Close(layer)
	// Layers are given by path and have to be mounted in this namespace. Both lie
	// over /tmp for as long as that takes; the overlay then holds clones of its own.
	for _, fd := range []int{lower, layer} {
		if err := attach(fd, layerDir); err != nil {
			return -1, fmt.Errorf("attach layer: %w", err)
		}
		defer func() { _ = unix.Unmount(layerDir, unix.MNT_DETACH) }()
	}
	if err := unix.Fchdir(lower); err != nil {
		return -1, fmt.Errorf("enter folder: %w", err)
	}
	defer func() { _ = unix.Chdir("/") }()
	return newFS("overlay", map[string]string{
		"lowerdir": ".", "upperdir": layerDir + "/upper", "workdir": layerDir + "/work",
		"userxattr": "", "metacopy": "off", "redirect_dir": "nofollow", "index": "off",
	}, attrs(m))
}

const layerDir = "/tmp"

func overlayTree(fd int, path string) (int, error) {
	if fd > 0 {
		return fd, nil
	}
	exact, err := openExact(path, false, false)
	if err != nil {
		return -1, err
	}
	defer unix.Close(exact)
	return unix.OpenTree(exact, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
}
