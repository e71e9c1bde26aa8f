package graphql

// Request is what a request or message runs: every operation must be permitted.
type Request struct {
	Operations []Operation
}

// Operation is one operation that a server will run.
type Operation struct {
	Type   string // "query", "mutation", "subscription"; "" for a persisted operation whose document is not sent
	Name   string
	Fields []string // root fields, sorted, without aliases
	// Hash and ID name a stored operation. A Hash beside a document is its own.
	Hash, ID string
}

// Stored reports that a server may run a document that it keeps, instead of or
// for want of one that was sent. Then the stored operation has to be permitted,
// and so has the document if there is one (Type is not empty).
func (o Operation) Stored() bool { return o.ID != "" || o.Type == "" }
