package cow

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/protected"
)

// Bounds of a layer that is read.
const (
	maxDepth   = 200       // folders; deeper ones are told, and never applied
	maxChanges = 1_000_000 // of one layer
	maxPath    = 3800      // bytes; the kernel takes 4096
)

// trees are the two sides of a comparison, by their roots' descriptors.
type trees struct {
	layer        *Layer
	upper, lower int
}

func (l *Layer) open() (*trees, error) {
	upper, err := unix.Open(l.upper(), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open layer %s: %w", l.Name, err)
	}
	lower, err := unix.Open(l.Workspace, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(upper)
		return nil, fmt.Errorf("open workspace %s: %w", l.Workspace, err)
	}
	return &trees{l, upper, lower}, nil
}

func (t *trees) Close() {
	_ = unix.Close(t.upper)
	_ = unix.Close(t.lower)
}

// beneath opens a path below a root, following no link.
func beneath(root int, rel string, flags uint64) (int, error) {
	return unix.Openat2(root, rel, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
}

// Changes compares the layer with the workspace as it is now, sorted by path.
func (l *Layer) Changes() ([]Change, error) {
	t, err := l.open()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.changes()
}

func (t *trees) changes() ([]Change, error) {
	w := &walk{trees: t, made: map[string]bool{}, named: map[string][]string{}}
	found, err := protected.Find(t.layer.Workspace, nil)
	if err != nil {
		return nil, fmt.Errorf("read layer %s: %w", t.layer.Name, err)
	}
	w.trusted = slices.DeleteFunc(append(found.Here, found.Absent...), func(p string) bool { _, _, ok := protected.Match(p); return ok })
	if err := w.folder(".", true, false, 0); err != nil {
		return nil, fmt.Errorf("read layer %s: %w", t.layer.Name, err)
	}
	for i := range w.all {
		w.judge(&w.all[i])
	}
	w.renames()
	slices.SortFunc(w.all, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return w.all, nil
}

type walk struct {
	*trees
	made map[string]bool // folders that stand where the workspace has something else
	// What the settings of the workspace's repository add to the list.
	trusted []string
	named   map[string][]string // names in folders of both sides
	all     []Change
}

// folder compares a folder of the layer. below: the workspace has a folder there;
// opaque: of which the agent sees nothing.
func (w *walk) folder(rel string, below, opaque bool, depth int) error {
	names, err := list(w.upper, rel)
	if errors.Is(err, fs.ErrPermission) {
		w.add(Change{Path: rel, Kind: Modified, After: &Side{Type: Folder}, Refused: "the folder in the layer cannot be read"})
		return nil
	}
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, name := range names {
		seen[name] = true
		if err := w.entry(path.Join(rel, name), below, opaque, depth); err != nil {
			return err
		}
		if len(w.all) > maxChanges {
			return fmt.Errorf("more than %d changes", maxChanges)
		}
	}
	if !opaque || !below {
		return nil
	}
	hidden, err := list(w.lower, rel)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range hidden {
		if !seen[name] {
			w.deleted(path.Join(rel, name))
		}
	}
	return nil
}

func (w *walk) entry(rel string, below, opaque bool, depth int) error {
	if len(rel) > maxPath {
		w.add(Change{Path: rel, Kind: Added, After: &Side{Type: Special}, Refused: fmt.Sprintf("a path of more than %d bytes", maxPath)})
		return nil
	}
	st, err := stat(w.upper, rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone meanwhile
	}
	if err != nil {
		return err
	}
	var old *unix.Stat_t
	if below {
		if lst, err := stat(w.lower, rel); err == nil {
			old = &lst
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return err
		}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 { // a whiteout
		if old != nil {
			w.deleted(rel)
		}
		return nil
	}
	c := Change{Path: rel, Kind: Added, After: w.side(w.upper, rel, st)}
	if old != nil {
		c.Kind, c.Before = Modified, w.side(w.lower, rel, *old)
	}
	switch {
	case c.After.Type == Special:
		c.Refused = "a pipe, socket or device is never applied"
	case c.After.Type == Folder && depth >= maxDepth:
		c.Refused = fmt.Sprintf("deeper than %d folders", maxDepth)
		w.add(c)
		return nil
	case c.Before != nil && c.Before.Type == c.After.Type:
		same, err := w.same(rel, c)
		if err != nil {
			return err
		}
		switch {
		case same && c.Before.Mode == c.After.Mode:
			c.Kind = ""
		case same:
			c.Kind = Mode
		}
	}
	if rel == "." {
		c.Kind = ""
	}
	if c.Kind != "" {
		w.add(c)
	}
	if c.After.Type != Folder {
		return nil
	}
	if c.Before != nil && c.Before.Type != Folder {
		w.made[rel] = true
	}
	isFolder := c.Before != nil && c.Before.Type == Folder
	return w.folder(rel, isFolder, isFolder && (opaque || w.opaque(rel)), depth+1)
}

// opaque: the agent removed a folder and made one of the same name.
func (w *walk) opaque(rel string) bool {
	fd, err := beneath(w.upper, rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	buf := make([]byte, 8)
	n, err := unix.Fgetxattr(fd, "user.overlay.opaque", buf)
	return err == nil && string(buf[:n]) == "y"
}

// copiedUp: overlayfs made the entry as a copy of what the workspace had.
func (w *walk) copiedUp(rel string) bool {
	fd, err := beneath(w.upper, rel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	_, err = unix.Fgetxattr(fd, "user.overlay.origin", nil)
	return err == nil
}

func (w *walk) deleted(rel string) {
	if st, err := stat(w.lower, rel); err == nil {
		w.add(Change{Path: rel, Kind: Deleted, Before: w.side(w.lower, rel, st)})
	}
}

func (w *walk) add(c Change) {
	c.keepBytes()
	w.all = append(w.all, c)
}

// stat looks at a path below a root, following nothing.
func stat(root int, rel string) (unix.Stat_t, error) {
	var st unix.Stat_t
	dir, err := beneath(root, path.Dir(rel), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return st, err
	}
	defer unix.Close(dir)
	return st, unix.Fstatat(dir, path.Base(rel), &st, unix.AT_SYMLINK_NOFOLLOW)
}

func (w *walk) side(root int, rel string, st unix.Stat_t) *Side {
	s := &Side{Mode: fs.FileMode(st.Mode & 0o777)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		s.Type, s.Size = File, st.Size
	case unix.S_IFDIR:
		s.Type = Folder
	case unix.S_IFLNK:
		s.Type, s.Mode = Link, 0o777
		s.Target, _ = readlink(root, rel)
	default:
		s.Type = Special
	}
	return s
}

func readlink(root int, rel string) (string, error) {
	dir, err := beneath(root, path.Dir(rel), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, path.Base(rel), buf)
	return string(buf[:max(n, 0)]), err
}

// same compares what two sides of one type hold, without their modes.
func (w *walk) same(rel string, c Change) (bool, error) {
	switch c.After.Type {
	case Folder:
		return true, nil
	case Link:
		return c.Before.Target == c.After.Target, nil
	case File:
		if c.Before.Size != c.After.Size {
			return false, nil
		}
	default:
		return false, nil
	}
	a, err := openFile(w.lower, rel)
	if errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := openFile(w.upper, rel)
	if errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer b.Close()
	return sameContent(a, b)
}

// openFile opens a regular file, and nothing that would wait or act.
func openFile(root int, rel string) (*os.File, error) {
	fd, err := beneath(root, rel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: rel, Err: err}
	}
	f := os.NewFile(uintptr(fd), rel)
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: rel, Err: errors.New("not a regular file")}
	}
	return f, nil
}

// sameContent compares two files; holes that both have are not read.
func sameContent(a, b *os.File) (bool, error) {
	x, y := make([]byte, 128<<10), make([]byte, 128<<10)
	for at := int64(0); ; {
		at = min(nextData(a, at), nextData(b, at))
		n, errA := a.ReadAt(x, at)
		m, errB := b.ReadAt(y, at)
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			if errors.Is(errA, io.EOF) && errors.Is(errB, io.EOF) {
				return true, nil
			}
			return false, cmp.Or(errA, errB)
		}
		at += int64(n)
	}
}

// nextData is where the next byte is that is no hole's; behind the last one the
// end of the file.
func nextData(f *os.File, at int64) int64 {
	next, err := f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		next, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return at
	}
	return max(at, next)
}

// list is the names in a folder, sorted.
func list(root int, rel string) ([]string, error) {
	fd, err := beneath(root, rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "list", Path: rel, Err: err}
	}
	dir := os.NewFile(uintptr(fd), rel)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// judge tells what keeps a change from being applied just so.
func (w *walk) judge(c *Change) {
	if e, _, ok := protected.Match(c.Path); ok && !(e.Path == ".git" && c.typeIs(Folder)) {
		c.Protected = "host tools run or trust it: " + e.Why
	} else if e, ok := protected.InRepository(c.Path, w.names); ok && (c.Kind == Added || strings.HasPrefix(e.Path, ".git/")) {
		c.Protected = "host tools run or trust it: " + e.Why
	} else if slices.ContainsFunc(w.trusted, func(p string) bool { return c.Below([]string{p}) }) {
		c.Protected = "host tools run or trust it: the repository's settings name it"
	} else if (c.removesFolder() || c.After != nil && c.After.Type == Link) && (holdsProtected(c.Path) || slices.ContainsFunc(w.trusted, func(p string) bool { return strings.HasPrefix(p, c.Path+"/") })) {
		c.Protected = "host tools run or trust what lies in it"
	} else if c.After != nil && c.After.Type == Link && leaves(c.Path, c.After.Target) {
		c.Protected = "the link leads out of the workspace"
	}
	st, err := stat(w.lower, c.Path)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
		if c.Kind == Added && c.After.Type == File && w.copiedUp(c.Path) {
			c.Conflict = "it was removed from the workspace meanwhile"
		}
	case w.madeAbove(c.Path):
	case errors.Is(err, unix.ELOOP):
		c.Refused = "a folder above it is a link in the workspace now"
	case err != nil:
		c.Refused = err.Error()
	case c.Kind == Mode && c.typeIs(Folder):
	case w.younger(c.Path, st):
		c.Conflict = "it was changed in the workspace meanwhile"
	case c.removesFolder():
		if young, err := w.youngBelow(c.Path, 0); err != nil || young {
			c.Conflict = "something in it was changed in the workspace meanwhile"
		}
	}
}

// removesFolder: the workspace has a folder that goes, with all that is in it.
func (c *Change) removesFolder() bool {
	return c.Before != nil && c.Before.Type == Folder && (c.After == nil || c.After.Type != Folder)
}

// names are those in a folder, whichever side has them.
func (w *walk) names(dir string) []string {
	all, ok := w.named[dir]
	if !ok {
		upper, _ := list(w.upper, dir)
		lower, _ := list(w.lower, dir)
		all = append(upper, lower...)
		w.named[dir] = all
	}
	return all
}

func (w *walk) madeAbove(rel string) bool {
	for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
		if w.made[dir] {
			return true
		}
	}
	return false
}

func (c *Change) typeIs(t Type) bool {
	return (c.After == nil || c.After.Type == t) && (c.Before == nil || c.Before.Type == t)
}

// younger: the change time is the kernel's; nobody sets it at will.
func (w *walk) younger(rel string, st unix.Stat_t) bool {
	ctime := time.Unix(st.Ctim.Unix())
	if applied, ok := w.layer.Applied[rel]; ok && applied == ctime.UnixNano() {
		return false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return false // it changes with every name in it
	}
	return ctime.After(w.layer.Created)
}

func (w *walk) youngBelow(rel string, depth int) (bool, error) {
	if depth > maxDepth {
		return true, nil
	}
	names, err := list(w.lower, rel)
	if err != nil {
		return true, err
	}
	for _, name := range names {
		at := path.Join(rel, name)
		st, err := stat(w.lower, at)
		if err != nil || w.younger(at, st) {
			return true, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if young, err := w.youngBelow(at, depth+1); err != nil || young {
				return true, err
			}
		}
	}
	return false, nil
}

// holdsProtected: an entry of the list lies below the path.
func holdsProtected(rel string) bool {
	parts := strings.Split(rel, "/")
	for i := range parts {
		prefix := strings.Join(parts[i:], "/") + "/"
		if slices.ContainsFunc(protected.List(), func(e protected.Entry) bool { return strings.HasPrefix(e.Path, prefix) }) {
			return true
		}
	}
	return false
}

// leaves reports whether a link at a path leads out of the workspace, as far as
// its text can tell.
func leaves(rel, target string) bool {
	if path.IsAbs(target) || target == "" {
		return true
	}
	// ".." behind a name may lead anywhere, because the name may be a link.
	rest := target
	for rest == ".." || strings.HasPrefix(rest, "../") || strings.HasPrefix(rest, "./") {
		_, rest, _ = strings.Cut(rest, "/")
		rest = strings.TrimLeft(rest, "/")
	}
	if slices.Contains(strings.Split(rest, "/"), "..") {
		return true
	}
	to := path.Join(path.Dir(rel), target)
	return to == ".." || strings.HasPrefix(to, "../")
}

// renames finds added files whose content a deleted one had.
func (w *walk) renames() {
	gone := map[int64][]*Change{}
	for i := range w.all {
		if c := &w.all[i]; c.Kind == Deleted && c.Before.Type == File && c.Before.Size > 0 && c.Before.Size <= maxDigest {
			gone[c.Before.Size] = append(gone[c.Before.Size], c)
		}
	}
	budget := int64(maxDigest)
	for i := range w.all {
		c := &w.all[i]
		if c.Kind != Added || c.After.Type != File {
			continue
		}
		for _, old := range gone[c.After.Size] {
			if budget -= c.After.Size; budget < 0 {
				return
			}
			a, errA := openFile(w.lower, old.Path)
			b, errB := openFile(w.upper, c.Path)
			same := false
			if errA == nil && errB == nil {
				same, _ = sameContent(a, b)
			}
			if errA == nil {
				_ = a.Close()
			}
			if errB == nil {
				_ = b.Close()
			}
			if same {
				c.From = old.Path
				break
			}
		}
	}
}

// maxDigest bounds what is read to find renames and to digest a file, bytes.
const maxDigest = 64 << 20
