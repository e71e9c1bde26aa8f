package api

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/creel-run/creel/fault"
)

// maxName bounds a sandbox's name in bytes: with the longest usual runtime
// folder the socket's path stays below the 108 bytes of sockaddr_un.
const maxName = 48

// CheckName accepts what may be the name of a sandbox: small letters, digits,
// and inside also '-', '_' and '.'. A name is a folder's name as well.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxName
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		inner := i > 0 && i < len(name)-1 && (c == '-' || c == '_' || c == '.')
		ok = alnum || inner
	}
	if !ok {
		return fault.UsageError("read sandbox name", strconv.QuoteToASCII(name)+" is not a name",
			fmt.Sprintf("use small letters, digits and inner '-', '_' or '.', at most %d", maxName))
	}
	return nil
}

// RuntimeDir makes and returns the folder below which every live sandbox of
// this user has a folder of its own: /run/creel for root, else
// $XDG_RUNTIME_DIR/creel, else creel-UID in the folder for temporary files.
// It fails unless the folder belongs to this user alone.
func RuntimeDir() (string, error) {
	dir := runtimeDirs()[0]
	if err := privateDir(dir); err != nil {
		return "", fault.Wrap(err, "open runtime folder", fault.General, "export XDG_RUNTIME_DIR=DIR, a folder with mode 0700 of your own")
	}
	return dir, nil
}

// runtimeDirs lists where sandboxes of this user may be, the place for new
// ones first. The fallback is always looked at, so that a shell with
// XDG_RUNTIME_DIR finds what one without it (su, cron) started.
func runtimeDirs() []string {
	if os.Geteuid() == 0 {
		return []string{"/run/creel"}
	}
	var dirs []string
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(xdg) && ownDir(xdg) == nil {
		dirs = append(dirs, filepath.Join(xdg, "creel"))
	}
	return append(dirs, filepath.Join(os.TempDir(), "creel-"+strconv.Itoa(os.Geteuid())))
}

// StateDir makes and returns the folder for what outlives a sandbox (audit
// logs): /var/lib/creel for root, else $XDG_STATE_HOME/creel, else
// ~/.local/state/creel.
func StateDir() (string, error) {
	dir := "/var/lib/creel"
	if os.Geteuid() != 0 {
		state := os.Getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(state) {
			home, err := os.UserHomeDir()
			if err != nil {
				return "", fault.Wrap(err, "open state folder", fault.Usage, "export HOME=DIR or XDG_STATE_HOME=DIR")
			}
			state = filepath.Join(home, ".local", "state")
		}
		dir = filepath.Join(state, "creel")
	}
	if err := privateDir(dir); err != nil {
		return "", fault.Wrap(err, "open state folder", fault.General, MoveHints("export XDG_STATE_HOME=DIR, a folder of your own")...)
	}
	return dir, nil
}

// MoveHints are hints about XDG_STATE_HOME and XDG_RUNTIME_DIR; root, whose folders
// have fixed places, gets none.
func MoveHints(hints ...string) []string {
	if os.Geteuid() == 0 {
		return nil
	}
	return hints
}

// privateDir makes dir if it is missing and checks that it is a folder, not a
// link, of this user, that nobody else can enter.
func privateDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := ownDir(dir); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s: others may enter it (mode %04o, want 0700)", dir, info.Mode().Perm())
	}
	return nil
}

// ownDir checks that dir is a folder, not a link, that belongs to this user.
func ownDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: not a folder", dir)
	}
	uid, err := owner(info)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if uid != os.Geteuid() {
		return fmt.Errorf("%s: belongs to user %d, not to user %d", dir, uid, os.Geteuid())
	}
	return nil
}
