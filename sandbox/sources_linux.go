package sandbox

import (
	"fmt"
	"os"

	"github.com/creel-run/creel/sandbox/spec"
	"github.com/creel-run/creel/sandbox/stage"
	"golang.org/x/sys/unix"
)

// openSources opens the host's mounts for a sandbox of root: its stage has an
// unprivileged id and may not reach every path itself. The workspace and
// writable folders are id-mapped, so that what their owner may do the agent may
// do, and what it creates belongs to their owner; nothing on the host changes
// owner. Read-only paths are not: the agent must not read what only root may.
func openSources(files map[stage.Source]*os.File, s *spec.Spec, id stage.Identity) error {
	maps := map[[2]uint32]*os.File{}
	defer func() {
		for _, f := range maps {
			_ = f.Close()
		}
	}()
	take := func(key stage.Source, path string, m spec.Mount) error {
		exact, st, err := openExact(path, m.File, m.Device)
		if err != nil {
			return err
		}
		fd, err := unix.OpenTree(exact, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
		_ = unix.Close(exact)
		if err != nil {
			return fmt.Errorf("clone mount of %s: %w", path, err)
		}
		files[key] = os.NewFile(uintptr(fd), path)
		if !m.Owned {
			return nil
		}
		owner := [2]uint32{st.Uid, st.Gid}
		ns := maps[owner]
		if ns == nil {
			if ns, err = stage.IDMap(owner[0], owner[1], id); err != nil {
				return fmt.Errorf("make id map: %w", err)
			}
			maps[owner] = ns
		}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
			Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd()), Propagation: unix.MS_PRIVATE,
		}); err != nil {
			return &NotSupported{Feature: "an id-mapped mount of " + path, MinKernel: "5.12", Err: err,
				Fix: "start creel as the folder's owner, or move the folder to ext4, xfs, btrfs or tmpfs"}
		}
		return nil
	}
	for i, m := range s.Mounts {
		if !ofHost(m) {
			continue
		}
		if err := take(stage.Source{Mount: i}, m.Source, m); err != nil {
			return err
		}
		if m.Kind == spec.MountOverlay {
			if err := take(stage.Source{Mount: i, Layer: true}, m.Layer, m); err != nil {
				return err
			}
		}
	}
	return nil
}
