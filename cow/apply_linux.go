package cow

import (
	"crypto/rand"
	"encoding/hex"
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

func namesProtected(p string) bool {
	e, _, ok := protected.Match(p)
	return ok && e.Path != ".git"
}

// Apply brings changes into the workspace: each on its own, new content beside
// the old and then renamed over it, beneath the workspace's root and through no
// link. One that fails does not stop the others. The layer is not changed; see Prune.
func (l *Layer) Apply(o Options) ([]Result, error) {
	t, err := l.open()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var st unix.Stat_t
	if err := unix.Fstat(t.lower, &st); err != nil || st.Ino != l.Ino {
		return nil, fmt.Errorf("apply layer %s: %s is not the folder any more that the sandbox had", l.Name, l.Workspace)
	}
	all, err := t.changes()
	if err != nil {
		return nil, err
	}
	if l.Applied == nil {
		l.Applied = map[string]int64{}
	}
	var results []Result
	failed := map[string]string{} // folders that do not stand in the workspace
	for _, c := range all {
		below := c.Below(o.Paths)
		// A folder that what is named lies in has to be made, too.
		leading := !below && c.After != nil && c.After.Type == Folder && c.Kind == Added && slices.ContainsFunc(o.Paths, func(p string) bool { return strings.HasPrefix(p, c.Path+"/") })
		if !below && !leading {
			continue
		}
		r := Result{Path: c.Path, Kind: c.Kind}
		if why := failed[path.Dir(c.Path)]; why != "" {
			r.Why = "its folder was not applied"
		} else if r.Why, r.Hint = o.refusal(c); r.Why == "" {
			if err := t.apply(c, o); err != nil {
				r.Why = err.Error()
			}
		}
		if r.Applied = r.Why == ""; r.Applied {
			if now, err := stat(t.lower, c.Path); err == nil {
				l.Applied[c.Path] = time.Unix(now.Ctim.Unix()).UnixNano()
			}
		} else if c.After != nil && c.After.Type == Folder && c.Kind != Mode {
			failed[c.Path] = r.Why
		}
		if below {
			results = append(results, r)
		}
	}
	if root, err := unix.Open(l.Workspace, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
		_ = unix.Syncfs(root) // one for all
		_ = unix.Close(root)
	}
	return results, l.save()
}

func (t *trees) apply(c Change, o Options) error {
	dir, err := beneath(t.lower, path.Dir(c.Path), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open its folder: %w", err)
	}
	defer unix.Close(dir)
	base := path.Base(c.Path)
	if c.Kind == Deleted {
		return remove(dir, base, c.Before.Type)
	}
	if c.Before != nil && (c.Before.Type == Folder) != (c.After.Type == Folder) {
		if err := remove(dir, base, c.Before.Type); err != nil {
			return fmt.Errorf("remove what stands there: %w", err)
		}
		c.Before = nil
	}
	owner, err := t.owner(dir, base, c)
	if err != nil {
		return err
	}
	switch {
	case c.Kind == Mode:
		return chmod(dir, base, c)
	case c.After.Type == Folder:
		if err := unix.Mkdirat(dir, base, 0o700); err != nil {
			return err
		}
		if err := owner.give(dir, base, unix.S_IFDIR); err != nil {
			return err
		}
		return chmod(dir, base, c)
	}
	tmp := temporary()
	if c.After.Type == Link {
		target, err := readlink(t.upper, c.Path)
		if err == nil && target != c.After.Target {
			err = errors.New("the agent changed it meanwhile")
		}
		if err == nil {
			err = unix.Symlinkat(target, dir, tmp)
		}
		if err != nil {
			return err
		}
		if err := owner.give(dir, tmp, unix.S_IFLNK); err != nil {
			_ = unix.Unlinkat(dir, tmp, 0)
			return err
		}
	} else if err := t.copyFile(c, dir, tmp, owner); err != nil {
		_ = unix.Unlinkat(dir, tmp, 0)
		return err
	}
	if err := t.place(c, o, dir, tmp, base); err != nil {
		_ = unix.Unlinkat(dir, tmp, 0)
		return err
	}
	return nil
}

// place renames the new file to its name, if what stands there is still what was compared.
func (t *trees) place(c Change, o Options, dir int, tmp, base string) error {
	if c.Before == nil {
		err := unix.Renameat2(dir, tmp, dir, base, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			return errors.New("it was made in the workspace meanwhile")
		}
		return err
	}
	w := walk{trees: t}
	if st, err := stat(t.lower, c.Path); !o.Force && (err != nil || w.younger(c.Path, st)) {
		return errors.New("it was changed in the workspace meanwhile")
	}
	return unix.Renameat(dir, tmp, dir, base)
}

func (t *trees) copyFile(c Change, dir int, tmp string, owner ids) error {
	from, err := openFile(t.upper, c.Path)
	if err != nil {
		return fmt.Errorf("open it in the layer: %w", errors.Unwrap(err))
	}
	defer from.Close()
	fd, err := unix.Openat(dir, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("write beside it: %w", err)
	}
	to := os.NewFile(uintptr(fd), tmp)
	err = copyData(to, from, c.After.Size)
	if err == nil && os.Geteuid() == 0 {
		err = to.Chown(owner.uid, owner.gid)
	}
	if err == nil {
		err = to.Chmod(c.After.Mode & 0o777)
	}
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	return err
}

// copyData copies so many bytes and leaves holes as they are: a file of exabytes
// costs an agent nothing. The agent may still write: no more than was compared.
func copyData(to, from *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= size { // a hole up to the end
			break
		}
		if err != nil {
			return err
		}
		if at, err = from.Seek(data, unix.SEEK_HOLE); err != nil {
			return err
		}
		at = min(at, size)
		if _, err = from.Seek(data, io.SeekStart); err == nil {
			_, err = to.Seek(data, io.SeekStart)
		}
		if err != nil {
			return err
		}
		if n, err := io.Copy(to, io.LimitReader(from, at-data)); err != nil {
			return err
		} else if n != at-data {
			return errors.New("the agent changed it meanwhile")
		}
	}
	if fi, err := from.Stat(); err != nil || fi.Size() != size {
		return errors.New("the agent changed it meanwhile")
	}
	return to.Truncate(size)
}

func temporary() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	return ".creel-apply-" + hex.EncodeToString(id[:])
}

// ids are an owner; root alone gives files away.
type ids struct{ uid, gid int }

// owner is whose a new file is to be: the owner's of what stood there, else of
// the folder that it lies in.
func (t *trees) owner(dir int, base string, c Change) (ids, error) {
	var st unix.Stat_t
	var err error
	if c.Before != nil {
		err = unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	} else {
		err = unix.Fstat(dir, &st)
	}
	if err != nil {
		return ids{}, fmt.Errorf("find its owner: %w", err)
	}
	return ids{int(st.Uid), int(st.Gid)}, nil
}

// give gives away what root has just made. The folder may be another user's, who
// can put something else of root's at the name: it must be of this kind, and a
// folder must be empty.
func (i ids) give(dir int, name string, kind uint32) error {
	if os.Geteuid() != 0 {
		return nil
	}
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != kind {
		return errors.New("it was changed in the workspace meanwhile")
	}
	if kind == unix.S_IFDIR {
		if names, err := list(fd, "."); err != nil || len(names) > 0 {
			return errors.New("it was changed in the workspace meanwhile")
		}
	}
	return unix.Fchownat(fd, "", i.uid, i.gid, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW)
}

// chmod sets the permissions of what was compared, through no link.
func chmod(dir int, base string, c Change) error {
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return errors.New("it was changed in the workspace meanwhile")
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), uint32(c.After.Mode&0o777))
}

// remove removes what was compared: a folder with all that is in it.
func remove(dir int, base string, kind Type) error {
	if kind != Folder {
		return unix.Unlinkat(dir, base, 0) // fails for a folder
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir))
	if err != nil {
		return err
	}
	defer root.Close()
	if fi, err := root.Lstat(base); err != nil || !fi.IsDir() {
		return errors.New("it was changed in the workspace meanwhile")
	}
	return root.RemoveAll(base)
}

// Prune removes from the layer what is no change any more, and reports whether
// any is left. The caller has taken the layer.
func (l *Layer) Prune() (left []Change, err error) {
	if left, err = l.Changes(); err != nil {
		return nil, err
	}
	t, err := l.open()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	changed := map[string]bool{}
	for _, c := range left {
		for p := c.Path; p != "."; p = path.Dir(p) {
			changed[p] = true
		}
	}
	root, err := os.OpenRoot(l.upper())
	if err != nil {
		return left, fmt.Errorf("prune layer %s: %w", l.Name, err)
	}
	defer root.Close()
	w := &walk{trees: t}
	return left, w.prune(root, ".", changed)
}

// prune removes below a folder of the layer whatever holds no change. Nothing
// below an opaque folder: the agent would not see the workspace's in its place.
func (w *walk) prune(root *os.Root, rel string, changed map[string]bool) error {
	names, err := list(w.upper, rel)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		at := path.Join(rel, name)
		if len(at) > maxPath {
			continue
		}
		st, err := stat(w.upper, at)
		if err != nil {
			continue
		}
		if !changed[at] {
			if err := root.RemoveAll(at); err != nil && !errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("prune layer: %w", err)
			}
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR && !w.opaque(at) {
			if err := w.prune(root, at, changed); err != nil {
				return err
			}
		}
	}
	return nil
}

// Discard forgets changes at and below paths, so that the agent sees the
// workspace's files there again. The caller has taken the layer.
func (l *Layer) Discard(paths []string) (n int, err error) {
	all, err := l.Changes()
	if err != nil {
		return 0, err
	}
	t, err := l.open()
	if err != nil {
		return 0, err
	}
	defer t.Close()
	w := &walk{trees: t}
	root, err := os.OpenRoot(l.upper())
	if err != nil {
		return 0, fmt.Errorf("discard: %w", err)
	}
	defer root.Close()
	for _, c := range all {
		if !c.Below(paths) {
			continue
		}
		target := c.Path
		for dir := path.Dir(c.Path); dir != "."; dir = path.Dir(dir) {
			if !w.opaque(dir) {
				continue
			}
			if target = dir; !(Change{Path: dir}).Below(paths) {
				return n, fmt.Errorf("discard %s: the agent removed the folder %s and made another one: discard that as a whole", c.Path, dir)
			}
		}
		if c.After != nil && c.After.Type == Folder && c.Kind == Mode {
			if err := root.Chmod(c.Path, c.Before.Mode); err != nil {
				return n, fmt.Errorf("discard: %w", err)
			}
		} else if err := root.RemoveAll(target); err != nil {
			return n, fmt.Errorf("discard: %w", err)
		}
		n++
	}
	return n, nil
}
