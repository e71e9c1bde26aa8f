// Package confine runs a part of creel itself where it can do nothing but compute:
// for work on foreign input that must not be done beside the secrets.
//
// Start executes this program again in a hidden role, in namespaces of its own, with
// an empty environment and one socket, which is its standard input and output. The
// role calls Self before it reads a byte: from then on nothing can be opened, no socket
// made, no program started, no code mapped, and memory is bounded. It dies with the
// thread that started it, and so with the supervisor.
//
//	wall          what it keeps                          read back by
//	namespaces    no network, no other process, no mount  tests, /proc
//	Landlock      no file, no TCP, no abstract socket     tests
//	seccomp       seccomp.Computing                       tests, /proc
//	limits        memory, core dumps, file sizes, files   tests, /proc
//
// A wall that cannot be built is an error, and there is no child. It imports
// sandbox/seccomp. Start may be called concurrently; a Child is for one user.
//
// Sources: user_namespaces(7), landlock(7), seccomp(2), getrlimit(2), prctl(2).
package confine
