//go:build !linux

package main

import "os"

func main() {
	os.Stderr.WriteString("bench: Linux only\n")
	os.Exit(1)
}
