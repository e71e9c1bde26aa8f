package sandbox

import (
	"path/filepath"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// HostFile reports whether a path inside the sandbox is a file of the host that
// the policy shows there: it lies below a bind mount, and the host has the file
// with that device and inode at the same path. What the agent made in a folder of
// the sandbox's own may bear any name and is none. It is safe for concurrent use.
func (s *Sandbox) HostFile(path string, dev, ino uint64) bool {
	return hostFile(s.Plan.Mounts, path, dev, ino)
}

func hostFile(mounts []spec.Mount, path string, dev, ino uint64) bool {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return false
	}
	var nearest spec.Mount
	for _, m := range mounts {
		if len(m.Target) > len(nearest.Target) && below(m.Target, path) {
			nearest = m
		}
	}
	if nearest.Kind != spec.MountBind {
		return false
	}
	fd, st, err := openExact(path, true, false)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Dev == dev && st.Ino == ino
}
