//go:build !linux

package caller

import (
	"context"
	"errors"
	"net/netip"
)

// Tracker exists on Linux alone.
type Tracker struct{}

func New(Config) (*Tracker, error) { return nil, errors.ErrUnsupported }

func (*Tracker) Run(context.Context) error { return errors.ErrUnsupported }

func (*Tracker) Lookup(client, original netip.AddrPort) Caller { return Caller{} }
