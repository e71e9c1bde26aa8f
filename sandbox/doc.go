// Package sandbox builds one sandbox out of a Spec and gives back the live
// Sandbox: its listeners, its streams and its end. It holds all that is
// privileged in Creel; the code that runs inside is sandbox/stage, and who is
// calling is told by sandbox/caller.
//
// What an agent may have left behind is not trusted at the next start: a declared
// path is followed through links of the system only (resolver), then opened
// without following any, and the folders above mount points and protected files
// cannot be renamed (pins). What is at a path inside is the host's only if
// Sandbox.HostFile says so.
//
// It may import only leaves. See docs/ARCHITECTURE.md for the protocol between
// the supervisor and the stage.
package sandbox
