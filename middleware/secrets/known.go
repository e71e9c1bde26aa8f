package secrets

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/creel-run/creel/secret"
)

const (
	// minKnown is the shortest value that is looked for, in bytes, and minCut
	// the shortest piece of base64: shorter ones stand in ordinary texts.
	minKnown = 8
	minCut   = 10

	// A value of more than maxKnown bytes is looked for by maxParts parts of
	// partLen bytes.
	maxKnown = 512
	maxParts = 8
	partLen  = maxKnown / maxParts

	// groupBytes bounds the forms of one automaton.
	groupBytes = maxStates - 1
)

// Known is a secret that is not to be sent, by anyone.
type Known struct {
	Name  string // for findings
	Value secret.Value
}

// NewScanner knows values besides the rules. Values of fewer than 8 bytes are
// not looked for.
func NewScanner(known ...Known) (*Scanner, error) {
	var forms []knownForm
	for _, k := range known {
		forms = append(forms, formsOf(k)...)
	}
	s := &Scanner{}
	for len(forms) > 0 {
		n, size := 0, 0
		for n < len(forms) && size+len(forms[n].text) < groupBytes {
			size += len(forms[n].text)
			n++
		}
		k := &knownValues{forms: forms[:n:n]}
		var texts []string
		for _, f := range k.forms {
			texts = append(texts, f.text)
		}
		var ok bool
		if k.words, ok = newAutomaton(texts, false); !ok {
			return nil, errors.New("look for known secrets: they are too long")
		}
		s.known = append(s.known, k)
		forms = forms[n:]
	}
	return s, nil
}

// knownValues looks for forms of values in one pass.
type knownValues struct {
	words *automaton
	forms []knownForm
}

// String shows no value.
func (k *knownValues) String() string   { return "[redacted]" }
func (k *knownValues) GoString() string { return "[redacted]" }

type knownForm struct {
	rule  string
	text  string
	whole bool // the form stands for all of the value
}

func (f knownForm) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(f.rule)) }

// formsOf gives what a value looks like in a text: as it is, backwards, in
// hexadecimal digits, and in base64, of which the characters that depend on
// the value alone, for each of the three places where it may begin.
func formsOf(k Known) []knownForm {
	value := k.Value.Reveal()
	if len(value) < minKnown {
		return nil
	}
	parts := []string{value}
	if len(value) > maxKnown {
		parts = nil
		for i := range maxParts {
			at := i * (len(value) - partLen) / (maxParts - 1)
			parts = append(parts, value[at:at+partLen])
		}
	}
	var out []knownForm
	for _, part := range parts {
		add := func(text string) {
			if !slices.ContainsFunc(out, func(f knownForm) bool { return f.text == text }) {
				out = append(out, knownForm{prefix + "known/" + k.Name, text, len(parts) == 1})
			}
		}
		add(part)
		add(backwards(part))
		digits := hex.EncodeToString([]byte(part))
		add(digits)
		add(strings.ToUpper(digits))
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for before := range 3 {
				coded := enc.EncodeToString(append(make([]byte, before), part...))
				from := (before*8 + 5) / 6
				to := (before + len(part)) * 8 / 6
				if to-from >= minCut {
					add(coded[from:to])
				} else if before == 0 {
					add(coded)
				}
			}
		}
	}
	return out
}

func backwards(text string) string {
	b := []byte(text)
	slices.Reverse(b)
	return string(b)
}

// find calls each for every form that stands in a text.
func (k *knownValues) find(text []byte, each func(rule string, from, to int, whole bool) error) error {
	return k.words.find(text, func(forms []int, end int) error {
		for _, i := range forms {
			f := &k.forms[i]
			if err := each(f.rule, end-len(f.text), end, f.whole); err != nil {
				return err
			}
		}
		return nil
	})
}
