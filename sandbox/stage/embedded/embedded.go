// Package embedded carries the built stage program inside creel. It holds
// nothing else; only package sandbox imports it.
package embedded

import "embed"

//go:embed all:*
var files embed.FS

// Stage returns the program, or an error if creel was built without it.
func Stage() ([]byte, error) { return files.ReadFile("stage") }
