package audit

import (
	"bufio"
	"errors"
	"fmt"
	"os"
)

// Ends reads the first and the last event of a log without reading what lies
// between; the chain is not checked. last is the same as first in a log of one
// line. A log that is being written may be read.
func Ends(path string) (first, last Event, err error) {
	f, err := os.Open(path)
	if err != nil {
		return first, last, fmt.Errorf("read audit log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return first, last, fmt.Errorf("read audit log: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return first, last, fmt.Errorf("read audit log %s: %w", path, errors.New("empty, or no regular file"))
	}
	line, _, _, err := readLine(bufio.NewReader(f))
	if err != nil {
		return first, last, fmt.Errorf("read audit log: %w", err)
	}
	if first, _, err = decode(line); err != nil {
		return first, last, fmt.Errorf("read audit log %s: %w", path, err)
	}
	end, _, err := lastLine(f, info.Size())
	if err != nil {
		return first, last, fmt.Errorf("read audit log: %w", err)
	}
	if last, _, err = decode(end); err != nil {
		return first, last, fmt.Errorf("read audit log %s: %w", path, err)
	}
	return first, last, nil
}
