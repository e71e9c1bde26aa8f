package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// failure is an error of the agent's start, with what the supervisor needs to
// choose an exit status.
type failure struct {
	step  string
	errno syscall.Errno
	text  string
}

func (f *failure) Error() string { return f.step + ": " + f.text }

// agent is the forked child before and after its exec.
type agent struct {
	pid     int
	goPipe  int // write end
	errPipe int // read end
}

// startAgent forks the child up to the point where it waits for go. It must be
// called on a thread that lives as long as the stage.
func startAgent(s *spec.Spec, path string, stdio [3]int, tty int, ruleset int) (*agent, error) {
	mapR, mapW, err := pipe()
	if err != nil {
		return nil, err
	}
	goR, goW, err := pipe()
	if err != nil {
		return nil, err
	}
	errR, errW, err := pipe()
	if err != nil {
		return nil, err
	}
	f := &agentFork{
		stdio: stdio, tty: tty, mapped: mapR, goPipe: goR, errPipe: errW, control: spec.ControlFD,
		ruleset: ruleset, notify: s.Notify, lastCap: lastCapability(), core: coreLimit(),
	}
	if len(s.Seccomp) == 0 || len(s.Seccomp)%int(unsafe.Sizeof(unix.SockFilter{})) != 0 {
		return nil, errors.New("read seccomp filter: no instructions")
	}
	f.filter = &unix.SockFprog{
		Len:    uint16(len(s.Seccomp) / int(unsafe.Sizeof(unix.SockFilter{}))),
		Filter: (*unix.SockFilter)(unsafe.Pointer(&s.Seccomp[0])),
	}
	if f.dir, err = syscall.BytePtrFromString(s.Dir); err != nil {
		return nil, fmt.Errorf("read working folder: %w", err)
	}
	if f.path, err = syscall.BytePtrFromString(path); err != nil {
		return nil, fmt.Errorf("read command: %w", err)
	}
	if f.argv, err = syscall.SlicePtrFromStrings(s.Command); err != nil {
		return nil, fmt.Errorf("read command: %w", err)
	}
	if f.envv, err = syscall.SlicePtrFromStrings(s.Env); err != nil {
		return nil, fmt.Errorf("read environment: %w", err)
	}
	f.prepareNotify()

	pid, errno := f.fork()
	for _, fd := range []int{mapR, goR, errW} {
		_ = unix.Close(fd)
	}
	if errno != 0 {
		return nil, fmt.Errorf("fork agent: %w", errno)
	}
	a := &agent{pid: int(pid), goPipe: goW, errPipe: errR}
	// The stage is id 0 of the outer user namespace, its only id.
	proc := "/proc/" + strconv.Itoa(a.pid)
	for _, w := range []struct{ file, text string }{
		{"setgroups", "deny"},
		{"gid_map", fmt.Sprintf("%d 0 1", s.GID)},
		{"uid_map", fmt.Sprintf("%d 0 1", s.UID)},
	} {
		if err := os.WriteFile(filepath.Join(proc, w.file), []byte(w.text), 0); err != nil {
			return nil, fmt.Errorf("write agent's %s: %w", w.file, err)
		}
	}
	if _, err := unix.Write(mapW, []byte{1}); err != nil {
		return nil, fmt.Errorf("tell agent of its maps: %w", err)
	}
	_ = unix.Close(mapW)
	return a, nil
}

// release lets the agent exec and waits until it has, or has failed.
func (a *agent) release() error {
	if _, err := unix.Write(a.goPipe, []byte{1}); err != nil && !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("release agent: %w", err)
	}
	_ = unix.Close(a.goPipe)
	return a.started()
}

// started reads the error pipe: empty at end of file means that exec closed it.
func (a *agent) started() error {
	defer unix.Close(a.errPipe)
	var fe forkError
	buf := (*[unsafe.Sizeof(fe)]byte)(unsafe.Pointer(&fe))[:]
	for {
		n, err := unix.Read(a.errPipe, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read agent's start: %w", err)
		case n == 0:
			return nil
		case n != len(buf) || int(fe.step) >= len(stepNames):
			return errors.New("read agent's start: short report")
		}
		errno := syscall.Errno(fe.errno)
		return &failure{step: stepNames[fe.step], errno: errno, text: errno.Error()}
	}
}

func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("make pipe: %w", err)
	}
	return p[0], p[1], nil
}

// coreLimit is the limit that dumps no core: 1 byte, which core_pattern's pipe
// takes as a special value; a limit of 0 holds for files alone (core(5)). Where
// the hard limit is 0 already, only it is left.
func coreLimit() unix.Rlimit {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &now); err == nil && now.Max == 0 {
		return unix.Rlimit{}
	}
	return unix.Rlimit{Cur: 1, Max: 1}
}

// lastCapability is the highest capability that the kernel knows.
func lastCapability() uintptr {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n > 0 && n < 64 {
			return uintptr(n)
		}
	}
	return unix.CAP_LAST_CAP
}

// findCommand looks the command up as execvp(3) does, in the sandbox's own root
// and with the agent's PATH.
func findCommand(name string, env []string, dir string) (string, error) {
	missing := &failure{step: "find command", errno: unix.ENOENT, text: name + ": not found inside the sandbox"}
	if name == "" {
		return "", missing
	}
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, check(name)
	}
	path := ""
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	var denied error
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		p := filepath.Join(d, name)
		switch err := check(p); {
		case err == nil:
			return p, nil
		case !isNotExist(err):
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", missing
}

func isNotExist(err error) bool {
	var f *failure
	return errors.As(err, &f) && (f.errno == unix.ENOENT || f.errno == unix.ENOTDIR)
}

// check reports whether p can be a program; the kernel has the last word.
func check(p string) error {
	fi, err := os.Stat(p)
	if err != nil {
		var errno syscall.Errno
		errors.As(err, &errno)
		return &failure{step: "find command", errno: errno, text: p + ": " + errno.Error()}
	}
	if fi.IsDir() || fi.Mode()&0o111 == 0 {
		return &failure{step: "find command", errno: unix.EACCES, text: p + ": not an executable file"}
	}
	return nil
}
