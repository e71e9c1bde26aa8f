package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxLine bounds one line of the log in bytes: what Record never exceeds
	// and what Verify reads at most. 15 strings and 32 details of maxField
	// bytes, each byte at worst six in JSON, stay below it.
	maxLine = 8 << 20
	// maxField bounds one string of an event in bytes: the longest request
	// target that egress takes is shorter.
	maxField = 16 << 10
	// maxDetails bounds the entries of Detail: no event kind has more than ten.
	maxDetails = 32

	hashHead = `,"hash":"`
	hashTail = `"}`
	hashLen  = 2 * sha256.Size
)

// encode appends the line of e, without line feed, to to, and gives its hash:
// SHA-256 of the same JSON without the hash, which is always the last member.
func encode(to []byte, e *Event) (line []byte, hash string, err error) {
	from := len(to)
	to, err = appendEvent(to, e)
	if err != nil {
		return nil, "", fmt.Errorf("encode event: %w", err)
	}
	sum := sha256.Sum256(to[from:])
	to = append(to[:len(to)-1], hashHead...)
	to = hex.AppendEncode(to, sum[:])
	hash = string(to[len(to)-hashLen:])
	to = append(to, hashTail...)
	if n := len(to) - from; n >= maxLine {
		return nil, "", fmt.Errorf("encode event: %d bytes, more than %d", n, maxLine)
	}
	return to, hash, nil
}

// split takes the hash off a line and returns the bytes that were hashed.
func split(line []byte) (body []byte, hash string, ok bool) {
	n := len(line) - len(hashHead) - hashLen - len(hashTail)
	if n < 1 || string(line[n:n+len(hashHead)]) != hashHead || string(line[len(line)-len(hashTail):]) != hashTail {
		return nil, "", false
	}
	hash = string(line[n+len(hashHead) : len(line)-len(hashTail)])
	for i := range len(hash) {
		if c := hash[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return nil, "", false
		}
	}
	body = append(slices.Clone(line[:n]), '}')
	return body, hash, true
}

// decode parses a line. sound reports that its bytes match its own hash.
func decode(line []byte) (e Event, sound bool, err error) {
	body, hash, ok := split(line)
	if !ok {
		return Event{}, false, fmt.Errorf("decode event: no hash at its end")
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, false, fmt.Errorf("decode event: %w", err)
	}
	sum := sha256.Sum256(body)
	return e, hex.EncodeToString(sum[:]) == hash && e.Hash == hash, nil
}

// bound makes an event fit: no query in Path whatever the caller did, and no
// string that hostile input could make grow without end.
func bound(e *Event) {
	if i := strings.IndexAny(e.Path, "?#"); i >= 0 {
		e.Path = e.Path[:i]
	}
	for _, s := range []*string{
		&e.Verdict, &e.Reason, &e.Rule, &e.RuleAt, &e.Host, &e.Addr, &e.Protocol,
		&e.Binary, &e.Script, &e.Method, &e.Path, &e.Model, (*string)(&e.Kind), (*string)(&e.Via),
	} {
		*s = clip(*s)
	}
	fits := len(e.Detail) <= maxDetails
	for k, v := range e.Detail {
		fits = fits && len(k) <= maxField && len(v) <= maxField
	}
	if fits {
		return
	}
	detail := make(map[string]string, min(len(e.Detail), maxDetails))
	for i, k := range slices.Sorted(maps.Keys(e.Detail)) {
		if i == maxDetails {
			break
		}
		detail[clip(k)] = clip(e.Detail[k])
	}
	e.Detail = detail
}

func clip(s string) string {
	if len(s) <= maxField {
		return s
	}
	cut := maxField
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s[%d bytes left out]", s[:cut], len(s)-cut)
}
