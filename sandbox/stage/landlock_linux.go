package stage

import (
	"errors"
	"fmt"

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
	return a
}

// openRuleset makes the Landlock ruleset over the finished root; the agent
// enters it by descriptor. TCP is not handled: every port of the sandbox ends in
// the supervisor, which judges names and not port numbers.
func openRuleset(l spec.Landlock) (int, error) {
	if l.ABI == 0 {
		return -1, nil
	}
	all := handled(l.ABI)
	attr := ll.RulesetAttr{HandledAccessFS: all}
	if l.ABI >= abiScope {
		attr.Scoped = ll.ScopeAbstractUnixSocket | ll.ScopeSignal
	}
	fd, err := ll.LandlockCreateRuleset(&attr, 0)
	if err != nil {
		return -1, fmt.Errorf("create landlock ruleset: %w", err)
	}
	add := func(path string, access uint64) error {
		p, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			return nil // an optional path that is absent
		}
		if err != nil {
			return fmt.Errorf("open %s for landlock: %w", path, err)
		}
		defer unix.Close(p)
		var st unix.Stat_t
		if err := unix.Fstat(p, &st); err != nil {
			return fmt.Errorf("stat %s for landlock: %w", path, err)
		}
		access &= all
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			access &= accessFile
		}
		if err := ll.LandlockAddPathBeneathRule(fd, &ll.PathBeneathAttr{AllowedAccess: access, ParentFd: p}, 0); err != nil {
			return fmt.Errorf("add landlock rule for %s: %w", path, err)
		}
		return nil
	}
	// The root itself holds nothing but mount points: it may be listed.
	if err := add("/", ll.AccessFSReadDir); err != nil {
		return -1, err
	}
	for _, p := range l.ReadOnly {
		if err := add(p, accessRead); err != nil {
			return -1, err
		}
	}
	for _, p := range l.ReadWrite {
		if err := add(p, all); err != nil {
			return -1, err
		}
	}
	return fd, nil
}
