// Package jsonrpc says what a JSON-RPC message of a client asks for, as plain
// data that package policy judges: the methods, and for MCP the tools.
//
// It is a leaf that imports nothing of Creel. The zero Request asks for
// nothing and is denied.
//
// Sources: JSON-RPC 2.0; the Model Context Protocol (Streamable HTTP).
package jsonrpc
