package jsonrpc

import (
	"encoding/base64"
	"strings"
)

// checkMirrors compares the header fields that repeat what a body says with the
// body. Since its revision of 2026-07-28, MCP has Mcp-Method and Mcp-Name, so
// that gateways can route without reading bodies. A gateway that believes the
// fields and a server that believes the body must not see different calls. Both
// may be missing, as in older revisions; Mcp-Name is compared for tools alone.
func checkMirrors(header map[string][]string, r Request) error {
	for name, values := range header {
		isMethod := strings.EqualFold(name, "Mcp-Method")
		if !isMethod && !strings.EqualFold(name, "Mcp-Name") || len(values) == 0 {
			continue
		}
		if len(values) > 1 || len(r.Calls) != 1 || r.Batch {
			return fault(Mirror)
		}
		call, value := r.Calls[0], strings.Trim(values[0], " \t")
		if isMethod && value != call.Method || !isMethod && call.Tool != "" && unwrap(value) != call.Tool {
			return fault(Mirror)
		}
	}
	return nil
}

// unwrap decodes =?base64?…?=, the form of names that a field cannot hold.
// What does not decode equals no name.
func unwrap(value string) string {
	const open, end = "=?base64?", "?="
	if len(value) < len(open)+len(end) || !strings.EqualFold(value[:len(open)], open) || !strings.HasSuffix(value, end) {
		return value
	}
	text, err := base64.StdEncoding.Strict().DecodeString(value[len(open) : len(value)-len(end)])
	if err != nil {
		return ""
	}
	return string(text)
}
