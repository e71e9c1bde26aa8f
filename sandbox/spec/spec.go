package spec

// Ports of the listeners inside the sandbox. They lie below the ephemeral range
// (net.ipv4.ip_local_port_range starts at 32768), so that no client socket takes one.
const (
	RedirectPort = 31001
	DNSPort      = 31053
	ProxyPort    = 3128
)

// TableName is the nftables table of a sandbox.
const TableName = "creel"

// RefusedGroup is the NFLOG group that refused packets are reported to.
const RefusedGroup = 1

// Spec is all that the stage needs to know; plain data.
type Spec struct {
	Hostname string
	Command  []string
	Env      []string
	Dir      string

	// UID and GID are the agent's ids as it sees them; never 0. Both map to the
	// stage's own id, the only one that exists in the outer user namespace.
	UID int
	GID int

	Mounts   []Mount // in order, parents before children
	Files    []File
	Links    []Link
	Masked   []string // made empty and unwritable if they exist
	Pins     []string // folders bound over themselves as they are, so that none can be renamed
	ReadOnly []string // bound over themselves, read-only, if they exist
	Covers   []Cover  // parents before children; what cannot be covered stops the start

	Landlock Landlock
	Seccomp  []byte // struct sock_filter array, native byte order
	Notify   bool   // the filter asks for a user-notification listener

	Streams [3]StreamKind // stdin, stdout, stderr
	Rows    uint16
	Cols    uint16

	Network Network
}

// StreamKind says what a standard stream of the agent is.
type StreamKind uint8

const (
	StreamNone StreamKind = iota // /dev/null
	StreamPipe
	StreamTTY
)

// MountKind says where the content of a mount comes from.
type MountKind string

const (
	MountBind  MountKind = "bind"  // a host path, recursively
	MountTmpfs MountKind = "tmpfs" // empty, private
	// A host folder with a layer over it that takes every change: a folder that
	// holds "upper" and "work", of the same owner.
	MountOverlay MountKind = "overlay"
	MountProc    MountKind = "proc"
	MountPTS     MountKind = "devpts"
	MountSysfs   MountKind = "sysfs"
)

// Mount is one entry of the root file system.
type Mount struct {
	Kind   MountKind
	Target string // absolute path inside
	Source string
	Layer  string // of an overlay: the host's path

	Write  bool
	Owned  bool // root's sandboxes: id-mapped, so that the agent stands for the folder's owner
	Device bool // a device node: not mounted nodev
	NoExec bool
	File   bool   // the target is a file
	Mode   uint32 // of a tmpfs root
	Size   string // of a tmpfs, in the kernel's notation
	Inodes uint64 // of a tmpfs

	Optional bool // skipped if the source is absent, and reported
}

// CoverKind says what lies over a path of the host's that is shown inside. The
// zero value is none.
type CoverKind string

const (
	CoverHidden   CoverKind = "hidden"    // an empty folder, or a file that cannot be opened
	CoverReadOnly CoverKind = "read-only" // the path itself, read-only
	CoverNoExec   CoverKind = "noexec"    // the path itself, nothing in it can be executed
)

// Cover takes something away from what the mounts show.
type Cover struct {
	Path string // without links
	Kind CoverKind
	File bool
}

// File is a small file that Creel supplies, read-only. Files with the same content
// share one blob.
type File struct {
	Path string
	Blob int // which of the contents
}

// Link is a symbolic link in the sandbox's own root.
type Link struct {
	Path   string
	Target string
}

// Landlock is the second wall. ABI 0 means that none is asked for.
type Landlock struct {
	ABI       int
	ReadOnly  []string
	ReadWrite []string
}

// Network is what the sandbox's loopback carries.
type Network struct {
	V4         string // the sandbox's own addresses
	V6         string
	NameServer string
}

// StepProc is the step that fails when the kernel lets no fresh /proc be mounted,
// because the one that is visible has masks.
const StepProc = "mount proc"

// StepOverlay is the step of a failure to make a copy-on-write mount.
const StepOverlay = "make copy-on-write mount"

// Names of the descriptors that a sandbox hands over.
const (
	FDRedirect4 = "redirect4"
	FDRedirect6 = "redirect6"
	FDProxy4    = "proxy4"
	FDProxy6    = "proxy6"
	FDDNSUDP4   = "dns-udp4"
	FDDNSUDP6   = "dns-udp6"
	FDDNSTCP4   = "dns-tcp4"
	FDDNSTCP6   = "dns-tcp6"
	FDDiag      = "sock-diag"
	FDRefused   = "nflog"
	FDNetfilter = "netfilter" // NETLINK_NETFILTER, to read the rules back
	FDPTY       = "pty"
	FDStdin     = "stdin"
	FDStdout    = "stdout"
	FDStderr    = "stderr"
	FDNotify    = "notify" // seccomp listener
)

// RuleCounts is how many rules each chain of a sandbox's table holds, for
// whoever reads them back.
func RuleCounts() map[string]int { return map[string]int{"redirect": 7, "refuse": 8, "forward": 0} }
