package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// maxBytes bounds a secret: the largest real ones (service account keys) have a
// few KiB, and a larger one fits into no header.
const maxBytes = 64 << 10

// ErrNotSet: the variable that a reference names does not exist.
var ErrNotSet = errors.New("the variable is not set")

// Unreadable is a reference that led to nothing.
type Unreadable struct {
	Ref string // env:VAR or file:PATH
	Err error
}

func (u *Unreadable) Error() string { return "read secret " + u.Ref + ": " + u.Err.Error() }
func (u *Unreadable) Unwrap() error { return u.Err }

// Resolve reads a secret from a reference: env:VAR or file:PATH. One trailing
// line end is cut off; what is left must be one non-empty line, because it ends
// up in a header.
func Resolve(ref string, getenv func(string) (string, bool)) (Value, error) {
	kind, name, _ := strings.Cut(ref, ":")
	var text string
	switch {
	case kind == "env" && name != "":
		if getenv == nil {
			return Value{}, fmt.Errorf("read secret %s: there is no environment", ref)
		}
		v, ok := getenv(name)
		if !ok {
			return Value{}, &Unreadable{ref, ErrNotSet}
		}
		text = v
	case kind == "file" && name != "":
		v, err := readFile(name)
		if err != nil {
			return Value{}, &Unreadable{ref, err}
		}
		text = v
	default:
		// The reference is not quoted: it may be the secret itself, written in its place.
		return Value{}, errors.New("read secret: the reference is neither env:VAR nor file:PATH")
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case text == "":
		return Value{}, fmt.Errorf("read secret %s: it is empty", ref)
	case len(text) > maxBytes:
		return Value{}, fmt.Errorf("read secret %s: it has more than %d bytes", ref, maxBytes)
	case strings.ContainsAny(text, "\r\n\x00"):
		return Value{}, fmt.Errorf("read secret %s: it has more than one line, or a NUL byte", ref)
	}
	return New(text), nil
}

func readFile(path string) (string, error) {
	// Looked at before it is opened: opening a FIFO would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+3)) // the bound, a line end, and one more
	return string(data), err
}

// Warning tells what is doubtful about a reference that can be resolved: a file
// that other users can read. Empty: nothing.
func Warning(ref string) string {
	path, ok := strings.CutPrefix(ref, "file:")
	if !ok || runtime.GOOS == "windows" { // its mode bits say nothing about others
		return ""
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o044 == 0 {
		return ""
	}
	return fmt.Sprintf("%s can be read by other users (mode %04o); run: chmod 600 %s", path, info.Mode().Perm(), path)
}
