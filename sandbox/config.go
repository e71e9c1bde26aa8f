package sandbox

import (
	"fmt"
	"os"

	"github.com/creel-run/creel/sandbox/seccomp"
	"github.com/creel-run/creel/sandbox/spec"
)

// DedicatedID is the host id that an agent gets when Creel is started by root.
// It lies above the ranges that systemd and the usual tools hand out
// (61184…65519, 524288…1879048191) and below 2^31.
const DedicatedID = 1879048192

// Config says what a sandbox is made of, in terms of the host.
type Config struct {
	Name    string
	Command []string
	Env     []string
	Dir     string // working folder inside; empty: the workspace

	ReadOnly  []Declared
	ReadWrite []Declared
	Workspace Workspace
	Protect   []string   // host paths without links, inside what is writable, that stay read-only (the policy file, settings)
	Hidden    []Declared // host paths that do not exist inside, whatever shows them
	NoExec    []string   // host paths in which nothing can be executed
	Home      string     // the agent's home; an empty folder of its own unless a declared path covers it
	HomeFrom  string     // host folder that is the home, writable; empty: see Home
	Files     []File

	// WithoutLandlock is the operator's written acceptance (landlock
	// compatibility: best_effort) of a kernel without it; it is reported.
	WithoutLandlock bool

	// RunAs is the agent's id; 0 leaves the choice to Creel: the caller's own id,
	// or for root the dedicated one.
	RunAsUser, RunAsGroup int

	Limits Limits
	// OnGroup is told the folders of the control group before they are made, so
	// that whoever comes after a kill can remove them; may be nil.
	OnGroup func(dirs []string) error

	Syscalls []seccomp.Switch // open ones; those that are open by default have to be named
	Notify   bool             // connect(2) is reported to Sandbox.Notify; the agent waits for the answer

	Streams    [3]spec.StreamKind
	Rows, Cols uint16
	Network    spec.Network
}

// Declared is a host path that the policy shows to the agent.
type Declared struct {
	Path     string
	Optional bool // its absence is accepted, and reported
}

// File is a small file that stands inside, readable by all, at one path or at
// several.
type File struct {
	Paths []string
	Data  []byte
	Make  func() ([]byte, error) // in place of Data: called once, while the kernel builds the rest
}

// Workspace is the folder that the agent works in, at its own path inside.
type Workspace struct {
	Path  string
	Write bool
	// Layer is a host folder that holds "upper" and "work": what the agent writes
	// goes there, and the workspace stays as it is. Empty: it writes the workspace.
	Layer string
	// Apart: it is not mounted for being the workspace; a declared path may show it.
	Apart bool
}

// Exit is how the agent ended. Signal is 0 unless a signal ended it.
type Exit struct {
	Status int
	Signal int
}

// Code is the status that a shell would report.
func (e Exit) Code() int {
	if e.Signal != 0 {
		return 128 + e.Signal
	}
	return e.Status
}

// NotSupported says that the host lacks what a sandbox needs.
type NotSupported struct {
	Feature   string
	MinKernel string // empty: not a matter of the kernel's version
	Fix       string // a command or setting
	Err       error
}

func (e *NotSupported) Error() string {
	s := e.Feature + " is not available"
	if e.MinKernel != "" {
		s += fmt.Sprintf(" (Linux %s or newer has it)", e.MinKernel)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *NotSupported) Unwrap() error { return e.Err }

// LinkError refuses a declared path that leads through a symbolic link which an
// agent may have planted.
type LinkError struct {
	Path   string // as declared
	Link   string // the link on the way
	Target string // what it says
	Real   string // where the path leads by it; empty: nowhere
	Why    string
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("open declared path %s: %s is a symbolic link to %s, and is not followed: %s", e.Path, e.Link, e.Target, e.Why)
}

// Hint is what the operator can do.
func (e *LinkError) Hint() string {
	if e.Real == "" {
		return "look who made " + e.Link + "; then declare the real path"
	}
	return "look who made " + e.Link + "; if it is yours, declare the real path: " + e.Real
}

func (e *LinkError) Unwrap() error { return os.ErrPermission }

// CommandError says that the command could not be started inside.
type CommandError struct {
	Step  string
	Errno int
	Text  string
}

func (e *CommandError) Error() string { return e.Step + ": " + e.Text }

// InsideIDs are the ids that the agent of a Config sees itself under.
func InsideIDs(c Config) (uid, gid int) {
	id := identify(c)
	return id.insideUID, id.insideGID
}

// identity is who the agent is, outside and inside.
type identity struct {
	root                 bool // the supervisor is root
	hostUID, hostGID     int
	insideUID, insideGID int
}

func identify(c Config) identity {
	id := identity{root: os.Geteuid() == 0, hostUID: os.Geteuid(), hostGID: os.Getegid()}
	if id.root {
		id.hostUID, id.hostGID = DedicatedID, DedicatedID
		id.insideUID, id.insideGID = 1000, 1000 // what programs expect of an ordinary user
		if c.RunAsUser > 0 {
			id.hostUID, id.insideUID = c.RunAsUser, c.RunAsUser
			id.hostGID, id.insideGID = c.RunAsUser, c.RunAsUser
		}
		if c.RunAsGroup > 0 {
			id.hostGID, id.insideGID = c.RunAsGroup, c.RunAsGroup
		}
		return id
	}
	// An ordinary user's agent is that user; a number in the policy changes only
	// how the id looks inside.
	id.insideUID, id.insideGID = id.hostUID, id.hostGID
	if c.RunAsUser > 0 {
		id.insideUID = c.RunAsUser
	}
	if c.RunAsGroup > 0 {
		id.insideGID = c.RunAsGroup
	}
	if id.insideGID == 0 { // an ordinary user in group 0
		id.insideGID = id.insideUID
	}
	return id
}

// CoverError says that a path cannot be covered for sure.
type CoverError struct {
	Op, Path, Why string
	Fix           string
}

func (e *CoverError) Error() string { return e.Op + " " + e.Path + ": " + e.Why }
