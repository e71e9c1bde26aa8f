package audit

import "time"

// Kind is the type of an event.
type Kind string

const (
	SandboxStart  Kind = "sandbox.start"
	SandboxExit   Kind = "sandbox.exit"
	PolicyLoad    Kind = "policy.load"   // a revision is in force
	PolicyReject  Kind = "policy.reject" // a faulty revision changed nothing
	Connect       Kind = "net.connect"   // verdict about a connection
	Request       Kind = "http.request"  // verdict about a request
	Close         Kind = "net.close"     // an allowed connection ended: bytes, duration, why
	Inference     Kind = "inference.request"
	InferenceDone Kind = "inference.done"
	DNS           Kind = "dns.query"   // only what was refused
	Refused       Kind = "net.refused" // a packet that no rule lets out (UDP, ICMP, …)
	Credential    Kind = "credential.use"
	Operator      Kind = "operator.command" // reload, stop, …
	Tool          Kind = "mcp.tool"         // a server's definition of a tool: new, or another than before
	Middleware    Kind = "middleware.check" // what one found, changed, denied, or failed at
	Protected     Kind = "file.protected"   // the agent made or changed what host tools trust; a path is no longer hidden or protected
)

// UpstreamFailed is the value of "error" in the Detail of a Close when the server
// of an allowed connection was not reached, and of an InferenceDone when the model
// backend ("backend" in the Detail) was not: a failure, not a verdict.
const UpstreamFailed = "upstream_unreachable"

// Via is the way a connection came in.
type Via string

const (
	Transparent  Via = "transparent"
	ProxyConnect Via = "connect"
	ProxyForward Via = "forward"
)

// Event is one fact. Empty fields are left out. Strings may come from hostile
// bytes: they are encoded as JSON and escaped again when they are shown.
type Event struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Sandbox string    `json:"sandbox"`
	Kind    Kind      `json:"kind"`

	Verdict string `json:"verdict,omitempty"` // allow, deny, reroute
	Audited bool   `json:"audited,omitempty"` // allowed only because enforcement is audit

	Inspected bool   `json:"inspected,omitempty"` // of a connection: its requests are judged one by one
	Reason    string `json:"reason,omitempty"`
	Rule      string `json:"rule,omitempty"`    // key of the network policy
	RuleAt    string `json:"rule_at,omitempty"` // file:line:column

	Conn     uint64 `json:"conn,omitempty"` // joins the events of one connection
	Via      Via    `json:"via,omitempty"`
	Host     string `json:"host,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	Addr     string `json:"addr,omitempty"`     // the address that was dialled
	Protocol string `json:"protocol,omitempty"` // tcp, tls, http, https, udp, dns …
	// Binary is the calling program, from the kernel. Unverified: it is no file of
	// the host (the agent's own, deleted, or in memory alone), and no rule matches it.
	Binary     string `json:"binary,omitempty"`
	Unverified bool   `json:"unverified,omitempty"`
	// Script is what an interpreter says that it runs: a claim of the agent's.
	Script   string `json:"script,omitempty"`
	PID      int    `json:"pid,omitempty"` // as the host sees it
	Method   string `json:"method,omitempty"`
	Path     string `json:"path,omitempty"` // canonical, without query
	Status   int    `json:"status,omitempty"`
	Model    string `json:"model,omitempty"`
	BytesIn  int64  `json:"bytes_in,omitempty"`  // towards the agent
	BytesOut int64  `json:"bytes_out,omitempty"` // towards the upstream
	Millis   int64  `json:"ms,omitempty"`

	Detail map[string]string `json:"detail,omitempty"`

	Prev string `json:"prev,omitempty"` // hash of the line before
	Hash string `json:"hash,omitempty"`
}

// Recorder takes events: all that it is given at once, or none. An error means
// that the facts could not be kept: the caller must not let the action go on.
type Recorder interface {
	Record(...Event) error
}
