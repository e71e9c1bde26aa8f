package naive

import "time"

// Policy is a document in the words of the language, without positions.
type Policy struct {
	Version   int
	Unmatched string // ask or deny, of what no network policy names; empty: deny
	Limit     int    // limits.connections of the document; 0: none
	Networks  []Network

	Open    []string // what layers below may loosen
	HasOpen bool     // open is written
}

// Network is one entry of network_policies.
type Network struct {
	Key       string
	AnyBinary bool // version 2's word
	Binaries  []Binary
	Endpoints []Endpoint
	Ancestors bool // a program also counts if an ancestor of the caller is it
	Expires   time.Time
	MaxUses   int64 // of all endpoints together; 0: any number
	Limit     int
}

// Binary is a path or a glob over paths; Digest, if there, must be the file's.
type Binary struct{ Path, Digest string }

// Endpoint is a destination and what may be done there.
type Endpoint struct {
	Host       string // empty: any name, if AllowedIPs
	Ports      []uint16
	AllowedIPs bool // the list is there and holds something

	Protocol     string // "", tcp, rest, websocket, graphql, sql, json-rpc or mcp
	Path         string // selector
	SkipTLS      bool
	EncodedSlash bool
	Enforcement  string // enforce, audit or ask: what becomes of what no rule allows
	Asks         bool   // unmatched: ask, of programs that are not named

	Access string
	Allow  []Rule
	Deny   []Rule

	Registered bool            // persisted_queries: allow_registered
	Registry   map[string]Rule // graphql_persisted_queries

	AllMCPMethods  bool // mcp.allow_all_known_mcp_methods
	LooseToolNames bool // mcp.strict_tool_names: false

	RegistryKind string // of protocol package

	InternalAddresses bool
	Expires           time.Time
	MaxUses           int64
	Limit             int
	TakenBack         bool // a layer below restated the network policy
}

// Rule is an allow or deny entry, or an entry of the registry. Empty strings
// and nil lists are what is not written.
type Rule struct {
	Method, Path string
	Query        []Query

	OperationType, OperationName string
	Fields                       []string

	Tool      []string // of tool, or of params.name
	Arguments []Query  // of the tool: Key is its name

	Operation, Repository string   // fetch or push
	Refs                  []string // with refs/ before them; none: every push, of a deny rule
	Force, Delete         bool

	Package  string
	Versions []string
	MinAge   time.Duration
	Publish  bool

	Service string // of gRPC
}

// Question is a connection, and with a Method also a request on it.
type Question struct {
	Host        string
	Port        uint16
	Binary      string
	Ancestors   []string // nearest first
	KnownCaller bool
	Digest      string
	Relaxed     bool // binaries do not count

	Method, Path string
	Query        map[string][]string
	GraphQL      *GraphQL // nil: no GraphQL request was read
	RPC          *RPC     // nil: no JSON-RPC message was read
	Git          *Git     // nil: no Git request was read
	Package      *Package // nil: no request to a registry was read
	GRPC         *GRPC    // nil: no call of gRPC was read

	Now  time.Time        // zero: not known
	Used map[string]int64 // what was used so far, see Answer.Uses; nil: not known
}

// GraphQL is a request; Faulty: it could not be read.
type GraphQL struct {
	Operations []Operation
	Faulty     bool
}

// Operation has an empty Type when the document was not sent.
type Operation struct {
	Type, Name string
	Fields     []string
	Hash, ID   string
}

// RPC is a JSON-RPC request of one or more messages; Faulty: it could not be read.
type RPC struct {
	Calls         []Call
	Response      bool // an answer to the server is among the messages
	ReceiveStream bool // the GET by which an MCP client listens
	EndSession    bool // the DELETE by which it leaves
	Faulty        bool
}

// Call is one method call; Tool is set for tools/call. Argument is the text of the
// tool's argument of a name; nil: it has none.
type Call struct {
	Method, Tool string
	Argument     func(name string) (text string, ok bool)
}

// Git is a request of a Git client.
type Git struct {
	Repository string
	Push       bool
	Discovery  bool // only asks which refs there are
	Updates    []Update
}

// Update is what a push does to one ref.
type Update struct {
	Ref            string
	Forced, Delete bool
}

// Package is a request to a registry.
type Package struct {
	Kind, Action, Name, Version string    // Action: index, metadata, download or publish
	Published                   time.Time // zero: not known
}

// Answer is what a policy says to a Question.
type Answer struct {
	Allowed bool
	Asked   bool   // not allowed, and an operator is asked
	Audited bool   // allowed only because enforcement is audit
	Layer   string // of a denial: "connection" or "request"

	Policies []string // the keys that let the connection through, in order
	Uses     []string // the counts that a use goes into
	// How the connection goes on, if it was let through.
	Inspect, SkipTLS, EncodedSlash bool
	Addresses                      string    // where it may lead: allowed_ips, literal, host, or empty
	Until                          time.Time // the first of the rules that allow it ends then; zero: never
}
