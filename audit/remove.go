package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrInUse: a sandbox is writing the log.
var ErrInUse = errors.New("a sandbox is writing it")

// Remove takes a log out of a folder, by its name there; with dry it only says
// whether it would. A log that is being written stays (ErrInUse), and so does what
// is no regular file of this user's: a link is not followed, and not removed.
func Remove(folder *os.Root, name string, dry bool) error {
	if err := remove(folder, name, dry); err != nil {
		return fmt.Errorf("remove audit log: %w", err)
	}
	return nil
}

func remove(folder *os.Root, name string, dry bool) error {
	info, err := folder.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file (%s)", name, info.Mode().Type())
	}
	if err := checkOwner(info); err != nil {
		return err
	}
	f, err := folder.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return err
	}
	defer f.Close() // and with it the lock
	if lockFile(f) != nil {
		return ErrInUse
	}
	// Another file may have taken the name before the lock was held.
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	if now, err := folder.Lstat(name); err != nil || !os.SameFile(opened, info) || !os.SameFile(opened, now) {
		return fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if dry {
		return nil
	}
	return folder.Remove(name)
}
