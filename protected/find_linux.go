package protected

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Found is what of the list a workspace has.
type Found struct {
	Here   []string // relative paths of files and folders: to be mounted read-only
	Absent []string // nothing is there
	// Linked: a symbolic link stands there or on the way, which no mount can hold.
	// Its place is looked at after the run like an absent one's. The values are
	// where the links lead, empty for one on the way.
	Linked map[string]string
	// Shared: files that have other names (hard links), through which an agent
	// could write what is mounted read-only.
	Shared []string
	Ino    uint64 // of the workspace's folder; device numbers change with a restart
}

// Bounds of what is read of a workspace before a start.
const (
	maxConfig  = 1 << 20 // bytes of a git configuration
	maxModules = 256     // repositories of submodules and worktrees
)

// Find looks for the list's paths in a workspace, and for what a repository's own
// settings add to it: the folder of core.hooksPath, the configuration of
// submodules. open holds a policy's words for what is not protected.
func Find(root string, open []string) (Found, error) {
	f := Found{Linked: map[string]string{}}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return f, fmt.Errorf("look for protected files in %s: %w", root, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return f, fmt.Errorf("look for protected files in %s: %w", root, err)
	}
	f.Ino = st.Ino
	opened := func(rel string) bool {
		return slices.ContainsFunc(open, func(word string) bool { return Opens(word, rel) })
	}
	paths := place{fd, filepath.Clean(root)}.gitPaths()
	for _, e := range List() {
		paths = append(paths, e.Path)
	}
	slices.Sort(paths)
	for _, rel := range slices.Compact(paths) {
		if opened(rel) {
			continue
		}
		if err := f.look(fd, rel); err != nil {
			return f, fmt.Errorf("look for protected files in %s: %w", root, err)
		}
	}
	return f, nil
}

func (f *Found) look(root int, rel string) error {
	fd, err := beneath(root, rel, unix.O_PATH)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		f.Absent = append(f.Absent, rel)
		return nil
	case errors.Is(err, unix.ELOOP):
		f.Linked[rel] = linkAt(root, rel)
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", rel, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", rel, err)
	}
	switch mode := st.Mode & unix.S_IFMT; {
	case rel == gitDir && mode == unix.S_IFDIR: // its parts are entries of their own
	case mode == unix.S_IFREG, mode == unix.S_IFDIR:
		f.Here = append(f.Here, rel)
		f.Shared = append(f.Shared, shared(root, rel, st)...)
	default: // a pipe or a socket is no setting
		f.Absent = append(f.Absent, rel)
	}
	return nil
}

// shared gives a file that has other names, or those of a folder of hooks. In
// other folders package managers link files from stores of their own.
func shared(root int, rel string, st unix.Stat_t) []string {
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		if st.Nlink > 1 {
			return []string{rel}
		}
		return nil
	}
	if path.Base(rel) != "hooks" {
		return nil
	}
	var all []string
	names, _ := list(root, rel, maxModules)
	for _, n := range names {
		if st, err := statAt(root, rel+"/"+n.text); err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink > 1 {
			all = append(all, rel+"/"+n.text)
		}
	}
	return all
}

// statAt looks at a path below a root, following nothing.
func statAt(root int, rel string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if !strings.Contains(rel, "/") {
		return st, unix.Fstatat(root, rel, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	dir, err := beneath(root, path.Dir(rel), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return st, err
	}
	defer unix.Close(dir)
	return st, unix.Fstatat(dir, path.Base(rel), &st, unix.AT_SYMLINK_NOFOLLOW)
}

// beneath opens a path below a folder, following no link.
func beneath(root int, rel string, flags uint64) (int, error) {
	return unix.Openat2(root, rel, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
}

// linkAt reads the link at a path; empty if it is none, or one on the way.
func linkAt(root int, rel string) string {
	dir, err := beneath(root, path.Dir(rel), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return ""
	}
	defer unix.Close(dir)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, path.Base(rel), buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// readSmall reads a regular file below a folder; nil for anything else.
func readSmall(root int, rel string) []byte {
	fd, err := beneath(root, rel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return nil
	}
	file := os.NewFile(uintptr(fd), rel)
	defer file.Close()
	if fi, err := file.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err != nil || len(text) > maxConfig {
		return nil
	}
	return text
}

// place is a workspace: its root's descriptor and path.
type place struct {
	root int
	path string
}

// inside gives a path that a repository names, from base, as a clean path
// relative to the workspace; empty if it leaves it.
func (p place) inside(base, name string) string {
	rel := path.Join(base, name)
	if path.IsAbs(name) {
		var ok bool
		if rel, ok = strings.CutPrefix(path.Clean(name), p.path+"/"); !ok {
			return ""
		}
	}
	if rel == "." || rel == ".." || strings.HasPrefix(rel, "../") {
		return ""
	}
	return rel
}

// gitPaths are what the repository at a workspace's root adds to the list.
func (p place) gitPaths() []string {
	var all []string
	dir := gitDir
	bare := true
	for _, name := range []string{"HEAD", "objects", "refs"} {
		_, err := statAt(p.root, name)
		bare = bare && err == nil
	}
	if bare { // git takes the workspace itself for a repository
		all = append(all, repository(".")...)
	}
	if text := readSmall(p.root, ".git"); text != nil { // a worktree, a submodule, or beside a bare repository
		to, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir:")
		if dir = p.inside("", strings.TrimSpace(to)); !ok || dir == "" {
			return all // its repository is not in the workspace
		}
		all = append(all, repository(dir)...)
		if common := readSmall(p.root, dir+"/commondir"); common != nil {
			if dir = p.inside(dir, strings.TrimSpace(string(common))); dir == "" {
				return all
			}
			all = append(all, repository(dir)...)
		}
	}
	all = append(all, p.hooksPath(dir+"/config")...)
	for _, name := range folders(p.root, dir+"/worktrees", maxModules) {
		all = append(all, dir+"/worktrees/"+name+"/config.worktree")
	}
	left := maxModules
	return append(all, p.modules(dir+"/modules", &left)...)
}

func repository(dir string) []string {
	var all []string
	for _, name := range []string{"hooks", "config", "config.worktree", "commondir", "rebase-merge"} {
		all = append(all, path.Join(dir, name))
	}
	return all
}

// looksBare reports whether git takes a folder itself for a repository: it has a
// HEAD, and objects and refs or a file that tells where those are.
func looksBare(names []name) bool {
	has := map[string]bool{}
	for _, n := range names {
		has[Fold(n.text)] = true
	}
	return has["head"] && (has["commondir"] || has["objects"] && has["refs"])
}

// InRepository tells whether a path is what git runs or trusts of a folder that it
// takes itself for a repository, or what makes it one. names gives those in a folder.
func InRepository(rel string, names func(dir string) []string) (Entry, bool) {
	parts := strings.Split(rel, "/")
	for i, part := range parts {
		part = Fold(part)
		if i == 0 && part == gitDir {
			continue
		}
		makes := i == len(parts)-1 && (part == "head" || part == "objects" || part == "refs")
		if makes && i > 0 && Fold(parts[i-1]) == gitDir {
			return Entry{}, false // an ordinary repository's, whose other parts are on the list
		}
		if !makes && !slices.Contains(repository(""), part) {
			continue
		}
		var all []name
		for _, n := range names(path.Join(append([]string{"."}, parts[:i]...)...)) {
			all = append(all, name{text: n})
		}
		if !looksBare(all) {
			continue
		}
		if e, _, ok := Match(gitDir + "/" + part); ok {
			return e, true
		}
		return Entry{Path: part, Why: "git takes its folder for a repository"}, true
	}
	return Entry{}, false
}

// modules are the repositories of submodules, whose names may hold slashes, and
// the files that tie their worktrees to them.
func (p place) modules(dir string, left *int) []string {
	var all []string
	for _, name := range folders(p.root, dir, maxModules) {
		if *left--; *left < 0 {
			return all
		}
		sub := dir + "/" + name
		if readSmall(p.root, sub+"/HEAD") == nil {
			all = append(all, p.modules(sub, left)...)
			continue
		}
		all = append(all, repository(sub)...)
		config, _ := parseConfig(readSmall(p.root, sub+"/config"))
		for _, s := range config {
			if s.section == "core" && s.key == "worktree" && s.sub == "" {
				if tree := p.inside(sub, s.value); tree != "" && readSmall(p.root, tree+"/.git") != nil {
					all = append(all, tree+"/.git")
				}
			}
		}
		all = append(all, p.modules(sub+"/modules", left)...)
	}
	return all
}

// hooksPath is the folder of a configuration's core.hooksPath, if the workspace has it.
func (p place) hooksPath(config string) []string {
	all, _ := parseConfig(readSmall(p.root, config))
	for _, s := range slices.Backward(all) {
		if s.section == "core" && s.key == "hookspath" {
			if dir := p.inside("", s.value); dir != "" {
				return []string{dir}
			}
		}
	}
	return nil
}

// folders are those among the first max names in a folder, sorted.
func folders(root int, rel string, max int) []string {
	fd, err := beneath(root, rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	dir := os.NewFile(uintptr(fd), rel)
	defer dir.Close()
	entries, err := dir.ReadDir(max)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names
}
