//go:build !linux

package api

import (
	"errors"
	"net"
)

// Peer is who connected to a unix socket.
type Peer struct {
	PID int
	UID int
}

// PeerOf is not supported here: sandboxes run on Linux.
func PeerOf(net.Conn) (Peer, error) { return Peer{}, errors.ErrUnsupported }

// CheckPeer admits nobody here.
func CheckPeer(net.Conn) error { return errors.ErrUnsupported }
