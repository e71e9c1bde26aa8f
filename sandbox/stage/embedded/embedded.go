// Package embedded carries the built stage program inside creel. It holds
// nothing else; only package sandbox imports it.
package embedded

import (
	"embed"
	"io/fs"
)

//go:embed all:*
var files embed.FS

// Stage opens the program, or fails if creel was built without it.
func Stage() (fs.File, error) { return files.Open("stage") }
