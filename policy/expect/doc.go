// Package expect is the tests of a policy: a YAML list of connections and
// requests, each with the verdict that a policy must give it.
//
// It decodes the list as strictly as a policy is decoded (policy.Strict: every
// fault at once, with its place) and asks the engine. It imports policy and what
// policy imports, decides nothing itself, and reads no file. Whoever knows an
// inference route tells it which hosts that route takes.
//
// A request whose path has no canonical form is denied, as it would be on the
// wire. Nothing here is safe or needed for concurrent use; results are plain
// data.
package expect
