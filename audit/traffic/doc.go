// Package traffic is the recorded traffic of sandboxes as a policy would be
// asked about it: calls out of an audit log, and what another policy would have
// done with them.
//
// It imports audit, policy and what they import. It reads a log and writes
// nothing. Nothing is verified silently: lines that are damaged, missing or
// repeated are in the report of every reading, with their numbers, and damaged
// ones count for nothing. Memory grows with the kinds of calls, not with the log,
// and is bounded.
//
// A log keeps less than was known: no query of a request, no parents of a
// program, no digest of it. Where that could turn a verdict, the answer says
// that it cannot be told.
package traffic
