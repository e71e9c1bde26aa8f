// Package protected knows what of a workspace the host's own tools run or
// trust: git's hooks and settings, settings of editors and of agents, shell start
// files. An agent that writes them writes what its operator executes later.
//
// Here live the one list of them (its page is docs/protected-files.md), matching
// a path against it, finding what of it a workspace has (those are mounted
// read-only), and the sweep that looks after a run for what the agent made where
// nothing was. Building mounts is package sandbox's.
//
// It is a leaf. The list and its matching are pure; files of a workspace are
// hostile: they are opened beneath its root, following no link, and reads are
// bounded. Nothing is shared; every function may be called concurrently.
package protected
