package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/sandbox/seccomp"
	"github.com/creel-run/creel/sandbox/spec"
	"github.com/creel-run/creel/sandbox/stage/embedded"
)

// Sandbox is a live sandbox. The supervisor owns every descriptor of it; Close
// ends all processes in it.
type Sandbox struct {
	Redirect []net.Listener
	Proxy    []net.Listener
	DNS      []net.PacketConn
	DNSTCP   []net.Listener

	Notify    *os.File // seccomp listener; nil without Config.Notify
	Diag      *os.File
	Refused   *os.File
	Netfilter *os.File

	PTY                   *os.File // nil without a terminal
	Stdin, Stdout, Stderr *os.File // nil where the stream is a terminal or absent

	InitPID  int              // process 1 of the sandbox, as the host sees it
	UID, GID int              // the agent's ids on the host
	Degraded []string         // what was accepted
	Syscalls []seccomp.Switch // that are open
	Plan     spec.Spec
	Ruleset  Ruleset // as it was before the agent existed

	limits  *limits
	control *control
	done    chan struct{} // closed by Close; ends the forking thread
	process *os.Process
	stderr  *os.File
	reading sync.Mutex // of the netfilter socket
	text    *os.File   // the sealed spec with the supplied files behind it
	blobs   int64      // where in text they begin
	once    sync.Once
	reaped  sync.Once
}

// startTimeout bounds the set-up of a sandbox. It takes milliseconds; a stage
// that hangs must not hang the supervisor.
const startTimeout = 30 * time.Second

// Start builds the sandbox up to the point where the agent waits to exec;
// Release lets it go. On an error nothing is left behind.
func Start(ctx context.Context, c Config) (*Sandbox, error) {
	p, err := buildPlan(c)
	if err != nil {
		return nil, err
	}
	id := identify(c)
	p.spec.UID, p.spec.GID = id.insideUID, id.insideGID

	s := &Sandbox{done: make(chan struct{}), UID: id.hostUID, GID: id.hostGID, Degraded: p.degraded, Syscalls: c.Syscalls}
	var sources []*os.File
	defer func() {
		for _, f := range sources {
			_ = f.Close()
		}
	}()
	program := c.Stage
	if program == nil {
		if program, err = OpenStage(); err != nil {
			return nil, err
		}
		defer program.Close()
	}
	if id.root {
		if sources, err = openSources(&p.spec, id, program); err != nil {
			return nil, err
		}
	}
	limits, err := planLimits(c, p)
	if err != nil {
		return nil, err
	}
	s.limits, s.Degraded, s.Plan = limits, p.degraded, p.spec
	started := false
	defer func() {
		if !started {
			_ = limits.Close()
		}
	}()
	text, err := memfd("creel-spec", func(f *os.File) error {
		if err := json.NewEncoder(f).Encode(&p.spec); err != nil { // ends with a line feed
			return err
		}
		n, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		s.blobs = n
		_, err = f.Write(p.blobs)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.text = text
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		_ = text.Close()
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	outer, inner := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer inner.Close()
	if s.control, err = newControl(outer); err != nil {
		_ = text.Close()
		return nil, err
	}
	if err := s.fork(id, program, append([]*os.File{inner, text}, sources...)); err != nil {
		_ = s.control.Close()
		_ = text.Close()
		return nil, err
	}
	started = true // from here Close ends it
	_ = inner.Close()
	if err := s.setUp(ctx, c.Notify); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// memfd makes a sealed anonymous file.
func memfd(name string, write func(*os.File) error) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := write(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("rewind %s: %w", name, err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	return f, nil
}

// OpenStage puts the stage program into a sealed memfd. It depends on nothing, so
// that a caller may do it while it prepares the rest.
func OpenStage() (*os.File, error) {
	program, err := embedded.Stage()
	if err != nil {
		return nil, errors.New("this creel was built without its stage program: build it with `make build`")
	}
	defer program.Close()
	return memfd("creel-stage", func(f *os.File) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{f}, program, make([]byte, 128<<10))
		return err
	})
}

// fork starts the stage from a thread that lives until Close: the parent-death
// signal fires when the forking thread ends (kernel-notes 7).
func (s *Sandbox) fork(id identity, program *os.File, extra []*os.File) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	// A panic of the stage must be seen; nothing else is ever written there.
	errR, errW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer errW.Close()
	s.stderr = errR

	attr := &os.ProcAttr{
		Env:   []string{},
		Files: append([]*os.File{null, null, errW}, extra...),
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
				unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: id.hostUID, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: id.hostGID, Size: 1}},
			Pdeathsig:   syscall.SIGKILL,
			Setsid:      true,
		},
	}
	if id.root {
		attr.Sys.GidMappingsEnableSetgroups = true
		attr.Sys.Credential = &syscall.Credential{Uid: 0, Gid: 0, Groups: []uint32{}}
	}
	if dir := s.limits.group.Dir(); dir != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	// Above every descriptor that the child's own are moved to before it execs.
	fd, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, len(attr.Files)+64)
	if err != nil {
		return fmt.Errorf("place stage program: %w", err)
	}
	defer unix.Close(fd)
	// What creel itself inherited open from its own parent is nothing to hand on:
	// Go closes only what it opened. Linux 5.11, which mount_setattr asks for anyway.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return &NotSupported{Feature: "closing inherited descriptors", MinKernel: "5.11", Err: err}
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()        // never unlocked: the thread ends with the goroutine
		err := s.limits.group.Enter() // the child is born in the group of this thread
		if err == nil {
			if s.process, err = os.StartProcess(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"creel-init"}, attr); err != nil {
				err = forkError(err)
			}
		}
		if lerr := s.limits.group.Leave(); err == nil && lerr != nil {
			_ = s.process.Kill()
			_, _ = s.process.Wait()
			err = lerr
		}
		result <- err
		if err == nil {
			<-s.done
		}
	}()
	if err := <-result; err != nil {
		_ = errR.Close()
		return err
	}
	s.InitPID = s.process.Pid
	return nil
}

// forkError turns a refused clone into what the operator can do about it.
func forkError(err error) error {
	fix := "run `creel doctor` for what this host lacks"
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		fix = "sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 (whichever exists), or start creel as root"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		fix = "sysctl -w user.max_user_namespaces=10000"
	}
	return &NotSupported{Feature: "a user namespace with its own mounts, processes and network", Err: err, Fix: fix}
}

// setUp receives the stage's descriptors.
func (s *Sandbox) setUp(ctx context.Context, notify bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ready, files, err := s.control.expect(ctx, spec.MsgReady)
	if c := (*CommandError)(nil); errors.As(err, &c) && c.Step == spec.StepProc {
		return &NotSupported{Feature: "a /proc of the sandbox's own", Err: errors.New("the /proc that is visible here has masks, as in a container"),
			Fix: "run creel outside of the container, or start that with an unmasked /proc (podman, docker: --security-opt systempaths=unconfined; Kubernetes: procMount: Unmasked)"}
	}
	if err != nil {
		var c *CommandError
		if errors.As(err, &c) && c.Step == spec.StepOverlay {
			return &NotSupported{Feature: "a copy-on-write workspace", MinKernel: "5.11; started by root 5.19", Err: err,
				Fix: "the folder and the state folder need a file system with user extended attributes (ext4, xfs, btrfs, tmpfs): export XDG_STATE_HOME=DIR"}
		}
		return s.explain(err)
	}
	if err := s.take(ready.Names, files); err != nil {
		return err
	}
	if s.Ruleset, err = s.ReadRuleset(); err != nil {
		return err
	}
	for _, p := range ready.Skipped {
		s.Degraded = append(s.Degraded, "declared path "+p+" does not exist")
	}
	if !notify {
		return nil
	}
	_, files, err = s.control.expect(ctx, spec.MsgNotify)
	if err != nil {
		// The only reason for EINVAL there is a flag that the kernel does not know
		// (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).
		var c *CommandError
		if errors.As(err, &c) && c.Step == "install seccomp filter" && syscall.Errno(c.Errno) == syscall.EINVAL {
			return &NotSupported{Feature: "seccomp user notification with killable waits", MinKernel: "5.19", Err: err, Fix: "boot Linux 5.19 or newer"}
		}
		return s.explain(err)
	}
	if len(files) != 1 {
		return errors.New("start sandbox: no seccomp listener arrived")
	}
	s.Notify = files[0]
	return nil
}

// explain adds what the stage printed before it died, if it did.
func (s *Sandbox) explain(err error) error {
	if !errors.Is(err, errControlClosed) {
		return err
	}
	_ = s.process.Kill()
	_ = s.stderr.SetReadDeadline(time.Now().Add(time.Second))
	var text bytes.Buffer
	_, _ = text.ReadFrom(s.stderr)
	first, _, _ := strings.Cut(text.String(), "\n")
	return fmt.Errorf("start sandbox: its init ended early: %s", first)
}

// take gives every descriptor its place.
func (s *Sandbox) take(names []string, files []*os.File) error {
	if len(names) != len(files) {
		for _, f := range files {
			_ = f.Close()
		}
		return fmt.Errorf("start sandbox: %d descriptors for %d names", len(files), len(names))
	}
	for i, name := range names {
		f := files[i]
		switch name {
		case spec.FDRedirect4, spec.FDRedirect6, spec.FDProxy4, spec.FDProxy6, spec.FDDNSTCP4, spec.FDDNSTCP6:
			l, err := net.FileListener(f)
			_ = f.Close()
			if err != nil {
				return fmt.Errorf("take listener %s: %w", name, err)
			}
			switch name {
			case spec.FDRedirect4, spec.FDRedirect6:
				s.Redirect = append(s.Redirect, l)
			case spec.FDProxy4, spec.FDProxy6:
				s.Proxy = append(s.Proxy, l)
			default:
				s.DNSTCP = append(s.DNSTCP, l)
			}
		case spec.FDDNSUDP4, spec.FDDNSUDP6:
			pc, err := net.FilePacketConn(f)
			_ = f.Close()
			if err != nil {
				return fmt.Errorf("take socket %s: %w", name, err)
			}
			s.DNS = append(s.DNS, pc)
		case spec.FDDiag:
			s.Diag = f
		case spec.FDRefused:
			s.Refused = f
		case spec.FDNetfilter:
			s.Netfilter = f
		case spec.FDPTY:
			s.PTY = f
		case spec.FDStdin:
			s.Stdin = f
		case spec.FDStdout:
			s.Stdout = f
		case spec.FDStderr:
			s.Stderr = f
		default:
			_ = f.Close()
			return fmt.Errorf("start sandbox: unknown descriptor %q", name)
		}
	}
	return nil
}

// Release lets the agent exec. An error of the command itself is a *CommandError.
func (s *Sandbox) Release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.limits.apply(ctx, s); err != nil {
		return err
	}
	if err := s.control.send(spec.Message{Type: spec.MsgGo}); err != nil {
		return fmt.Errorf("release agent: %w", err)
	}
	if _, _, err := s.control.expect(ctx, spec.MsgStarted); err != nil {
		return s.explain(err)
	}
	return nil
}

// Wait returns when the agent has ended. onStop is called when a signal has
// stopped it.
func (s *Sandbox) Wait(onStop func(syscall.Signal)) (Exit, error) {
	for {
		m, files, err := s.control.receive()
		for _, f := range files {
			_ = f.Close()
		}
		if err != nil {
			return Exit{}, s.explain(err)
		}
		switch m.Type {
		case spec.MsgStopped:
			if onStop != nil {
				onStop(syscall.Signal(m.Signal))
			}
		case spec.MsgExit:
			ws := syscall.WaitStatus(m.Status)
			if ws.Signaled() {
				return Exit{Signal: int(ws.Signal())}, nil
			}
			return Exit{Status: ws.ExitStatus()}, nil
		case spec.MsgFailed:
			return Exit{}, &CommandError{Step: m.Step, Errno: m.Errno, Text: m.Text}
		}
	}
}

// Signal sends a signal to the agent.
func (s *Sandbox) Signal(sig syscall.Signal) error {
	return s.control.send(spec.Message{Type: spec.MsgSignal, Signal: int(sig)})
}

// Kill ends every process of the sandbox; its streams then reach their end.
func (s *Sandbox) Kill() { _ = s.process.Kill() }

// End ends every process of the sandbox and returns when none is left.
func (s *Sandbox) End() {
	_ = s.process.Kill()
	s.reaped.Do(func() { _, _ = s.process.Wait() })
}

// Close ends everything in the sandbox and waits for its init. It is idempotent.
func (s *Sandbox) Close() {
	s.once.Do(func() {
		_ = s.process.Kill()
		_ = s.control.Close()
		s.End()
		close(s.done)
		_ = s.limits.Close()
		for _, l := range append(append(append([]net.Listener{}, s.Redirect...), s.Proxy...), s.DNSTCP...) {
			_ = l.Close()
		}
		for _, pc := range s.DNS {
			_ = pc.Close()
		}
		for _, f := range []*os.File{s.Notify, s.Diag, s.Refused, s.Netfilter, s.PTY, s.Stdin, s.Stdout, s.Stderr, s.stderr, s.text} {
			if f != nil {
				_ = f.Close()
			}
		}
	})
}
