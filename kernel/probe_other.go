//go:build !linux

package kernel

import (
	"context"
	"runtime"
)

// Probe says that sandboxes run on Linux only.
func Probe(context.Context, Paths) []Feature {
	return []Feature{{Name: "linux", Outcome: No, Required: true, Detail: "this is " + runtime.GOOS,
		Fix: "run creel on a Linux machine, or in a Linux virtual machine"}}
}

// RunProbe is the child's part.
func RunProbe([]string) int { return 1 }
