package egress

import (
	"fmt"
	"sync/atomic"
	"time"
)

// idleFrames is how many frames of HTTP/2 that ask for nothing (PING, SETTINGS,
// WINDOW_UPDATE, PRIORITY, RST_STREAM, empty DATA, unknown ones) may come in a
// burst, and idleFramesPerSecond how many ever after. A frame of data or of a
// head, in either direction, earns earnedFrames more: peers acknowledge those, and
// gRPC measures the way with a PING for each.
const (
	idleFrames          = 2000
	idleFramesPerSecond = 100
	earnedFrames        = 4

	// settingsPerFrame is how many bytes of settings, of 6 each, count as another
	// frame: each of them costs work. Known peers send ten.
	settingsPerFrame = 64
)

// reasonIdle says why a connection ends on which more of them came.
var reasonIdle = fmt.Sprintf("more frames of HTTP/2 that ask for nothing than the %d per second that are taken", idleFramesPerSecond)

// allowance counts such frames of one peer. Its reader spends, and anybody earns.
type allowance struct {
	tokens int
	filled time.Time
	earned atomic.Int64 // since then, in frames
}

func newAllowance() allowance { return allowance{tokens: idleFrames, filled: time.Now()} }

func (a *allowance) earn(frames int64) { a.earned.Add(frames) }

// spend takes n frames, or reports that there are not as many.
func (a *allowance) spend(n int) bool {
	if a.tokens < n {
		now := time.Now()
		more := earnedFrames*a.earned.Swap(0) + int64(now.Sub(a.filled).Seconds()*idleFramesPerSecond)
		a.tokens, a.filled = a.tokens+int(min(more, idleFrames)), now
	}
	if a.tokens < n {
		return false
	}
	a.tokens -= n
	return true
}
