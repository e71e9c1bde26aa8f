//go:build !linux

package main

import "github.com/creel-run/creel/cli"

// run is nil where sandboxes cannot run; cli says so.
var run cli.RunFunc

var selfTest cli.SelftestFunc

func isScript([]string) bool { return false }
func runScript() int         { return 1 }

func isPart([]string) bool { return false }
func runPart([]string) int { return 1 }
