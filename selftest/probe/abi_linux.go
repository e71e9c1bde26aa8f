package probe

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ForeignABI enters the kernel of an amd64 machine by another door: "int80" or
// "x32". It returns if the kernel let it; a filter that holds ends the process
// with SIGSYS.
func ForeignABI(door string) error {
	if door == "x32" {
		if _, _, errno := unix.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0); errno != 0 {
			return errno
		}
		return fmt.Errorf("x32 works")
	}
	code, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	copy(code, []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3}) // mov eax, getpid; int 0x80; ret
	entry := &struct{ fn uintptr }{uintptr(unsafe.Pointer(&code[0]))}
	(*(*func())(unsafe.Pointer(&entry)))()
	return fmt.Errorf("int 0x80 works")
}
