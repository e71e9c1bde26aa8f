package stage

import (
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Rights by the ABI that brought them (man 7 landlock).
const (
	accessRead  = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSReadDir
	accessABI1  = 1<<13 - 1 // execute … make_sym
	accessFile  = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSIoctlDev
	abiRefer    = 2
	abiTruncate = 3
	abiIoctl    = 5
	abiScope    = 6
	abiUnix     = 9 // Linux 7.1

	// resolveUnix is LANDLOCK_ACCESS_FS_RESOLVE_UNIX: to reach a unix socket by its
	// path. It is granted nowhere, and then holds for sockets that were made outside
	// alone. The supervisor keeps the agent from them anyhow; this is the second wall.
	resolveUnix = 1 << 16
)

// handled are all file rights that the ABI knows.
func handled(abi int) uint64 {
	a := uint64(accessABI1)
	if abi >= abiRefer {
		a |= ll.AccessFSRefer
	}
	if abi >= abiTruncate {
		a |= ll.AccessFSTruncate
	}
	if abi >= abiIoctl {
		a |= ll.AccessFSIoctlDev
	}
	if abi >= abiUnix {
		a |= resolveUnix
	}
	return a
}

// granted is what of a right a rule of the ABI may give.
func granted(access uint64, abi int) uint64 { return access & handled(abi) &^ resolveUnix }

// beneath is a path of the second wall, opened inside.
type beneath struct {
	path   string
	access uint64
	fd     *int32 // negative: an optional path that is absent
	stat   *unix.Stat_t
}

// openBeneath opens the paths of the ruleset over the finished root, and looks
// which of them are folders.
func (b *batch) openBeneath(l spec.Landlock) []beneath {
	if l.ABI == 0 {
		return nil
	}
	// The root itself holds nothing but mount points: it may be listed.
	all := []beneath{{path: "/", access: ll.AccessFSReadDir}}
	for _, p := range l.ReadOnly {
		all = append(all, beneath{path: p, access: accessRead})
	}
	for _, p := range l.ReadWrite {
		all = append(all, beneath{path: p, access: handled(l.ABI)})
	}
	for i := range all {
		p := &all[i]
		b.step("open for landlock", p.path)
		p.stat = new(unix.Stat_t)
		p.fd = b.get(unix.SYS_OPENAT, unix.AT_FDCWD, p.path, unix.O_PATH|unix.O_CLOEXEC, 0)
		c := &b.calls[len(b.calls)-1]
		c.accept[0], c.skip = unix.ENOENT, 1
		b.add(unix.SYS_FSTAT, p.fd, unsafe.Pointer(p.stat))
	}
	return all
}

// ruleset makes the Landlock ruleset; the agent enters it by descriptor. TCP is
// not handled: every port of the sandbox ends in the supervisor, which judges
// names and not port numbers. The result is nil if none is asked for.
func (b *batch) ruleset(l spec.Landlock, paths []beneath) *int32 {
	if l.ABI == 0 {
		return nil
	}
	all := handled(l.ABI)
	attr := &ll.RulesetAttr{HandledAccessFS: all}
	if l.ABI >= abiScope {
		attr.Scoped = ll.ScopeAbstractUnixSocket | ll.ScopeSignal
	}
	b.step("create landlock ruleset", "")
	fd := b.get(unix.SYS_LANDLOCK_CREATE_RULESET, unsafe.Pointer(attr), unsafe.Sizeof(*attr), 0) // an older kernel takes zeros behind what it knows
	for _, p := range paths {
		if *p.fd < 0 {
			continue
		}
		access := granted(p.access, l.ABI)
		if p.stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			access &= accessFile
		}
		b.step("add landlock rule for", p.path)
		b.add(unix.SYS_LANDLOCK_ADD_RULE, fd, unix.LANDLOCK_RULE_PATH_BENEATH, pathBeneath(access, p.fd), 0)
		b.close(p.fd)
	}
	return fd
}

// pathBeneath is a struct landlock_path_beneath_attr, which is packed.
func pathBeneath(access uint64, fd *int32) []byte {
	attr := make([]byte, 12)
	*(*uint64)(unsafe.Pointer(&attr[0])) = access
	*(*int32)(unsafe.Pointer(&attr[8])) = *fd
	return attr
}
