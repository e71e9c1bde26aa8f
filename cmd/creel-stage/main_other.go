//go:build !linux

// Command creel-stage runs on Linux only.
package main

import "os"

func main() {
	os.Stderr.WriteString("creel-stage: Linux only\n")
	os.Exit(1)
}
