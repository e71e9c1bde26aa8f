package caller

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// script asks an interpreter what it runs; empty if it is none or does not say.
func (ps *processes) script(id int, binary string) string {
	if !isInterpreter(binary) {
		return ""
	}
	fd, err := unix.Openat(int(ps.proc.Fd()), strconv.Itoa(id)+"/cmdline", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var buf [maxCommandLine]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil || n <= 0 {
		return ""
	}
	return scriptName(buf[:n])
}
