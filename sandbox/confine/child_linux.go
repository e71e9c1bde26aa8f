package confine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// dedicatedID is who a child of root's is: nobody else, and not the agent either
// (sandbox.DedicatedID is the number before).
const dedicatedID = 1879048193

// Child is a confined process. What is written to it is its standard input, what it
// writes is read.
type Child struct {
	net.Conn
	cmd   *exec.Cmd
	said  said          // on standard error
	ended chan struct{} // closed when it was reaped
	once  sync.Once
}

// Start executes this program with args, the first of which is its hidden role.
func Start(args ...string) (*Child, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket for the child: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "child"), os.NewFile(uintptr(ends[1]), "supervisor")
	defer ours.Close() // FileConn has a copy
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("make a socket for the child: %w", err)
	}
	c := &Child{Conn: conn, cmd: command(args, theirs), ended: make(chan struct{})}
	c.cmd.Stderr = &c.said
	started := make(chan error)
	go func() {
		// The parent-death signal is that of the thread that forks: it lives as long as
		// the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.ended)
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // killed, as a rule
		}
	}()
	if err := <-started; err != nil {
		_ = conn.Close()
		<-c.ended
		if errors.Is(err, os.ErrPermission) && os.Geteuid() == 0 {
			err = fmt.Errorf("%w (others than root must be allowed to execute creel: chmod o+x)", err)
		}
		return nil, fmt.Errorf("start the child: %w", err)
	}
	return c, nil
}

func command(args []string, stream *os.File) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"creel"}, args...)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout = stream, stream
	uid, gid := os.Geteuid(), os.Getegid()
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
	}
	if uid == 0 {
		uid, gid = dedicatedID, dedicatedID
		attr.Credential = &syscall.Credential{Uid: dedicatedID, Gid: dedicatedID}
		attr.GidMappingsEnableSetgroups = true
	}
	// The id is not 0 inside, so that the capabilities over the new namespaces go with
	// the exec.
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	cmd.SysProcAttr = attr
	return cmd
}

// Read reads what the child writes. Where that ends so does the child, and the error
// says what it said last.
func (c *Child) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		_ = c.Close()
		err = errors.New("the child ended")
		if text := c.said.line(); text != "" {
			err = fmt.Errorf("the child ended: %s", text)
		}
	}
	return n, err
}

// said keeps the beginning of what a child writes for people. It is written while the
// child lives and read after.
type said struct{ text []byte }

func (s *said) Write(p []byte) (int, error) {
	const most = 512
	s.text = append(s.text, p[:min(len(p), most-len(s.text))]...)
	return len(p), nil
}

// line is its first line, of printable ASCII.
func (s *said) line() string {
	first, _, _ := bytes.Cut(s.text, []byte("\n"))
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(first))
}

// Pid is the child's, as the supervisor sees it.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// Close kills the child and waits for its end.
func (c *Child) Close() error {
	var err error
	c.once.Do(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.ended
		err = c.Conn.Close()
	})
	return err
}
