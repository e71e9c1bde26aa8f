package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Probe asks the machine. It takes some tens of milliseconds, changes nothing,
// and is bounded by ctx: what did not answer by then is Unknown.
func Probe(ctx context.Context, paths Paths) []Feature {
	if abs, err := filepath.Abs(paths.Workspace); err == nil { // "" is the current folder
		paths.Workspace = abs
	}
	root := os.Geteuid() == 0
	features := []Feature{version()}
	features = append(features, namespaces(ctx)...)
	features = append(features, landlock(), seccompFilter(), notification(), ptraceScope())
	if root {
		features = append(features, idMapped(ctx, paths.Workspace))
	}
	features = append(features, cgroups(), subIDs())
	if !root {
		features = append(features, groups())
	}
	return append(features, memory(), disk(paths.State), node(ctx))
}

// minKernel is the oldest kernel that run can work on: Landlock came with 5.13,
// after pidfd_getfd (5.6) and mount_setattr (5.12).
var minKernel = [2]int{5, 13}

func version() Feature {
	f := Feature{Name: "kernel", Required: true}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		f.Detail = err.Error()
		return f
	}
	release := unix.ByteSliceToString(u.Release[:])
	f.Detail = release + " " + unix.ByteSliceToString(u.Machine[:])
	major, minor, ok := parseRelease(release)
	switch {
	case !ok:
	case major > minKernel[0] || major == minKernel[0] && minor >= minKernel[1]:
		f.Outcome = Yes
	default:
		f.Outcome = No
		f.Fix = fmt.Sprintf("boot a kernel of version %d.%d or newer", minKernel[0], minKernel[1])
	}
	return f
}

// parseRelease reads "6.8.0-31-generic".
func parseRelease(s string) (major, minor int, ok bool) {
	n, err := fmt.Sscanf(s, "%d.%d", &major, &minor)
	return major, minor, err == nil && n == 2 && major >= 0 && minor >= 0
}

// landlock asks for the highest ABI (landlock(7), LANDLOCK_CREATE_RULESET_VERSION).
func landlock() Feature {
	f := Feature{Name: "landlock", Required: true}
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch errno {
	case 0:
		f.Outcome, f.Detail = Yes, fmt.Sprintf("ABI %d", abi)
		if abi < scopeABI {
			f.Detail += fmt.Sprintf("; signals and abstract sockets are scoped from ABI %d (Linux 6.12) on", scopeABI)
		}
	case unix.ENOSYS:
		f.Outcome, f.Detail, f.Fix = No, "not in this kernel", "boot a kernel of version 5.13 or newer with CONFIG_SECURITY_LANDLOCK=y"
	case unix.EOPNOTSUPP:
		f.Outcome, f.Detail = No, "built in, switched off at boot"
		f.Fix = "add landlock to the lsm= list of the kernel's command line, and boot again"
	default:
		f.Detail = errno.Error()
	}
	return f
}

// scopeABI is the Landlock ABI that keeps signals and abstract sockets inside.
const scopeABI = 6

func seccompFilter() Feature {
	return seccompAction("seccomp filter", unix.SECCOMP_RET_KILL_PROCESS, "boot a kernel with CONFIG_SECCOMP_FILTER=y")
}

func notification() Feature {
	return seccompAction("seccomp notification", unix.SECCOMP_RET_USER_NOTIF, "boot a kernel of version 5.6 or newer with CONFIG_SECCOMP_FILTER=y")
}

// seccompAction asks whether a filter may use an action (seccomp(2),
// SECCOMP_GET_ACTION_AVAIL); nothing is installed.
func seccompAction(name string, action uint32, fix string) Feature {
	f := Feature{Name: name, Required: true}
	switch err := actionAvailable(action); err {
	case 0:
		f.Outcome = Yes
	case unix.ENOSYS, unix.EINVAL, unix.EOPNOTSUPP:
		f.Outcome, f.Detail, f.Fix = No, err.Error(), fix
	default:
		f.Detail = err.Error()
	}
	return f
}

// ptraceScope: the supervisor takes a copy of the agent's socket with
// pidfd_getfd, which Yama refuses everybody at level 3.
func ptraceScope() Feature {
	f := Feature{Name: "pidfd_getfd", Required: true}
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	level := strings.TrimSpace(string(b))
	switch {
	case os.IsNotExist(err):
		f.Outcome, f.Detail = Yes, "Yama is not in this kernel"
	case err != nil:
		f.Detail = err.Error()
	case level == "3":
		f.Outcome, f.Detail = No, "Yama forbids it to everybody (kernel.yama.ptrace_scope = 3)"
		f.Fix = "set kernel.yama.ptrace_scope = 2 or less in /etc/sysctl.d, and boot again (3 cannot be lowered)"
	default:
		f.Outcome, f.Detail = Yes, "kernel.yama.ptrace_scope = "+level
	}
	return f
}
