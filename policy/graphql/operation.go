package graphql

// Operation is one operation that a request asks the server to run.
type Operation struct {
	Type     string   // "query", "mutation", "subscription"; "" for a persisted operation whose document is not sent
	Name     string   // empty: anonymous
	Fields   []string // root fields, sorted, without aliases
	Hash, ID string   // of a persisted query
}

// Request is one HTTP request or one client message of a WebSocket.
type Request struct {
	Operations []Operation
}
