package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/sandbox/seccomp"
	"github.com/creel-run/creel/sandbox/spec"
)

// plan is a Spec with what the supervisor must know of it.
type plan struct {
	spec     spec.Spec
	supplied []File   // by the blobs of the spec
	degraded []string // what was accepted: absent paths, no Landlock
	paths    resolver
}

// devices are the nodes of the host that every sandbox has.
var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

// maskedProc are the parts of /proc that speak of the host; kernel-notes 2 and
// the lists of the container runtimes.
var maskedProc = []string{
	"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/key-users", "/proc/keys",
	"/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
	"/proc/sysrq-trigger", "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo", "/proc/config.gz",
}

// readOnlyProc are its parts that take orders. Those of /proc/pressure are for
// everybody since Linux 6.4: each one is kernel memory that no limit counts, and
// work for the whole machine.
var readOnlyProc = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/tty", "/proc/driver", "/proc/pressure"}

// Shares of the memory, percent, that a sandbox's own folders may take. The
// kernel's default is half for each, so that two full ones exhaust the host.
const (
	largeShare = 20 // where programs unpack and cache: /tmp, the home
	smallShare = 10
)

// ownFolder is an empty folder of the sandbox's own. Files are bounded beside
// bytes: one for each page of the size, as the kernel's default has it, because an
// empty file costs about 1 KiB of memory that the size does not count.
func ownFolder(target string, mode uint32, share int) spec.Mount {
	m := spec.Mount{Kind: spec.MountTmpfs, Target: target, Mode: mode, Write: true, Size: fmt.Sprintf("%d%%", share), Inodes: minInodes}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		pages := uint64(info.Totalram) * uint64(info.Unit) / uint64(os.Getpagesize())
		m.Inodes = min(max(pages*uint64(share)/100, minInodes), maxInodes)
	}
	return m
}

const (
	minInodes = 4096
	maxInodes = 1 << 19 // half a gigabyte of memory in empty files
)

// private are the mounts that are never the host's, however they are declared.
func private() map[string]spec.Mount {
	all := map[string]spec.Mount{
		"/dev/pts": {Kind: spec.MountPTS, Target: "/dev/pts", Write: true},
		"/proc":    {Kind: spec.MountProc, Target: "/proc", Write: true},
	}
	for path, share := range map[string]int{"/tmp": largeShare, "/var/tmp": smallShare, "/dev/shm": smallShare} {
		all[path] = ownFolder(path, 0o1777, share)
	}
	return all
}

// buildPlan turns a Config into a Spec by looking at the host's file system. It
// changes nothing on the host.
func buildPlan(c Config) (*plan, error) {
	p := &plan{spec: spec.Spec{
		Hostname: c.Name, Command: c.Command, Env: c.Env, Dir: c.Dir,
		Masked: slices.Clone(maskedProc), ReadOnly: slices.Clone(readOnlyProc),
		Notify:  c.Notify,
		Streams: c.Streams, Rows: c.Rows, Cols: c.Cols, Network: c.Network,
	}, paths: newResolver(c)}
	if len(c.Command) == 0 {
		return nil, errors.New("plan sandbox: no command")
	}
	err := canOpenExact()
	if err != nil {
		return nil, err
	}
	if p.spec.Seccomp, err = filter(c.Notify, c.Syscalls); err != nil {
		return nil, err
	}
	p.files(c.Files)
	mounts := private()
	for _, d := range devices {
		path := "/dev/" + d
		mounts[path] = spec.Mount{Kind: spec.MountBind, Target: path, Source: path, Write: true, Device: true, File: true}
	}
	links := []spec.Link{
		{Path: "/dev/fd", Target: "/proc/self/fd"}, {Path: "/dev/stdin", Target: "/proc/self/fd/0"},
		{Path: "/dev/stdout", Target: "/proc/self/fd/1"}, {Path: "/dev/stderr", Target: "/proc/self/fd/2"},
		{Path: "/dev/ptmx", Target: "pts/ptmx"},
	}
	for _, write := range []bool{false, true} {
		list := c.ReadOnly
		if write {
			list = c.ReadWrite
		}
		for _, declared := range list {
			more, err := p.declare(mounts, declared.Path, write, declared.Optional)
			if err != nil {
				return nil, err
			}
			links = append(links, more...)
		}
	}
	if ws := c.Workspace.Path; ws != "" && c.Workspace.Apart {
		if m, ok := mounts[ws]; ok && !c.Workspace.Write {
			m.Write = false
			mounts[ws] = m
		}
		if p.spec.Dir == "" && covered(mounts, ws) {
			p.spec.Dir = ws
		}
	} else if ws != "" {
		mounts[ws] = spec.Mount{Kind: spec.MountBind, Target: ws, Source: ws, Write: c.Workspace.Write, Owned: true}
		if c.Workspace.Layer != "" {
			mounts[ws] = spec.Mount{Kind: spec.MountOverlay, Target: ws, Source: ws, Layer: c.Workspace.Layer, Write: true, Owned: true}
		}
		if p.spec.Dir == "" {
			p.spec.Dir = ws
		}
	}
	switch {
	case c.HomeFrom != "":
		for target := range mounts {
			if strings.HasPrefix(target, c.Home+"/") {
				// Its mount point would be made in the kept folder, beside what the agent left there.
				return nil, fmt.Errorf("plan sandbox: %s lies in the agent's home %s, which is kept", target, c.Home)
			}
		}
		mounts[c.Home] = spec.Mount{Kind: spec.MountBind, Target: c.Home, Source: c.HomeFrom, Write: true, Owned: true}
	case c.Home != "" && !covered(mounts, c.Home):
		mounts[c.Home] = ownFolder(c.Home, 0o700, largeShare)
	}
	if p.spec.Dir == "" {
		p.spec.Dir = "/"
		if c.Home != "" {
			p.spec.Dir = c.Home
		}
	}
	links = append(links, mergedUsr(mounts)...)
	p.spec.Links = links
	for _, m := range mounts {
		p.spec.Mounts = append(p.spec.Mounts, m)
	}
	slices.SortFunc(p.spec.Mounts, func(a, b spec.Mount) int {
		if d := strings.Count(a.Target, "/") - strings.Count(b.Target, "/"); d != 0 {
			return d
		}
		return strings.Compare(a.Target, b.Target)
	})
	if err := p.cover(c); err != nil {
		return nil, err
	}
	return p, p.landlock(c)
}

// files lays out the supplied files.
func (p *plan) files(files []File) {
	p.supplied = files
	for i, f := range files {
		for _, path := range f.Paths {
			p.spec.Files = append(p.spec.Files, spec.File{Path: path, Blob: i})
		}
	}
}

// blobs are the contents of the supplied files; it waits for those that are still
// being made.
func (p *plan) blobs() ([][]byte, error) {
	all := make([][]byte, len(p.supplied))
	for i, f := range p.supplied {
		all[i] = f.Data
		if f.Make == nil {
			continue
		}
		var err error
		if all[i], err = f.Make(); err != nil {
			return nil, fmt.Errorf("make %s: %w", f.Paths[0], err)
		}
	}
	return all, nil
}

// declare adds one declared path.
func (p *plan) declare(mounts map[string]spec.Mount, path string, write, optional bool) ([]spec.Link, error) {
	path = filepath.Clean(path)
	if path == "/" {
		if write {
			return nil, errors.New("plan sandbox: read_write: / cannot be declared")
		}
		return p.declareRoot(mounts, optional)
	}
	if ownPath(mounts, path) {
		return nil, nil
	}
	if fi, err := os.Lstat(path); write && err == nil && fi.Mode()&os.ModeSymlink != 0 {
		target, _ := os.Readlink(path)
		real, _ := filepath.EvalSymlinks(path)
		return nil, &LinkError{Path: path, Link: path, Target: target, Real: real, Why: "a writable path must not be one"}
	}
	real, fi, err := p.paths.resolve(path)
	var links []spec.Link
	if real != path {
		links = append(links, spec.Link{Path: path, Target: real})
	}
	switch {
	case errors.Is(err, os.ErrNotExist) && write:
		// A place to write that the host does not have: empty and of the sandbox's own.
		mounts[real] = ownFolder(real, 0o755, smallShare)
		return links, nil
	case errors.Is(err, os.ErrNotExist) && optional:
		p.degraded = append(p.degraded, "declared path "+path+" does not exist")
		return nil, nil
	case err != nil:
		return nil, err
	case real == "/":
		return nil, fmt.Errorf("open declared path %s: it leads to /", path)
	case ownPath(mounts, real):
		return links, nil
	}
	m := spec.Mount{Kind: spec.MountBind, Target: real, Source: real, Write: write, Owned: write, File: !fi.IsDir()}
	switch mode := fi.Mode(); {
	case mode&os.ModeDevice != 0:
		m.Device, m.Write, m.Owned = true, true, false
	case mode&(os.ModeSocket|os.ModeNamedPipe) != 0:
		return nil, fmt.Errorf("open declared path %s: a socket or pipe of the host is a way out of the sandbox", path)
	}
	mounts[real] = m
	return links, nil
}

// ownPath reports whether the sandbox has its own of a path without links, so
// that there is nothing of the host's to mount, and sees to /sys.
func ownPath(mounts map[string]spec.Mount, path string) bool {
	switch path {
	case "/tmp", "/var/tmp", "/dev/shm", "/dev/pts", "/proc", "/dev", "/run":
		return true
	case "/sys":
		mounts[path] = spec.Mount{Kind: spec.MountSysfs, Target: path}
		return true
	}
	return strings.HasPrefix(path, "/proc/") || mounts[path].Device
}

// declareRoot stands for "read_only: /": every folder of the host's root but
// those that the sandbox has of its own.
func (p *plan) declareRoot(mounts map[string]spec.Mount, optional bool) ([]spec.Link, error) {
	entries, err := os.ReadDir("/")
	if err != nil {
		return nil, fmt.Errorf("list /: %w", err)
	}
	var links []spec.Link
	for _, e := range entries {
		path := "/" + e.Name()
		switch path {
		case "/proc", "/sys", "/dev", "/run", "/tmp", "/lost+found":
			continue
		}
		if e.Type()&(os.ModeSocket|os.ModeNamedPipe|os.ModeDevice) != 0 {
			continue
		}
		more, err := p.declare(mounts, path, false, optional)
		if err != nil {
			return nil, err
		}
		links = append(links, more...)
	}
	return links, nil
}

// covered reports whether a host folder at or above path is mounted.
func covered(mounts map[string]spec.Mount, path string) bool {
	for dir := path; dir != "/"; dir = filepath.Dir(dir) {
		if m, ok := mounts[dir]; ok && ofHost(m) {
			return true
		}
	}
	return false
}

// ofHost reports whether a mount shows files of the host.
func ofHost(m spec.Mount) bool { return m.Kind == spec.MountBind || m.Kind == spec.MountOverlay }

// mergedUsr gives the top-level links of a merged /usr when their targets are
// there, so that declaring /usr is enough to run a program of /bin.
func mergedUsr(mounts map[string]spec.Mount) []spec.Link {
	var links []spec.Link
	for _, path := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if _, ok := mounts[path]; ok {
			continue
		}
		target, err := os.Readlink(path)
		if err != nil {
			continue
		}
		real, err := filepath.EvalSymlinks(path)
		if err == nil && covered(mounts, real) {
			links = append(links, spec.Link{Path: path, Target: target})
		}
	}
	return links
}

// landlock fills the second wall with what the mounts show.
func (p *plan) landlock(c Config) error {
	abi, err := landlockABI()
	if err != nil {
		if !c.WithoutLandlock {
			return &NotSupported{Feature: "Landlock", MinKernel: "5.13", Err: err,
				Fix: "boot with lsm=landlock,… , or write `landlock: {compatibility: best_effort}` in the policy to accept its absence"}
		}
		p.degraded = append(p.degraded, "Landlock: "+err.Error())
		return nil
	}
	l := spec.Landlock{ABI: abi}
	for _, m := range p.spec.Mounts {
		if m.Write {
			l.ReadWrite = append(l.ReadWrite, m.Target)
		} else {
			l.ReadOnly = append(l.ReadOnly, m.Target)
		}
	}
	for _, f := range p.spec.Files {
		l.ReadOnly = append(l.ReadOnly, f.Path)
	}
	p.spec.Landlock = l
	return nil
}

// landlockABI asks the kernel for its highest ABI (LANDLOCK_CREATE_RULESET_VERSION).
func landlockABI() (int, error) {
	v, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1)
	if errno != 0 {
		return 0, errno
	}
	return int(v), nil
}

// filter is the agent's seccomp program as the kernel takes it.
func filter(notify bool, open []seccomp.Switch) ([]byte, error) {
	program, err := seccomp.Program(seccomp.Spec{Arch: runtime.GOARCH, Notify: notify, Open: open})
	if err != nil {
		return nil, &NotSupported{Feature: "a system call filter for " + runtime.GOARCH, Err: err}
	}
	out := make([]byte, 0, 8*len(program))
	for _, i := range program {
		out = binary.NativeEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out, nil
}
