package inference

import (
	"bytes"
	"errors"
	"net/url"
	"strings"

	"github.com/creel-run/creel/secret"
)

// mask blots out the key in an answer: error pages and echo services give it
// back. It keeps lengths, and holds back only bytes that may be the begin of
// the key.
type mask struct {
	key  []byte
	held []byte
}

func newMask(key secret.Value) *mask { return &mask{key: []byte(key.Reveal())} }

// next gives what may be passed on of what came so far.
func (m *mask) next(piece []byte) []byte {
	if len(m.key) == 0 {
		return piece
	}
	all := append(m.held, piece...)
	all = bytes.ReplaceAll(all, m.key, bytes.Repeat([]byte{'*'}, len(m.key)))
	keep := 0
	for n := min(len(all), len(m.key)-1); n > 0; n-- {
		if bytes.HasPrefix(m.key, all[len(all)-n:]) {
			keep = n
			break
		}
	}
	out := all[:len(all)-keep]
	m.held = bytes.Clone(all[len(all)-keep:])
	return out
}

// rest gives what was held back, at the end.
func (m *mask) rest() []byte {
	out := m.held
	m.held = nil
	return out
}

// cause is the reason of a failed exchange without the URL around it.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return strings.TrimPrefix(err.Error(), "net/http: ")
}
