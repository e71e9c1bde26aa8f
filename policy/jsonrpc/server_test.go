package jsonrpc

import (
	"strings"
	"testing"
)

func TestScreen(t *testing.T) {
	s := Screen{
		Tool:    func(t Tool) bool { return strings.HasPrefix(t.Name, "ok") },
		Request: func(m string) bool { return m == "elicitation/create" },
	}
	for _, c := range []struct {
		in, want string // want empty: as it came
		err      Reason
	}{
		{in: ` {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok"},{"name":"ok2"}]}} `},
		{in: `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok"},{"name":"bad"}],"nextCursor":"c"}}`,
			want: `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok"}],"nextCursor":"c"}}`},
		{in: `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"bad"}]}}`, want: `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}`},
		// A second definition of a name does not count, nor what is none.
		{in: `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok","a":1},{"name":"ok","a":2},"ok",{"name":7},{"name":"ok\u00e9"},{"Name":"ok"}]}}`,
			want: `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok","a":1}]}}`},
		{in: `[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"bad"}]}}]`,
			want: `[{"jsonrpc":"2.0","id":1,"result":{}},{"jsonrpc":"2.0","id":2,"result":{"tools":[]}}]`},
		{in: `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"tools\":[]}"}],"structuredContent":{"tools":[1]}}}`},
		{in: `{"jsonrpc":"2.0","id":1,"result":"tools"}`},
		{in: `{"jsonrpc":"2.0","id":1,"result":{"tools":null}}`},
		{in: `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"tools"}}`},
		{in: `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`},
		{in: `{"jsonrpc":"2.0","id":"x","method":"ping"}`},
		{in: `{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{"message":"m"}}`},
		{in: `{"jsonrpc":"2.0","id":3,"method":"sampling/createMessage","params":{"messages":[]}}`, want: `{"jsonrpc":"2.0","id":3,"method":"creel/denied"}`},

		{in: `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"Tools":[{"name":"bad"}]}}`, err: Keys},
		{in: `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"bad"}]}}`, err: NoJSON},
		{in: `{"jsonrpc":"2.0","id":1,"Result":{"tools":[{"name":"bad"}]}}`, err: Keys},
		{in: `{"jsonrpc":"2.0","id":1,"result":{"tools":{"bad":{}}}}`, err: Tools},
		{in: `{"jsonrpc":"2.0","id":1,"result":{},"method":"ping"}`, err: Ambiguous},
		{in: `{"jsonrpc":"1.0","id":1,"result":{}}`, err: Version},
		{in: `{"id":1}`, err: Version},
		{in: `{"jsonrpc":"2.0","id":1}`, err: NoMethod},
		{in: `{"jsonrpc":"2.0","id":{},"method":"ping"}`, err: BadID},
		{in: `"text"`, err: NotMessage},
		{in: `{`, err: NoJSON},
		{in: ``, err: NoJSON},
	} {
		if c.want == "" && c.err == "" {
			c.want = c.in
		}
		got, err := s.Apply([]byte(c.in), 0)
		if string(got) != c.want || reason(err) != c.err {
			t.Errorf("%s\n got %s %v\nwant %s %s", c.in, got, err, c.want, c.err)
		}
	}
	none, err := Screen{}.Apply([]byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok"}]}}`), 0)
	if err != nil || string(none) != `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}` {
		t.Errorf("the zero Screen: %s %v", none, err)
	}
}

// TestToolHash: what says the same has one hash, whatever its spelling.
func TestToolHash(t *testing.T) {
	hash := func(definition string) (sum string) {
		s := Screen{Tool: func(t Tool) bool { sum = t.SHA256; return true }}
		if _, err := s.Apply([]byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[`+definition+`]}}`), 0); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	one := hash(`{"name":"a","description":"d\u00e9","inputSchema":{"type":"object","properties":{}}}`)
	if len(one) != 64 || one != hash(`{"inputSchema":{ "properties":{}, "type":"object"},"description":"dé","name":"\u0061"}`) {
		t.Error("the same definition has two hashes")
	}
	for _, other := range []string{
		`{"name":"a","description":"dé!","inputSchema":{"type":"object","properties":{}}}`,
		`{"name":"a","description":"dé","inputSchema":{"type":"object","properties":{}},"x":null}`,
		`{"name":"a","description":"dé","inputSchema":{"type":"object","properties":[]}}`,
		`{"name":"a","description":"dé","inputSchema":{"type":"object","properties":{}},"annotations":{"readOnlyHint":true}}`,
	} {
		if hash(other) == one {
			t.Errorf("%s: the same hash", other)
		}
	}
	if hash(`{"name":"a","annotations":{"readOnlyHint":true}}`) == hash(`{"name":"a","annotations":{"readOnlyHint":false}}`) {
		t.Error("true is false")
	}
}

func TestArguments(t *testing.T) {
	r, err := ParseBody([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"p":"x","n":1,"Q":"y","q":"z"}}}`), mcp)
	if err != nil {
		t.Fatal(err)
	}
	a := r.Calls[0].Arguments
	for name, want := range map[string]string{"p": "x", "n": "-", "q": "-", "Q": "-", "r": "-", "P": "-"} {
		got, ok := a.Text(name)
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if a.Open() || !AnyArguments().Open() || (*Arguments)(nil).Open() {
		t.Error("open")
	}
	if _, ok := (*Arguments)(nil).Text("p"); ok {
		t.Error("an argument of nothing")
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"ok"},{"name":"bad"}]}}`))
	f.Add([]byte(`[{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := Screen{Tool: func(t Tool) bool { return t.Name == "ok" }}
		got, err := s.Apply(text, 0)
		if err != nil {
			return
		}
		// What passed once passes again, unchanged, and shows nothing else.
		s.Tool = func(tool Tool) bool {
			if tool.Name != "ok" {
				t.Fatalf("%q shows %q", got, tool.Name)
			}
			return true
		}
		s.Request = func(m string) bool {
			if m != DeniedMethod {
				t.Fatalf("%q asks %q", got, m)
			}
			return true
		}
		if again, err := s.Apply(got, 0); err != nil || string(again) != string(got) {
			t.Fatalf("%q: %q %v", got, again, err)
		}
	})
}
