package stage

import (
	"fmt"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// streams are the agent's standard streams: inner ends for the agent, outer
// ends for the supervisor. They are made inside, so that their inodes belong to
// the agent, which may then open /dev/stdout again; and nothing of the host's is
// ever handed in.
type streams struct {
	inner [3]int
	outer []opened
	tty   int // the terminal's inner end, or -1
}

func openStreams(s *spec.Spec) (*streams, error) {
	st := &streams{tty: -1}
	names := [3]string{spec.FDStdin, spec.FDStdout, spec.FDStderr}
	for i, kind := range s.Streams {
		switch kind {
		case spec.StreamTTY:
			if st.tty < 0 {
				outer, inner, err := openPTY(s.Rows, s.Cols)
				if err != nil {
					return nil, err
				}
				st.tty = inner
				st.outer = append(st.outer, opened{spec.FDPTY, outer})
			}
			st.inner[i] = st.tty
		case spec.StreamPipe:
			r, w, err := pipe()
			if err != nil {
				return nil, err
			}
			if i == 0 {
				st.inner[i] = r
				st.outer = append(st.outer, opened{names[i], w})
			} else {
				st.inner[i] = w
				st.outer = append(st.outer, opened{names[i], r})
			}
		default:
			fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("open /dev/null: %w", err)
			}
			st.inner[i] = fd
		}
	}
	return st, nil
}

// openPTY opens a terminal of the sandbox's own devpts and makes it the
// controlling terminal of the session that the stage was started in.
func openPTY(rows, cols uint16) (outer, inner int, err error) {
	outer, err = unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("open pty: %w", err)
	}
	if err := unix.IoctlSetPointerInt(outer, unix.TIOCSPTLCK, 0); err != nil {
		return 0, 0, fmt.Errorf("unlock pty: %w", err)
	}
	n, err := unix.IoctlGetUint32(outer, unix.TIOCGPTN)
	if err != nil {
		return 0, 0, fmt.Errorf("number pty: %w", err)
	}
	inner, err = unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("open pty: %w", err)
	}
	if rows > 0 && cols > 0 {
		if err := unix.IoctlSetWinsize(inner, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
			return 0, 0, fmt.Errorf("size pty: %w", err)
		}
	}
	if err := unix.IoctlSetInt(inner, unix.TIOCSCTTY, 0); err != nil {
		return 0, 0, fmt.Errorf("take terminal: %w", err)
	}
	return outer, inner, nil
}
