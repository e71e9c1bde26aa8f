package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
)

const (
	// minMask is the shortest value that is hidden, in bytes: shorter ones occur
	// in ordinary text.
	minMask = 4

	// minCut is the shortest piece of base64 that is hidden, in characters: in
	// random data it occurs once in 64^8 places. It is also the shortest begin of
	// a secret that is hidden where data ends in the middle of one.
	minCut = 8

	// maskBytes is one piece of input: one TLS record.
	maskBytes = 16 << 10
)

// Cover says what stands in the place of a secret.
type Cover struct {
	Value Value
	With  string // empty: as many stars as what is replaced has bytes
	Exact bool   // no other form of Value is looked for
}

// Mask replaces secrets in data that goes to those who must not see them. It
// finds a value as it is, percent-encoded, as JSON and HTML write it, and inside
// of base64 (of a Basic credential, of a whole header), wherever it stands in it.
//
// It does not find what was changed on purpose (compressed, reversed, in hex):
// a service that does as the agent says is stopped by rules about its paths
// only.
//
// A Mask does not change and is safe for concurrent use. The nil Mask changes
// nothing.
type Mask struct {
	forms []form     // longest first
	first [256][]int // by first byte, indices of forms in their order
	fold  []string   // of all forms, in lower case: names of headers lose theirs
	least int        // length of the shortest
}

type form struct {
	text []byte
	with string // empty: stars
}

// appendCover writes what stands in the place of n bytes of the form.
func (f *form) appendCover(to []byte, n int) []byte {
	if f.with != "" {
		return append(to, f.with...)
	}
	return append(to, bytes.Repeat([]byte{'*'}, n)...)
}

// NewMask gives a nil Mask if nothing is to be hidden.
func NewMask(covers ...Cover) *Mask {
	m := &Mask{}
	known := map[string]bool{}
	add := func(text, with string, least int) {
		if len(text) < least || known[text] {
			return
		}
		known[text] = true
		m.forms = append(m.forms, form{[]byte(text), with})
	}
	for _, c := range covers {
		add(c.Value.Reveal(), c.With, minMask)
	}
	for _, c := range covers {
		text := c.Value.Reveal()
		if c.Exact || len(text) < minMask {
			continue
		}
		for _, t := range spellings(text) {
			add(t, c.With, minMask)
		}
		for _, t := range cuts(text) {
			add(t, c.With, minCut)
		}
	}
	if len(m.forms) == 0 {
		return nil
	}
	slices.SortStableFunc(m.forms, func(a, b form) int { return len(b.text) - len(a.text) })
	for i, f := range m.forms {
		m.first[f.text[0]] = append(m.first[f.text[0]], i)
		m.fold = append(m.fold, strings.ToLower(string(f.text)))
	}
	m.least = len(m.forms[len(m.forms)-1].text)
	return m
}

// spellings are the ways in which services write a text into another one.
func spellings(text string) []string {
	var out []string
	for _, coded := range []string{url.QueryEscape(text), url.PathEscape(text), strings.ReplaceAll(url.QueryEscape(text), "+", "%20")} {
		out = append(out, coded, lowerEscapes(coded))
	}
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text)
	inJSON := strings.TrimSuffix(plain.String(), "\n")
	inJSON = inJSON[1 : len(inJSON)-1]
	out = append(out, inJSON, strings.ReplaceAll(inJSON, "/", `\/`))
	if escaped, err := json.Marshal(text); err == nil {
		out = append(out, string(escaped[1:len(escaped)-1]))
	}
	inHTML := html.EscapeString(text)
	return append(out, inHTML, strings.ReplaceAll(inHTML, "+", "&#43;"),
		strings.NewReplacer("&#34;", "&quot;", "&#39;", "&#x27;").Replace(inHTML))
}

// lowerEscapes writes percent-encoding with small letters.
func lowerEscapes(coded string) string {
	b := []byte(coded)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i:i+3], bytes.ToLower(b[i:i+3]))
			i += 2
		}
	}
	return string(b)
}

// cuts are what the base64 of any data that holds the text must hold: for each
// of the three places in a group of bytes where it may begin, the characters
// that depend on the text alone.
func cuts(text string) []string {
	var out []string
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			coded := enc.EncodeToString(append(make([]byte, before), text...))
			from := (before*8 + 5) / 6         // first character without bits of what stands before
			to := (before + len(text)) * 8 / 6 // and the first with bits of what follows
			if from < to {
				out = append(out, coded[from:to])
			}
		}
	}
	return out
}

// String hides what is secret in a text.
func (m *Mask) String(text string) string {
	if m == nil || m.clean(text) {
		return text
	}
	s := m.Stream()
	out := s.Next([]byte(text))
	return string(append(bytes.Clone(out), s.Rest()...))
}

// clean: nothing of the text is replaced.
func (m *Mask) clean(text string) bool {
	for i := range len(text) {
		for _, j := range m.first[text[i]] {
			form := m.forms[j].text
			n := min(len(form), len(text)-i)
			if string(form[:n]) == text[i:i+n] { // it may be cut at the end
				return false
			}
		}
	}
	return true
}

// Holds reports whether a text holds what is secret, in letters of any size.
func (m *Mask) Holds(text string) bool {
	if m == nil || len(text) < m.least {
		return false
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(m.fold, func(f string) bool { return strings.Contains(text, f) })
}

// Stream hides what is secret in one stream of bytes, wherever the pieces are
// cut. Every byte is passed on at once, except those at the end of a piece that
// may be the begin of a secret.
func (m *Mask) Stream() *Stream { return &Stream{mask: m} }

// Stream is for one user at a time.
type Stream struct {
	mask *Mask
	held []byte // shorter than the longest form
}

// Next gives what may be passed on of what came so far. It is valid until the
// next call; piece may be part of it.
func (s *Stream) Next(piece []byte) []byte {
	if s.mask == nil {
		return piece
	}
	all := piece
	if len(s.held) > 0 {
		all = append(s.held, piece...)
		s.held = nil
	}
	return s.replace(all, false)
}

// Rest gives what was held back, at the end.
func (s *Stream) Rest() []byte {
	if s.mask == nil {
		return nil
	}
	all := s.held
	s.held = nil
	return s.replace(all, true)
}

// replace takes the longest form at the first place where one stands.
func (s *Stream) replace(all []byte, last bool) []byte {
	var out []byte // nil: nothing was replaced so far
	done := 0      // up to here all is in out
	for i := 0; i < len(all); i++ {
		for _, j := range s.mask.first[all[i]] {
			f := &s.mask.forms[j]
			n := len(f.text)
			if left := len(all) - i; left < n {
				if !bytes.HasPrefix(f.text, all[i:]) || last && left < minCut {
					continue
				}
				if !last {
					s.held = bytes.Clone(all[i:])
					return append(out, all[done:i]...)
				}
				n = left
			} else if !bytes.HasPrefix(all[i:], f.text) {
				continue
			}
			out = f.appendCover(append(out, all[done:i]...), n)
			done = i + n
			i = done - 1
			break
		}
	}
	if done == 0 {
		return all
	}
	return append(out, all[done:]...)
}

// Reader hides what is secret in what r gives.
func (m *Mask) Reader(r io.Reader) io.Reader {
	if m == nil {
		return r
	}
	return &maskReader{from: r, stream: m.Stream()}
}

var maskBuffers = sync.Pool{New: func() any { return new([maskBytes]byte) }}

type maskReader struct {
	from   io.Reader
	stream *Stream
	buf    *[maskBytes]byte
	out    []byte
	err    error // given once out is empty
}

func (r *maskReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.buf == nil {
			r.buf = maskBuffers.Get().(*[maskBytes]byte)
		}
		n, err := r.from.Read(r.buf[:])
		r.out, r.err = r.stream.Next(r.buf[:n]), err
		if err != nil {
			r.out = append(bytes.Clone(r.out), r.stream.Rest()...)
			maskBuffers.Put(r.buf)
			r.buf = nil
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}
