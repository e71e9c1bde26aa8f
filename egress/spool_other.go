//go:build !linux

package egress

import (
	"errors"
	"os"
)

// nameless is there on Linux alone, as sandboxes are.
func nameless() (*os.File, error) { return nil, errors.ErrUnsupported }
