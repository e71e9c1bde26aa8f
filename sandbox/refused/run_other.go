//go:build !linux

package refused

import (
	"context"
	"errors"
	"os"
)

// Run works on Linux alone.
func Run(context.Context, *os.File, func(Packet)) error { return errors.ErrUnsupported }
