package supervisor

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestMemoryLimitFollows: what lives may be more than the limit at rest, without
// collections from then on.
func TestMemoryLimitFollows(t *testing.T) {
	undo := deferCollection()
	defer undo()
	limit := func() int64 { return debug.SetMemoryLimit(-1) }
	if got := limit(); got != leastMemory {
		t.Fatalf("limit at the start: %d", got)
	}
	reaches := func(what string, want func(int64) bool) {
		t.Helper()
		for range 500 {
			runtime.GC()
			if want(limit()) {
				return
			}
			time.Sleep(2 * time.Millisecond) // finalizers have a goroutine of their own
		}
		t.Errorf("%s: the limit is %d", what, limit())
	}
	held := make([]byte, 128<<20)
	reaches("128 MB live", func(n int64) bool { return n > 128<<20+32<<20 && n < 256<<20 })
	runtime.KeepAlive(held)
	held = nil
	reaches("afterwards", func(n int64) bool { return n == leastMemory })
	undo()
	if got := limit(); got == leastMemory {
		t.Error("the limit stays behind")
	}
}
