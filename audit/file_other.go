//go:build !unix

package audit

import (
	"errors"
	"os"
)

const openFlags = 0

// Sandboxes run on Linux; elsewhere logs are only read.
func openFile(string) (*os.File, error) { return nil, errors.ErrUnsupported }
func checkOwner(os.FileInfo) error      { return errors.ErrUnsupported }
func removed(os.FileInfo) bool          { return false }
func lockFile(*os.File) error           { return errors.ErrUnsupported }
