package policy

import (
	"net/netip"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/registry"
)

// Document is a policy as it was written, decoded and valid: plain data.
// Parse makes it; whoever builds one by hand gets what Compile makes of it.
type Document struct {
	File       string
	Version    int // 1 or 2
	Filesystem Filesystem
	Landlock   Landlock
	Process    Process
	Syscalls   Syscalls // version 2
	Resources  Resources
	DNS        DNS       // version 2
	Networks   []Network // sorted by Key
	Unmatched  Verdict   // version 2: of a connection that no network policy names, Deny or Ask
	Limits     *Limits   // version 2: of all connections and requests together
	// Middlewares are sorted by Order.
	Middlewares []Middleware
	Inference   *Inference // version 2; nil: the stanza is absent
	Files       []Layer    // with extends: all that were merged, the top layer first and File last
}

// Layer is one file of those that a document was merged from.
type Layer struct {
	File string
	Open []string // sections and keys that layers below may loosen; nil: open is not written, and what is open to it stays so
}

// FileNames are the names of Files.
func (doc *Document) FileNames() []string {
	var names []string
	for _, l := range doc.Files {
		names = append(names, l.File)
	}
	return names
}

// Filesystem says which host paths exist inside a sandbox.
type Filesystem struct {
	IncludeWorkdir      bool // the workspace is readable and writable
	ReadOnly, ReadWrite []Path
	// Hidden paths do not exist inside, whatever shows them; in NoExec paths nothing
	// is executed. Version 2. Relative ones lie in the workspace.
	Hidden, NoExec []Path
	Workspace      Workspace
	At             Position // zero: the section is absent
}

// Workspace is version 2's filesystem_policy.workspace.
type Workspace struct {
	Mode WorkspaceMode
	// WritableProtected names entries of the list of protected paths (package
	// protected) that the agent may write: an entry, a folder of entries, or "all".
	WritableProtected []string
	At                Position // zero: not written
}

// WorkspaceMode is what becomes of the agent's changes to the workspace. The
// modes are ordered: a greater one lets less reach the host. The zero value
// leaves it to the command line.
type WorkspaceMode uint8

const (
	WorkspaceUnset WorkspaceMode = iota
	ReadWrite
	CopyOnWrite // kept apart until the operator applies them
	ReadOnly
)

var workspaceModes = []string{ReadWrite: "read-write", CopyOnWrite: "copy-on-write", ReadOnly: "read-only"}

func (m WorkspaceMode) String() string {
	if int(m) < len(workspaceModes) {
		return workspaceModes[m]
	}
	return ""
}

// Path is one entry of a path list, lexically clean, and absolute but where a
// list says otherwise.
type Path struct {
	Path string
	// Optional: its absence is no fault. Version 2 says so for each path
	// ({path: /lib64, optional: true}); under Landlock best_effort, which is
	// version 1's default, it holds for every path. A path that exists and
	// cannot be granted is a fault all the same.
	Optional bool
	At       Position
}

// Compatibility says what happens when the kernel cannot enforce the paths.
// The zero value demands it.
type Compatibility uint8

const (
	HardRequirement Compatibility = iota
	BestEffort
)

func (c Compatibility) String() string {
	if c == BestEffort {
		return "best_effort"
	}
	return "hard_requirement"
}

// Landlock is the landlock section.
type Landlock struct {
	Compatibility Compatibility
	At            Position // zero: not written, so the version's default
}

// Process is the process section; empty strings leave the choice to the sandbox.
type Process struct {
	RunAsUser, RunAsGroup string // "sandbox" or a decimal id of 1..4294967294
	At                    Position
}

// Syscalls are the switches of the system call filter that differ from its
// defaults: all are closed, but memfd_exec.
type Syscalls struct {
	Open   []string // sorted
	Closed []string
	At     Position
}

// Resources is version 2's resources section: upper bounds; 0 leaves the default.
type Resources struct {
	Memory        int64         // bytes
	CPU           int64         // thousandths of a processor
	PIDs          int64         // processes and threads
	Disk          int64         // bytes
	OpenFiles     int64         // of each process
	Compatibility Compatibility // best_effort accepts a host that cannot enforce them
	At            Position      // zero: the section is absent
}

// Network is one entry of network_policies.
type Network struct {
	Key       string // what decisions name
	Name      string // for display; the key if not written
	Endpoints []Endpoint
	AnyBinary bool // version 2's word: every caller, known or not
	Binaries  []Binary
	Ancestors bool      // version 2: a program also counts if an ancestor of the caller is it, as always in version 1
	Expires   time.Time // version 2: from then on nothing is granted; zero: never
	Limits    *Limits   // version 2: of all endpoints together
	MaxUses   int64     // version 2: of all endpoints together; 0: not counted
	At        Position
}

// Binary is a path or path glob of an executable as the sandbox sees it.
type Binary struct {
	Path   string
	At     Position
	SHA256 string // version 2: of the file's content, 64 lower-case digits; empty: any
}

// TLSMode is what happens to TLS towards an endpoint.
type TLSMode uint8

const (
	TLSAuto TLSMode = iota // SNI is checked; terminated if the endpoint is inspected
	TLSSkip                // opaque bytes
)

// Enforcement is what a request gets that no rule allows. The zero value denies it.
type Enforcement uint8

const (
	Enforce  Enforcement = iota
	Audit                // it is forwarded and recorded
	AskFirst             // version 2: an operator is asked
)

func (e Enforcement) String() string {
	switch e {
	case Audit:
		return "audit"
	case AskFirst:
		return "ask"
	case Enforce:
	}
	return "enforce"
}

// Endpoint is one destination with what may be done there.
type Endpoint struct {
	Host              string          // as written; empty: hostless, any name whose addresses are in AllowedIPs
	Pattern           netname.Pattern // of Host; zero if hostless
	Ports             []uint16
	Protocol          Protocol
	Path              string // selector; empty or "**": every path
	TLS               TLSMode
	TLSWritten        bool // the tls key stands there, whatever its value
	Enforcement       Enforcement
	Access            string // read-only, read-write, full or empty
	Allow, Deny       []RequestRule
	AllowedIPs        []netip.Prefix // nil: not written
	AllowEncodedSlash bool
	InternalAddresses bool          // version 2: a host by name may resolve to internal addresses, as always in version 1
	Models            bool          // version 2: requests with the shape of a model protocol may go there
	Expires           time.Time     // version 2, as of a Network
	Limits            *Limits       // version 2
	MaxUses           int64         // version 2, as of a Network
	Unmatched         Verdict       // version 2: of programs that the network policy does not name, Deny or Ask
	Withdrawn         bool          // grants nothing: a layer below restated its network policy
	Registry          registry.Kind // of protocol package
	RegistryPath      string        // where the registry begins; empty: at the root
	MaxBody           int           // bytes of a GraphQL, JSON-RPC or MCP body; 0: DefaultMaxBody
	GraphQL           GraphQLOptions
	MCP               MCPOptions
	ToolPins          []ToolPin // version 2: of protocol mcp, sorted by Tool
	Credentials       Credentials
	At                Position
	KeyAt             map[string]Position // where the keys stand that Unenforced speaks of; of a document that was not parsed nil
}

// RequestRule is one allow or deny entry. Which fields count depends on the
// endpoint's protocol.
type RequestRule struct {
	// Method of HTTP in upper case, WEBSOCKET_TEXT, or "*"; of JSON-RPC and MCP
	// as written, for MCP also a glob below tools/.
	Method string
	Path   string // glob over the canonical path
	Query  []QueryRule

	OperationType string   // query, mutation, subscription or "*"
	OperationName string   // glob; empty: every name, or none
	Fields        []string // globs; empty: every root field

	Tools []string // globs of MCP tools; nil: every call, with or without a tool
	// Arguments constrain those of the tools, sorted by Name; all have to match.
	Arguments []ArgumentRule
	Command   string // of SQL; not enforced

	Operation     string   // of Git: fetch or push
	Repository    string   // glob over team/app
	Refs          []string // globs over whole names of refs, of a push; a deny rule without them takes every push
	Force, Delete bool     // a push may leave commits behind, or remove the ref

	Package  string        // glob over names as the registry compares them
	Versions []string      // globs; empty: every version
	MinAge   time.Duration // since its publication; 0: any
	Publish  bool          // packages may be published, changed and removed

	Service string // of gRPC: glob over services with their package; Method is a glob there

	At Position
}

// ofOperations: the rule is about GraphQL operations.
func (r RequestRule) ofOperations() bool {
	return r.OperationType != "" || r.OperationName != "" || len(r.Fields) > 0
}

// QueryRule constrains the values of one query key.
type QueryRule struct {
	Key string
	Any []string // value globs; one has to match
}

// ArgumentRule constrains one argument of a tool, which has to be text.
type ArgumentRule struct {
	Name string
	Any  []string // globs with / as separator; one has to match
}

// Inference is version 2's inference section. The key is a reference: a
// literal secret in a policy is a fault.
type Inference struct {
	Backend      string            // base URL
	Key          string            // "env:VAR" or "file:PATH"; empty: none
	Model        string            // forces every request to this model
	Models       map[string]string // asked name to sent name
	Hosts        []string          // replaces the built-in list of model hosts; nil: keeps it
	AddHosts     []string
	RemoveHosts  []string
	ServerTools  []string // tools that the model service may run by itself, such as web_search
	RemoteInputs bool     // inputs may be URLs, which the service fetches
	At           Position
}
