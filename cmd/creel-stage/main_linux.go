// The runtime would keep files of the host's cgroup open to follow the CPU limit.
//
//go:debug containermaxprocs=0

// Command creel-stage is process 1 of a sandbox; see package sandbox/stage. It
// is embedded in creel and is of no use by itself.
package main

import (
	"os"

	"github.com/creel-run/creel/sandbox/stage"
)

func main() { os.Exit(stage.Main()) }
