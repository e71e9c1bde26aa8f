package supervisor

import (
	"runtime/debug"
	"time"
)

// deferCollection keeps the garbage collector out of the start, of which it would
// take a tenth: what a start allocates is a few megabytes. A second later it
// collects once, gives the memory back, and works as always; the limit is for an
// agent that is quick. The result undoes it.
//
// Afterwards it collects more rarely than Go's default: what lives is a few
// megabytes, and each request of the agent allocates. The limit makes it collect
// as soon as that is not so.
func deferCollection() (undo func()) {
	const (
		quiet = time.Second
		limit = 48 << 20 // bytes
		rare  = 400      // percent of what lives
	)
	percent, before := debug.SetGCPercent(-1), debug.SetMemoryLimit(limit)
	wake := func() { debug.SetGCPercent(rare) }
	timer := time.AfterFunc(quiet, func() {
		wake()
		debug.FreeOSMemory()
	})
	return func() {
		timer.Stop()
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(before)
	}
}
