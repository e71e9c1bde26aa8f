package jsonrpc

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func reason(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

var (
	plain = Options{}
	mcp   = Options{MCP: true}
	lax   = Options{MCP: true, LaxToolNames: true}
)

func calls(list ...string) Request {
	var r Request
	for _, c := range list {
		method, tool, _ := strings.Cut(c, " ")
		r.Calls = append(r.Calls, Call{Method: method, Tool: tool})
	}
	return r
}

// bare leaves the arguments out.
func bare(r Request) Request {
	for i := range r.Calls {
		r.Calls[i].Arguments = nil
	}
	return r
}

func batch(r Request) Request { r.Batch = true; return r }

func TestParseBody(t *testing.T) {
	response := Request{Response: true}
	mixed := batch(calls("a"))
	mixed.Response = true
	for _, c := range []struct {
		o    Options
		body string
		want Request
		err  Reason
	}{
		{plain, `{"jsonrpc":"2.0","id":1,"method":"a","params":[1,2]}`, calls("a"), ""},
		{plain, `{"method":"a","jsonrpc":"2.0"}`, calls("a"), ""},
		{plain, `{"jsonrpc":"2.0","id":1.5,"method":"a"}`, calls("a"), ""},
		{plain, `{"jsonrpc":"2.0","id":null,"method":"a"}`, calls("a"), ""},
		{plain, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`, calls("tools/call"), ""},
		{plain, `[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","method":"b"}]`, batch(calls("a", "b")), ""},
		{plain, `[{"jsonrpc":"2.0","method":"a"}]`, batch(calls("a")), ""},
		{plain, `[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","id":1,"result":1}]`, mixed, ""},
		{plain, `{"jsonrpc":"2.0","id":"x","error":{}}`, response, ""},

		{plain, `[]`, Request{}, EmptyBatch},
		{plain, `[[{"jsonrpc":"2.0","method":"a"}]]`, Request{}, NotMessage},
		{plain, `[{"jsonrpc":"2.0","method":"a"},null]`, Request{}, NotMessage},
		{plain, `null`, Request{}, NotMessage},
		{plain, `{}`, Request{}, Version},
		{plain, `{"jsonrpc":"2.0 ","method":"a"}`, Request{}, Version},
		{plain, `{"jsonrpc":null,"method":"a"}`, Request{}, Version},
		{plain, `{"jsonrpc":"2.0"}`, Request{}, NoMethod},
		{plain, `{"jsonrpc":"2.0","id":1}`, Request{}, NoMethod},
		{plain, `{"jsonrpc":"2.0","method":null}`, Request{}, NoMethod},
		{plain, `{"jsonrpc":"2.0","method":["a"]}`, Request{}, NoMethod},
		{plain, `{"jsonrpc":"2.0","method":"a\u0000b"}`, Request{}, MethodName},
		{plain, `{"jsonrpc":"2.0","method":"a\n"}`, Request{}, MethodName},
		{plain, `{"jsonrpc":"2.0","id":true,"method":"a"}`, Request{}, BadID},
		{plain, `{"jsonrpc":"2.0","id":{},"method":"a"}`, Request{}, BadID},
		{plain, `{"jsonrpc":"2.0","id":1,"method":"a","result":1}`, Request{}, Ambiguous},
		{plain, `{"jsonrpc":"2.0","id":1,"method":"a","result":null}`, Request{}, Ambiguous},
		{plain, `{"jsonrpc":"2.0","id":1,"method":null,"error":{}}`, Request{}, Ambiguous},
		{plain, `{"jsonrpc":"2.0","id":1,"result":1,"error":{}}`, Request{}, Ambiguous},
		{plain, `{"jsonrpc":"2.0","result":1}`, Request{}, BadID},
		{plain, `{"jsonrpc":"2.0","id":[],"result":1}`, Request{}, BadID},
		{plain, `{"jsonrpc":"2.0","id":1,"error":null}`, Request{}, ErrorObject},

		// What some reader would take for a key that counts.
		{plain, `{"jsonrpc":"2.0","method":"a","method":"b"}`, Request{}, NoJSON},
		{plain, `{"jsonrpc":"2.0","method":"a","m\u0065thod":"b"}`, Request{}, NoJSON},
		{plain, `{"jsonrpc":"2.0","method":"a","params":{"x":1,"\u0078":2}}`, Request{}, NoJSON},
		{plain, `{"jsonrpc":"2.0","method":"a","Method":"b"}`, Request{}, Keys},
		{plain, `{"jsonrpc":"2.0","method":"a","METHOD":"b"}`, Request{}, Keys},
		{plain, `{"jsonrpc":"2.0","method":"a","method\u0000x":"b"}`, Request{}, Keys},
		{plain, `{"jsonrpc":"2.0","method":"a","Result":1}`, Request{}, Keys},
		{plain, `{"jsonrpc":"2.0","method":"a","param\u017f":{}}`, Request{}, Keys},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}`, Request{}, Keys},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}`, Request{}, NoJSON},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"Params":{"name":"b"}}`, Request{}, Keys},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":2}}}`, Request{}, NoJSON},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"X":2}}}`, calls("tools/call a"), ""},

		// More than one document, however it is split.
		{plain, `{"jsonrpc":"2.0","method":"a"}` + "\n" + `{"jsonrpc":"2.0","method":"b"}`, Request{}, NoJSON},
		{plain, `{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","method":"b"}`, Request{}, NoJSON},
		{plain, `[{"jsonrpc":"2.0","method":"a"}][]`, Request{}, NoJSON},
		{plain, `{"jsonrpc":"2.0",`, Request{}, NoJSON},
		{plain, ``, Request{}, NoJSON},

		{mcp, `{"jsonrpc":"2.0","id":"a","method":"ping"}`, calls("ping"), ""},
		{mcp, `{"jsonrpc":"2.0","id":-5,"method":"vendor/x","params":[{}]}`, calls("vendor/x"), ""},
		{mcp, `{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}`, Request{}, BadID},
		{mcp, `{"jsonrpc":"2.0","id":1.0,"method":"ping"}`, Request{}, BadID},
		{mcp, `{"jsonrpc":"2.0","id":null,"method":"vendor/x"}`, Request{}, BadID},
		{mcp, `[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t"}}]`,
			batch(calls("tools/list", "tools/call t")), ""},
		{mcp, `{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}`, Request{}, Notification},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call"}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"name"}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["a"]}}`, Request{}, ToolName},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + strings.Repeat("a", 129) + `"}}`, Request{}, ToolName},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a b"}}`, Request{}, ToolName},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\u0000"}}`, Request{}, ToolName},
		{lax, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\uff41/b"}}`, calls("tools/call \uff41/b"), ""},
		{lax, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":""}}`, Request{}, ToolName},
		{lax, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\u0000"}}`, Request{}, ToolName},

		{plain, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":7}`, calls("initialize"), ""},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"x","capabilities":{},"clientInfo":{"name":"c"}}}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"n"}}`, calls("tools/list"), ""},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":5}}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///x"}}`, calls("resources/read"), ""},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{}}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}`, calls("logging/setLevel"), ""},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""}}}`, calls("completion/complete"), ""},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","name":"p"},"argument":{"name":"a","value":""}}}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":"x","argument":{"name":"a","value":""}}}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}`, calls("notifications/progress"), ""},
		{mcp, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":0.5}}`, Request{}, Params},
		{mcp, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}`, Request{}, Params},
	} {
		got, err := ParseBody([]byte(c.body), c.o)
		if reason(err) != c.err || !reflect.DeepEqual(bare(got), c.want) {
			t.Errorf("%+v %.120s\n got %+v %v\nwant %+v %s", c.o, c.body, got, err, c.want, c.err)
		}
	}
}

func TestBounds(t *testing.T) {
	message := func(params string) []byte {
		return []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":` + params + `}}`)
	}
	big := message(`"` + strings.Repeat("a", DefaultBytes) + `"`)
	if _, err := ParseBody(big, mcp); reason(err) != NoJSON {
		t.Errorf("above the default limit: %v", err)
	}
	if r, err := ParseBody(big, Options{MCP: true, MaxBytes: 2 * DefaultBytes}); err != nil || r.Calls[0].Tool != "t" {
		t.Errorf("below the limit: %+v %v", r, err)
	}
	if got := (Options{MaxBytes: MaxBytes + 1}).Limit(); got != MaxBytes {
		t.Errorf("limit %d", got)
	}
	for name, params := range map[string]string{
		"depth":  strings.Repeat("[", 200) + strings.Repeat("]", 200),
		"open":   strings.Repeat(`{"a":`, 10000),
		"values": "[" + strings.Repeat("0,", 1<<20) + "0]",
	} {
		if _, err := ParseBody(message(params), Options{MCP: true, MaxBytes: MaxBytes}); reason(err) != NoJSON {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := "[" + strings.Repeat(`{"jsonrpc":"2.0","method":"a"},`, 2000) + `{"jsonrpc":"2.0","method":"b"}]`
	if r, err := ParseBody([]byte(many), plain); err != nil || len(r.Calls) != 2001 || r.Calls[2000].Method != "b" {
		t.Errorf("a long batch: %d calls, %v", len(r.Calls), err)
	}
}

// A body is never cut: no prefix of a message is a message.
func TestPrefixes(t *testing.T) {
	body := `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\u0061"}}]`
	for i := range body {
		if r, err := ParseBody([]byte(body[:i]), mcp); err == nil {
			t.Errorf("%s: %+v", body[:i], r)
		}
	}
}

func TestParseHTTP(t *testing.T) {
	jsonBody := map[string][]string{"Content-Type": {"application/json"}}
	events := map[string][]string{"Accept": {"text/event-stream"}}
	body := `{"jsonrpc":"2.0","method":"a"}`
	for _, c := range []struct {
		method string
		header map[string][]string
		body   string
		o      Options
		want   Reason
		stream bool
	}{
		{"POST", jsonBody, body, plain, "", false},
		{"POST", map[string][]string{"Content-Type": {"application/json-rpc"}}, body, plain, "", false},
		{"POST", nil, body, plain, "", false},
		{"POST", events, body, mcp, "", false},
		{"POST", map[string][]string{"Content-Type": {"text/plain"}}, body, plain, BadHead, false},
		{"POST", map[string][]string{"Content-Encoding": {"gzip"}}, body, plain, BadHead, false},
		{"POST", nil, "", plain, NoJSON, false},
		{"PUT", jsonBody, body, plain, Method, false},
		{"post", jsonBody, body, plain, Method, false},
		{"GET", nil, "", mcp, Method, false},
		{"GET", nil, body, mcp, Method, false},
		{"DELETE", nil, "", mcp, Method, false},
		{"", nil, body, mcp, Method, false},

		{"GET", events, "", mcp, "", true},
		{"GET", map[string][]string{"accept": {"a/b", "x/y, text/event-stream"}}, "", mcp, "", true},
		{"GET", events, "", plain, Method, false},
		{"GET", events, body, mcp, Method, false},
		{"HEAD", events, "", mcp, Method, false},
		{"get", events, "", mcp, Method, false},
		{"GET", map[string][]string{"Accept": {"text/event-stream"}, "Transfer-Encoding": {"chunked"}}, "", mcp, Method, false},
		{"GET", map[string][]string{"Accept": {"text/event-stream"}, "Content-Length": {"5"}}, "", mcp, Method, false},
		{"GET", map[string][]string{"Accept": {"text/event-stream"}, "Content-Length": {"0"}}, "", mcp, "", true},
		{"GET", map[string][]string{"Accept": {"text/event-stream; q=0"}}, "", mcp, Method, false},
		{"GET", map[string][]string{"Accept": {"text/event-stream;q=0.000"}}, "", mcp, Method, false},
		{"GET", map[string][]string{"Accept": {"text/event-stream;q=x"}}, "", mcp, Method, false},
		{"GET", map[string][]string{"Accept": {"text/event-stream;Q=1;x=2"}}, "", mcp, "", true},
		{"GET", map[string][]string{"Accept": {"*/*"}}, "", mcp, Method, false},
		{"GET", map[string][]string{"Accept": {"text/event-streams"}}, "", mcp, Method, false},
		{"GET", map[string][]string{"Accept": {"x/y;text/event-stream"}}, "", mcp, Method, false},
	} {
		r, err := ParseHTTP(c.method, c.header, []byte(c.body), c.o)
		if reason(err) != c.want || r.ReceiveStream != c.stream || err == nil && !c.stream && len(r.Calls) != 1 {
			t.Errorf("%s %v %s: %+v %v, want %q %v", c.method, c.header, c.body, r, err, c.want, c.stream)
		}
	}
}

// Header fields that repeat the body must not say anything else.
func TestMirrors(t *testing.T) {
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	tool := func(name string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + name + `"}}`
	}
	type fields = map[string][]string
	for _, c := range []struct {
		o      Options
		header fields
		body   string
		want   Reason
	}{
		{mcp, fields{"Mcp-Method": {"ping"}}, ping, ""},
		{mcp, fields{"mcp-method": {" tools/call "}, "MCP-NAME": {"t"}}, tool("t"), ""},
		{mcp, fields{"Mcp-Name": {""}}, ping, ""},
		{mcp, fields{"Mcp-Name": {"p"}}, `{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p"}}`, ""},
		{lax, fields{"Mcp-Name": {"=?base64?Y2Fmw6k=?="}}, tool("café"), ""},
		{lax, fields{"Mcp-Name": {"=?base64?="}}, tool("=?base64?="), ""},
		{plain, fields{"Mcp-Method": {"other"}}, ping, ""}, // means nothing without MCP

		{mcp, fields{"Mcp-Method": {"tools/call"}}, ping, Mirror},
		{mcp, fields{"Mcp-Method": {"Ping"}}, ping, Mirror},
		{mcp, fields{"Mcp-Method": {""}}, ping, Mirror},
		{mcp, fields{"Mcp-Method": {"ping", "ping"}}, ping, Mirror},
		{mcp, fields{"Mcp-Method": {"ping"}, "mcp-method": {"tools/call"}}, ping, Mirror},
		{mcp, fields{"Mcp-Method": {"tools/call"}, "Mcp-Name": {"delete"}}, tool("t"), Mirror},
		{mcp, fields{"Mcp-Name": {"T"}}, tool("t"), Mirror},
		{mcp, fields{"Mcp-Name": {""}}, tool("t"), Mirror},
		{lax, fields{"Mcp-Name": {"=?base64?Y2Fmw6k?="}}, tool("café"), Mirror},
		{mcp, fields{"Mcp-Method": {"ping"}}, "[" + ping + "]", Mirror},
		{mcp, fields{"Mcp-Method": {"ping"}}, `{"jsonrpc":"2.0","id":1,"result":1}`, Mirror},
	} {
		r, err := ParseHTTP("POST", c.header, []byte(c.body), c.o)
		if reason(err) != c.want || err != nil && !reflect.DeepEqual(r, Request{}) {
			t.Errorf("%v %s: %+v %v, want %q", c.header, c.body, r, err, c.want)
		}
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	secret := "s3cr\x01t"
	for _, body := range []string{`{"` + secret + `":1}`, `{"jsonrpc":"` + secret, secret, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s3cr t"}}`} {
		_, err := ParseBody([]byte(body), mcp)
		if err == nil || strings.Contains(err.Error(), "s3cr") || strings.ContainsAny(err.Error(), "\n\r\x01") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// Whatever the bytes are, nothing panics, and what is taken means the same to a
// reader that folds the case of keys and keeps the last of equal ones.
func FuzzParseBody(f *testing.F) {
	for _, s := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"x":[1,{}]}}}`,
		`[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"2.0","id":1,"result":null}]`,
		`{"jsonrpc":"2.0","method":"a","Method":"b","m\u0065thod":"c"}`,
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"1","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`,
		`{"jsonrpc":"2.0","id":1,"error":{}}`, `[]`, `{`,
	} {
		f.Add([]byte(s), uint8(1))
	}
	f.Fuzz(func(t *testing.T, data []byte, mode uint8) {
		o := Options{MCP: mode&1 != 0, LaxToolNames: mode&2 != 0}
		r, err := ParseBody(data, o)
		if err != nil {
			if !reflect.DeepEqual(r, Request{}) || reason(err) == "" || strings.ContainsAny(err.Error(), "\n\x00\x1b") {
				t.Fatalf("%+v %q", r, err)
			}
			return
		}
		if len(r.Calls) == 0 && !r.Response || r.ReceiveStream {
			t.Fatalf("taken, and asks for nothing: %q", data)
		}
		var list []lenient
		if err := json.Unmarshal(data, &list); err != nil {
			list = make([]lenient, 1)
			if err := json.Unmarshal(data, &list[0]); err != nil {
				t.Fatalf("%q: %v", data, err)
			}
		}
		var got []Call
		for _, m := range list {
			if m.Method == nil {
				continue
			}
			c := Call{Method: *m.Method}
			if o.MCP && c.Method == "tools/call" {
				var params struct{ Name string }
				if err := json.Unmarshal(m.Params, &params); err != nil {
					t.Fatalf("%q: %v", data, err)
				}
				if c.Tool = params.Name; c.Tool == "" {
					t.Fatalf("a call without a tool: %q", data)
				}
			}
			got = append(got, c)
		}
		if !reflect.DeepEqual(got, bare(r).Calls) {
			t.Fatalf("%q: %+v, another reader %+v", data, r.Calls, got)
		}
	})
}

type lenient struct {
	Method *string
	Params json.RawMessage
}
