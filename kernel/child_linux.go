package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Roles of the re-executed child: argument 2 is the role, argument 3 its folder.
const (
	roleInside = "inside" // tries things in new namespaces, prints steps as JSON
	roleHold   = "hold"   // lives until its standard input ends
)

// step is what the child tells of one try.
type step struct {
	Errno  unix.Errno `json:"errno,omitempty"` // of the failure, when it has one
	Err    string     `json:"err,omitempty"`
	Detail string     `json:"detail,omitempty"`
}

func (s step) failed() bool { return s.Err != "" }

// steps by name: caps, proc, overlay, nft.
type steps map[string]step

func fail(err error) step {
	if err == nil {
		return step{}
	}
	s := step{Err: err.Error()}
	errors.As(err, &s.Errno)
	return s
}

// child prepares a re-execution of this program in a role. Its environment is
// empty, and it dies with the thread that starts it at the latest.
func child(ctx context.Context, role, dir string, flags uintptr) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", ProbeRole, role)
	cmd.Args = []string{"creel", ProbeRole, role}
	cmd.Env = []string{}
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  flags,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		// The kernel wants setgroups denied before an ordinary user maps a group.
		GidMappingsEnableSetgroups: false,
	}
	return cmd
}

// newNamespaces are those of a sandbox.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// tryInside runs the child in namespaces of its own. startErr is that of making
// them; err that of the child.
func tryInside(ctx context.Context) (done steps, startErr, err error) {
	cmd := child(ctx, roleInside, "/", newNamespaces)
	var out bytes.Buffer
	cmd.Stdout = &limited{w: &out, left: 64 << 10}
	if err := cmd.Start(); err != nil {
		return nil, err, nil
	}
	if err := cmd.Wait(); err != nil {
		return nil, nil, fmt.Errorf("probe in new namespaces: %w", err)
	}
	if err := json.Unmarshal(out.Bytes(), &done); err != nil {
		return nil, nil, fmt.Errorf("probe in new namespaces: %w", err)
	}
	return done, nil, nil
}

// limited refuses more than left bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("answer too long")
	}
	l.left -= len(p)
	return l.w.Write(p)
}

// RunProbe is the child's part; it returns the exit status.
func RunProbe(args []string) int {
	switch args[2] {
	case roleInside:
		if json.NewEncoder(os.Stdout).Encode(inside()) != nil {
			return 1
		}
		return 0
	case roleHold:
		_, _ = io.Copy(io.Discard, os.Stdin)
		return 0
	}
	return 1
}

// inside is root of new namespaces, and takes them with it when it exits.
func inside() steps {
	done := steps{}
	// Where AppArmor lets an ordinary user make the namespace but gives nothing
	// inside it, this first mount is what fails.
	done["caps"] = fail(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	if done["caps"].failed() {
		return done
	}
	done["nft"] = fail(tryRedirect())
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "size=1m"); err != nil {
		done["overlay"], done["proc"] = fail(err), fail(err)
		return done
	}
	done["overlay"] = fail(tryOverlay("/tmp"))
	done["proc"] = fail(tryProc("/tmp/proc"))
	return done
}

func tryOverlay(dir string) error {
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(dir+"/"+d, 0o700); err != nil {
			return err
		}
	}
	opts := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work,userxattr", dir)
	return unix.Mount("overlay", dir+"/merged", "overlay", 0, opts)
}

// tryProc: the kernel refuses a fresh /proc where the visible one has masks.
func tryProc(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return unix.Mount("proc", dir, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}
