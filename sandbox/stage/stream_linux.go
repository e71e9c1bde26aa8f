package stage

import (
	"unsafe"

	"github.com/creel-run/creel/sandbox/spec"
	"golang.org/x/sys/unix"
)

// streams are the agent's standard streams: inner ends for the agent, outer
// ends for the supervisor. They are made inside, so that their inodes belong to
// the agent, which may then open /dev/stdout again; and nothing of the host's is
// ever handed in.
type streams struct {
	inner [3]*int32
	outer []opened
	tty   *int32 // the terminal's inner end, or nil
}

func (b *batch) streams(s *spec.Spec) *streams {
	st := &streams{}
	names := [3]string{spec.FDStdin, spec.FDStdout, spec.FDStderr}
	for i, kind := range s.Streams {
		b.step("open stream", names[i])
		switch kind {
		case spec.StreamTTY:
			if st.tty == nil {
				var outer *int32
				outer, st.tty = b.terminal(s.Rows, s.Cols)
				st.outer = append(st.outer, opened{spec.FDPTY, outer})
			}
			st.inner[i] = st.tty
		case spec.StreamPipe:
			ends := &[2]int32{-1, -1}
			b.add(unix.SYS_PIPE2, unsafe.Pointer(ends), unix.O_CLOEXEC)
			r, w := &ends[0], &ends[1]
			if i == 0 {
				st.inner[i] = r
				st.outer = append(st.outer, opened{names[i], w})
			} else {
				st.inner[i] = w
				st.outer = append(st.outer, opened{names[i], r})
			}
		default:
			st.inner[i] = b.get(unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		}
	}
	return st
}

// terminal opens a terminal of the sandbox's own devpts and makes it the
// controlling terminal of the session that process 1 leads. It is the first of
// its file system, so its number is 0.
func (b *batch) terminal(rows, cols uint16) (outer, inner *int32) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	outer = b.get(unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/pts/ptmx", flags, 0)
	b.add(unix.SYS_IOCTL, outer, unix.TIOCSPTLCK, unsafe.Pointer(new(int32)))
	inner = b.get(unix.SYS_OPENAT, unix.AT_FDCWD, "/dev/pts/0", flags, 0)
	if rows > 0 && cols > 0 {
		b.add(unix.SYS_IOCTL, inner, unix.TIOCSWINSZ, unsafe.Pointer(&unix.Winsize{Row: rows, Col: cols}))
	}
	b.add(unix.SYS_IOCTL, inner, unix.TIOCSCTTY, 0)
	return outer, inner
}
