package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/spec"
)

// drainTime is how long, after the agent's end, a process that it left behind
// may keep its streams open. Then everything is killed, and what lies in the
// pipes is still read to its end.
const drainTime = 500 * time.Millisecond

// terminal is the host's side of the agent's standard streams: a terminal only
// where the host's stream is one, pipes elsewhere. No descriptor of the host is
// ever handed in.
type terminal struct {
	files [3]*os.File
	tty   [3]bool
	fd    int // a terminal of the host, or -1

	mu  sync.Mutex
	raw *term.State // the mode to restore; nil: not raw

	asked atomic.Bool // the terminal may have something to answer
}

func openTerminal(stdin, stdout, stderr *os.File) (*terminal, error) {
	t := &terminal{files: [3]*os.File{stdin, stdout, stderr}, fd: -1}
	for i, f := range t.files {
		if f != nil && term.IsTerminal(int(f.Fd())) {
			t.tty[i] = true
			if t.fd < 0 {
				t.fd = int(f.Fd())
			}
		}
	}
	return t, nil
}

func (t *terminal) kinds() (k [3]spec.StreamKind) {
	for i, f := range t.files {
		switch {
		case f == nil:
			k[i] = spec.StreamNone
		case t.tty[i]:
			k[i] = spec.StreamTTY
		default:
			k[i] = spec.StreamPipe
		}
	}
	return k
}

func (t *terminal) size() (rows, cols uint16) {
	if t.fd < 0 {
		return 0, 0
	}
	w, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ)
	if err != nil {
		return 24, 80
	}
	return w.Row, w.Col
}

// setRaw hands every key to the agent. Only a terminal that is the host's
// standard input and whose foreground is ours is changed.
func (t *terminal) setRaw() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.raw != nil || !t.tty[0] || !foreground(int(t.files[0].Fd())) {
		return nil
	}
	state, err := term.MakeRaw(int(t.files[0].Fd()))
	if err != nil {
		return fmt.Errorf("set terminal raw: %w", err)
	}
	t.raw = state
	return nil
}

func (t *terminal) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.raw != nil {
		_ = term.Restore(int(t.files[0].Fd()), t.raw)
		t.raw = nil
	}
}

// calm ends what the agent may have left a terminal in: text that is swallowed or
// not seen, which would hide Creel's own lines behind it, and reports that would be
// typed into the operator's shell. What the terminal still answers is thrown away.
// It comes before restore: what a shell's terminal gets is shown.
func (t *terminal) calm() {
	ours := t.tty[0] && foreground(int(t.files[0].Fd()))
	for i := 1; i < len(t.files); i++ {
		if t.tty[i] {
			_, _ = io.WriteString(t.files[i], calming)
			if ours && t.asked.Load() {
				_, _ = io.WriteString(t.files[i], areYouThere)
				t.passOver(int(t.files[0].Fd()))
			}
			break
		}
	}
	if ours {
		_ = unix.IoctlSetInt(int(t.files[0].Fd()), unix.TCFLSH, unix.TCIFLUSH)
	}
}

// A terminal answers in turn, so that its answer to Creel's question (DSR, ECMA-48
// §8.3.35) is behind those to the agent's, which over a network are on their way when
// the agent has ended. The agent may have asked the same: what follows within
// answerGap is passed over as well. One that gives no answer is waited for for
// answerTime, if the agent has written anything that a terminal answers.
const (
	areYouThere = "\x1b[5n"
	iAm         = "\x1b[0n"
	answerTime  = 250 * time.Millisecond
	answerGap   = 20 * time.Millisecond
)

// passOver reads what the terminal answers, and what was typed meanwhile.
func (t *terminal) passOver(fd int) {
	var last []byte // of what was read: an answer may come in two pieces
	answered, buf := false, make([]byte, 1024)
	end := time.Now().Add(answerTime)
	for {
		left := time.Until(end)
		if answered {
			left = min(left, answerGap)
		}
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
		switch n, err := unix.Poll(polled, int(left/time.Millisecond)); {
		case errors.Is(err, unix.EINTR) && left > 0:
			continue
		case left <= 0 || n <= 0 || polled[0].Revents&unix.POLLIN == 0:
			return
		}
		n, err := unix.Read(fd, buf)
		if n <= 0 || err != nil {
			return
		}
		last = append(last, buf[:n]...)
		answered = answered || bytes.Contains(last, []byte(iAm))
		last = last[max(0, len(last)-len(iAm)):]
	}
}

// questions notes whether anything was written that a terminal may answer: what
// begins with ESC, or with a control function of eight bits, and ENQ.
type questions struct {
	io.Writer
	asked *atomic.Bool
}

func (q questions) Write(p []byte) (int, error) {
	if !q.asked.Load() && bytes.ContainsFunc(p, func(r rune) bool { return r == 0x1b || r == 0x05 || r == utf8.RuneError || r >= 0x80 && r < 0xa0 }) {
		q.asked.Store(true)
	}
	return q.Writer.Write(p)
}

// calming (ECMA-48, xterm's ctlseqs): CAN and ST end a sequence or string that was
// begun; DECSTR makes text visible, with its usual letters, over the whole screen,
// and ?47 that screen the normal one; the others end reports of mouse, focus and pasting.
const calming = "\x18\x1b\\\x1b[!p\x1b[0m\x1b[?47l\x1b[?25h" +
	"\x1b[?9l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l"

func foreground(fd int) bool {
	pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// hearing is what signals are heard with. The first takes a thread and half a
// millisecond, so hear asks for one that does nothing to a process that ignores
// it; the others still end a start that hangs.
type hearing struct {
	caught chan os.Signal
	ready  chan struct{}
}

func hear() *hearing {
	h := &hearing{make(chan os.Signal, 16), make(chan struct{})}
	go func() {
		defer close(h.ready)
		signal.Notify(h.caught, syscall.SIGWINCH)
	}()
	return h
}

func (h *hearing) stop() {
	<-h.ready
	signal.Stop(h.caught)
}

// all asks for every signal that the agent gets in Creel's place.
func (h *hearing) all() <-chan os.Signal {
	<-h.ready
	signal.Notify(h.caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	return h.caught
}

// relay moves bytes and signals between the host and the agent until the agent
// has ended and its streams are drained. seen says that the agent's own end was
// reported; without it everything was killed, and exit means nothing.
func (s *supervisor) relay(ctx context.Context, signals <-chan os.Signal) (exit sandbox.Exit, seen bool, err error) {
	t := s.terminal
	if s.box.PTY != nil {
		if err := t.setRaw(); err != nil {
			return sandbox.Exit{}, false, err
		}
		defer t.restore()
		defer t.calm()
	}
	var output sync.WaitGroup
	var lost atomic.Pointer[error] // output that could not be written
	copyOut := func(to io.Writer, from *os.File) {
		output.Add(1)
		go func() {
			defer output.Done()
			_, err := io.Copy(to, onlyReader{from})
			switch {
			case err == nil || errors.Is(err, syscall.EIO) && from == s.box.PTY: // the terminal's last user is gone
			case errors.Is(err, syscall.EPIPE):
				_ = from.Close() // the agent gets its SIGPIPE
			default:
				lost.Store(&err)
				_ = from.Close()
			}
		}()
	}
	if s.box.PTY != nil {
		to := t.files[1]
		if !t.tty[1] {
			to = t.files[2]
		}
		if !t.tty[1] && !t.tty[2] {
			to = t.files[0] // only the input is a terminal: echo goes back to it
		}
		copyOut(questions{to, &t.asked}, s.box.PTY)
	}
	if s.box.Stdout != nil {
		copyOut(t.files[1], s.box.Stdout)
	}
	if s.box.Stderr != nil {
		copyOut(t.files[2], s.box.Stderr)
	}
	inputCtx, stopInput := context.WithCancel(ctx)
	var input sync.WaitGroup
	defer input.Wait()
	defer stopInput()
	input.Add(2)
	go func() {
		defer input.Done()
		s.feed(inputCtx)
	}()
	go func() {
		defer input.Done()
		s.forward(inputCtx, signals)
	}()

	exit, err = s.box.Wait(func(sig syscall.Signal) {
		switch sig {
		case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU:
			s.suspend()
		default: // SIGSTOP is sent by a program, not by a terminal
		}
	})
	seen = err == nil
	if !waitFor(&output, drainTime) {
		s.box.Kill()
		s.deliver(&output)
	}
	if cause := lost.Load(); err == nil && cause != nil {
		err = fault.Wrap(*cause, "write the command's output", fault.Internal)
	}
	return exit, seen, err
}

// onlyReader hides splice and copy_file_range: a terminal or an O_APPEND file
// refuses them, and errors there must not lose what was read.
type onlyReader struct{ io.Reader }

// deliver waits until what the agent has written is read, however slow the reader
// is. Who ends a sandbox does not wait for a reader that has stopped reading.
func (s *supervisor) deliver(output *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		output.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-s.hurry:
	}
	select {
	case <-done:
	case <-time.After(drainTime):
		s.o.Notice("the end of the command's output is lost: nobody reads it")
	}
}

func waitFor(wg *sync.WaitGroup, d time.Duration) bool {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// feed copies the host's input until it ends or ctx does. The host's descriptor
// is polled, never set non-blocking: others share it.
func (s *supervisor) feed(ctx context.Context) {
	from := s.terminal.files[0]
	to := s.box.Stdin
	if s.terminal.tty[0] {
		to = s.box.PTY
	}
	if from == nil || to == nil {
		return
	}
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	defer r.Close()
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	defer func() {
		if stop() {
			_ = w.Close()
		}
	}()
	buf := make([]byte, 32<<10)
	for {
		polled := []unix.PollFd{{Fd: int32(from.Fd()), Events: unix.POLLIN}, {Fd: int32(r.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(polled, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return
		}
		if polled[1].Revents != 0 {
			return
		}
		n, err := unix.Read(int(from.Fd()), buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if n == 0 || err != nil {
			if s.box.Stdin != nil && to == s.box.Stdin {
				_ = s.box.Stdin.Close() // half-close: the agent reads end of file
			}
			return
		}
	}
}

// forward passes signals on. The third SIGTERM, SIGINT or SIGHUP from outside of
// the terminal kills everything.
func (s *supervisor) forward(ctx context.Context, signals <-chan os.Signal) {
	asked := 0
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			switch sig {
			case syscall.SIGPIPE:
			case syscall.SIGWINCH:
				if s.box.PTY != nil && s.terminal.fd >= 0 {
					if w, err := unix.IoctlGetWinsize(s.terminal.fd, unix.TIOCGWINSZ); err == nil {
						_ = unix.IoctlSetWinsize(int(s.box.PTY.Fd()), unix.TIOCSWINSZ, w)
					}
				}
			case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP:
				if asked++; asked > 2 {
					s.killed.Store(true)
					s.hasten()
					s.box.Kill()
					continue
				}
				_ = s.box.Signal(sig.(syscall.Signal))
				if sig != syscall.SIGINT {
					_ = s.box.Signal(syscall.SIGCONT) // a stopped agent would take it only then
				}
			default:
				_ = s.box.Signal(sig.(syscall.Signal))
			}
		}
	}
}

// suspend stops Creel with its agent, so that the shell that started it gets
// its terminal back, and wakes the agent when Creel is continued.
func (s *supervisor) suspend() {
	// Only a terminal that a person holds stops Creel with the agent. Elsewhere a
	// stopped agent is the agent's own affair: it must not stop its operator's script.
	if s.box.PTY == nil || !s.terminal.tty[0] || !foreground(int(s.terminal.files[0].Fd())) {
		return
	}
	s.terminal.restore()
	// The stop takes effect some time after kill returns, on another thread
	// perhaps; only SIGCONT tells that it is over.
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	_ = unix.Kill(0, unix.SIGSTOP)
	<-continued
	_ = s.terminal.setRaw()
	_ = s.box.Signal(syscall.SIGCONT)
}
