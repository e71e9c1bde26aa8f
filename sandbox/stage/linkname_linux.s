// An assembly file lets the package declare functions without bodies
// (go:linkname in fork_linux.go).
