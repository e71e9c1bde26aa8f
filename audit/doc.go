// Package audit records every decision and every lifecycle step of a sandbox
// as one typed JSON line, each with a sequence number and the hash of the line
// before, so that a gap or an edit is found offline.
//
// It may import only leaves. A Log is safe for concurrent use. Record returns
// after the line was handed to the kernel; once a write has failed, every later
// Record fails too, and nothing that was written before is touched.
// Never in an event: a secret, a query string, a body.
package audit
