package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Value is a secret. Only Reveal gives the text.
//
// The text lies behind a pointer to a function, not in a field: printing and
// encoding by reflection (a Value inside another type's unexported field, where
// package fmt may call no methods) finds an address there, not the text.
type Value struct{ reveal func() string }

// New makes a Value; the empty text is the zero Value.
func New(text string) Value {
	if text == "" {
		return Value{}
	}
	return Value{reveal: func() string { return text }}
}

// Reveal returns the secret itself; call it only where the bytes are sent.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

func (v Value) IsZero() bool                 { return v.reveal == nil }
func (v Value) String() string               { return redacted }
func (v Value) GoString() string             { return redacted }
func (v Value) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (v Value) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }
func (v Value) MarshalYAML() (any, error)    { return redacted, nil }

var errEncode = errors.New("encode secret: a secret is never written in binary form")

func (v Value) MarshalBinary() ([]byte, error) { return nil, errEncode }
func (v Value) GobEncode() ([]byte, error)     { return nil, errEncode }
