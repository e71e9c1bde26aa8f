//go:build !unix

package api

import (
	"errors"
	"os"
)

func owner(os.FileInfo) (int, error) { return 0, errors.ErrUnsupported }
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }

const lockFlags = 0
