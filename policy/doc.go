// Package policy is the policy language: it decodes a YAML document strictly,
// reports all faults with their positions, and compiles it into an Engine that
// judges connections and requests. version 1 is the OpenShell schema and means
// the same; version 2 has safe defaults and more words (design.md §6).
//
// It is a leaf: it may import netname, policy/glob and policy/target, and it
// touches no socket. Documents and engines are immutable after they were made
// and safe for concurrent use. Zero values deny; errors deny.
//
// Sources: ../shared/design.md §6, ../shared/openshell-v1.md.
package policy
