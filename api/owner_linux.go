package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/creel-run/creel/fault"
)

// Owner is the supervisor behind a control socket, as the kernel knows it: found
// without an answer, so also when it is stuck.
type Owner struct {
	PID     int
	Stopped bool // by a signal or a debugger: it answers nothing until it is continued
}

// OwnerOf asks the kernel who listens (SO_PEERCRED of a connection that nobody
// has to accept).
func OwnerOf(ctx context.Context, name string) (Owner, error) {
	path, err := Find(name)
	if err != nil {
		return Owner{}, err
	}
	c, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", path)
	if err != nil {
		return Owner{}, fault.Wrap(err, "find supervisor of "+name, fault.General, "creel ls --all")
	}
	defer c.Close()
	p, err := PeerOf(c)
	if err != nil {
		return Owner{}, fault.Wrap(err, "find supervisor of "+name, fault.General)
	}
	if p.PID <= 1 || p.UID != os.Geteuid() && os.Geteuid() != 0 {
		return Owner{}, fault.Errorf("find supervisor of "+name, "process %d of user %d listens there", p.PID, p.UID)
	}
	o := Owner{PID: p.PID}
	// "PID (name) STATE …"; the name may hold anything, so the last ")" counts.
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/stat"); err == nil {
		if i := bytes.LastIndexByte(b, ')'); i >= 0 && i+2 < len(b) {
			o.Stopped = b[i+2] == 'T' || b[i+2] == 't'
		}
	}
	return o, nil
}

// KillOwner ends a sandbox by killing its supervisor: the kernel ends everything
// in the sandbox with it. What it could not remove the next start collects.
func KillOwner(ctx context.Context, name string) error {
	o, err := OwnerOf(ctx, name)
	if err != nil {
		return err
	}
	p, err := os.FindProcess(o.PID) // a pidfd: the number may be used again, this not
	if err != nil {
		return fault.Wrap(err, "kill supervisor of "+name, fault.General)
	}
	defer func() { _ = p.Release() }()
	if again, err := OwnerOf(ctx, name); err != nil || again.PID != o.PID {
		return fault.Errorf("kill supervisor of "+name, "it is another process now")
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fault.Wrap(fmt.Errorf("process %d: %w", o.PID, err), "kill supervisor of "+name, fault.General)
	}
	return nil
}
