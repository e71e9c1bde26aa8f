package supervisor

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// leastMemory is the memory, in bytes, up to which garbage is collected rarely.
const leastMemory = 48 << 20

// deferCollection keeps the garbage collector out of the start, of which it would
// take a tenth: what a start allocates is a few megabytes. A second later it
// collects once, gives the memory back, and works as always; the limit is for an
// agent that is quick. The result undoes it.
//
// Afterwards it collects more rarely than Go's default: what lives is a few
// megabytes, and each request of the agent allocates. The limit makes it collect
// as soon as that is not so, and follows what lives: an agent that makes more of
// that than the limit would else have it collect all the time, and nobody be
// answered, the operator last.
func deferCollection() (undo func()) {
	const (
		quiet = time.Second
		rare  = 400 // percent of what lives
	)
	percent, before := debug.SetGCPercent(-1), debug.SetMemoryLimit(leastMemory)
	unfollow := followMemory()
	timer := time.AfterFunc(quiet, func() {
		debug.SetGCPercent(rare)
		debug.FreeOSMemory()
	})
	return func() {
		timer.Stop()
		unfollow()
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(before)
	}
}

// followMemory sets the limit after each collection, until undo: half as much again
// as lives, and what the runtime needs beside it.
func followMemory() (undo func()) {
	const beside = 16 << 20 // bytes
	var ended atomic.Bool
	last := int64(leastMemory)
	type mark struct{ _ *mark } // a pointer in it: it is no part of another object
	var again func(*mark)
	again = func(m *mark) {
		if ended.Load() {
			return
		}
		found := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(found)
		lives := int64(0)
		for _, f := range found {
			if f.Value.Kind() == metrics.KindUint64 {
				lives += int64(f.Value.Uint64()) //nolint:gosec // of this process
			}
		}
		if next := max(leastMemory, lives+lives/2+beside); next > last+last/16 || next < last-last/16 {
			last = next
			debug.SetMemoryLimit(next)
		}
		runtime.SetFinalizer(m, again)
	}
	runtime.SetFinalizer(&mark{}, again)
	return func() { ended.Store(true) }
}
