// Package graphql turns a GraphQL request into plain data: the operations that
// it runs, each with type, name and root fields. What two servers could
// understand in two ways is an error, and an error denies.
//
// ParseHTTP takes a request over HTTP (a POST with a JSON envelope or a batch of
// them, or a GET with parameters), ParseMessage one text message of a client
// over a WebSocket (graphql-transport-ws and the protocol before it). The order
// of use is: CheckHead before the body is read, then the body up to the limit,
// then ParseHTTP; what was parsed is what must be sent, byte for byte.
//
// # What counts
//
// Root fields are those of the operation that operationName selects, through
// fragments and inline fragments whatever their type condition, and whatever
// @skip and @include say. They stand under their own names, not their aliases,
// sorted, each once.
//
// An operation whose document is not sent has no type and no fields, but a Hash
// (extensions.persistedQuery.sha256Hash) or an ID (id, documentId or queryId). A
// Hash that comes with a document is the document's own, or the request is
// refused: some servers run what they keep under the hash, not what was sent. An
// ID that comes with a document is handed on, for some clients number their
// requests so. A server may run either: Stored reports it, and a policy has to
// permit both.
//
// # Bounds
//
// A document has at most 20 000 tokens and 128 open braces, brackets and
// parentheses (scan.go counts them before the parser sees the document); a text
// is bounded by the limit for bytes. Fragments are expanded once each.
//
// # Where this is stricter than version 1 policies were
//
//   - two equal keys in one JSON object, anywhere, are an error, as is a key
//     that differs from a known one in case alone, also among URL parameters;
//   - operation and fragment names are unique, an operation without a name is
//     alone, fragments are defined and not cyclic;
//   - every known key has the right type or is null;
//   - there is one place for an operation: a body beside GET parameters, URL
//     parameters beside a body, two ids, and forms of stored operations that
//     policies do not know (doc_id, operationId) are errors;
//   - a block string is not followed by a quote, and a comment holds no Unicode
//     line separator: lexers disagree about where they end;
//   - the content type is JSON or absent, and the content is not encoded.
//
// It imports policy/internal/strictjson and the parser of
// github.com/vektah/gqlparser; policy and egress import it. Functions keep no
// state. Errors are *Error, one line, and never repeat the request. The zero
// Request runs nothing, and is never the result of a request.
//
// Sources: the GraphQL specification of September 2025, GraphQL over HTTP,
// Apollo's automatic persisted queries, the graphql-transport-ws and
// subscriptions-transport-ws protocols.
package graphql
