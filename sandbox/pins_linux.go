package sandbox

import (
	"path/filepath"
	"slices"

	"github.com/creel-run/creel/sandbox/spec"
)

// pins are the folders above mount points and protected paths that lie inside
// something that the agent can write. A mount point cannot be renamed, but the
// folders above it can: an agent would put another tree in their place, which
// the next start takes for the operator's, or under whose path its own program
// passes for another. Each of them becomes a mount of itself, writable as
// before, which the kernel refuses to rename or to remove (EBUSY). They come
// with parents before children.
func pins(mounts []spec.Mount, protected []string) []string {
	at := map[string]spec.Mount{}
	paths := slices.Clone(protected)
	for _, m := range mounts {
		at[m.Target] = m
		paths = append(paths, m.Target)
	}
	known := map[string]bool{}
	var all []string
	for _, path := range paths {
		var between []string
		for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
			m, ok := at[dir]
			if !ok {
				between = append(between, dir)
				continue
			}
			if m.Write {
				for _, b := range between {
					if !known[b] {
						known[b] = true
						all = append(all, b)
					}
				}
			}
			break
		}
	}
	slices.Sort(all) // a parent is a prefix of its children
	return all
}
