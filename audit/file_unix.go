//go:build unix

package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// openFlags: no symbolic link as last part, no hanging on a FIFO, not inherited.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC

func openFile(path string) (*os.File, error) {
	// Looked at before it is opened: opening a device or FIFO can have effects.
	// resume looks again through the descriptor, which is what counts.
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file (%s)", path, info.Mode().Type())
	}
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|openFlags, 0o600)
}

// checkOwner refuses a log that another user could rewrite.
func checkOwner(info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("owner unknown")
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("belongs to user %d, not to user %d", st.Uid, os.Geteuid())
	}
	return nil
}

// removed reports that no name leads to a file any more.
func removed(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}

// lockFile keeps two writers out of one chain; the lock ends with the descriptor.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("another process is writing it")
	}
	return err
}
