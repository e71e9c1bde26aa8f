// Package e2e holds the tests of the built program from outside: they run the
// real creel on the real kernel, as root and as an ordinary user, with real TLS
// and HTTP servers on loopback behind it. It has no code of its own.
//
// The oracle is never the client inside: what a server of the test (the sink)
// saw, and what the audit log recorded, decide. A test that expects a denial has
// a positive control beside it.
//
// The test binary is also the program that runs inside (see probe): it executes
// what a test asks for over its standard streams, and speaks raw bytes.
//
// Tests are named after what they show; those of the attack catalogue are
// escape_<ID>, subtests of TestEscape…, through live.escape, which asserts what
// every line needs and tells `make attacks` the ways in that were tried. Those
// that are about names and addresses run in a world of their own (inWorld).
package e2e
