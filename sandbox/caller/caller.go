package caller

import (
	"log/slog"
	"os"
)

// Caller is the program that opened a connection. The zero value is unknown. An
// unknown caller may have a Binary all the same, for the record: the path of a
// program that Config.Verify refused, that has no name any more, or that was changed
// more often than its digest is taken. No rule may match it.
type Caller struct {
	Known     bool
	PID       int      // as the host sees it; it may have ended since
	Binary    string   // path of the executable as the sandbox sees it; hostile text
	Script    string   // what an interpreter says that it runs: a claim of the agent's, for the record alone
	Ancestors []string // of the processes above, nearest first, up to the sandbox's init, not included
	Dev, Ino  uint64   // of the executable
	SHA256    string   // of its content, if Config.Wants asks for it and it can be read
	Why       string   // it is unknown, for people; empty: for want of anything to say
}

// Config is what a Tracker needs. New takes over both files, and closes them in any case.
type Config struct {
	Notify *os.File // seccomp listener of the agent's processes
	Diag   *os.File // NETLINK_SOCK_DIAG socket that was made in the sandbox's network namespace
	Init   int      // process 1 of the sandbox, as the host sees it

	// UID and GID are the agent's ids on the host: under root, unix sockets are
	// connected to as they. An ordinary user's agent has that user's own.
	UID, GID int

	// Verify is asked for the executable and each ancestor's, while the caller
	// waits in its connect; nil accepts all. If it says no, the caller is unknown,
	// or the ancestor is left out. It must be safe for concurrent use.
	Verify func(path string, dev, ino uint64) bool

	// Wants says what beside the program of this path is looked at: the ones above
	// it, and the digest of its content. Nil: the ancestors alone.
	Wants func(path string) (ancestors, digest bool)

	// Refused is told of each connect to a unix socket that no process of the
	// sandbox listens on: the path, as the agent wrote it, and who asked. The
	// caller waits meanwhile. Nil: nobody is told.
	Refused func(path string, c Caller)

	Log *slog.Logger // nil: nothing is logged
}
