// Package jsonrpc turns the body of a JSON-RPC 2.0 or MCP request into plain
// data: which methods it calls, and for MCP which tools. What two readers could
// understand in two ways is an error, and an error denies.
//
// ParseHTTP takes a request, ParseBody a body alone. The order of use is:
// CheckHead before the body is read, then the body up to the limit, then
// ParseHTTP; what was parsed is what must be sent, byte for byte.
//
// # What counts
//
// A message is an object with "jsonrpc": "2.0" and either a string "method" (a
// call; without an id it is a notification) or, with an id, exactly one of
// "result" and "error" (a response to the server). A body is one message or a
// batch, an array of at least one. A message that is both a call and a response
// is neither.
//
// For MCP, ids are strings or integers, the parameters of methods that the
// protocol defines are checked for what they must hold (profile.go), and
// params.name of tools/call is the tool. Unless LaxToolNames is set, its name
// is of letters, digits, "_", "." and "-", at most 128 of them: then no server
// can normalise one name into another. The same key in another case beside or
// instead of one that is looked at is an error.
//
// # Where this is stricter than version 1 policies were
//
//   - two equal keys in one object, anywhere, are an error;
//   - the id of a call is a string, a number or null, also without MCP;
//   - a method is not empty and holds no control character;
//   - tools/call needs an id: a server may run it all the same;
//   - Accept: text/event-stream;q=0 does not ask for a stream;
//   - Mcp-Method and Mcp-Name, where they are sent, say what the body says;
//   - the content type is JSON or absent, and the content is not encoded.
//
// It imports policy/internal/strictjson alone; policy and egress import it.
// Functions keep no state. Errors are *Error, one line, and never repeat the
// body. The zero Request calls nothing, and is never the result of a body.
//
// Sources: the JSON-RPC 2.0 specification, the MCP specification of 2025-11-25
// and those before it, and the header fields of that of 2026-07-28.
package jsonrpc
