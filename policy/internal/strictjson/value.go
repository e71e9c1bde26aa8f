package strictjson

import (
	"strings"
	"unicode"
)

// Kind says what a value is.
type Kind uint8

const (
	Absent Kind = iota // no value at all
	Null
	Bool
	Number
	String
	Array
	Object
)

// Value is a value that was read.
type Value struct {
	Kind    Kind
	Text    string // of a String, decoded; of a Number, as it was written; of a Bool, true or false
	Items   []Value
	Members []Member
}

// Member is a key, decoded, and its value.
type Member struct {
	Key   string
	Value Value
}

// Given reports a value that is there and not null.
func (v Value) Given() bool { return v.Kind != Absent && v.Kind != Null }

// Pick hands out the members of an object by name, in the order of names, which
// are exact; what is not there is Absent, and other keys are ignored. A key
// that some server would take for one of the names is an error: one that
// differs in case (of Unicode, as Go's own decoder folds it), or that holds a
// control character (a NUL ends it for a reader in C).
func (v Value) Pick(names ...string) ([]Value, error) {
	picked := make([]Value, len(names))
	for _, m := range v.Members {
		if strings.ContainsFunc(m.Key, unicode.IsControl) {
			return nil, &Error{ControlInKey, -1}
		}
		for i, name := range names {
			if m.Key == name {
				picked[i] = m.Value
			} else if strings.EqualFold(m.Key, name) {
				return nil, &Error{AmbiguousKey, -1}
			}
		}
	}
	return picked, nil
}
