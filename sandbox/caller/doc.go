// Package caller tells which program of a sandbox owns a TCP connection. It is
// known from the moment of connect(2), by socket, and not guessed from /proc
// when the connection has already come in.
//
// The agent's processes run under a seccomp filter that hands connect(2) to a
// listener descriptor, which the supervisor holds outside the sandbox. While
// the agent's thread waits in the kernel, Tracker takes its socket (pidfd_getfd),
// notes the socket's cookie with the program that the thread runs and the
// programs above it, and lets the call go on. When the connection arrives, one
// exact sock_diag query finds the cookie of the client's socket. The filter must
// refuse the other ways to open a TCP connection (MSG_FASTOPEN) and MPTCP,
// whose subflows have cookies of their own.
//
// Every read of a process lies between two checks that the notification is
// still the same one: a thread that waits in connect(2) cannot have changed its
// program, because execve ends all other threads first. Every parent is read
// through a pidfd, after which its child must still name it.
//
// How it fails: what cannot be told for certain is an unknown Caller, the zero
// value, and rules that name binaries do not match it. The call itself always
// goes on: the verdict falls when the connection arrives. If the Tracker ends,
// the kernel answers the agent's connect with ENOSYS.
//
// What is unknown, beside races that were lost: executables that were deleted
// or never had a name (memfd), those that the supervisor may not look at (an
// ordinary user's sandbox running a file that its user cannot read), and every
// process if kernel.yama.ptrace_scope is 3.
//
// Config.Verify refuses more: with sandbox.HostFile, a program is known only if
// it is the host's file of that path. One that the agent made itself in a folder
// of the sandbox's own (/tmp, the home) is unknown, whatever its path says, and
// rules that name binaries do not match it.
//
// What it cannot see: a socket that is handed to another process after it was
// connected (SCM_RIGHTS, inheritance). The program that connected is the one
// that is judged. Two programs that both call connect on one socket make its
// caller unknown. A script's program is its interpreter, and a program started
// through the loader by hand is the loader. Paths are those that the sandbox
// sees. An agent cannot have a listener of its own on the same calls: the
// sandbox's filter was there first and wins, so sandboxes nested inside that
// rely on user notification of connect do not work.
//
// It may import only leaves. Lookup is safe for concurrent use and before Run;
// Run starts a few goroutines and waits for them.
//
// Sources: seccomp_unotify(2), pidfd_open(2), pidfd_getfd(2), sock_diag(7),
// proc_pid_exe(5).
package caller
