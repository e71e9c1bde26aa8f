// Package caller tells which program of a sandbox owns a TCP connection. It is
// known from the moment of connect(2), by socket, and not guessed from /proc
// when the connection has already come in.
//
// The agent's processes run under a seccomp filter that hands connect(2) to a
// listener descriptor, which the supervisor holds outside the sandbox. While
// the agent's thread waits in the kernel, Tracker takes its socket (pidfd_getfd)
// and copies the address, notes the socket's cookie with the program that the
// thread runs and the programs above it, and makes the call itself. The agent's
// own call never goes on: what was judged cannot be exchanged before the kernel
// looks at it. When the connection arrives, one exact sock_diag query finds the
// cookie of the client's socket. The filter must refuse the other ways to open a
// TCP connection (MSG_FASTOPEN), and MPTCP, whose subflows have cookies of their own.
//
// Unix sockets: a path is resolved as the caller sees it, and connected to only
// if a process of the sandbox's network namespace listens on that inode. A
// server of the host, also one that came later, in a folder that the agent may
// write, answers as if nobody listened. The server sees the agent's ids; for the
// process it sees 0. The filter must refuse unix datagrams, which need no connect.
//
// Every read of a process lies between two checks that the notification is
// still the same one: a thread that waits in connect(2) cannot have changed its
// program, because execve ends all other threads first. Every parent is read
// through a pidfd, after which its child must still name it.
//
// How it fails: what cannot be told for certain is an unknown Caller, the zero
// value, and rules that name binaries do not match it. The call itself is made
// all the same: the verdict falls when the connection arrives. If its socket or
// address cannot be taken, it is not made (EPERM). If the Tracker ends, the kernel
// answers the agent's connect with ENOSYS.
//
// What is unknown: executables that were deleted or never had a name (memfd).
// Those that the supervisor may not look at (an ordinary user's sandbox running a
// file that its user cannot read) cannot connect; with kernel.yama.ptrace_scope 3
// nobody can, and New fails.
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
// rely on user notification of connect do not work. Landlock rules about TCP ports
// and abstract sockets that an agent puts on itself do not hold for connects.
//
// It may import only leaves. Lookup is safe for concurrent use and before Run;
// Run starts goroutines, one thread each, and waits for them.
//
// Sources: seccomp_unotify(2), pidfd_open(2), pidfd_getfd(2), sock_diag(7),
// proc_pid_exe(5).
package caller
