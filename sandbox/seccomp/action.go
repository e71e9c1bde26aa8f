package seccomp

import "fmt"

// Action is what the kernel does with a call: a SECCOMP_RET value of
// seccomp(2). The zero value kills the calling thread.
type Action uint32

const (
	Kill   Action = 0x80000000 // SECCOMP_RET_KILL_PROCESS
	Notify Action = 0x7fc00000 // SECCOMP_RET_USER_NOTIF
	Allow  Action = 0x7fff0000 // SECCOMP_RET_ALLOW

	retErrno Action = 0x00050000 // SECCOMP_RET_ERRNO, the number in the low half
)

// The answers that the filter gives, with Linux's error numbers, which are the
// same on both architectures.
const (
	refuse          = retErrno | 1  // EPERM
	refuseValue     = retErrno | 22 // EINVAL
	refuseAccess    = retErrno | 13 // EACCES
	absent          = retErrno | 38 // ENOSYS
	refuseProtocol  = retErrno | 93 // EPROTONOSUPPORT
	refuseOperation = retErrno | 95 // EOPNOTSUPP
	refuseFamily    = retErrno | 97 // EAFNOSUPPORT
)

// Errno is the error number that the caller gets, and whether it gets one.
func (a Action) Errno() (int, bool) {
	return int(a & 0xffff), a&0xffff0000 == retErrno
}

func (a Action) String() string {
	switch a {
	case Allow:
		return "allow"
	case Notify:
		return "notify"
	case Kill:
		return "kill process"
	case refuse:
		return "EPERM"
	case refuseAccess:
		return "EACCES"
	case refuseValue:
		return "EINVAL"
	case absent:
		return "ENOSYS"
	case refuseProtocol:
		return "EPROTONOSUPPORT"
	case refuseOperation:
		return "EOPNOTSUPP"
	case refuseFamily:
		return "EAFNOSUPPORT"
	}
	return fmt.Sprintf("action %#x", uint32(a))
}
