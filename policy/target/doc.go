// Package target turns the request target of an HTTP request into the one
// canonical form that policy judges, logs show and the wire carries, and holds
// the matchers that look at it: path selectors of endpoints and query matchers.
//
// Canonical means: percent-encoding decoded once and written anew for what
// needs it, dot segments resolved, repeated slashes folded, path parameters
// (";x") cut off, so that two spellings of one resource are one text. What
// could be read in two ways (a way above the root, an encoded slash without
// permission, a dot segment hidden behind an encoded slash or a backslash, a
// control byte, a query that does not decode) is an error, never repaired.
// Parsing the canonical form again gives the same form.
//
// # Where this is stricter than version 1 policies were
//
// An endpoint's path selector is used twice there, with two languages: to
// choose the endpoint that governs a request (`*` crosses slashes, `/v1/**`
// also takes `/v1`) and to authorise it (neither). Here there is one meaning
// for `*`, which stays within a segment. `/v1/**` governs the bare prefix `/v1`
// too and, as there, allows nothing there (Grants). Text that the two languages read differently (braces, backslashes,
// [^…], `**` glued to text) is an error. The path of a rule is a plain glob, for
// which `/v1/**` does not take `/v1`.
//
// It imports policy/glob alone. Values are immutable once made; the zero
// Selector and Matcher match nothing, the zero Matchers ask for nothing.
//
// Sources: the OpenShell policy schema, RFC 3986 §3.3 and §5.2.4,
// RFC 9112 §3.2.
package target
