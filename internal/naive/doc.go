// Package naive is a second evaluator of policies: slow, short and obvious. It
// is written from the reference of version 1 (openshell-v1.md), the vectors,
// docs/policy/version-2.md and design.md §6, and shares no matching code with the
// compiled engine of package policy: whatever both agree about, two readings of
// the same pages agree about.
//
// A Policy here is plain data in the words of the language. Read makes one of the
// YAML, without package policy; FromDocument makes one of a policy.Document; Layers
// merges those that extend each other. Judge answers a Question by loops over
// everything: no index, no compiled pattern, no state; what was used so far comes
// with the question. It expects documents and texts of test size: the globs
// backtrack, and alternates are written out.
//
// Where version 1 has two meanings for one thing, or a dangerous one, and Creel
// has decided, the decision is followed and named at the place: one language for
// endpoint paths (policy/target), no host outside of the characters of names,
// no wildcard that covers an address.
//
// Only tests import it. It imports policy for the types of documents, requests
// and decisions alone, and never Compile. It panics on nothing; a malformed
// glob matches nothing.
package naive
