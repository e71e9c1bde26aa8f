// Package external asks a middleware that the operator runs, outside of any
// sandbox, over the protocol in middleware.proto: one call per message, as a
// unary call of Connect with JSON, or of gRPC.
//
// The endpoint is a unix socket, a port on the loopback interface, or an HTTPS
// server whose certificate is verified; no proxy is asked and no redirect
// followed. A call that fails in any way, or whose answer is not exactly what
// the protocol says, is an error, and denies the message unless the policy says
// otherwise. Calls are not repeated.
//
// Both forms are written here, on net/http: a client that links the library for
// either adds a seventh to creel's size and a quarter to the time of every start
// (decision 0051). Tests speak with that library's server.
//
// It may import middleware and secret. A Service is safe for concurrent use.
package external
