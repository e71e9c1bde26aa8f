package vectors

// Subject says who judges a file of vectors.
type Subject struct {
	File    string
	Kinds   []string // nil: all. Subjects of one file share out its kinds
	Package string   // folder of the package whose tests run it; empty: pending
	Pending string   // why nothing runs it yet
}

// Subjects lists every file, some by kinds. Whoever builds a subject names the package here.
func Subjects() []Subject {
	return []Subject{
		{File: "address_class", Package: "netname"},
		{File: "host_match", Package: "netname"},
		{File: "host_pattern_valid", Package: "netname"},
		{File: "path_canonical", Package: "policy/target"},
		{File: "path_match", Package: "policy/glob"},
		{File: "query_match", Package: "policy/target"},
		{File: "endpoint_path", Package: "policy/target"},
		{File: "policy_decision", Package: "policy"},
		{File: "policy_validation", Package: "policy"},
		{File: "http_framing", Package: "egress"},
		{File: "jsonrpc_graphql_ws", Kinds: []string{"jsonrpc", "mcp", "receive_stream"}, Package: "policy/jsonrpc"},
		{File: "jsonrpc_graphql_ws", Kinds: []string{"graphql_http", "graphql_headers", "graphql_ws"}, Package: "policy/graphql"},
		{File: "jsonrpc_graphql_ws", Kinds: []string{"ws_frames", "ws_upgrade", "ws_offer", "ws_response"}, Package: "egress"},
		{File: "credential_placeholder", Pending: "placeholders are not rewritten yet"},
	}
}
