package secret

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Value is a secret. Only Reveal gives the text.
type Value struct{ text string }

func New(text string) Value { return Value{text: text} }

// Reveal returns the secret itself; call it only where the bytes are sent.
func (v Value) Reveal() string               { return v.text }
func (v Value) IsZero() bool                 { return v.text == "" }
func (v Value) String() string               { return redacted }
func (v Value) GoString() string             { return redacted }
func (v Value) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (v Value) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
