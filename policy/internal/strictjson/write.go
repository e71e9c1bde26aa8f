package strictjson

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Append writes the value as JSON without spaces. What was read and is written
// reads the same again; only escapes and spaces may be others.
func (v Value) Append(b []byte) []byte {
	switch v.Kind {
	case Bool, Number:
		return append(b, v.Text...)
	case String:
		return appendText(b, v.Text)
	case Array:
		b = append(b, '[')
		for i, item := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.Append(b)
		}
		return append(b, ']')
	case Object:
		b = append(b, '{')
		for i, m := range v.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, m.Key), ':')
			b = m.Value.Append(b)
		}
		return append(b, '}')
	case Absent, Null:
	}
	return append(b, "null"...)
}

// Sorted is the value with the members of every object in the order of their
// keys: two values that say the same are written alike, but for the way in which
// a number is written.
func (v Value) Sorted() Value {
	items := make([]Value, len(v.Items))
	for i, item := range v.Items {
		items[i] = item.Sorted()
	}
	members := make([]Member, len(v.Members))
	for i, m := range v.Members {
		members[i] = Member{m.Key, m.Value.Sorted()}
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Key, b.Key) })
	return Value{v.Kind, v.Text, items, members}
}

func appendText(b []byte, s string) []byte {
	var to bytes.Buffer
	enc := json.NewEncoder(&to)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil { // a string: cannot be
		return append(b, `""`...)
	}
	return append(b, bytes.TrimSuffix(to.Bytes(), []byte("\n"))...)
}
