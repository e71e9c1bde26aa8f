// Package secrets finds credentials in texts: those of many services by the
// rules of the gitleaks project, and those that Creel itself keeps by their
// values.
//
// # How
//
// Every layer of a text (middleware/layers) is read once by an automaton that
// knows, for each rule, texts of which every match holds one; a generator works
// them out of the expressions (internal/secretrules). Where one stands, cheap
// necessary conditions are looked at, and then the expression itself, in a
// window that is wide enough for any match. What a layer has unchanged from the
// one above was looked at there. So most texts cost one pass; all of it is
// linear (package regexp is RE2), windows are bounded together, and a context
// ends it between two of them. Beyond a bound there is an error, not an answer.
//
// Known values are found as they are, backwards, in hexadecimal digits, and in
// base64 and base32 wherever they begin in it; also scattered over the short
// texts of a document in their order.
//
// Nothing is compiled before it is needed: the automaton at the first text, an
// expression when a text wakes its rule.
//
// # What is different from gitleaks
//
// Rules and exceptions that depend on a file's name are left out; a comment in
// a text (gitleaks:allow) excuses nothing. An expression that has no bound and
// may hold white space is looked for in wideReach bytes.
//
// A secret that is encrypted, or encoded in a way of one's own, is not found.
//
// It may import middleware, middleware/layers and secret. Findings name rules
// and places. It is safe for concurrent use.
package secrets
