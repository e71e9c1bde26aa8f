package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOwnFoldersAreBounded reads the size of every writable tmpfs from the
// kernel: a full one must leave the host its memory.
func TestOwnFoldersAreBounded(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		absent := filepath.Join(scratch(t), "absent")
		c := config(t, "/bin/sleep", "1000")
		c.ReadWrite = []Declared{{Path: absent}}
		s := start(t, c)
		live, err := ReadMounts(s.InitPID)
		if err != nil {
			t.Fatal(err)
		}
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			t.Fatal(err)
		}
		memory := uint64(info.Totalram) * uint64(info.Unit)
		want := map[string]uint64{"/tmp": 20, "/home/x": 20, "/var/tmp": 10, "/dev/shm": 10, absent: 10}
		seen := map[string]bool{}
		for _, m := range live {
			share, ok := want[m.Path]
			if !ok {
				if m.Type == "tmpfs" && m.Options["rw"] && !seen[m.Path] && !slices.Contains(s.Plan.Pins, m.Path) {
					t.Errorf("%s is writable, and of no known size: %s", m.Path, m.Super)
				}
				continue
			}
			delete(want, m.Path)
			seen[m.Path] = true
			size, inodes := superNumber(m.Super, "size"), superNumber(m.Super, "nr_inodes")
			if size == 0 || size > memory*share/100+uint64(os.Getpagesize()) { // rounded up to a page
				t.Errorf("%s: size %d, wanted at most %d %% of %d (%s)", m.Path, size, share, memory, m.Super)
			}
			if pages := size / uint64(os.Getpagesize()); inodes == 0 || inodes > max(pages+1, minInodes) {
				t.Errorf("%s: %d files for %d pages (%s)", m.Path, inodes, pages, m.Super)
			}
		}
		for path := range want {
			t.Errorf("%s is not mounted", path)
		}
	})
}

// superNumber reads an option such as size=408k, in bytes.
func superNumber(options, name string) uint64 {
	for _, o := range strings.Split(options, ",") {
		v, ok := strings.CutPrefix(o, name+"=")
		if !ok {
			continue
		}
		unit := uint64(1)
		for suffix, n := range map[string]uint64{"k": 1 << 10, "m": 1 << 20, "g": 1 << 30} {
			if digits, ok := strings.CutSuffix(v, suffix); ok {
				v, unit = digits, n
			}
		}
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return 0
		}
		return n * unit
	}
	return 0
}
