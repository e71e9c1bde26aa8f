package stage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// initControl is the descriptor of the control socket in process 1, the only one
// that it has.
const initControl = 3

// initProgram is the file that process 1 execs: the instructions between
// initStart and initEnd (clone_linux_*.s) behind a head that the kernel takes
// (elf(5)). What it does:
//
//	die with the supervisor; not be looked into; say hello
//	one thread: wait for every child; write the agent's status, 4 bytes
//	the other:  read 8 bytes, pid and signal: send it; end of file: exit
//
// It holds no secret and no memory of the supervisor, needs one page, and
// whatever it fails at ends the sandbox.
func initProgram() ([]byte, error) {
	size := initBounds[1] - initBounds[0]
	if initBounds[1] <= initBounds[0] || size > 2048 {
		return nil, errors.New("make process 1: its program is not where it should be")
	}
	const (
		headLen = 64 + 56 // Ehdr, one Phdr
		base    = 0x400000
	)
	machine := uint16(62) // EM_X86_64
	if runtime.GOARCH == "arm64" {
		machine = 183 // EM_AARCH64
	}
	le := binary.LittleEndian
	f := append(make([]byte, 0, headLen+size), 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	f = le.AppendUint16(f, 2) // ET_EXEC
	f = le.AppendUint16(f, machine)
	f = le.AppendUint32(f, 1)
	f = le.AppendUint64(f, base+headLen) // entry
	f = le.AppendUint64(f, 64)           // program headers
	f = le.AppendUint64(f, 0)
	f = le.AppendUint32(f, 0)
	for _, n := range []uint16{64, 56, 1, 0, 0, 0} {
		f = le.AppendUint16(f, n)
	}
	f = le.AppendUint32(f, 1) // PT_LOAD
	f = le.AppendUint32(f, 5) // readable, executable
	for _, n := range []uint64{0, base, base, uint64(headLen + size), uint64(headLen + size), 0x10000} {
		f = le.AppendUint64(f, n)
	}
	text := *(*uintptr)(unsafe.Pointer(&initBounds[0]))
	return append(f, unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&text))), size)...), nil
}

// openInit puts the program of process 1 into a sealed file that can be
// executed and, by whoever has no capability, not read: the kernel then keeps
// everyone in the sandbox from looking into the process.
func openInit() (int, error) {
	program, err := initProgram()
	if err != nil {
		return -1, err
	}
	fd, err := unix.MemfdCreate("creel-init", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("make process 1: %w", err)
	}
	if _, err = unix.Write(fd, program); err == nil {
		err = unix.Fchmod(fd, 0o111)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("make process 1: %w", err)
	}
	return fd, nil
}
