package policy

import (
	"slices"
	"strings"
)

// Protocol is how far an endpoint's traffic is judged.
type Protocol string

const (
	L4        Protocol = ""          // the connection alone
	TCP       Protocol = "tcp"       // the same, for clients that speak no HTTP
	SQL       Protocol = "sql"       // the same: what its rules say is not read from the traffic
	REST      Protocol = "rest"      // every HTTP request
	WebSocket Protocol = "websocket" // the handshake and every text message of the client
	GraphQL   Protocol = "graphql"   // every operation of every HTTP request
	JSONRPC   Protocol = "json-rpc"  // every call of every HTTP request
	MCP       Protocol = "mcp"       // the same, and the tools that are called
	Git       Protocol = "git"       // version 2: every fetch and every ref of a push
	Package   Protocol = "package"   // version 2: every package that is read, downloaded or published
	GRPC      Protocol = "grpc"      // version 2: every method of a service that is called
)

// protocolWords are the names that a document may write.
var protocolWords = []string{string(REST), string(TCP), string(WebSocket), string(GraphQL), string(MCP), string(JSONRPC), string(SQL), string(Git), string(Package), string(GRPC)}

// protocolsOf2 are those that version 1 does not have.
var protocolsOf2 = []string{string(Git), string(Package), string(GRPC)}

// Inspected: requests are judged one by one.
func (p Protocol) Inspected() bool {
	switch p {
	case REST, WebSocket, GraphQL, JSONRPC, MCP, Git, Package, GRPC:
		return true
	case L4, TCP, SQL:
	}
	return false
}

func (p Protocol) known() bool { return p == L4 || slices.Contains(protocolWords, string(p)) }

// MethodText is what rules call a text message of a WebSocket client.
const MethodText = "WEBSOCKET_TEXT"

// DefaultMaxBody is how much of a body is read to be judged, in bytes, where a
// document does not say.
const DefaultMaxBody = 64 << 10

// BodyLimit is the largest body, or message, whose operations or calls are
// read, in bytes. A longer one cannot be judged and is denied.
func (e *Endpoint) BodyLimit() int {
	if e.MaxBody > 0 {
		return e.MaxBody
	}
	return DefaultMaxBody
}

// GraphQLMessages: the text messages of a WebSocket endpoint are GraphQL
// operations. Every other message that is no control message of that protocol
// is denied.
func (e *Endpoint) GraphQLMessages() bool {
	ofOperations := func(r RequestRule) bool { return r.ofOperations() }
	return e.Protocol == WebSocket && (e.GraphQL.AllowRegistered || len(e.GraphQL.Registry) > 0 ||
		slices.ContainsFunc(e.Allow, ofOperations) || slices.ContainsFunc(e.Deny, ofOperations))
}

// GraphQLOptions are the keys of an endpoint about persisted queries.
type GraphQLOptions struct {
	AllowRegistered bool                 // persisted_queries: allow_registered; else every persisted query is denied
	Registry        []PersistedOperation // graphql_persisted_queries, sorted by Key
}

// PersistedOperation is what a hash or id stands for, whose document is not sent.
type PersistedOperation struct {
	Key    string // hash or saved id
	Type   string // query, mutation or subscription
	Name   string
	Fields []string // root fields, not globs
	At     Position
}

// MCPOptions is the mcp section of an endpoint.
type MCPOptions struct {
	LooseToolNames bool // strict_tool_names: false: names of any form
	AllMethods     bool // allow_all_known_mcp_methods
}

// ToolPin says which definition of a tool the operator takes.
type ToolPin struct {
	Tool   string
	SHA256 string // of the definition, 64 lower-case digits; empty: any, also one that changes
	At     Position
}

// PinOf is the pin of a tool; pinned is false if it has none.
func (e *Endpoint) PinOf(tool string) (pin ToolPin, pinned bool) {
	i, ok := slices.BinarySearchFunc(e.ToolPins, tool, func(p ToolPin, name string) int { return strings.Compare(p.Tool, name) })
	if !ok {
		return ToolPin{}, false
	}
	return e.ToolPins[i], true
}

// Signing says how requests are signed on behalf of the agent.
type Signing struct {
	Mode    string // sigv4, sigv4:body or sigv4:no_body; empty: none
	Service string
	Region  string // empty: that of the host name
}

// Credentials are the keys of an endpoint about secrets that the supervisor
// puts into the agent's traffic.
type Credentials struct {
	RewriteMessages  bool // websocket_credential_rewrite
	RewriteBodies    bool // request_body_credential_rewrite
	AllowUninspected bool // allow_uninspected_credentials
	Signing          Signing
	Provider         string // credential_binding.provider
}

// strictToolName is the form of a tool's name that no two readers take for
// different names: letters, digits, "_", "-" and ".", at most 128.
func strictToolName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isWord(s[i]) && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return true
}
