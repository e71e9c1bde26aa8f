// Command attacks prints what came of every line of the attack catalogue
// (testdata/attacks.txt): it runs the tests of package e2e that are named
// escape_<ID>, as root and as an ordinary user, and joins them with
// docs/THREATS.md. It fails if a line has neither a test that passed nor a
// written reason.
//
// A test counts for every ID in the last part of its name. The ways in that it
// tried are lines of its log, "escape ID way=WAY user=USER", which the frame in
// package e2e writes. Without -json, output is for people.
//
// `make attacks` runs it; what is shipped does not depend on it.
package main
