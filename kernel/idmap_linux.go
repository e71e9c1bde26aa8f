package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// idMapped tries an id-mapped mount of dir (mount_setattr(2)), by which root
// gives the agent's id the workspace without changing owners. The mount stays
// detached: nothing of it is seen anywhere.
func idMapped(ctx context.Context, dir string) Feature {
	f := Feature{Name: "id-mapped mounts", Required: true}
	cmd := child(ctx, roleHold, "/", unix.CLONE_NEWUSER)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	if err := cmd.Start(); err != nil {
		f.Detail = "needs user namespaces"
		return f
	}
	err = mapDetached(dir, cmd.Process.Pid)
	_ = stdin.Close()
	_ = cmd.Wait()
	var errno unix.Errno
	switch {
	case err == nil:
		f.Outcome, f.Detail = Yes, "on the file system of "+dir
	case !errors.As(err, &errno):
		f.Detail = err.Error()
	case errno == unix.ENOSYS:
		f.Outcome, f.Detail, f.Fix = No, err.Error(), "boot a kernel of version 5.12 or newer"
	case errno == unix.EINVAL:
		f.Outcome, f.Detail = No, fmt.Sprintf("the file system of %s does not take them", dir)
		f.Fix = "keep workspaces on ext4, xfs, btrfs or tmpfs, or start creel as an ordinary user"
	case errno == unix.EPERM:
		f.Outcome, f.Detail = No, err.Error()
		f.Fix = "start creel as an ordinary user, or give the container CAP_SYS_ADMIN"
	default:
		f.Detail = err.Error()
	}
	return f
}

func mapDetached(dir string, pid int) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return err
	}
	defer ns.Close()
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(tree)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd()),
	})
	if err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}
