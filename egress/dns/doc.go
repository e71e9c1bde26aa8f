// Package dns is the name server of a sandbox. It answers every A and AAAA
// query with synthetic addresses that stand for the name, and forwards nothing,
// so that a query cannot carry data out. What a name really means is asked by
// the egress side, after the policy allowed the connection.
//
// Server speaks DNS on sockets that it is handed; they were made inside the
// sandbox's network namespace, which redirects every port 53 to them. Pool maps
// names to addresses and back; it satisfies egress.Names.
//
// It may import leaves and audit. Pool is safe for concurrent use. Run starts
// one goroutine per socket and one per TCP connection and waits for all of them.
// Everything that a hostile client can grow has a bound that is a constant here:
// names, message size, connections, queries per connection, audit events.
//
// How it fails: a message that is no query gets no answer; a malformed one
// FORMERR; a name that is not strictly valid NXDOMAIN; a full pool SERVFAIL.
// If the audit cannot keep a refusal, the query is refused all the same.
//
// Not decided here: whether a name may be reached. Single labels, metadata
// names and the like get an address as any other, and the policy judges the
// connection.
//
// Sources: RFC 1035 (messages), RFC 6761 §6.3 (localhost), RFC 6891 (EDNS),
// RFC 7766 (TCP), RFC 9460 (HTTPS and SVCB carry ECH and QUIC hints, hence
// empty), RFC 9619 (one question).
package dns
