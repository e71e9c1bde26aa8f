package strictjson

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"unicode/utf8"
)

const (
	// DefaultBytes is the limit of version 1 policies for a body that is looked into.
	DefaultBytes = 64 << 10
	// MaxBytes is the largest limit that can be asked for. What is looked into
	// is held in memory, once as bytes and once as values.
	MaxBytes = 16 << 20
	// MaxDepth counts open arrays and objects. Recursion stays shallow with it.
	MaxDepth = 127
	// maxValues bounds the memory for values, some 100 bytes each.
	maxValues = 1 << 18
)

// Limit turns a limit that was asked for into the one that holds: none is the
// default, and none is above MaxBytes.
func Limit(asked int) int {
	switch {
	case asked <= 0:
		return DefaultBytes
	case asked > MaxBytes:
		return MaxBytes
	}
	return asked
}

// Read reads one JSON text of at most Limit(maxBytes) bytes.
func Read(text []byte, maxBytes int) (Value, error) {
	switch {
	case len(text) == 0:
		return Value{}, &Error{Empty, -1}
	case len(text) > Limit(maxBytes):
		return Value{}, &Error{TooLarge, -1}
	case !utf8.Valid(text):
		return Value{}, &Error{NotUTF8, -1}
	}
	if at := loneSurrogate(text); at >= 0 {
		return Value{}, &Error{Surrogate, at}
	}
	r := reader{dec: json.NewDecoder(bytes.NewReader(text))}
	r.dec.UseNumber()
	v, err := r.value(0)
	if err != nil {
		return Value{}, err
	}
	if _, err := r.dec.Token(); err != io.EOF {
		return Value{}, r.fault(Trailing)
	}
	return v, nil
}

type reader struct {
	dec    *json.Decoder
	values int
}

func (r *reader) fault(reason Reason) *Error { return &Error{reason, int(r.dec.InputOffset())} }

// value reads the next value, inside of depth open arrays and objects.
func (r *reader) value(depth int) (Value, error) {
	token, err := r.dec.Token()
	if err != nil {
		return Value{}, r.fault(Syntax)
	}
	if r.values++; r.values > maxValues {
		return Value{}, r.fault(TooMany)
	}
	switch t := token.(type) {
	case nil:
		return Value{Kind: Null}, nil
	case bool:
		return Value{Kind: Bool, Text: strconv.FormatBool(t)}, nil
	case string:
		return Value{Kind: String, Text: t}, nil
	case json.Number:
		if _, err := strconv.ParseFloat(string(t), 64); err != nil {
			return Value{}, r.fault(NumberRange)
		}
		return Value{Kind: Number, Text: string(t)}, nil
	case json.Delim:
		if depth == MaxDepth {
			return Value{}, r.fault(TooDeep)
		}
		if t == '[' {
			return r.array(depth + 1)
		}
		if t == '{' {
			return r.object(depth + 1)
		}
	}
	return Value{}, r.fault(Syntax)
}

func (r *reader) array(depth int) (Value, error) {
	v := Value{Kind: Array}
	for r.dec.More() {
		item, err := r.value(depth)
		if err != nil {
			return Value{}, err
		}
		v.Items = append(v.Items, item)
	}
	if end, err := r.dec.Token(); err != nil || end != json.Delim(']') {
		return Value{}, r.fault(Syntax)
	}
	return v, nil
}

func (r *reader) object(depth int) (Value, error) {
	v := Value{Kind: Object}
	seen := map[string]bool{}
	for r.dec.More() {
		token, err := r.dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return Value{}, r.fault(Syntax)
		}
		if seen[key] {
			return Value{}, r.fault(DuplicateKey)
		}
		seen[key] = true
		member, err := r.value(depth)
		if err != nil {
			return Value{}, err
		}
		v.Members = append(v.Members, Member{key, member})
	}
	if end, err := r.dec.Token(); err != nil || end != json.Delim('}') {
		return Value{}, r.fault(Syntax)
	}
	return v, nil
}

// loneSurrogate finds a \u escape of half a surrogate pair, which the decoder
// would replace in silence. A backslash stands in strings alone, so no state is
// needed; text that is no JSON fails later.
func loneSurrogate(text []byte) int {
	for i := 0; i < len(text); {
		at := bytes.IndexByte(text[i:], '\\')
		if at < 0 {
			return -1
		}
		i += at
		unit, ok := escaped(text[i:])
		switch {
		case !ok:
			i += 2
			continue
		case unit < 0xD800 || unit > 0xDFFF:
			i += 6
			continue
		case unit > 0xDBFF:
			return i
		}
		low, ok := escaped(text[i+6:])
		if !ok || low < 0xDC00 || low > 0xDFFF {
			return i
		}
		i += 12
	}
	return -1
}

// escaped is the code unit of the \uXXXX that the text begins with.
func escaped(text []byte) (uint64, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return unit, err == nil
}
