//go:build !linux

package api

import (
	"context"
	"errors"
)

// Owner is the supervisor behind a control socket.
type Owner struct {
	PID     int
	Stopped bool
}

// OwnerOf is not supported here: sandboxes run on Linux.
func OwnerOf(context.Context, string) (Owner, error) { return Owner{}, errors.ErrUnsupported }

// KillOwner is not supported here.
func KillOwner(context.Context, string) error { return errors.ErrUnsupported }
