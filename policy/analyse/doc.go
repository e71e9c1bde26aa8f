// Package analyse answers questions about whole policies exactly: what a policy
// lets through (Reach), what another one changes (Diff), and whether something
// holds for every request (Prove). It never samples. An answer of "nothing" is a
// proof, and every other answer comes with a witness that the compiled engines
// confirm.
//
// How: the sides of a question (one policy, two, or a policy and assertions)
// are lowered from policy.Document by code of this package's own. Hosts fall
// into classes that no host pattern tells apart, hosts and ports into cells in
// which the sides hold the same endpoints. In a cell, callers fall into sets
// that the same rules take (program, digest, and in version 1 ancestors; the
// ways of combining ancestors are followed until nothing new comes), and
// requests into sets that no selector, path, method or query condition tells
// apart. All of these are finite, and for each combination the verdict is one.
// The classes of texts come from package automaton. Traffic that is no request
// (any bytes over a connection that nobody inspects, TLS to any name, addresses
// that a name may resolve to) is part of the comparison.
//
// The requests in question are those that can come: canonical hosts, targets in
// the form that package target gives, programs by clean absolute paths. The
// addresses that are dialled are compared where the same connection is allowed.
// Symbolic links are not followed: programs are what the document says.
//
// What this package does not know (a protocol, a key that package policy has
// and it has not) is an Unknown: an error of the analysis that its user has to
// see, unless both sides say the same. Bounds (states, conditions, kinds of
// requests in one cell) end in an error. It imports netname, policy and the
// packages below policy; it does no I/O.
package analyse
