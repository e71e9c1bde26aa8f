package jsonrpc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/creel-run/creel/internal/vectors"
)

var stricter = map[string]string{
	"jw-rpc-id-array":     "JSON-RPC allows a string, a number or null as id",
	"jw-rpc-method-empty": "no method is named so, and no rule can name it",
}

// latin gives the bytes that a string of a vector holds, one code point each.
func latin(t *testing.T, s string) []byte {
	t.Helper()
	var b []byte
	for _, r := range s {
		if r > 0xff {
			t.Fatalf("%q is no byte", r)
		}
		b = append(b, byte(r))
	}
	return b
}

// head splits the head of a vector, which is well formed.
func head(raw string) (method, target string, header map[string][]string, body string) {
	text, body, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(text, "\r\n")
	words := strings.Split(lines[0], " ")
	header = map[string][]string{}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		header[name] = append(header[name], strings.TrimSpace(value))
	}
	return words[0], words[1], header, body
}

func TestVectorMessages(t *testing.T) {
	vectors.RunKinds(t, "jsonrpc_graphql_ws", []string{"jsonrpc", "mcp", "receive_stream"}, stricter, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Kind, Raw, Body string
			BodyGen         [][2]any `json:"body_gen"`
			StrictToolNames *bool    `json:"strict_tool_names"`
		}
		var want struct {
			Verdict                 string
			Stream, Batch, Response bool
			Calls                   []Call
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		if in.Kind == "receive_stream" {
			method, _, header, body := head(in.Raw)
			r, err := ParseHTTP(strings.ToUpper(method), header, []byte(body), Options{MCP: true}) // as egress judges and sends it
			return vectors.Bool(err == nil && r.ReceiveStream, want.Stream), fmt.Sprint(r, err)
		}
		for _, g := range in.BodyGen {
			in.Body += strings.Repeat(g[0].(string), int(g[1].(float64)))
		}
		o := Options{MCP: in.Kind == "mcp", LaxToolNames: in.StrictToolNames != nil && !*in.StrictToolNames}
		header := map[string][]string{"Content-Type": {"application/json"}}
		r, err := ParseHTTP("POST", header, latin(t, in.Body), o)
		r = bare(r) // the vectors know none
		got := fmt.Sprintf("%+v %v", r, err)
		switch {
		case err != nil:
			return vectors.Bool(false, want.Verdict == "ok"), got
		case want.Verdict != "ok" || r.Batch != want.Batch || r.Response != want.Response || !slices.Equal(r.Calls, want.Calls):
			return vectors.Wrong, got
		}
		return vectors.Same, got
	})
}
