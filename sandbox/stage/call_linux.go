package stage

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A call is one system call that a child makes. All that it points to lies in
// memory of the supervisor, which the child shares until it execs.
type call struct {
	nr  uintptr
	arg [6]uintptr

	load    uint8            // bit i: arg[i] is the address of an int32 that holds the argument
	retry   bool             // again on EINTR
	exact   bool             // the result must be want; anything else is end of file
	skip    uint8            // after an accepted error: how many of the calls behind are left out
	accept  [4]syscall.Errno // errors that do not fail
	any     bool             // no error fails
	want    uintptr
	out     *int32 // takes the result, or the accepted error as a negative number
	what    string // for the error, with the path
	subject string
}

// Pseudo calls.
const (
	callClone   = 1 << 20       // clone another child: flags, stack, its *child
	callCheck   = callClone + 1 // the int32 at arg[0] must be 0; it is a negative errno otherwise
	callPresent = callClone + 2 // a negative arg[0] leaves out the next calls
	callCopy    = callClone + 3 // writes arg[0] to the int32 at arg[1]
)

// child is a process that makes calls and nothing else. It lives from clone to
// exec, on a stack of its own, in the supervisor's memory. It must not allocate,
// grow its stack, write a pointer or enter the runtime, because it has no thread
// that the runtime knows.
type child struct {
	calls *call
	count uintptr

	request int32 // socket; the next calls are there when one byte comes; -1: there are none
	report  int32 // socket for the one byte that says that the calls are done or have failed

	// What became of the calls, valid after the report.
	failed uintptr // index + 1; 0: none
	errno  syscall.Errno

	ask     unix.Msghdr // of the request, with room for descriptors
	askIOV  unix.Iovec
	askCtl  [2048]byte
	askText [1]byte
	say     byte // what it reports
	stack   []byte
	batch   *batch // alive as long as it runs
}

// childMain is where a child starts (clone_linux_*.s). It never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func childMain(c *child) {
	for {
		c.run()
		for {
			_, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(c.report), uintptr(unsafe.Pointer(&c.say)), 1, unix.MSG_NOSIGNAL, 0, 0)
			if e != syscall.EINTR {
				break
			}
		}
		if c.request < 0 {
			break
		}
		var n uintptr
		for {
			var e syscall.Errno
			c.ask.Controllen = uint64(len(c.askCtl)) // the kernel shortens it
			n, _, e = syscall.RawSyscall6(syscall.SYS_RECVMSG, uintptr(c.request), uintptr(unsafe.Pointer(&c.ask)), unix.MSG_CMSG_CLOEXEC, 0, 0, 0)
			if e != syscall.EINTR {
				break
			}
		}
		if n != 1 { // an error, or the supervisor's end
			break
		}
	}
	for {
		syscall.RawSyscall6(syscall.SYS_EXIT_GROUP, 253, 0, 0, 0, 0, 0)
	}
}

// run makes the calls up to the first that fails.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (c *child) run() {
	c.failed, c.errno = 0, 0
	for i := uintptr(0); i < c.count; i++ {
		s := (*call)(unsafe.Add(unsafe.Pointer(c.calls), i*unsafe.Sizeof(call{})))
		a0, a1, a2 := s.value(0), s.value(1), s.value(2)
		var r uintptr
		var e syscall.Errno
		switch s.nr {
		case callClone:
			r = clone(a0, a1, a2)
			if int(r) < 0 {
				e = syscall.Errno(-int(r))
			}
		case callCheck:
			e = syscall.Errno(-*s.number(0))
		case callCopy:
			*s.number(1) = int32(a0)
		case callPresent:
			if int(a0) < 0 {
				i += uintptr(s.skip)
			}
			continue
		default:
			for {
				r, _, e = syscall.RawSyscall6(s.nr, a0, a1, a2, s.value(3), s.value(4), s.value(5))
				if e != syscall.EINTR || !s.retry {
					break
				}
			}
		}
		if e != 0 {
			if !s.any && e != s.accept[0] && e != s.accept[1] && e != s.accept[2] && e != s.accept[3] {
				c.failed, c.errno = i+1, e
				return
			}
			r = -uintptr(e)
			i += uintptr(s.skip)
		} else if s.exact && r != s.want {
			c.failed = i + 1
			return
		}
		if s.out != nil {
			*s.out = int32(r)
		}
	}
}

//go:nosplit
//go:norace
//go:nocheckptr
func (s *call) value(i int) uintptr {
	if s.load&(1<<i) != 0 {
		return uintptr(int(*s.number(i)))
	}
	return s.arg[i]
}

// number is the int32 at the address that is argument i.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *call) number(i int) *int32 { return *(**int32)(unsafe.Pointer(&s.arg[i])) }

// clone starts a child on a stack, given its upper end. The result is a pid or a
// negative errno.
//
//go:noescape
func clone(flags, stack, arg uintptr) (r uintptr)

// childEntry is the address of childMain itself. The assembler's name for it is
// a wrapper, which race builds let enter the runtime.
var childEntry = func() uintptr {
	f := childMain
	return **(**uintptr)(unsafe.Pointer(&f))
}()

// initStart and initEnd enclose the program of process 1.
func initStart()
func initEnd()

// Read by the assembler alone.
var _, _, _ = childEntry, initStart, initEnd

var initBounds [2]uintptr
