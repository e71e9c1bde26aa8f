package naive

// Policy is a document in the words of the language, without positions.
type Policy struct {
	Version  int
	Networks []Network
}

// Network is one entry of network_policies.
type Network struct {
	Key       string
	AnyBinary bool // version 2's word
	Binaries  []Binary
	Endpoints []Endpoint
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
	Enforced     bool

	Access string
	Allow  []Rule
	Deny   []Rule

	Registered bool            // persisted_queries: allow_registered
	Registry   map[string]Rule // graphql_persisted_queries

	AllMCPMethods  bool // mcp.allow_all_known_mcp_methods
	LooseToolNames bool // mcp.strict_tool_names: false
}

// Rule is an allow or deny entry, or an entry of the registry. Empty strings
// and nil lists are what is not written.
type Rule struct {
	Method, Path string
	Query        []Query

	OperationType, OperationName string
	Fields                       []string

	Tool []string // of tool, or of params.name
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
	Faulty        bool
}

// Call is one method call; Tool is set for tools/call.
type Call struct{ Method, Tool string }

// Answer is what a policy says to a Question.
type Answer struct {
	Allowed bool
	Audited bool   // allowed only because enforcement is audit
	Layer   string // of a denial: "connection" or "request"

	Policies []string // the keys that let the connection through, in order
	// How the connection goes on, if it was let through.
	Inspect, SkipTLS, EncodedSlash bool
}
