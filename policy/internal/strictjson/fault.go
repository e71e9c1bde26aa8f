package strictjson

import "fmt"

// Reason is why a text is refused.
type Reason string

const (
	Empty         Reason = "it is empty"
	TooLarge      Reason = "it is larger than the limit"
	NotUTF8       Reason = "it is not UTF-8"
	Syntax        Reason = "it is not JSON"
	Trailing      Reason = "something follows the value"
	Surrogate     Reason = "half of a surrogate pair in a string"
	NumberRange   Reason = "a number is out of range"
	TooDeep       Reason = "it is nested too deeply"
	TooMany       Reason = "it holds too many values"
	DuplicateKey  Reason = "a key stands twice in an object"
	AmbiguousKey  Reason = "a key differs from a known one in case alone"
	ControlInKey  Reason = "a key holds a control character"
	MediaType     Reason = "its content type is not JSON"
	ManyTypes     Reason = "it has several content types"
	Charset       Reason = "its charset is not UTF-8"
	ContentCoding Reason = "its content is encoded"
)

// Error is a refused text. Offset counts bytes, near the fault; -1 if there is
// none to tell.
type Error struct {
	Reason Reason
	Offset int
}

func (e *Error) Error() string {
	if e.Offset < 0 {
		return "read JSON: " + string(e.Reason)
	}
	return fmt.Sprintf("read JSON: %s (byte %d)", e.Reason, e.Offset)
}
