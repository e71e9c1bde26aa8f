package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/sandbox/seccomp"
	"github.com/creel-run/creel/sandbox/spec"
	"github.com/creel-run/creel/sandbox/stage"
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

	blobs   [][]byte // contents of the supplied files
	limits  *limits
	control *os.File
	stage   *stage.Stage  // the forking goroutine's until it has built
	orders  chan func()   // run on the forking thread
	done    chan struct{} // closed by Close; ends the forking thread
	reading sync.Mutex    // of the netfilter socket
	once    sync.Once
	ending  sync.Mutex // held by whoever waits for process 1
	mu      sync.Mutex // of reaped
	reaped  bool       // process 1 is gone, and its pid perhaps somebody else's
}

// Begun is a sandbox whose namespaces are being made, while the rest of a start
// is prepared. Start takes it; Close ends one that was not taken, and may always
// follow.
type Begun struct {
	s     *Sandbox
	err   error
	ready chan struct{} // closed when the clone has returned
	group *earlyGroup   // nil: Start makes it
}

// Begin clones the sandbox's first process. What it depends on is known before
// any policy is read.
func Begin(n spec.Network) *Begun {
	s := &Sandbox{done: make(chan struct{}), orders: make(chan func())}
	b := &Begun{s: s, ready: make(chan struct{})}
	go func() {
		// Never unlocked, and alive until Close: the parent-death signal fires when
		// the forking thread ends (kernel-notes 7).
		runtime.LockOSThread()
		if s.stage, b.err = stage.Begin(n); b.err == nil {
			s.InitPID = s.stage.PID
		}
		close(b.ready)
		for {
			select {
			case order := <-s.orders:
				order()
			case <-s.done:
				return
			}
		}
	}()
	return b
}

// Limit begins to make the control group while the rest of the configuration is
// put together. Of c it reads Name, Limits and OnGroup, which must be those of
// Start.
func (b *Begun) Limit(c Config) { b.group = makeGroup(c) }

// Close ends a sandbox that no Start has taken.
func (b *Begun) Close() {
	<-b.ready
	if b.group != nil {
		if left := b.group.take(); left != nil {
			_ = left.Close()
		}
	}
	if b.s != nil {
		b.s.Close()
	}
}

// Start begins a sandbox and builds it.
func Start(ctx context.Context, c Config) (*Sandbox, error) { return Begin(c.Network).Start(ctx, c) }

// Start builds the sandbox up to the point where the agent waits to exec;
// Release lets it go. On an error nothing is left behind.
func (b *Begun) Start(ctx context.Context, c Config) (*Sandbox, error) {
	defer b.Close()
	p, err := buildPlan(c)
	if err != nil {
		return nil, err
	}
	id := identify(c)
	p.spec.UID, p.spec.GID = id.insideUID, id.insideGID
	<-b.ready
	if b.err != nil {
		return nil, forkError(b.err)
	}
	s := b.s
	if s.limits, err = planLimits(c, p, b.group); err != nil {
		return nil, err
	}
	s.UID, s.GID, s.Degraded, s.Syscalls, s.Plan = id.hostUID, id.hostGID, p.degraded, c.Syscalls, p.spec
	result := make(chan error)
	s.orders <- func() { result <- s.build(p, id) }
	if err := <-result; err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.s = nil // the caller's now
	return s, nil
}

// build runs on the forking thread.
func (s *Sandbox) build(p *plan, id identity) error {
	who := stage.Identity{UID: id.hostUID, GID: id.hostGID, Root: id.root}
	sources := map[stage.Source]*os.File{}
	defer func() {
		for _, f := range sources {
			_ = f.Close()
		}
	}()
	if id.root {
		if err := openSources(sources, &p.spec, who); err != nil {
			return err
		}
	}
	sockets, err := s.stage.Network()
	if err != nil {
		return err
	}
	// Beside the rest: what is set up is not changed any more.
	taken := make(chan error, 1)
	go func() {
		err := s.take(sockets)
		if err == nil {
			s.Ruleset, err = s.ReadRuleset()
		}
		taken <- err
	}()
	err = s.finish(p, who, sources)
	if terr := <-taken; err == nil {
		err = terr
	}
	return startError(err)
}

// finish makes what depends on the plan.
func (s *Sandbox) finish(p *plan, who stage.Identity, sources map[stage.Source]*os.File) error {
	groups, err := s.limits.group.Entrances()
	defer func() {
		for _, f := range groups {
			_ = f.Close()
		}
	}()
	if err != nil {
		return err
	}
	blobs := func() (_ [][]byte, err error) {
		s.blobs, err = p.blobs()
		return s.blobs, err
	}
	files, skipped, err := s.stage.Build(&p.spec, blobs, who, groups, sources)
	for _, path := range skipped {
		s.Degraded = append(s.Degraded, "declared path "+path+" does not exist")
	}
	if terr := s.take(files); err == nil {
		err = terr
	}
	if err == nil {
		s.control, err = s.stage.Control()
	}
	return err
}

// startError gives an error of the set-up the form that callers look for.
func startError(err error) error {
	var call *stage.CallError
	if errors.As(err, &call) && call.Step == spec.StepProc && call.Errno == unix.EPERM {
		return &NotSupported{Feature: "a /proc of the sandbox's own", Err: errors.New("the /proc that is visible here has masks, as in a container"),
			Fix: "run creel outside of the container, or start that with an unmasked /proc (podman, docker: --security-opt systempaths=unconfined; Kubernetes: procMount: Unmasked)"}
	}
	if errors.As(err, &call) && call.Step == spec.StepOverlay {
		fix := "the folder and the state folder need a file system with user extended attributes (ext4, xfs, btrfs, tmpfs)"
		if os.Geteuid() != 0 { // root's has a fixed place
			fix += ": export XDG_STATE_HOME=DIR"
		}
		return &NotSupported{Feature: "a copy-on-write workspace", MinKernel: "5.11; started by root 5.19", Err: err, Fix: fix}
	}
	var c *stage.CommandError
	if !errors.As(err, &c) {
		return err
	}
	// The only reason for EINVAL there is a flag that the kernel does not know
	// (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).
	if c.Step == "install seccomp filter" && c.Errno == unix.EINVAL {
		return &NotSupported{Feature: "seccomp user notification with killable waits", MinKernel: "5.19", Err: err, Fix: "boot Linux 5.19 or newer"}
	}
	return &CommandError{Step: c.Step, Errno: int(c.Errno), Text: c.Text}
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

// take gives every descriptor its place.
func (s *Sandbox) take(opened []stage.Opened) error {
	for i, o := range opened {
		if err := s.takeOne(o.Name, o.File); err != nil {
			for _, rest := range opened[i+1:] {
				_ = rest.File.Close()
			}
			return err
		}
	}
	return nil
}

func (s *Sandbox) takeOne(name string, f *os.File) error {
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
	case spec.FDNotify:
		s.Notify = f
	default:
		_ = f.Close()
		return fmt.Errorf("start sandbox: unknown descriptor %q", name)
	}
	return nil
}

// Release lets the agent exec. An error of the command itself is a *CommandError.
func (s *Sandbox) Release(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.limits.apply(ctx, s); err != nil {
		return err
	}
	result := make(chan error)
	s.orders <- func() { result <- s.stage.Release() }
	err := startError(<-result)
	if rerr := s.limits.restore(); err == nil {
		err = rerr
	}
	return err
}

// ErrKilled says that everything in the sandbox has ended with its process 1, and
// that nothing is known of the agent's own end.
var ErrKilled = errors.New("process 1 of the sandbox was killed")

// Wait returns when the agent has ended; ErrKilled when it was killed with the
// whole sandbox. onStop is called when a signal has stopped it.
func (s *Sandbox) Wait(onStop func(syscall.Signal)) (Exit, error) {
	report := make([]byte, 8)
	for {
		n, err := s.control.Read(report)
		switch {
		case err != nil || n == 0:
			return Exit{}, ErrKilled
		case n != 4:
			continue
		}
		switch ws := syscall.WaitStatus(binary.NativeEndian.Uint32(report)); {
		case ws.Stopped():
			if onStop != nil {
				onStop(ws.StopSignal())
			}
		case ws.Signaled():
			return Exit{Signal: int(ws.Signal())}, nil
		default:
			return Exit{Status: ws.ExitStatus()}, nil
		}
	}
}

// Signal sends a signal to the agent.
func (s *Sandbox) Signal(sig syscall.Signal) error {
	if _, err := s.control.Write(stage.SignalMessage(sig)); err != nil {
		return fmt.Errorf("send signal: %w", err)
	}
	return nil
}

// Kill ends every process of the sandbox; its streams then reach their end.
func (s *Sandbox) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.InitPID > 0 && !s.reaped {
		_ = unix.Kill(s.InitPID, unix.SIGKILL)
	}
}

// End ends every process of the sandbox and returns when none is left.
func (s *Sandbox) End() {
	if s.InitPID > 0 {
		s.Kill()
		s.reap()
	}
}

// Close ends everything in the sandbox and waits for its init. It is idempotent.
func (s *Sandbox) Close() {
	s.once.Do(func() {
		s.End()
		if s.stage != nil {
			s.stage.Close()
		}
		close(s.done)
		if s.limits != nil {
			_ = s.limits.Close()
		}
		for _, l := range append(append(append([]net.Listener{}, s.Redirect...), s.Proxy...), s.DNSTCP...) {
			_ = l.Close()
		}
		for _, pc := range s.DNS {
			_ = pc.Close()
		}
		for _, f := range []*os.File{s.control, s.Notify, s.Diag, s.Refused, s.Netfilter, s.PTY, s.Stdin, s.Stdout, s.Stderr} {
			if f != nil {
				_ = f.Close()
			}
		}
	})
}

// reap waits for process 1, whose pid is nobody else's until then.
func (s *Sandbox) reap() {
	s.ending.Lock()
	defer s.ending.Unlock()
	if s.reaped {
		return
	}
	for {
		// Without taking its status, so that no Kill can meet a pid that is free.
		err := unix.Waitid(unix.P_PID, s.InitPID, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reaped = true
	_, _ = unix.Wait4(s.InitPID, nil, 0, nil)
}
