package caller

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Listening says why nothing can be reported any more: the listener hangs up when
// no process is left under the filter that it came with. nil: it can.
func (t *Tracker) Listening() error {
	return control(t.notify, func(fd uintptr) error {
		p := []unix.PollFd{{Fd: int32(fd)}}
		if _, err := unix.Poll(p, 0); err != nil {
			return fmt.Errorf("ask listener: %w", err)
		}
		if p[0].Revents&(unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0 {
			return errGone
		}
		return nil
	})
}
