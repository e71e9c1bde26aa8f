package confine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/creel-run/creel/sandbox/seccomp"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

const (
	// maxData bounds what the process can write to of its own memory, in bytes: the
	// runtime with its stacks, and what the work is allowed to hold.
	maxData = 256 << 20
	// softHeap is where the collector begins to work harder, in bytes.
	softHeap = 64 << 20
)

// Self shuts this process in, all threads of it; there is no way back. On an error
// the caller exits: some walls may stand, and some not.
func Self() error {
	runtime.GOMAXPROCS(1)
	debug.SetMemoryLimit(softHeap)
	for _, l := range []struct {
		name  string
		what  int
		limit uint64
	}{{"core dumps", unix.RLIMIT_CORE, 0}, {"memory", unix.RLIMIT_DATA, maxData}, {"file sizes", unix.RLIMIT_FSIZE, 0}} {
		if err := setLimit(l.what, l.limit); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
	}
	if err := closeInherited(); err != nil {
		return err
	}
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := noFiles(); err != nil {
		return err
	}
	// Landlock needed a descriptor; now none is to come.
	if err := setLimit(unix.RLIMIT_NOFILE, 0); err != nil {
		return fmt.Errorf("limit open files: %w", err)
	}
	return noCalls()
}

// onAllThreads makes a call on every thread. A program that is linked with cgo cannot:
// its threads are not the runtime's alone (ENOTSUP).
func onAllThreads(nr, a, b uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(nr, a, b, 0); errno != 0 {
		return errno
	}
	return nil
}

// closeInherited closes what the supervisor's own caller left open. The runtime keeps
// what it polls with, and the files of the processor limits of its control group.
func closeInherited() error {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, e := range list {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 {
			continue
		}
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			_ = unix.Close(fd)
		}
	}
	return nil
}

func setLimit(what int, limit uint64) error {
	return unix.Prlimit(0, what, &unix.Rlimit{Cur: limit, Max: limit}, nil)
}

// noFiles lets Landlock handle all that the kernel knows, and grants nothing.
func noFiles() error {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return fmt.Errorf("ask for landlock: %w", err)
	}
	attr := &ll.RulesetAttr{HandledAccessFS: 1<<13 - 1} // execute … make_sym
	for _, r := range []struct {
		abi    int
		access uint64
	}{{2, ll.AccessFSRefer}, {3, ll.AccessFSTruncate}, {5, ll.AccessFSIoctlDev}} {
		if abi >= r.abi {
			attr.HandledAccessFS |= r.access
		}
	}
	if abi >= 4 {
		attr.HandledAccessNet = ll.AccessNetBindTCP | ll.AccessNetConnectTCP
	}
	if abi >= 6 {
		attr.Scoped = ll.ScopeAbstractUnixSocket | ll.ScopeSignal
	}
	fd, err := ll.LandlockCreateRuleset(attr, 0)
	if err != nil {
		return fmt.Errorf("create landlock ruleset: %w", err)
	}
	defer unix.Close(fd)
	if err := onAllThreads(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0); err != nil {
		return fmt.Errorf("enter landlock ruleset: %w", err)
	}
	return nil
}

// noCalls installs the filter on all threads at once (SECCOMP_FILTER_FLAG_TSYNC).
func noCalls() error {
	prog, err := seccomp.Computing(runtime.GOARCH)
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(prog))
	for i, in := range prog {
		filter[i] = unix.SockFilter{Code: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(filter)
	switch {
	case errno != 0:
		return fmt.Errorf("install seccomp filter: %w", errno)
	case thread != 0:
		return errors.New("install seccomp filter: a thread has another one")
	}
	return nil
}
