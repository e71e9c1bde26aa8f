package inference

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocument(t *testing.T) {
	tests := []struct {
		in, sent, want string // want: the body with the model sent
		err            string
	}{
		{in: `{"model":"a","x":[1,{"model":"b"}]}`, sent: "z", want: `{"model":"z","x":[1,{"model":"b"}]}`},
		{in: ` { "x" : "}\"," , "model" : "a" } `, sent: "z", want: ` { "x" : "}\"," , "model" : "z" } `},
		{in: `{"model":"a"}`, sent: "a", want: `{"model":"a"}`},
		{in: `{"mod\u0065l":"a"}`, sent: "z", want: `{"mod\u0065l":"z"}`},
		{in: `{"x":-1.5e3,"y":null,"z":true,"model":"a"}`, sent: `q"`, want: `{"x":-1.5e3,"y":null,"z":true,"model":"q\""}`},
		{in: "{" + strings.TrimSuffix(manyMembers(600), ",") + "}", sent: "z", err: "more than 512 members"},
		{in: `{"x":1}`, sent: "z", want: `{"model":"z","x":1}`},
		{in: `{}`, sent: "z", want: `{"model":"z"}`},
		{in: `{ }`, sent: "z", want: `{"model":"z" }`},
		{in: `{"model":"a","model":"b"}`, err: "twice"},
		{in: `{"model":"a","mod\u0065l":"b"}`, err: "twice"},
		{in: `{"x":1,"x":2}`, err: "twice"},
		{in: `{"Model":"a"}`, err: "may be read as"},
		{in: `{"model":"a","MODEL":"b"}`, err: "may be read as"},
		{in: `{"model":["a"]}`, err: "not a string"},
		{in: `{"model":null}`, err: "not a string"},
		{in: `{"model":""}`, err: "empty or"},
		{in: `{"model":"` + strings.Repeat("x", 257) + `"}`, err: "more than 256"},
		{in: `["model"]`, err: "not a JSON object"},
		{in: `"model"`, err: "not a JSON object"},
		{in: ``, err: "not valid JSON"},
		{in: `{"model":"a"`, err: "not valid JSON"},
		{in: `{"model":"a"} {}`, err: "not valid JSON"},
		{in: `{"model":"a",}`, err: "not valid JSON"},
		{in: "{\"model\":\"a\xff\"}", err: "not UTF-8"},
		{in: "\ufeff{}", err: "not valid JSON"},
	}
	for _, tt := range tests {
		d, err := readDocument([]byte(tt.in))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		got, err := d.withModel(tt.sent)
		if err != nil || string(got) != tt.want {
			t.Errorf("%q with model %q: %q, %v; want %q", tt.in, tt.sent, got, err, tt.want)
		}
	}
}

// Whatever is accepted says the same to encoding/json, before and after.
func FuzzDocument(f *testing.F) {
	for _, s := range []string{`{"model":"a"}`, `{"x":{"model":1},"model":"b","y":[[],"]"]}`, `{}`, `{"a":1 , "b" :"\\"}`, `[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		d, err := readDocument(in)
		if err != nil {
			return
		}
		var before map[string]json.RawMessage
		if err := json.Unmarshal(in, &before); err != nil {
			t.Fatalf("accepted what is not an object: %q: %v", in, err)
		}
		if len(before) != len(d.keys) {
			t.Fatalf("%q: %d keys, want %d", in, len(d.keys), len(before))
		}
		var asked struct{ Model string }
		if err := json.Unmarshal(in, &asked); err != nil || asked.Model != d.model {
			t.Fatalf("%q: model %q, want %q (%v)", in, d.model, asked.Model, err)
		}
		out, err := d.withModel("forced")
		if err != nil {
			t.Fatal(err)
		}
		var after map[string]json.RawMessage
		if err := json.Unmarshal(out, &after); err != nil || string(after["model"]) != `"forced"` {
			t.Fatalf("%q became %q: %v", in, out, err)
		}
		delete(before, "model")
		delete(after, "model")
		if len(before) != len(after) {
			t.Fatalf("%q became %q", in, out)
		}
		for k, v := range before {
			if string(after[k]) != string(v) {
				t.Fatalf("%q: member %q became %q", in, k, after[k])
			}
		}
	})
}

// TestBackHeader: the key comes back in no header, neither in a value nor in the
// part of a name that the backend chooses.
func TestBackHeader(t *testing.T) {
	const key = "sk-Canary-0123456789"
	from := http.Header{
		"X-Request-Id":                      {"1", "a " + key + " b", "dXNlcjpzay1DYW5hcnktMDEyMzQ1Njc4OQ=="},
		"X-Ratelimit-Limit":                 {"7"},
		"X-Ratelimit-Sk-Canary-0123456789":  {"1"},
		"Anthropic-Ratelimit-" + key:        {"1"},
		"X-Ratelimit-C2stq2fuyxj5ltaxmjm0n": {"1"}, // not the key
		"Set-Cookie":                        {"a=b"},
	}
	to := http.Header{}
	backHeader(to, from, keyMask(newKey(key)))
	want := http.Header{"X-Request-Id": {"1"}, "X-Ratelimit-Limit": {"7"}, "X-Ratelimit-C2stq2fuyxj5ltaxmjm0n": {"1"}}
	if d := cmp.Diff(want, to); d != "" {
		t.Error(d)
	}
	all := http.Header{}
	backHeader(all, http.Header{"X-Request-Id": {key}}, keyMask(newKey("")))
	if len(all) != 1 {
		t.Error("without a key a header was dropped")
	}
}

func TestJoin(t *testing.T) {
	tests := []struct {
		base string
		p    protocol
		path string
		want string
	}{
		{"https://x.test", openAI, "/v1/responses", "https://x.test/v1/responses"},
		{"https://x.test/", openAI, "/v1/responses", "https://x.test/v1/responses"},
		{"https://x.test/v1", openAI, "/v1/responses", "https://x.test/v1/responses"},
		{"https://x.test/v1/", anthropic, "/v1/messages", "https://x.test/v1/messages"},
		{"https://x.test/openai/v1", openAI, "/v1/chat/completions", "https://x.test/openai/v1/chat/completions"},
		{"https://x.test/v1beta/openai", openAI, "/v1/chat/completions", "https://x.test/v1beta/openai/chat/completions"},
		{"https://x.test/paas/v4", openAI, "/v1/chat/completions", "https://x.test/paas/v4/chat/completions"},
		{"https://x.test/anthropic", anthropic, "/v1/messages", "https://x.test/anthropic/v1/messages"},
		{"https://x.test/v1/acct/anthropic", anthropic, "/v1/messages", "https://x.test/v1/acct/anthropic/v1/messages"},
		{"http://127.0.0.1:11434", gemini, "/v1beta/models/m:generateContent", "http://127.0.0.1:11434/v1beta/models/m:generateContent"},
		{"https://x.test/v1beta", gemini, "/v1beta/models/m:countTokens", "https://x.test/v1beta/models/m:countTokens"},
	}
	for _, tt := range tests {
		r, err := New(Config{URL: tt.base})
		if err != nil {
			t.Errorf("%s: %v", tt.base, err)
			continue
		}
		if got := r.join(tt.p, tt.path, "").String(); got != tt.want {
			t.Errorf("%s + %s = %s, want %s", tt.base, tt.path, got, tt.want)
		}
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	return b.String()
}
