package stage

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// root assembles the root file system and makes it the root. Every source is
// opened as a detached mount before the first is attached, so that no mount of
// ours can hide a later source. sources are the mounts that the supervisor
// opened, made the folders that exist then in the sandbox's own root. Returned are
// the mounts, of which an optional one that is absent has a negative descriptor.
func (b *batch) root(s *spec.Spec, sources map[Source]*int32, made folders) []*int32 {
	// The namespace is a copy of the host's: nothing may propagate either way.
	b.step("make mounts private", "")
	b.add(unix.SYS_MOUNT, "", "/", "", unix.MS_REC|unix.MS_PRIVATE, 0)
	trees := make([]*int32, len(s.Mounts))
	for i, m := range s.Mounts {
		b.step("open", m.Target)
		trees[i] = b.tree(m, sources[Source{Mount: i}], sources[Source{Mount: i, Layer: true}])
	}
	b.step("make root", "")
	root := b.fileSystem("tmpfs", []option{{"mode", "0755"}, {"size", "4m"}, {"nr_inodes", "4096"}}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	// The new root covers /tmp of this namespace only until the pivot.
	b.attach(root, "/tmp")
	b.add(unix.SYS_CHDIR, "/tmp")
	b.step("pivot root", "")
	b.add(unix.SYS_PIVOT_ROOT, ".", ".")
	// The old root lies stacked over the new one; detach it before anything of
	// the new root is touched by path.
	b.step("detach host root", "")
	b.add(unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	b.add(unix.SYS_CHDIR, "/")
	for i, m := range s.Mounts {
		b.step("make mount point", m.Target)
		first := len(b.calls)
		b.add(callPresent, trees[i])
		b.makeTarget(m, made)
		// Not by a link either: below the workspace it may be the agent's.
		b.step("mount", m.Target)
		at := b.openExact(m.Target, m.File)
		b.add(unix.SYS_MOVE_MOUNT, trees[i], "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		b.close(at)
		b.close(trees[i])
		b.calls[first].skip = uint8(len(b.calls) - first - 1)
	}
	b.pin(s.Pins)
	for _, l := range s.Links {
		b.step("make link", l.Path)
		b.mkdirAll(filepath.Dir(l.Path), made)
		b.add(unix.SYS_SYMLINKAT, l.Target, unix.AT_FDCWD, l.Path).accept[0] = unix.EEXIST
	}
	return trees
}

// contents puts what is Creel's own into the root, and closes it.
func (b *batch) contents(s *spec.Spec, blobs [][]byte, made folders) {
	b.supplyFiles(s, blobs, made)
	b.protect(s)
	b.covers(s.Covers)
	b.step("make root read-only", "")
	b.setAttr("/", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

// maxTerminals bounds the terminals that a sandbox opens. The machine has 4096 of
// them, of which all but its own first 1024 are for whoever comes first: an agent
// that held them would leave none to other sandboxes and containers.
const maxTerminals = "256"

func attrs(m spec.Mount) uint64 {
	a := uint64(unix.MOUNT_ATTR_NOSUID)
	if !m.Device && m.Kind != spec.MountPTS {
		a |= unix.MOUNT_ATTR_NODEV
	}
	if !m.Write {
		a |= unix.MOUNT_ATTR_RDONLY
	}
	if m.NoExec {
		a |= unix.MOUNT_ATTR_NOEXEC
	}
	return a
}

// tree gives a detached mount for m. source and layer are what the supervisor
// opened for it, or nil.
func (b *batch) tree(m spec.Mount, source, layer *int32) *int32 {
	switch m.Kind {
	case spec.MountBind:
		if source == nil {
			exact := b.openExact(m.Source, m.File)
			if m.Optional {
				c := &b.calls[len(b.calls)-1]
				c.accept[0], c.skip = unix.ENOENT, 3
			}
			// AT_RECURSIVE: in a less privileged namespace the submounts are locked
			// to their parent and cannot be left out.
			source = b.get(unix.SYS_OPEN_TREE, exact, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
			b.close(exact)
		}
		b.mountAttr(source, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attrs(m), Propagation: unix.MS_PRIVATE})
		return source
	case spec.MountOverlay:
		return b.overlay(m, source, layer)
	case spec.MountTmpfs:
		opts := []option{{"mode", fmt.Sprintf("%04o", m.Mode)}}
		if m.Size != "" {
			opts = append(opts, option{"size", m.Size})
		}
		if m.Inodes > 0 {
			opts = append(opts, option{"nr_inodes", strconv.FormatUint(m.Inodes, 10)})
		}
		return b.fileSystem("tmpfs", opts, attrs(m))
	case spec.MountProc:
		m.Write = true
		b.step(spec.StepProc, "") // EPERM: kernel-notes 4
		// The agent sees what it may trace: its own processes, and not init.
		return b.fileSystem("proc", []option{{"hidepid", "invisible"}}, attrs(m)|unix.MOUNT_ATTR_NOEXEC)
	case spec.MountSysfs:
		return b.fileSystem("sysfs", nil, attrs(m)|unix.MOUNT_ATTR_NOEXEC)
	case spec.MountPTS:
		m.Write = true
		return b.fileSystem("devpts", []option{{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"max", maxTerminals}}, attrs(m)|unix.MOUNT_ATTR_NOEXEC)
	}
	b.fail(fmt.Errorf("open %s: unknown kind of mount %q", m.Target, m.Kind))
	return b.cell()
}

// openExact opens a path, following no link: the supervisor resolved it, and
// what was swapped since then is refused.
func (b *batch) openExact(path string, file bool) *int32 {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if !file {
		how.Flags |= unix.O_DIRECTORY
	}
	return b.get(unix.SYS_OPENAT2, unix.AT_FDCWD, path, unsafe.Pointer(how), unix.SizeofOpenHow)
}

// option is a parameter of a file system; one without a value is a flag.
type option struct{ key, value string }

// fileSystem makes a detached file system of its own.
func (b *batch) fileSystem(kind string, options []option, attr uint64) *int32 {
	fs := b.get(unix.SYS_FSOPEN, kind, unix.FSOPEN_CLOEXEC)
	for _, o := range options {
		if o.value == "" {
			b.add(unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_FLAG, o.key, 0, 0)
		} else {
			b.add(unix.SYS_FSCONFIG, fs, unix.FSCONFIG_SET_STRING, o.key, o.value, 0)
		}
	}
	b.add(unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	fd := b.get(unix.SYS_FSMOUNT, fs, unix.FSMOUNT_CLOEXEC, attr)
	b.close(fs)
	return fd
}

// attach moves a detached mount to a path, without following a symlink there.
func (b *batch) attach(fd *int32, target string) {
	b.add(unix.SYS_MOVE_MOUNT, fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	b.close(fd)
}

func (b *batch) mountAttr(fd any, path string, flags int, attr *unix.MountAttr) {
	b.add(unix.SYS_MOUNT_SETATTR, fd, path, flags, unsafe.Pointer(attr), unsafe.Sizeof(*attr))
}

func (b *batch) setAttr(path string, attr uint64) {
	b.mountAttr(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, &unix.MountAttr{Attr_set: attr})
}

// folders are those that were made, or found, in the sandbox's own root.
type folders map[string]bool

// mkdirAll makes a folder with those above it. Below a bind mount they exist.
func (b *batch) mkdirAll(path string, made folders) {
	if path == "/" || made[path] {
		return
	}
	made[path] = true
	b.mkdirAll(filepath.Dir(path), made)
	b.add(unix.SYS_MKDIRAT, unix.AT_FDCWD, path, 0o755).accept = [4]syscall.Errno{unix.EEXIST, unix.EROFS, unix.EACCES, unix.ENOENT}
}

// makeTarget creates a mount point in the sandbox's own root. Below a bind
// mount it must exist already: nothing is ever created on the host.
func (b *batch) makeTarget(m spec.Mount, made folders) {
	if !m.File {
		b.mkdirAll(m.Target, made)
		return
	}
	b.mkdirAll(filepath.Dir(m.Target), made)
	b.makeFile(m.Target)
}

// makeFile makes an empty file where there is nothing. What cannot be made is
// found missing by the next call.
func (b *batch) makeFile(path string) {
	b.add(unix.SYS_MKNODAT, unix.AT_FDCWD, path, unix.S_IFREG|0o644, 0).accept = [4]syscall.Errno{unix.EEXIST, unix.EROFS, unix.EACCES, unix.ENOENT}
}

// pin makes folders mounts of themselves, with all that is mounted below them
// and the same attributes and id maps. One that does not exist protects nothing;
// below one that the stage cannot search the agent cannot rename either.
func (b *batch) pin(paths []string) {
	for _, p := range paths {
		b.step("pin", p)
		exact := b.openExact(p, false)
		c := &b.calls[len(b.calls)-1]
		c.accept, c.skip = [4]syscall.Errno{unix.ENOENT, unix.EACCES}, 4
		fd := b.get(unix.SYS_OPEN_TREE, exact, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
		b.add(unix.SYS_MOVE_MOUNT, fd, "", exact, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		b.close(fd)
		b.close(exact)
	}
}

// filesDir holds the supplied files before they are bound to their places. Its
// tmpfs is detached at the end; the binds keep it alive.
const filesDir = "/.creel"

// supplyFiles puts Creel's small files over the places where programs look for
// them. A path of the host that is a symlink is followed inside the new root;
// where neither file nor folder exists on a bind mount, the file is left out.
func (b *batch) supplyFiles(s *spec.Spec, blobs [][]byte, made folders) {
	if len(s.Files) == 0 {
		return
	}
	b.step("make files", "")
	fs := b.fileSystem("tmpfs", []option{{"mode", "0755"}, {"size", "16m"}}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	b.add(unix.SYS_MKDIRAT, unix.AT_FDCWD, filesDir, 0o755)
	b.attach(fs, filesDir)
	path := func(i int) string { return filesDir + "/" + strconv.Itoa(i) }
	for i, data := range blobs {
		b.step("write file", strconv.Itoa(i))
		fd := b.get(unix.SYS_OPENAT, unix.AT_FDCWD, path(i), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o444)
		c := b.add(unix.SYS_WRITE, fd, data, len(data))
		c.exact, c.want = true, uintptr(len(data))
		b.close(fd)
	}
	// The binds inherit it.
	b.setAttr(filesDir, unix.MOUNT_ATTR_RDONLY)
	for _, f := range s.Files {
		b.step("supply", f.Path)
		for _, place := range linksOf(f.Path) {
			b.mkdirAll(filepath.Dir(place), made)
			b.makeFile(place)
		}
		c := b.add(unix.SYS_OPENAT, unix.AT_FDCWD, f.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
		at := b.cell()
		c.out, c.accept[0], c.skip = at, unix.ENOENT, 4 // a read-only host folder without such a file
		fd := b.get(unix.SYS_OPEN_TREE, unix.AT_FDCWD, path(f.Blob), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		b.add(unix.SYS_MOVE_MOUNT, fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		b.close(fd)
		b.close(at)
	}
	b.step("hide files", "")
	b.add(unix.SYS_UMOUNT2, filesDir, unix.MNT_DETACH)
	b.add(unix.SYS_UNLINKAT, unix.AT_FDCWD, filesDir, unix.AT_REMOVEDIR)
}

// linksOf gives a path and what it leads to as a link of the host, the end
// first: inside, the same links may lead where the sandbox has no file yet.
func linksOf(path string) []string {
	all := []string{path}
	for range 40 { // the kernel's own bound (MAXSYMLINKS)
		link, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(link) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				break
			}
			link = filepath.Join(dir, link)
		}
		path = filepath.Clean(link)
		all = append(all, path)
	}
	slices.Reverse(all)
	return all
}

// protect makes the listed paths empty or read-only, after all mounts. What does
// not exist needs no protection here; a failure on what exists is an error.
func (b *batch) protect(s *spec.Spec) {
	for _, p := range s.ReadOnly {
		b.step("make read-only", p)
		b.cover(p, p, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	}
	for _, p := range s.Masked {
		b.step("mask", p)
		// The supervisor's /proc has the same entries; one of another type than
		// expected fails the mount, and with it the start.
		if fi, err := os.Lstat(p); err == nil && fi.IsDir() {
			at := b.openAt(p, 10)
			fs := b.fileSystem("tmpfs", []option{{"mode", "0555"}, {"size", "4k"}, {"nr_inodes", "2"}},
				unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
			b.add(unix.SYS_MOVE_MOUNT, fs, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
			b.close(fs)
			b.close(at)
			continue
		}
		b.cover("/dev/null", p, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	}
}

// openAt opens a path that may be absent; then so many of the next calls are
// left out.
func (b *batch) openAt(path string, skip uint8) *int32 {
	c := b.add(unix.SYS_OPENAT, unix.AT_FDCWD, path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	c.out, c.accept, c.skip = b.cell(), [4]syscall.Errno{unix.ENOENT, unix.ENOTDIR, unix.EACCES}, skip
	return c.out
}

// cover binds src over target, if that exists.
func (b *batch) cover(src, target string, attr uint64) {
	at := b.openAt(target, 5)
	fd := b.get(unix.SYS_OPEN_TREE, unix.AT_FDCWD, src, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_SYMLINK_NOFOLLOW)
	b.mountAttr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr})
	b.add(unix.SYS_MOVE_MOUNT, fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	b.close(fd)
	b.close(at)
}

// tidyPath reports whether p is an absolute, clean path.
func tidyPath(p string) bool {
	return strings.HasPrefix(p, "/") && filepath.Clean(p) == p
}
