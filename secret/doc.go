// Package secret holds values that must never be shown: a Value redacts itself
// in every form of printing, logging and encoding. It also reads values from
// where operators keep them (Resolve), and hides them in what comes back from
// those that they were sent to (Mask).
//
// It is a leaf. Only Reveal gives the text, and it is called only where the
// bytes are sent. Error texts name the reference, never a part of the value.
package secret
