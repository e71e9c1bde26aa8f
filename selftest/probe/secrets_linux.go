package probe

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Hunt looks for a value wherever the agent can read: its environment and files of
// its own, of processes, and of the folders given. turned is the value from back to
// front, so that the order to look for it does not hold it.
func Hunt(turned string, folders []string) []Attempt {
	value := []byte(turned)
	for i, j := 0, len(value)-1; i < j; i, j = i+1, j-1 {
		value[i], value[j] = value[j], value[i]
	}
	return []Attempt{{Layer: Credentials, Name: "look for the value of a secret", Try: func() string {
		var found []string
		for _, e := range os.Environ() {
			if strings.Contains(e, string(value)) {
				found = append(found, "the environment")
			}
		}
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		more, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		files = append(files, more...)
		for _, dir := range folders {
			_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() && len(files) < 2000 {
					files = append(files, path)
				}
				return nil
			})
		}
		for _, f := range files {
			if holds(f, value) {
				found = append(found, f)
			}
		}
		return strings.Join(found, ", ")
	}}}
}

func holds(path string, value []byte) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 4<<20))
	return bytes.Contains(b, value)
}

// OpenDescriptors reports what the process was given open beyond its streams. It must
// be made before anything is opened, and Go's own poller left out.
func OpenDescriptors() []Attempt {
	return []Attempt{{Layer: Descriptors, Name: "descriptors beyond the streams", Try: func() string {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err.Error()
		}
		var open []string
		for _, e := range entries {
			if len(e.Name()) == 1 && e.Name() < "3" {
				continue
			}
			to, err := os.Readlink("/proc/self/fd/" + e.Name())
			if err != nil || strings.HasPrefix(to, "anon_inode:[event") { // the directory itself is closed by now
				continue
			}
			open = append(open, e.Name()+" is "+to)
		}
		return strings.Join(open, ", ")
	}}}
}

// Signals: init has the agent's own id on the host, so that only Landlock's scope
// keeps signals from it (kernel-notes 3).
func Signals() []Attempt {
	return []Attempt{{Layer: Landlock, Name: "signal init", Try: func() string {
		if err := unix.Kill(1, 0); err != unix.EPERM {
			return "no refusal"
		}
		return ""
	}}}
}
