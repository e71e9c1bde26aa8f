package supervisor

import (
	"runtime/debug"
	"time"
)

// deferCollection keeps the garbage collector out of the start, of which it would
// take a tenth: what a start allocates is a few megabytes. A second later it
// collects once, gives the memory back, and works as always; the limit is for an
// agent that is quick. The result undoes it.
func deferCollection() (undo func()) {
	const (
		quiet = time.Second
		limit = 48 << 20 // bytes
	)
	percent, before := debug.SetGCPercent(-1), debug.SetMemoryLimit(limit)
	wake := func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(before)
	}
	timer := time.AfterFunc(quiet, func() {
		wake()
		debug.FreeOSMemory()
	})
	return func() {
		if timer.Stop() {
			wake()
		}
	}
}
