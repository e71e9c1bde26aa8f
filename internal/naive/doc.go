// Package naive is a second evaluator of policies: slow, short and obvious. It
// is written from the reference of version 1 (openshell-v1.md), the vectors and
// design.md §6, and shares no matching code with the compiled engine of package
// policy: whatever both agree about, two readings of the same pages agree about.
//
// A Policy here is plain data in the words of the language. FromDocument makes
// one of a policy.Document; the tests make one straight from the YAML of a
// vector. Judge answers a Question by loops over everything: no index, no
// compiled pattern, no state. It expects documents and texts of test size: the
// globs backtrack, and alternates are written out.
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
