package policy

import (
	"fmt"
	"time"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy/git"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/grpc"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/registry"
	"github.com/creel-run/creel/policy/target"
)

// Verdict is what happens to a connection or request. The zero value denies.
type Verdict uint8

const (
	Deny Verdict = iota
	Allow
	Ask
	Reroute // to inference
)

func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Ask:
		return "ask"
	case Reroute:
		return "reroute"
	case Deny:
	}
	return "deny"
}

// MarshalText makes JSON show the word and not the number.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Position is a place in a policy file; Line and Column count from 1, and a
// zero Line means that there is none.
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Rule names the rule that decided: the key of the network policy and where
// the deciding endpoint, allow or deny entry stands. Zero: no rule matched.
type Rule struct {
	Policy string   `json:"policy,omitempty"`
	At     Position `json:"at"`
}

// Connection is what is known when a socket connects, already canonical.
type Connection struct {
	Host netname.Host
	Port uint16
	// Binary is the path of the calling executable as the sandbox sees it, and
	// Ancestors its parents' (nearest first). KnownCaller false means that the
	// caller could not be told: then no rule that names binaries matches.
	Binary      string
	Ancestors   []string
	KnownCaller bool
	SHA256      string // of the executable, lower-case digits; empty: not taken, and no rule that wants one matches

	Now   time.Time   // zero: no rule with expires_at matches
	Uses  *Uses       // what was used so far; nil: no rule with max_uses matches
	Holds []*Counters // of this connection and its request in flight, which Uses has counted already
}

// Request is one HTTP request on a connection, or one text message of a
// WebSocket client on it.
type Request struct {
	Connection
	Method string
	Target target.Target
	// Text: a message of the WebSocket that was opened by a request with this
	// target. Method is not looked at.
	Text bool
	// What was read from the body or message. An endpoint of that protocol
	// denies what is nil: it was not read, or is malformed.
	GraphQL *graphql.Request
	RPC     *jsonrpc.Request
	Git     *git.Request
	Package *registry.Request
	GRPC    *grpc.Request
}

// Decision is the outcome with its reason; the same value goes to the client,
// to the audit and to explain.
type Decision struct {
	Verdict Verdict `json:"verdict"`
	Rule    Rule    `json:"rule"`
	Reason  string  `json:"reason"`            // one line, for people
	Audited bool    `json:"audited,omitempty"` // allowed only because the endpoint's enforcement is audit
	// Uses, if not nil, has to be taken from the connection's Uses before anything
	// is let through.
	Uses *Counters `json:"-"`
}

// ConnectDecision is a Decision about a connection, with how to go on.
type ConnectDecision struct {
	Decision
	Inspect           bool                `json:"inspect"`                       // HTTP is parsed and judged request by request
	SkipTLS           bool                `json:"skip_tls,omitempty"`            // tls: skip — opaque bytes, no SNI check, no termination
	AllowEncodedSlash bool                `json:"allow_encoded_slash,omitempty"` // some matching endpoint permits %2F in a path segment
	Destination       netname.Destination `json:"-"`
	Until             time.Time           `json:"until,omitzero"` // a rule that the decision rests on ends then: judge again
}
