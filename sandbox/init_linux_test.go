package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/sandbox/spec"
)

// TestInitHoldsNothing lists the descriptors of process 1 from outside, once the
// agent runs: no mount of the host, no spec, no listener, no end of a stream.
func TestInitHoldsNothing(t *testing.T) {
	allowed := regexp.MustCompile(`^(0 /dev/null|1 /dev/null|2 pipe:.*|3 socket:.*|\d+ anon_inode:\[(eventpoll|eventfd|pidfd)\])$`)
	bothUsers(t, func(t *testing.T) {
		// What creel inherited itself goes nowhere either.
		inherited, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
		mustDo(t, err)
		defer unix.Close(inherited)
		for _, kind := range []spec.StreamKind{spec.StreamPipe, spec.StreamTTY, spec.StreamNone} {
			c := config(t, "/bin/sleep", "1000")
			c.Notify = true
			c.Streams = [3]spec.StreamKind{kind, kind, kind}
			s := start(t, c)
			if err := s.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			dir := fmt.Sprintf("/proc/%d/fd", s.InitPID)
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entries {
				to, err := os.Readlink(filepath.Join(dir, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				if line := e.Name() + " " + to; !allowed.MatchString(line) {
					got = append(got, line)
				}
			}
			sort.Strings(got)
			if len(got) > 0 {
				t.Errorf("streams %v: init holds\n%s", kind, strings.Join(got, "\n"))
			}
		}
	})
}
