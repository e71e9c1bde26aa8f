package api

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// Peer is who connected to a unix socket, as the kernel noted it then.
type Peer struct {
	PID int
	UID int
}

// PeerOf reads the credentials of the other end (SO_PEERCRED, unix(7)).
func PeerOf(c net.Conn) (Peer, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("read peer: %T is no unix connection", c)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("read peer: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return Peer{}, fmt.Errorf("read peer: %w", err)
	}
	if credErr != nil {
		return Peer{}, fmt.Errorf("read peer: %w", credErr)
	}
	return Peer{PID: int(cred.Pid), UID: int(cred.Uid)}, nil
}

// CheckPeer admits root and processes of this user that live in this process's
// user namespace. The agent of a rootless sandbox has the same user id, so the
// id alone would let it steer its own supervisor if it ever saw the socket.
func CheckPeer(c net.Conn) error {
	p, err := PeerOf(c)
	if err != nil {
		return err
	}
	self := os.Geteuid()
	if p.UID != self {
		if p.UID == 0 {
			return nil
		}
		return fmt.Errorf("check peer: user %d may not, only user %d and root", p.UID, self)
	}
	ours, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	theirs, err := os.Readlink("/proc/" + strconv.Itoa(p.PID) + "/ns/user")
	if err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	if ours != theirs {
		return errors.New("check peer: it lives in another user namespace")
	}
	return nil
}
