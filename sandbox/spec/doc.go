// Package spec is what the supervisor and the stage say to each other: the plan
// of a sandbox, the messages of their protocol and the numbers that both must
// know. Plain data; it imports nothing, so that neither pays for the other.
package spec
