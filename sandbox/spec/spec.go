package spec

// Descriptors that the stage inherits.
const (
	ControlFD = 3 // SOCK_SEQPACKET to the supervisor
	SpecFD    = 4 // memfd with the Spec as JSON on one line, and the blobs behind it
	SourceFD  = 5 // the first of Spec.Sources detached mounts
)

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
	Hostname string   `json:"hostname"`
	Command  []string `json:"command"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir"`

	// UID and GID are the agent's ids as it sees them; never 0. Both map to the
	// stage's own id, the only one that exists in the outer user namespace.
	UID int `json:"uid"`
	GID int `json:"gid"`

	Mounts   []Mount  `json:"mounts"` // in order, parents before children
	Files    []File   `json:"files"`
	Blobs    []Blob   `json:"blobs"`
	Links    []Link   `json:"links"`
	Masked   []string `json:"masked"`    // made empty and unwritable if they exist
	Pins     []string `json:"pins"`      // folders bound over themselves as they are, so that none can be renamed
	ReadOnly []string `json:"read_only"` // bound over themselves, read-only, if they exist
	Covers   []Cover  `json:"covers"`    // parents before children; what cannot be covered stops the start

	Landlock Landlock `json:"landlock"`
	Seccomp  []byte   `json:"seccomp"` // struct sock_filter array, native byte order
	Notify   bool     `json:"notify"`  // the filter asks for a user-notification listener

	Streams [3]StreamKind `json:"streams"` // stdin, stdout, stderr
	Rows    uint16        `json:"rows,omitempty"`
	Cols    uint16        `json:"cols,omitempty"`

	Network Network `json:"network"`
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
	Kind   MountKind `json:"kind"`
	Target string    `json:"target"` // absolute path inside
	Source string    `json:"source,omitempty"`
	FD     int       `json:"fd,omitempty"` // >0: a detached mount, inherited, instead of Source

	Layer   string `json:"layer,omitempty"`    // of an overlay: the host's path
	LayerFD int    `json:"layer_fd,omitempty"` // as FD

	Write  bool   `json:"write,omitempty"`
	Owned  bool   `json:"-"`                // root's sandboxes: id-mapped, so that the agent stands for the folder's owner
	Device bool   `json:"device,omitempty"` // a device node: not mounted nodev
	NoExec bool   `json:"noexec,omitempty"`
	File   bool   `json:"file,omitempty"`   // the target is a file
	Mode   uint32 `json:"mode,omitempty"`   // of a tmpfs root
	Size   string `json:"size,omitempty"`   // of a tmpfs, in the kernel's notation
	Inodes uint64 `json:"inodes,omitempty"` // of a tmpfs

	Optional bool `json:"optional,omitempty"` // skipped if the source is absent, and reported
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
	Path string    `json:"path"` // without links
	Kind CoverKind `json:"kind"`
	File bool      `json:"file,omitempty"`
}

// File is a small file that Creel supplies, read-only. Its content follows the
// JSON in the spec's memfd; files with the same content share one blob.
type File struct {
	Path string `json:"path"`
	Blob int    `json:"blob"` // index into Spec.Blobs
}

// Blob is a stretch of the spec's memfd, in bytes behind the JSON and its line feed.
type Blob struct {
	Offset int64 `json:"offset"`
	Size   int64 `json:"size"`
}

// Link is a symbolic link in the sandbox's own root.
type Link struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

// Landlock is the second wall. ABI 0 means that none is asked for.
type Landlock struct {
	ABI       int      `json:"abi"`
	ReadOnly  []string `json:"read_only"`
	ReadWrite []string `json:"read_write"`
}

// Network is what the sandbox's loopback carries.
type Network struct {
	V4         string `json:"v4"` // the sandbox's own addresses
	V6         string `json:"v6"`
	NameServer string `json:"name_server"`
}

// Message is one message of the control protocol.
type Message struct {
	Type string `json:"type"`

	Names   []string `json:"names,omitempty"`   // ready: what each descriptor is
	Skipped []string `json:"skipped,omitempty"` // ready: optional mounts that were absent
	Signal  int      `json:"signal,omitempty"`
	Status  int      `json:"status,omitempty"` // exit: wait status
	Errno   int      `json:"errno,omitempty"`
	Step    string   `json:"step,omitempty"` // failed: what was being done
	Text    string   `json:"text,omitempty"`
}

// StepOverlay is the Step of a failure to make a copy-on-write mount.
const StepOverlay = "make copy-on-write mount"

// Types of Message.
const (
	MsgReady   = "ready"
	MsgNotify  = "notify"
	MsgGo      = "go"
	MsgStarted = "started"
	MsgFailed  = "failed"
	MsgSignal  = "signal"
	MsgStopped = "stopped" // the agent's foreground process was stopped by its terminal
	MsgExit    = "exit"
)

// StepProc is the step of a failed message when the kernel lets no fresh /proc be
// mounted, because the one that is visible has masks.
const StepProc = "mount proc"

// Names of the descriptors of a ready message.
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
)

// RuleCounts is how many rules each chain of a sandbox's table holds, for
// whoever reads them back.
func RuleCounts() map[string]int { return map[string]int{"redirect": 7, "refuse": 8, "forward": 0} }
