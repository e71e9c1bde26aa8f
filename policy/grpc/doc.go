// Package grpc reads which method of which service a gRPC request calls, so that
// rules can speak of both instead of paths.
//
// The messages are not read: they are Protocol Buffers whose meaning is only in a
// schema. gRPC-Web and the Connect protocol, which have other content types, are
// not gRPC here. Reflection and health checks are methods like any other.
//
// A leaf: it imports nothing of creel. What is not understood is an error.
//
// Source: "gRPC over HTTP2" (doc/PROTOCOL-HTTP2.md of the gRPC project).
package grpc
