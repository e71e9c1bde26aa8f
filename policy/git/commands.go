package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxUpdates = 256  // refs in one push; people push a handful
	maxRef     = 1024 // bytes of a ref's name, four times what file systems take

	// MaxCommands is how many bytes ReadCommands reads at most.
	MaxCommands = 1 << 20

	// Flush ends a part of a message. Alone it is a push that does nothing.
	Flush = "0000"
)

// ErrCommands means that the commands of a push are not understood.
var ErrCommands = errors.New("read git push")

// ReadCommands reads the commands of a push, up to the pack (or the end, if there
// is none). It gives the bytes that it read, which are to be sent on unchanged.
// Updates of refs that exist are Forced, and Unproved, until FastForward has looked.
func ReadCommands(r io.Reader) (updates []Update, read []byte, err error) {
	p := &packets{r: r}
	seen := map[string]bool{}
	options := false
	for {
		line, flush, err := p.next()
		if err != nil {
			return nil, nil, err
		}
		if flush {
			break
		}
		text := strings.TrimSuffix(string(line), "\n")
		if strings.HasPrefix(text, "shallow ") && isID(text[len("shallow "):]) {
			continue
		}
		text, capabilities, has := strings.Cut(text, "\x00")
		if has != (len(updates) == 0) { // they stand behind the first command
			return nil, nil, fmt.Errorf("%w: capabilities in a wrong place", ErrCommands)
		}
		for _, c := range strings.Fields(capabilities) {
			options = options || c == "push-options"
		}
		u, err := parseUpdate(text)
		if err != nil {
			return nil, nil, err
		}
		if seen[u.Ref] || len(updates) == maxUpdates {
			return nil, nil, fmt.Errorf("%w: a ref twice, or more than %d", ErrCommands, maxUpdates)
		}
		seen[u.Ref] = true
		updates = append(updates, u)
	}
	if len(updates) == 0 {
		return nil, nil, fmt.Errorf("%w: no command", ErrCommands)
	}
	for options { // their meaning is the server's; they are lines up to a flush
		if _, flush, err := p.next(); err != nil {
			return nil, nil, err
		} else if flush {
			break
		}
	}
	return updates, p.read, nil
}

func parseUpdate(text string) (Update, error) {
	words := strings.SplitN(text, " ", 3)
	if len(words) != 3 || !isID(words[0]) || !isID(words[1]) || len(words[0]) != len(words[1]) {
		return Update{}, fmt.Errorf("%w: a line is no command", ErrCommands)
	}
	u := Update{Ref: words[2], old: words[0], new: words[1]}
	if !isRef(u.Ref) {
		return Update{}, fmt.Errorf("%w: a malformed ref", ErrCommands)
	}
	u.Create, u.Delete = isZero(u.old), isZero(u.new)
	if u.Create && u.Delete {
		return Update{}, fmt.Errorf("%w: a command that does nothing", ErrCommands)
	}
	u.Forced = !u.Create && !u.Delete && u.old != u.new
	u.Unproved = u.Forced
	return u, nil
}

// isID reports whether s is an object id: 40 (SHA-1) or 64 (SHA-256) lower-case digits.
func isID(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}

func isZero(id string) bool { return strings.Trim(id, "0") == "" }

// isRef follows git-check-ref-format(1) as far as two readers could differ.
func isRef(s string) bool {
	if len(s) > maxRef || !strings.HasPrefix(s, "refs/") || strings.HasSuffix(s, "/") || strings.HasSuffix(s, ".") || strings.Contains(s, "@{") {
		return false
	}
	for _, part := range strings.Split(s, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.Contains(s, "..") && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || r == 0xfffd || strings.ContainsRune(`~^:?*[\`, r)
	})
}

// packets reads pkt-lines and keeps their bytes.
type packets struct {
	r    io.Reader
	read []byte
}

func (p *packets) next() (line []byte, flush bool, err error) {
	head, err := p.take(4)
	if err != nil {
		return nil, false, err
	}
	size := 0
	for _, c := range head {
		i := bytes.IndexByte([]byte("0123456789abcdef"), lower(c))
		if i < 0 {
			return nil, false, fmt.Errorf("%w: a malformed length", ErrCommands)
		}
		size = size<<4 | i
	}
	switch {
	case size == 0:
		return nil, true, nil
	case size < 5: // delimiters of version 2, and empty lines, are not part of a push
		return nil, false, fmt.Errorf("%w: a malformed length", ErrCommands)
	}
	line, err = p.take(size - 4)
	return line, false, err
}

func (p *packets) take(n int) ([]byte, error) {
	if len(p.read)+n > MaxCommands {
		return nil, fmt.Errorf("%w: more than %d bytes of commands", ErrCommands, MaxCommands)
	}
	at := len(p.read)
	p.read = append(p.read, make([]byte, n)...)
	if _, err := io.ReadFull(p.r, p.read[at:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCommands, err)
	}
	return p.read[at:], nil
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'F' {
		return c + 'a' - 'A'
	}
	return c
}
