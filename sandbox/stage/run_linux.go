package stage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// maxMessage bounds one message of the control protocol, bytes.
const maxMessage = 64 << 10

// Main runs the stage and does not return before the sandbox ends. Its result
// is the exit status of process 1, which only a supervisor that is still there reads.
func Main() int {
	// The agent's parent-death signal and the terminal's session hang on this thread.
	runtime.LockOSThread()
	if err := run(); err != nil {
		m := spec.Message{Type: spec.MsgFailed, Text: err.Error()}
		var f *failure
		if errors.As(err, &f) {
			m.Step, m.Errno, m.Text = f.step, int(f.errno), f.text
		}
		_ = send(m, nil)
		awaitEnd()
		return 1
	}
	return 0
}

func run() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent-death signal: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set not dumpable: %w", err)
	}
	s, blobs, err := readSpec()
	if err != nil {
		return err
	}
	if err := configureLoopback(s.Network); err != nil {
		return err
	}
	if err := loadRules(s.Network); err != nil {
		return err
	}
	handover, err := openListeners()
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	skipped, err := buildRoot(s, blobs)
	if err != nil {
		return err
	}
	st, err := openStreams(s)
	if err != nil {
		return err
	}
	ruleset, err := openRuleset(s.Landlock)
	if err != nil {
		return err
	}
	handover = append(handover, st.outer...)
	ready := spec.Message{Type: spec.MsgReady, Skipped: skipped}
	fds := make([]int, len(handover))
	for i, o := range handover {
		ready.Names = append(ready.Names, o.name)
		fds[i] = o.fd
	}
	if err := send(ready, fds); err != nil {
		return err
	}
	// The supervisor's copies are the only ones: when it dies, so does the network.
	for _, fd := range fds {
		_ = unix.Close(fd)
	}

	path, err := findCommand(s.Command[0], s.Env, s.Dir)
	if err != nil {
		return err
	}
	a, err := startAgent(s, path, st.inner, st.tty, ruleset)
	if err != nil {
		return err
	}
	if ruleset >= 0 {
		_ = unix.Close(ruleset)
	}
	// End of file instead of go: the supervisor died before any agent code ran.
	if m, err := receive(); err != nil || m.Type != spec.MsgGo {
		os.Exit(1)
	}
	if err := a.release(); err != nil {
		return err
	}
	for _, fd := range st.inner {
		_ = unix.Close(fd)
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if err := send(spec.Message{Type: spec.MsgStarted}, nil); err != nil {
		return err
	}
	go obey(a.pid)
	return reap(a.pid)
}

func readSpec() (*spec.Spec, []byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(spec.SpecFD, &st); err != nil {
		return nil, nil, fmt.Errorf("read spec: %w", err)
	}
	size := int(st.Size)
	text, err := unix.Mmap(spec.SpecFD, 0, size, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("map spec: %w", err)
	}
	head, blobs, _ := bytes.Cut(text, []byte("\n"))
	var s spec.Spec
	if err := json.Unmarshal(head, &s); err != nil {
		return nil, nil, fmt.Errorf("read spec: %w", err)
	}
	switch {
	case len(s.Command) == 0:
		return nil, nil, errors.New("read spec: no command")
	case s.UID <= 0 || s.GID <= 0:
		return nil, nil, errors.New("read spec: the agent's ids must not be 0")
	}
	for _, m := range s.Mounts {
		if !tidyPath(m.Target) {
			return nil, nil, fmt.Errorf("read spec: mount point %q is not a clean absolute path", m.Target)
		}
	}
	for _, b := range s.Blobs {
		if b.Offset < 0 || b.Size < 0 || b.Offset+b.Size > int64(len(blobs)) {
			return nil, nil, errors.New("read spec: a blob lies outside of it")
		}
	}
	_ = unix.Close(spec.SpecFD)
	return &s, blobs, nil
}

// obey carries out the supervisor's messages; end of file ends the sandbox.
func obey(pid int) {
	for {
		m, err := receive()
		if err != nil {
			os.Exit(0)
		}
		if m.Type != spec.MsgSignal {
			continue
		}
		sig := syscall.Signal(m.Signal)
		switch sig {
		case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGKILL:
			// What a terminal sends goes to the whole process group.
			_ = syscall.Kill(-pid, sig)
		default:
			_ = syscall.Kill(pid, sig)
		}
	}
}

// reap collects every process of the sandbox. After the agent's end it reports
// and waits for the supervisor, which lets the streams drain first.
func reap(pid int) error {
	var ws syscall.WaitStatus
	for {
		got, err := syscall.Wait4(-1, &ws, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD):
			awaitEnd()
			return nil
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case got == pid && ws.Stopped():
			if err := send(spec.Message{Type: spec.MsgStopped, Signal: int(ws.StopSignal())}, nil); err != nil {
				return err
			}
		case got == pid:
			if err := send(spec.Message{Type: spec.MsgExit, Status: int(ws)}, nil); err != nil {
				return err
			}
		}
	}
}

// awaitEnd blocks until the supervisor closes the control socket.
func awaitEnd() {
	for {
		if _, err := receive(); err != nil {
			return
		}
	}
}

// dropCapabilities empties the stage's own sets on all its threads: from here
// on it only waits and forwards.
func dropCapabilities() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0); errno != 0 {
		return fmt.Errorf("drop capabilities of init: %w", errno)
	}
	return nil
}

func send(m spec.Message, fds []int) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", m.Type, err)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(spec.ControlFD, text, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send %s: %w", m.Type, err)
	}
	return nil
}

func receive() (spec.Message, error) {
	var m spec.Message
	buf := make([]byte, maxMessage)
	for {
		n, err := unix.Read(spec.ControlFD, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return m, fmt.Errorf("receive: %w", err)
		case n == 0:
			return m, errors.New("receive: end of file")
		}
		if err := json.Unmarshal(buf[:n], &m); err != nil {
			return m, fmt.Errorf("receive: %w", err)
		}
		return m, nil
	}
}
