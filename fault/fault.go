package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Exit statuses of creel. They are part of the command line's contract, listed
// in creel --help. 125 to 127 are the numbers that env(1), timeout(1) and the
// container engines use.
const (
	OK            = 0
	General       = 1
	Usage         = 2   // bad usage, bad input, faulty policy: nothing was started
	Host          = 3   // this host cannot: a kernel feature or permission is missing
	Internal      = 125 // creel itself failed after the start
	NotExecutable = 126 // the command exists inside but cannot be executed
	NotFound      = 127 // the command does not exist inside
	Signal        = 128 // plus the number of the signal that ended the command
)

// Error is a failure that a person is shown. Its text is "op: msg: err" with
// the empty parts left out. Strings may hold foreign bytes: whoever prints them
// escapes them.
type Error struct {
	Op    string   // verb and noun: "open audit log"
	Msg   string   // the cause in words
	Hints []string // each one a line: the next command to type, or what to change
	Code  int      // exit status; 0 counts as General, an error is never a success
	Err   error    // the error below, if there is one
}

func (e *Error) Error() string {
	parts := make([]string, 0, 3)
	if e.Op != "" {
		parts = append(parts, e.Op)
	}
	if e.Msg != "" {
		parts = append(parts, e.Msg)
	}
	if e.Err != nil {
		text := e.Err.Error()
		if len(parts) == 1 { // what is below may say the same verb already
			text = strings.TrimPrefix(text, parts[0]+": ")
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "unknown error"
	}
	return strings.Join(parts, ": ")
}

func (e *Error) Unwrap() error { return e.Err }

// Exit is the exit status; never OK.
func (e *Error) Exit() int {
	if e.Code == OK {
		return General
	}
	return e.Code
}

// UsageError is bad usage or bad input.
func UsageError(op, msg string, hints ...string) *Error {
	return &Error{Op: op, Msg: msg, Hints: hints, Code: Usage}
}

// HostError says that this host cannot do it.
func HostError(op, msg string, hints ...string) *Error {
	return &Error{Op: op, Msg: msg, Hints: hints, Code: Host}
}

// Wrap gives err an operation, an exit status and hints. If err carries an
// Error already, its hints come first and its code is kept when code is 0.
func Wrap(err error, op string, code int, hints ...string) *Error {
	w := &Error{Op: op, Err: err, Code: code}
	var below *Error
	if errors.As(err, &below) {
		w.Hints = append(w.Hints, below.Hints...)
		if code == OK {
			w.Code = below.Code
		}
	}
	w.Hints = append(w.Hints, hints...)
	return w
}

// Errorf is a General error with a formatted message.
func Errorf(op, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Op: op, Err: err}
}
