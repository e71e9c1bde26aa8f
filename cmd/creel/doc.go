// Command creel runs AI agents inside a boundary.
//
// Package main only looks at the hidden roles of re-executed children, before
// anything else, and hands the rest to package cli.
package main
