package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/creel-run/creel/fault"
)

const (
	socketName = "control.sock"
	lockName   = "lock"

	// maxSocketPath is sockaddr_un's sun_path without its final zero (unix(7)).
	maxSocketPath = 107
	// dialTime bounds a connect to a control socket: it is local, and a listener
	// accepts in microseconds.
	dialTime = 2 * time.Second
	// claimTries and claimPause are how long a claim waits for a lock that is not
	// held for long.
	claimTries = 5
	claimPause = 2 * time.Millisecond
	// claimRaces is how often a cleaner may take the folder away before it is locked.
	claimRaces = 1000
)

// Socket is the control socket of one sandbox, with the folder that it owns.
type Socket struct {
	net.Listener
	dir  string
	lock *os.File
	once sync.Once
}

// Listen claims a name: it makes the sandbox's folder in the runtime folder
// (0700), takes its lock, and listens on the control socket (0600). What a
// killed supervisor left is replaced. A name in use is a Usage error.
// Connections that CheckPeer refuses are closed by Accept.
func Listen(name string) (*Socket, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	root, err := RuntimeDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, name)
	path := filepath.Join(dir, socketName)
	if len(path) > maxSocketPath {
		return nil, fault.UsageError("listen on control socket", fmt.Sprintf("%s is %d bytes, more than a unix socket's %d", path, len(path), maxSocketPath),
			"choose a shorter --name, or a shorter XDG_RUNTIME_DIR")
	}
	lock, err := claim(dir)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(path) // nobody listens on it: the lock is ours
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		release(dir, lock)
		return nil, fault.Wrap(err, "listen on control socket", fault.General)
	}
	// The folder's mode has kept others out since before the socket was made.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		release(dir, lock)
		return nil, fault.Wrap(err, "listen on control socket", fault.General)
	}
	return &Socket{Listener: l, dir: dir, lock: lock}, nil
}

// Dir is the sandbox's folder; files that the owner puts there keep it from
// being removed, until the next Listen on the same name.
func (s *Socket) Dir() string { return s.dir }

// Accept returns the next connection of a peer that may speak here.
func (s *Socket) Accept() (net.Conn, error) {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if CheckPeer(c) == nil {
			return c, nil
		}
		_ = c.Close()
	}
}

// Hush stops listening and keeps the name.
func (s *Socket) Hush() error { return s.Listener.Close() }

// Close stops listening and gives the name back. It may be called again.
func (s *Socket) Close() error {
	err := s.Listener.Close() // removes the socket file too
	s.once.Do(func() { release(s.dir, s.lock) })
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// claim makes dir and takes its lock, which says that its owner lives: it ends
// with the process, whatever way that dies.
func claim(dir string) (*os.File, error) {
	for tries, gone := 0, 0; ; {
		err := privateDir(dir)
		if errors.Is(err, fs.ErrNotExist) && gone < claimRaces {
			gone++
			continue // a cleaner took it away before it was looked at
		}
		if err != nil {
			return nil, fault.Wrap(err, "claim sandbox name", fault.General)
		}
		lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|lockFlags, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a cleaner took the folder away in between
		}
		if err != nil {
			return nil, fault.Wrap(err, "claim sandbox name", fault.General)
		}
		got, err := tryLock(lock)
		if err != nil {
			_ = lock.Close()
			return nil, fault.Wrap(err, "claim sandbox name", fault.General)
		}
		if !got && tries < claimTries {
			// Who lists sandboxes holds a lock for a moment, to see whether its owner is dead.
			tries++
			_ = lock.Close()
			time.Sleep(claimPause)
			continue
		}
		if !got {
			_ = lock.Close()
			name := filepath.Base(dir)
			return nil, fault.UsageError("claim sandbox name", name+" is in use",
				"creel ls", "creel stop "+name, "choose another with --name")
		}
		if sameFile(lock) {
			return lock, nil
		}
		_ = lock.Close() // it was removed between open and lock
	}
}

// sameFile reports that the path of f still leads to f.
func sameFile(f *os.File) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(held, named)
}

// release removes what Listen made and unlocks last, so that nobody else can
// have claimed the folder in the meantime.
func release(dir string, lock *os.File) {
	_ = os.Remove(filepath.Join(dir, socketName))
	_ = os.Remove(filepath.Join(dir, lockName))
	_ = os.Remove(dir) // stays if there is more in it
	_ = lock.Close()
}

// collect removes the folder of a sandbox whose owner is dead; false when it lives.
func collect(dir string) (dead bool, err error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|lockFlags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		// Made, not locked yet (claim tries again then); or its lock was just removed.
		_ = os.Remove(dir)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	got, err := tryLock(lock)
	if err != nil || !got {
		_ = lock.Close()
		return false, err
	}
	if !sameFile(lock) {
		_ = lock.Close()
		return true, nil
	}
	release(dir, lock)
	return true, nil
}

// Names lists the sandboxes of this user whose supervisor lives, sorted, and
// removes the folders of dead ones.
func Names() ([]string, error) {
	var names []string
	for _, root := range runtimeDirs() {
		entries, err := listRoot(root)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() || CheckName(e.Name()) != nil {
				continue
			}
			if dead, err := collect(filepath.Join(root, e.Name())); err == nil && !dead {
				names = append(names, e.Name())
			}
		}
	}
	sort.Strings(names)
	return names, nil
}

// Left removes the folders of dead sandboxes. clean is told each that holds more
// than Creel's own lock and socket, while nobody else can claim it; what it does
// not remove stays.
func Left(clean func(dir string) error) error {
	live, failed := Names() // removes those that hold no more
	for _, root := range runtimeDirs() {
		entries, err := listRoot(root)
		if err != nil {
			return err
		}
		for _, e := range entries {
			dir := filepath.Join(root, e.Name())
			if !e.IsDir() || CheckName(e.Name()) != nil || slices.Contains(live, e.Name()) || !leftover(dir) {
				continue // a claim on one that lives would wait for it
			}
			lock, err := claim(dir)
			if err != nil {
				continue // it lives
			}
			failed = errors.Join(failed, clean(dir))
			release(dir, lock)
		}
	}
	return failed
}

// leftover reports whether a folder holds more than lock and socket.
func leftover(dir string) bool {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err == nil && e.Name() != lockName && e.Name() != socketName {
			return true
		}
	}
	return false
}

// Leftovers names the dead sandboxes that the next start has to clean up after.
func Leftovers() ([]string, error) {
	live, err := Names()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, root := range runtimeDirs() {
		entries, err := listRoot(root)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() && CheckName(e.Name()) == nil && !slices.Contains(live, e.Name()) && leftover(filepath.Join(root, e.Name())) {
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// Lives reports whether a sandbox's supervisor holds its name still.
func Lives(name string) bool {
	return slices.ContainsFunc(runtimeDirs(), func(root string) bool { return held(filepath.Join(root, name)) })
}

// held reports whether somebody holds the lock of a sandbox's folder.
func held(dir string) bool {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|lockFlags, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	got, err := tryLock(lock)
	return err != nil || !got
}

func listRoot(root string) ([]fs.DirEntry, error) {
	if err := ownDir(root); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fault.Wrap(err, "list sandboxes", fault.General)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fault.Wrap(err, "list sandboxes", fault.General)
	}
	return entries, nil
}

// Find returns the control socket of a live sandbox.
func Find(name string) (path string, err error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	for _, root := range runtimeDirs() {
		if ownDir(root) != nil {
			continue
		}
		path := filepath.Join(root, name, socketName)
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket && held(filepath.Join(root, name)) {
			return path, nil
		}
	}
	return "", noSandbox(name)
}

func noSandbox(name string) error {
	return fault.UsageError("find sandbox", "no sandbox "+name+" is running", "creel ls")
}
