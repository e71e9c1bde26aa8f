package kernel

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

func actionAvailable(action uint32) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	runtime.KeepAlive(&action)
	return errno
}
