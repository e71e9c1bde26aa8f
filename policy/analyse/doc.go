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
// that the same rules take (program, digest, and ancestors; the ways of combining
// ancestors are followed until nothing new comes), and requests into sets that no
// selector, path, method, query condition or message condition tells apart. All of
// these are finite, and for each combination the verdict is one. The classes of
// texts come from package automaton. Traffic that is no request (any bytes over a
// connection that nobody inspects, TLS to any name, addresses that a name may
// resolve to) is part of the comparison.
//
// The requests in question are those that can come: canonical hosts, targets in
// the form that package target gives, programs by clean absolute paths, messages
// as their readers give them (graphql, jsonrpc, git, grpc, registry), "none that can be
// read" among them. Git's repositories, the packages of a registry and gRPC's
// methods are told from paths. The addresses that are dialled are compared where the same connection is
// allowed. Symbolic links are not followed: programs are what the document says.
//
// # Messages
//
// A request may hold several operations, calls or ref updates. Kinds of single
// members are enough: a batch is let through by rules if and only if each of its
// members is, one denied member denies all, and what audit does not lift for one
// it does not lift for the batch. A GraphQL operation with an id beside its
// document is the document and the stored operation. The one exception is what a
// batch can only lose: members that rules with different max_uses count are refused
// together. So nothing is let through in a batch whose members are not listed.
//
// Root fields are sets. What rules allow is closed downwards (a set without some of
// its fields is allowed, too), because an allow rule wants all fields to match and a
// deny rule fires at one. So two sides differ if and only if they differ in one of
// the largest sets that a side allows to some caller, in a single field, or in all
// fields together (kinds.go).
//
// A body that two protocols could read is listed for each of them by itself; what
// one reader refuses and another one takes (parameters that MCP does not allow,
// bodies longer than a limit) is part of "none that can be read". Limits of bodies
// are compared as keys.
//
// A call of a tool has one kind for each product of the kinds of those arguments that
// rules about the tool name. A text that climbs (automaton.Climbing) is in no clause's
// set, and what is in none is like an argument that is not there.
//
// # Time, uses and what only takes away
//
// Rules that end cut time into parts in which nothing ends. Reach is told for one
// time, Diff and Prove look at every part from a time on. What has ended still
// denies, governs, and has connections inspected; what would have been forwarded by
// its audit is refused. Rules with max_uses count as if none were used.
//
// Limits and middlewares let nothing through and are no part of classes, nor are
// credentials, pins of tools, and what is accepted of model calls; Diff compares them,
// numbers of uses and limits of bodies by themselves (keys.go), so that a policy that
// differs in one of them is not equal.
//
// Connections to model hosts that nobody looks into are refused by a run and not by
// the engine. That is part of all answers (guards.go).
//
// # What is not told
//
// What this package does not know (a protocol, a key that package policy has
// and it has not) is an Unknown: an error of the analysis that its user has to
// see, unless both sides say the same. Nothing of the language is one today. Bounds (states,
// conditions, kinds of requests in one cell) end in an error. It imports netname,
// policy and the packages below policy; it does no I/O and asks no clock.
package analyse
