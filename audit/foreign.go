package audit

import (
	"bufio"
	"bytes"
)

// foreignLines are as many as are looked at to tell a log from another file: a
// log that was damaged has a sound line among its first ones, or little is left.
const foreignLines = 5

// Foreign reports whether a file is no log at all: it has lines, and none of its
// first ones is an event, sound or not. What is read to tell stays in r.
func Foreign(r *bufio.Reader) bool {
	head, _ := r.Peek(r.Size()) // less of a short file, and an error that comes again
	lines := 0
	for lines < foreignLines {
		line, rest, whole := bytes.Cut(head, []byte("\n"))
		if !whole {
			break
		}
		if _, _, err := decode(line); err == nil {
			return false
		}
		lines++
		head = rest
	}
	return lines > 0
}
