// Package sandbox builds one sandbox out of a Spec and gives back the live
// Sandbox: its listeners, its streams and its end. It holds all that is
// privileged in Creel; the code that runs inside is sandbox/stage, and who is
// calling is told by sandbox/caller.
//
// It may import only leaves. See docs/ARCHITECTURE.md for the protocol between
// the supervisor and the stage.
package sandbox
