// Package stage makes a sandbox's first processes: process 1, which becomes a
// program of a few hundred bytes, and the agent up to its exec.
//
// Neither is a second Creel. The supervisor lists the system calls that a process
// is to make (batch), and a raw child makes them (child): a clone that shares the
// supervisor's memory, has a stack of its own, all signals blocked, and runs
// nothing but one loop over the list (call_linux.go). It exists between its clone
// and its exec, before any code of the agent does. What must be decided on the
// way is decided by the supervisor, in ordinary Go, between two lists.
//
//	Begin    clone into the namespaces; lo, routes, rules, listeners   (no policy needed)
//	Network  the listeners and netlink sockets arrive
//	Build    id maps; control group; mounts and pivot; streams; then
//	         clone the agent: user namespace, session, Landlock, no
//	         capabilities, seccomp; its listener arrives; it waits.
//	         Process 1 drops its capabilities and execs its own program
//	Release  "go": the agent execs
//
// To add a step: append calls to the list of the part that it belongs to. Every
// call that fails ends the start with the step's name, unless its errors are
// accepted on that line. Descriptors are cells (*int32) that a later call loads
// when it is made. Nothing in call_linux.go may allocate, grow its stack, write a
// pointer or enter the runtime.
//
// Who is who. Process 1 has all capabilities of the outer user namespace until
// its exec, none afterwards; it holds the control socket alone. The supervisor's
// death is end of file there, and the parent-death signal of the thread that cloned
// (it must be locked and live as long as the sandbox); either ends process 1, and
// the kernel ends everything in its pid namespace. The supervisor's memory is
// shared with processes of the sandbox's id for some milliseconds; started by root
// it cannot be looked into meanwhile (the change of ids makes it not dumpable) but
// for the three calls in which the agent opens its id maps. No process of another
// sandbox sees theirs.
//
// Protocol of the control socket (SOCK_SEQPACKET):
//
//	process 1 → supervisor   d done or failed (the list says what) · h hello, from its own program
//	agent → supervisor       n the seccomp listener · a failed
//	supervisor → process 1   1 byte: the next list, descriptors by SCM_RIGHTS
//	process 1 → supervisor   4 bytes: the agent's wait status
//	supervisor → process 1   8 bytes: pid and signal to send
//
// A Stage belongs to one goroutine, locked to its thread.
// It may import only sandbox/spec, x/sys/unix and the constants of go-landlock.
package stage
