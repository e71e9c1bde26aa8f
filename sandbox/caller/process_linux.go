package caller

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxAncestors bounds the walk to the sandbox's init; below it a caller is unknown.
	maxAncestors = 64

	// maxRetries bounds how often a parent may die while it is read.
	maxRetries = 8

	// deletedSuffix is what the kernel puts behind the path of an executable whose
	// name is gone (proc_pid_exe(5)). A file may really be named so; it is as unknown.
	deletedSuffix = " (deleted)"
)

// processes reads processes through /proc, which is held open so that every path
// is relative to the same mount.
type processes struct {
	proc   *os.File
	init   int
	verify func(path string, dev, ino uint64) bool    // nil accepts all
	wants  func(path string) (ancestors, digest bool) // nil: ancestors
	now    func() time.Time                           // nil: time.Now
	over   func() bool                                // the end has come: nothing is read any more; nil: never

	digests digests
	held    []process // threads that connected last, the newest at the end

	// Kernels before 6.9 have no pidfd of a thread, those before 6.13 no
	// PIDFD_GET_INFO. Tests set them to take the older way.
	noThread, noInfo bool
}

func (ps *processes) clock() time.Time {
	if ps.now != nil {
		return ps.now()
	}
	return time.Now()
}

// process is one that a pidfd keeps from being mistaken for another.
type process struct {
	pidfd int
	id    int  // thread or process id, for /proc
	held  bool // processes.held has it, and closes it
}

func (p process) close() {
	if !p.held {
		_ = unix.Close(p.pidfd)
	}
}

// maxHeld bounds the threads whose pidfd is held. A thread connects again and
// again, and a pidfd is an inode that is made and thrown away.
const maxHeld = 16

// again gives a thread that is held and still there: as long as it is, its number
// is nobody else's.
func (ps *processes) again(tid int) (process, bool) {
	i := slices.IndexFunc(ps.held, func(p process) bool { return p.id == tid })
	if i < 0 {
		return process{}, false
	}
	p := ps.held[i]
	if err := unix.PidfdSendSignal(p.pidfd, 0, nil, 0); err != nil && !errors.Is(err, unix.EPERM) {
		ps.release(p).close()
		return process{}, false
	}
	return p, true
}

// hold keeps a thread for the next time, in place of the oldest.
func (ps *processes) hold(p process) process {
	if len(ps.held) == maxHeld {
		ps.release(ps.held[0]).close()
	}
	p.held = true
	ps.held = append(ps.held, p)
	return p
}

// release gives a process to the caller, who closes it.
func (ps *processes) release(p process) process {
	ps.held = slices.DeleteFunc(ps.held, func(h process) bool { return h.pidfd == p.pidfd })
	p.held = false
	return p
}

// open gives a thread by its id. Where the kernel has no pidfd of a thread, it is
// the process of the thread: threads of one process run one program and, unless
// they went out of their way, share their descriptors.
func (ps *processes) open(tid int) (process, error) {
	if p, ok := ps.again(tid); ok {
		return p, nil
	}
	if !ps.noThread {
		fd, err := unix.PidfdOpen(tid, unix.PIDFD_THREAD)
		if err == nil {
			return ps.hold(process{pidfd: fd, id: tid}), nil
		}
		if !errors.Is(err, unix.EINVAL) {
			return process{}, err
		}
	}
	tgid, _, err := ps.status(tid)
	if err != nil {
		return process{}, err
	}
	fd, err := unix.PidfdOpen(tgid, 0) // not held: it says nothing about the thread's number
	return process{pidfd: fd, id: tid}, err
}

// parents gives a process's id and that of its parent, now: it fails if the process is gone.
func (ps *processes) parents(p process) (tgid, ppid int, err error) {
	if !ps.noInfo {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID}
		err := unix.IoctlPidfdInfo(p.pidfd, &info)
		if err == nil {
			return int(info.Tgid), int(info.Ppid), nil
		}
		if !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EINVAL) {
			return 0, 0, err
		}
	}
	if tgid, ppid, err = ps.status(p.id); err != nil {
		return 0, 0, err
	}
	// What was read by number is this process's if it is alive after the reading.
	if err := unix.PidfdSendSignal(p.pidfd, 0, nil, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return 0, 0, err
	}
	return tgid, ppid, nil
}

// status reads the two ids from /proc/ID/status.
func (ps *processes) status(id int) (tgid, ppid int, err error) {
	fd, err := unix.Openat(int(ps.proc.Fd()), strconv.Itoa(id)+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	f := os.NewFile(uintptr(fd), "status")
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096)) // both are among the first lines
	if err != nil {
		return 0, 0, err
	}
	return parseStatus(b)
}

// parseStatus takes the text of /proc/ID/status. The process's own name comes
// first, with line breaks escaped by the kernel.
func parseStatus(b []byte) (tgid, ppid int, err error) {
	found := 0
	for line := range bytes.Lines(b) {
		key, value, _ := strings.Cut(string(line), ":")
		var to *int
		switch key {
		case "Tgid":
			to = &tgid
		case "PPid":
			to = &ppid
		default:
			continue
		}
		if *to, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
			return 0, 0, fmt.Errorf("read process status: %w", err)
		}
		if found++; found == 2 {
			return tgid, ppid, nil
		}
	}
	return 0, 0, errors.New("read process status: ids are missing")
}

// errNoName means that a program was deleted, or never had a name (memfd).
var errNoName = errors.New("name executable: it has no name")

// executable gives path and inode of a process's program. The caller checks that
// the process is still the same. One that waits (the thread of a notification)
// cannot have executed another program in between; for any other the path is read
// again, so that path and inode belong together. Opening the file instead would
// make an entry of /proc/self/fd each time.
func (ps *processes) executable(id int, waits bool) (path string, dev, ino uint64, err error) {
	link := strconv.Itoa(id) + "/exe"
	if path, err = ps.nameOf(link); err != nil {
		return "", 0, 0, err
	}
	var st unix.Stat_t // the file itself need not be readable
	if err := unix.Fstatat(int(ps.proc.Fd()), link, &st, 0); err != nil {
		return "", 0, 0, fmt.Errorf("stat executable: %w", err)
	}
	if !waits {
		if again, err := ps.nameOf(link); err != nil || again != path {
			return "", 0, 0, errors.Join(errors.New("name executable: it changed meanwhile"), err)
		}
	}
	if st.Nlink == 0 || strings.HasSuffix(path, deletedSuffix) {
		return path, 0, 0, errNoName
	}
	return path, st.Dev, st.Ino, nil
}

// nameOf reads a link of /proc to a file.
func (ps *processes) nameOf(link string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(int(ps.proc.Fd()), link, buf[:])
	if err != nil {
		return "", fmt.Errorf("name executable: %w", err)
	}
	path := string(buf[:n])
	if n == len(buf) || !strings.HasPrefix(path, "/") {
		return "", errors.New("name executable: not a whole path")
	}
	return path, nil
}

func (ps *processes) verified(path string, dev, ino uint64) bool {
	return ps.verify == nil || ps.verify(path, dev, ino)
}

// caller reads a process and those above it. It does not check that p is alive afterwards.
func (ps *processes) caller(p process) (Caller, error) {
	tgid, ppid, err := ps.parents(p)
	if err != nil {
		return Caller{}, fmt.Errorf("read process: %w", err)
	}
	c := Caller{Known: true, PID: tgid}
	c.Binary, c.Dev, c.Ino, err = ps.executable(p.id, true)
	switch {
	case errors.Is(err, errNoName):
		return Caller{PID: tgid, Binary: c.Binary}, nil
	case err != nil:
		return Caller{}, err
	}
	c.Script = ps.script(p.id, c.Binary)
	if !ps.verified(c.Binary, c.Dev, c.Ino) {
		c.Known = false // with its name, for the record; nothing above it matters
		return c, nil
	}
	ancestors, digest := true, false
	if ps.wants != nil {
		ancestors, digest = ps.wants(c.Binary)
	}
	if digest {
		if c.SHA256, err = ps.digest(p.id); err != nil {
			c.Known, c.Why = false, err.Error()
			return c, nil
		}
	}
	if tgid == ps.init || !ancestors {
		return c, nil
	}
	child, retries := p, 0
	defer func() {
		if child != p {
			child.close()
		}
	}()
	for levels := 0; ppid != ps.init; {
		if ppid <= 1 {
			return Caller{}, errors.New("walk to init: the process is outside the sandbox")
		}
		if levels == maxAncestors {
			return Caller{}, errors.New("walk to init: too many ancestors")
		}
		parent, next, path, err := ps.parent(child, ppid)
		if err != nil {
			// The parent died, or we lost a race: the child has another one now, or is gone too.
			if retries++; retries > maxRetries {
				return Caller{}, fmt.Errorf("walk to init: %w", err)
			}
			if _, ppid, err = ps.parents(child); err != nil {
				return Caller{}, fmt.Errorf("walk to init: %w", err)
			}
			continue
		}
		// A parent whose program cannot be told matches no rule; the ones above still may.
		if path != "" {
			c.Ancestors = append(c.Ancestors, path)
		}
		if child != p {
			child.close()
		}
		child, ppid = parent, next
		levels++
	}
	return c, nil
}

// parent reads the process that child names as its parent.
func (ps *processes) parent(child process, ppid int) (p process, next int, path string, err error) {
	fd, err := unix.PidfdOpen(ppid, 0)
	if err != nil {
		return p, 0, "", err
	}
	p = process{pidfd: fd, id: ppid}
	// The number is the parent's if the child still names it now that we hold it.
	if _, now, err := ps.parents(child); err != nil || now != ppid {
		p.close()
		return process{}, 0, "", errors.Join(errors.New("the parent changed"), err)
	}
	path, dev, ino, err := ps.executable(ppid, false)
	if err != nil || !ps.verified(path, dev, ino) {
		path = ""
	}
	if _, next, err = ps.parents(p); err != nil {
		p.close()
		return process{}, 0, "", err
	}
	return p, next, path, nil
}
