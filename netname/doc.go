// Package netname holds host names, host patterns and network addresses as
// types that were normalised once, at the edge, and the rules that say which
// addresses a connection may go to.
//
// It is a leaf: it knows nothing of policy documents, sockets or files. All its
// values are immutable and safe for concurrent use. Parsing fails closed: what
// is not strictly well formed is an error, and the zero Host matches nothing.
//
// Sources: RFC 1034 §3.5 and RFC 1123 §2.1 (names), RFC 6890 and the IANA
// special-purpose registries (addresses), the OpenShell policy schema and its
// destination rules.
package netname
