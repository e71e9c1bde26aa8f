//go:build unix

package api

import (
	"errors"
	"os"
	"syscall"
)

func owner(info os.FileInfo) (int, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, errors.New("owner unknown")
	}
	return int(st.Uid), nil
}

// tryLock takes an exclusive lock that ends with the descriptor; false when
// somebody else holds it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

const lockFlags = syscall.O_NOFOLLOW | syscall.O_CLOEXEC
