package supervisor

import (
	"os"
	"time"

	"github.com/creel-run/creel/agents"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/policy"
)

// Options is what a sandbox is run with. The CLI has checked the forms of names
// and paths; what depends on the policy or the host is checked by Run.
type Options struct {
	Command []string // never empty
	Name    string   // empty: made from the command

	Policy string // absolute path; empty: the built-in one
	// PolicyFound: nobody named the policy, it lay in the workspace. Whoever can
	// write the workspace could have written it.
	PolicyFound bool

	Workspace string // absolute, without symbolic links
	ReadOnly  bool
	// CopyOnWrite: what the agent changes is kept apart until the operator applies it.
	CopyOnWrite bool

	// Resources are limits from flags; what is 0 is the policy's, or the default.
	Resources policy.Resources
	// Agent is the known agent that Command starts; nil: an ordinary command. Its
	// policy holds when Policy is empty. KeepHome keeps its home under Name.
	Agent    *agents.Launch
	KeepHome bool

	Env []string // KEY=value; a later one counts
	// Getenv resolves env: references; nil is os.LookupEnv.
	Getenv func(string) (string, bool)

	Audit string // absolute path; empty: a file in the state folder

	Inference    string // URL of the backend; empty: the policy's, or none
	InferenceKey string // env:VAR or file:PATH
	Model        string
	Secrets      []string // NAME=env:VAR|file:PATH@HOST[:HEADER]

	// Middlewares are NAME=ENDPOINT: programs of the operator's that policies may name.
	Middlewares []string

	// Upstreams are HOST:PORT=ADDR:PORT: services that the operator runs himself
	// and that names or address rules would not reach. TrustCA are files with
	// certificates to trust besides the system's.
	Upstreams []string
	TrustCA   []string
	// ClientCerts are HOST[:PORT]=CERT,KEY: files in PEM form that the operator
	// proves himself with to a host (port 443 if none is said).
	ClientCerts []string

	// ParentProxy is the proxy that the internet lies behind: env (what the
	// environment names), none or empty, a URL, where it is (env:VAR, file:PATH), or a
	// script that names it (pac:PATH, pac:https://URL).
	// ParentProxyNames leaves resolving to it.
	ParentProxy      string
	ParentProxyNames bool
	// Resolver is the name server that is asked what allowed names mean, whatever the
	// policy says: host, ADDR[:PORT], tls://NAME, https://URL; empty: the policy's, or
	// the host's own.
	Resolver string

	// Program is a file of Creel's own that the agent may read and execute though
	// no policy names it (creel selftest). It is no agent's work: what such a run
	// finds in the workspace is not remembered as trusted.
	Program string

	Stdin, Stdout, Stderr *os.File

	Notice  func(text string) // warnings, before and while the sandbox runs; may be nil
	OnEvent func(audit.Event) // called in order, must not block; may be nil
}

// Result is how a sandbox ended.
type Result struct {
	Code      int // exit status to end with
	Name      string
	AuditPath string
	Policy    string
	Started   time.Time
	Elapsed   time.Duration
	Degraded  []string

	// Changed counts what a copy-on-write workspace holds undecided, Protected those
	// of them that host tools run or trust.
	Changed, Protected int

	// Suggest gives the policy lines that would have allowed what was denied.
	Suggest audit.Suggest
}
