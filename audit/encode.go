package audit

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// appendEvent appends e as encoding/json has it, made printable, without the
// hash. It is written out because an event is encoded for every request, and
// must be in the file before a byte of the request goes anywhere.
func appendEvent(to []byte, e *Event) ([]byte, error) {
	to = append(to, `{"seq":`...)
	to = strconv.AppendUint(to, e.Seq, 10)
	to = append(to, `,"time":"`...)
	to, err := e.Time.AppendText(to) // RFC 3339, or an error where that has no form
	if err != nil {
		return nil, err
	}
	to = append(to, `","sandbox":`...)
	to = appendString(to, e.Sandbox)
	to = append(to, `,"kind":`...)
	to = appendString(to, string(e.Kind))

	to = appendText(to, "verdict", e.Verdict)
	to = appendFlag(to, "audited", e.Audited)
	to = appendFlag(to, "inspected", e.Inspected)
	to = appendText(to, "reason", e.Reason)
	to = appendText(to, "rule", e.Rule)
	to = appendText(to, "rule_at", e.RuleAt)
	to = appendNumber(to, "conn", e.Conn)
	to = appendText(to, "via", string(e.Via))
	to = appendText(to, "host", e.Host)
	to = appendNumber(to, "port", e.Port)
	to = appendText(to, "addr", e.Addr)
	to = appendText(to, "protocol", e.Protocol)
	to = appendText(to, "binary", e.Binary)
	to = appendFlag(to, "unverified", e.Unverified)
	to = appendText(to, "script", e.Script)
	to = appendNumber(to, "pid", e.PID)
	to = appendText(to, "method", e.Method)
	to = appendText(to, "path", e.Path)
	to = appendNumber(to, "status", e.Status)
	to = appendText(to, "model", e.Model)
	to = appendNumber(to, "bytes_in", e.BytesIn)
	to = appendNumber(to, "bytes_out", e.BytesOut)
	to = appendNumber(to, "ms", e.Millis)
	if len(e.Detail) > 0 {
		to = appendKey(to, "detail")
		between := byte('{')
		for _, k := range slices.Sorted(maps.Keys(e.Detail)) {
			to = append(to, between)
			to = appendString(to, k)
			to = append(to, ':')
			to = appendString(to, e.Detail[k])
			between = ','
		}
		to = append(to, '}')
	}
	to = appendText(to, "prev", e.Prev)
	return append(to, '}'), nil
}

func appendKey(to []byte, key string) []byte {
	to = append(to, `,"`...)
	to = append(to, key...)
	return append(to, `":`...)
}

func appendText(to []byte, key, value string) []byte {
	if value == "" {
		return to
	}
	return appendString(appendKey(to, key), value)
}

func appendFlag(to []byte, key string, value bool) []byte {
	if !value {
		return to
	}
	return append(appendKey(to, key), "true"...)
}

func appendNumber[N int | int64 | uint16 | uint64](to []byte, key string, value N) []byte {
	switch {
	case value == 0:
		return to
	case value < 0:
		return strconv.AppendInt(appendKey(to, key), int64(value), 10)
	default:
		return strconv.AppendUint(appendKey(to, key), uint64(value), 10)
	}
}

// appendString quotes s. What is not plain is left to encoding/json.
func appendString(to []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string always has a form
			}
			return append(to, PrintableJSON(quoted)...)
		}
	}
	to = append(to, '"')
	to = append(to, s...)
	return append(to, '"')
}
