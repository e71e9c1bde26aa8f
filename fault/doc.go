// Package fault is the one error type that people are shown: what was being
// done, what went wrong, what to type next, and the exit status that says which
// kind of failure it was.
//
// It is a leaf and may be imported by every package that can be the reason why
// a command ends. Values are immutable after they were made.
package fault
