// Package glob matches strings against the glob language of policies, with one
// separator character: "/" for paths and binaries, "." for host names and for
// the values of queries. Matching takes linear time in pattern × text.
package glob
