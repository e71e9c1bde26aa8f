package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Kind sorts faults and warnings for programs; the text is for people.
type Kind string

const (
	Syntax      Kind = "syntax"
	UnknownKey  Kind = "unknown_key"
	NotYet      Kind = "not_yet" // part of the language, not enforced by this build
	WrongType   Kind = "wrong_type"
	BadValue    Kind = "bad_value"
	Missing     Kind = "missing"
	Duplicate   Kind = "duplicate"
	Conflict    Kind = "conflict"
	Ambiguous   Kind = "ambiguous" // two endpoints treat one connection differently
	TooMuch     Kind = "too_much"  // a bound was reached
	Blocked     Kind = "blocked"   // an address or name that is never dialled
	Reserved    Kind = "reserved"
	NeverFires  Kind = "never_fires" // a rule without effect
	Weak        Kind = "weak"        // defined, allowed, and likely wider than meant
	Deprecated  Kind = "deprecated"
	NoOperation Kind = "no_operation" // accepted and without effect
)

// Fault is one reason why a document is no policy.
type Fault struct {
	At    Position `json:"at"`
	Path  string   `json:"path,omitempty"` // network_policies.k.endpoints[0].host
	Kind  Kind     `json:"kind"`
	Found string   `json:"found,omitempty"`
	Want  string   `json:"want,omitempty"`
	Hint  string   `json:"hint,omitempty"`
}

// Error is the fault on one line, without its hint.
func (f Fault) Error() string {
	text := ""
	switch f.Kind {
	case Syntax, Conflict, Ambiguous, NeverFires:
		text = joinNonEmpty(", want ", f.Found, f.Want)
	case UnknownKey:
		text = "unknown key " + f.Found
	case NotYet:
		text = "not yet: " + f.Found + " is part of the language, but this build cannot enforce it"
	case Missing:
		text = "missing, want " + f.Want
	case Duplicate:
		text = "duplicate " + f.Found
	default:
		text = joinNonEmpty(", want ", prefixNonEmpty("found ", f.Found), f.Want)
	}
	return place(f.At, f.Path) + text
}

// Faults are all faults of a document, in the order of the file. An empty
// Faults is no error; use err() of a decoder, never a conversion of nil.
type Faults []Fault

// Error gives every fault its line, followed by its hint on a line of its own.
func (f Faults) Error() string {
	var b strings.Builder
	for i, one := range f {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
		if one.Hint != "" {
			b.WriteString("\n  hint: " + one.Hint)
		}
	}
	return b.String()
}

// Warning is something that works as written and is likely not what is wanted.
type Warning struct {
	At   Position `json:"at"`
	Path string   `json:"path,omitempty"`
	Kind Kind     `json:"kind"`
	// Check is what of Lint found it; empty for what the decoder warns about.
	Check Check  `json:"check,omitempty"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

func (w Warning) String() string {
	s := place(w.At, w.Path) + w.Text
	if w.Hint != "" {
		s += "\n  hint: " + w.Hint
	}
	return s
}

// Line is String on one line.
func (w Warning) Line() string {
	s := place(w.At, w.Path) + w.Text
	if w.Hint != "" {
		s += "; " + w.Hint
	}
	return s
}

// Warnings are in the order of the file.
type Warnings []Warning

func (w Warnings) String() string {
	lines := make([]string, len(w))
	for i := range w {
		lines[i] = w[i].String()
	}
	return strings.Join(lines, "\n")
}

// maxFaults bounds a report: a file of one megabyte can hold a hundred
// thousand faults, and nobody reads more than the first screens.
const maxFaults = 200

func sortFaults(f Faults) Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		return cmp.Or(comparePosition(a.At, b.At), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	// An aliased node is decoded at each of its places; one report is enough.
	f = slices.CompactFunc(f, func(a, b Fault) bool {
		return a.At == b.At && a.Kind == b.Kind && a.Found == b.Found && a.Want == b.Want
	})
	if len(f) > maxFaults {
		more := len(f) - maxFaults
		last := f[maxFaults-1]
		f = append(f[:maxFaults:maxFaults], Fault{
			At: last.At, Kind: TooMuch,
			Found: fmt.Sprintf("%d more faults", more), Want: "the ones above mended first",
		})
	}
	return f
}

func sortWarnings(w Warnings) Warnings {
	slices.SortStableFunc(w, func(a, b Warning) int {
		return cmp.Or(comparePosition(a.At, b.At), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	w = slices.CompactFunc(w, func(a, b Warning) bool { return a.At == b.At && a.Kind == b.Kind && a.Text == b.Text })
	if len(w) > maxFaults {
		w = w[:maxFaults]
	}
	return w
}

func comparePosition(a, b Position) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

func place(at Position, path string) string {
	s := at.String()
	if s != "" {
		s += ": "
	}
	if path != "" {
		s += path + ": "
	}
	return s
}

func joinNonEmpty(sep, a, b string) string {
	switch {
	case a == "":
		return strings.TrimPrefix(sep, ", ") + b
	case b == "":
		return a
	}
	return a + sep + b
}

func prefixNonEmpty(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
