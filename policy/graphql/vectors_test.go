package graphql

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/creel-run/creel/internal/vectors"
)

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

// header splits the head of a vector, which is well formed.
func header(raw string) map[string][]string {
	text, _, _ := strings.Cut(raw, "\r\n\r\n")
	h := map[string][]string{}
	for _, l := range strings.Split(text, "\r\n")[1:] {
		name, value, _ := strings.Cut(l, ":")
		h[name] = append(h[name], strings.TrimSpace(value))
	}
	return h
}

func TestVectorRequests(t *testing.T) {
	vectors.RunKinds(t, "jsonrpc_graphql_ws", []string{"graphql_http", "graphql_headers", "graphql_ws"}, nil, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Kind, Method, Target, Raw, Body, Text string
			BodyGen                               [][2]any `json:"body_gen"`
		}
		var want struct {
			Verdict, Type string
			Operations    []Operation
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		for _, g := range in.BodyGen {
			in.Body += strings.Repeat(g[0].(string), int(g[1].(float64)))
		}
		var got Message
		var err error
		verdict := "ok"
		switch in.Kind {
		case "graphql_headers":
			err = CheckHead(header(in.Raw))
		case "graphql_http":
			_, query, _ := strings.Cut(in.Target, "?")
			// The method as egress judges and sends it.
			got.Request, err = ParseHTTP(strings.ToUpper(in.Method), query, map[string][]string{"Content-Type": {"application/json"}}, latin(t, in.Body), 0)
		case "graphql_ws":
			if got, err = ParseMessage([]byte(in.Text), 0); got.Control {
				verdict = "control"
			} else {
				verdict = "operation"
			}
		}
		text := fmt.Sprintf("%+v %v", got, err)
		switch {
		case err != nil:
			return vectors.Bool(false, want.Verdict != "error"), text
		case want.Verdict != verdict || got.Type != want.Type || !sameOperations(got.Request.Operations, want.Operations):
			return vectors.Wrong, text
		}
		return vectors.Same, text
	})
}

func sameOperations(got, want []Operation) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		g, w := got[i], want[i]
		if len(g.Fields) == 0 && len(w.Fields) == 0 {
			g.Fields, w.Fields = nil, nil
		}
		if !reflect.DeepEqual(g, w) {
			return false
		}
	}
	return true
}
