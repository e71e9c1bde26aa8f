package sandbox

import (
	"fmt"
	"os"
	"syscall"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// openSources opens the host's mounts for a sandbox of root: its stage has an
// unprivileged id and may not reach every path itself. The workspace and
// writable folders are id-mapped, so that what their owner may do the agent may
// do, and what it creates belongs to their owner; nothing on the host changes
// owner. Read-only paths are not: the agent must not read what only root may.
func openSources(s *spec.Spec, id identity, program *os.File) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			files = nil
		}
	}()
	maps := map[[2]uint32]*os.File{}
	defer func() {
		for _, f := range maps {
			_ = f.Close()
		}
	}()
	take := func(path string, m *spec.Mount) (int, error) {
		exact, st, err := openExact(path, m.File, m.Device)
		if err != nil {
			return 0, err
		}
		fd, err := unix.OpenTree(exact, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
		_ = unix.Close(exact)
		if err != nil {
			return 0, fmt.Errorf("clone mount of %s: %w", path, err)
		}
		inherited := spec.SourceFD + len(files)
		files = append(files, os.NewFile(uintptr(fd), path))
		if !m.Owned {
			return inherited, nil
		}
		owner := [2]uint32{st.Uid, st.Gid}
		ns := maps[owner]
		if ns == nil {
			if ns, err = idMap(owner, id, program); err != nil {
				return 0, err
			}
			maps[owner] = ns
		}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
			Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd()), Propagation: unix.MS_PRIVATE,
		}); err != nil {
			return 0, &NotSupported{Feature: "an id-mapped mount of " + path, MinKernel: "5.12", Err: err,
				Fix: "start creel as the folder's owner, or move the folder to ext4, xfs, btrfs or tmpfs"}
		}
		return inherited, nil
	}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if !ofHost(*m) {
			continue
		}
		if m.FD, err = take(m.Source, m); err != nil {
			return files, err
		}
		if m.Kind == spec.MountOverlay {
			if m.LayerFD, err = take(m.Layer, m); err != nil {
				return files, err
			}
		}
	}
	return files, nil
}

// idMap gives a user namespace that maps an owner on disk to the agent's id. A
// child that is stopped at its exec holds it just long enough to be opened.
func idMap(owner [2]uint32, id identity, program *os.File) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		f, err := holdNamespace(owner, id, program)
		done <- result{f, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("make id map: %w", r.err)
	}
	return r.f, nil
}

func holdNamespace(owner [2]uint32, id identity, program *os.File) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	p, err := os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", program.Fd()), []string{"creel-hold"}, &os.ProcAttr{
		Env: []string{}, Files: []*os.File{r},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: int(owner[0]), HostID: id.hostUID, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: int(owner[1]), HostID: id.hostGID, Size: 1}},
		},
	})
	if err != nil {
		return nil, forkError(err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", p.Pid))
	_ = p.Kill()
	_, _ = p.Wait()
	return f, err
}
