package strictjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func reason(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		text string
		want Reason // empty: it is read
	}{
		{`{}`, ""},
		{" \r\n\t[1, -0.5e3, true, null, \"\"] \n", ""},
		{`7`, ""},
		{`{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`, ""}, // equal keys in different objects
		{`"\ud83d\ude00"`, ""},
		{`"\\ud800"`, ""}, // a backslash and text, no escape
		{`"\\\\ud800\u0041"`, ""},
		{`{"":1}`, ""},

		{``, Empty},
		{`  `, Syntax},
		{`{`, Syntax},
		{`{"a"}`, Syntax},
		{`{"a":}`, Syntax},
		{`{"a" 1}`, Syntax},
		{`{"a":1,}`, Syntax},
		{`{"a":1 "b":2}`, Syntax},
		{`{,}`, Syntax},
		{`{1:2}`, Syntax},
		{`[1 2]`, Syntax},
		{`[1,]`, Syntax},
		{`[,1]`, Syntax},
		{`["a":1]`, Syntax},
		{`[}`, Syntax},
		{`{]`, Syntax},
		{`[1}`, Syntax},
		{`]`, Syntax},
		{`:`, Syntax},
		{`nul`, Syntax},
		{`01`, Trailing},
		{`+1`, Syntax},
		{`.5`, Syntax},
		{`1.`, Syntax},
		{`0x10`, Trailing},
		{`NaN`, Syntax},
		{`Infinity`, Syntax},
		{`'a'`, Syntax},
		{"\"a\nb\"", Syntax},
		{"\"a\x00b\"", Syntax},
		{`"\x41"`, Syntax},
		{`"\u00g0"`, Syntax},
		{`/* */ 1`, Syntax},
		{"\uFEFF{}", Syntax},
		{"\u00a01", Syntax}, // a space, but not JSON's

		{`1 2`, Trailing},
		{`{}{}`, Trailing},
		{`{} x`, Trailing},
		{"{}\x00", Trailing},
		{`{}]`, Trailing},
		{`{},`, Trailing},

		{"\"\xff\"", NotUTF8},
		{"\"\xc0\xaf\"", NotUTF8},
		{"\"\xed\xa0\x80\"", NotUTF8}, // a surrogate, as UTF-8
		{"\xff\xfe{\x00}\x00", NotUTF8},
		{`"\ud800"`, Surrogate},
		{`"\udc00"`, Surrogate},
		{`"\ud800\ud800"`, Surrogate},
		{`"\ud800\u0041"`, Surrogate},
		{`"\ud800x\udc00"`, Surrogate},
		{`{"\uD83D":1}`, Surrogate},
		{`"\\\ud800"`, Surrogate}, // a backslash, then half a pair

		{`1e999`, NumberRange},
		{`[-1e999]`, NumberRange},
		{`1e-999`, ""},

		{`{"a":1,"a":1}`, DuplicateKey},
		{`{"a":1,"\u0061":2}`, DuplicateKey},
		{`{"\u0061":1,"\u0061":2}`, DuplicateKey},
		{`{"/":1,"\/":2}`, DuplicateKey},
		{`{"😀":1,"\ud83d\ude00":2}`, DuplicateKey},
		{`{"":1,"":2}`, DuplicateKey},
		{`[[{"x":{"a":1,"b":2,"a":3}}]]`, DuplicateKey},
		{`{"a":1,"A":2}`, ""}, // Pick refuses it where a name is looked for

		{strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), ""},
		{strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), TooDeep},
		{strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1), TooDeep},
		{strings.Repeat("[", 60000), TooDeep},
		{strings.Repeat(`{"a":[`, 9000), TooDeep},

		{`"` + strings.Repeat("a", DefaultBytes-2) + `"`, ""},
		{`"` + strings.Repeat("a", DefaultBytes-1) + `"`, TooLarge},
	} {
		_, err := Read([]byte(c.text), 0)
		if got := reason(err); got != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%.80q: %v, want %q", c.text, err, c.want)
		}
		if err != nil && len(c.text) > 8 && strings.Contains(err.Error(), c.text) {
			t.Errorf("%.80q: the error repeats the text", c.text)
		}
	}
}

func TestReadKeeps(t *testing.T) {
	got, err := Read([]byte(`{"k\u0065y":[1.50e1,"\u00e9",null,false,{}]}`), 0)
	want := Value{Kind: Object, Members: []Member{{"key", Value{Kind: Array, Items: []Value{
		{Kind: Number, Text: "1.50e1"}, {Kind: String, Text: "é"}, {Kind: Null}, {Kind: Bool, Text: "false"}, {Kind: Object},
	}}}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	if text := string(got.Append(nil)); text != `{"key":[1.50e1,"é",null,false,{}]}` {
		t.Error(text)
	}
	odd, err := Read([]byte(`{"b":"<\u2028\"","a":{"d":1,"c":[{"f":true,"e":-0}]}}`), 0)
	if text := string(odd.Sorted().Append(nil)); err != nil || text != `{"a":{"c":[{"e":-0,"f":true}],"d":1},"b":"<\u2028\""}` {
		t.Error(text, err)
	}
}

func TestLimits(t *testing.T) {
	for asked, want := range map[int]int{-1: DefaultBytes, 0: DefaultBytes, 5: 5, MaxBytes: MaxBytes, MaxBytes + 1: MaxBytes} {
		if got := Limit(asked); got != want {
			t.Errorf("Limit(%d) = %d, want %d", asked, got, want)
		}
	}
	if _, err := Read([]byte(`[1,2]`), 4); reason(err) != TooLarge {
		t.Errorf("larger than the limit: %v", err)
	}
	many := []byte("[" + strings.Repeat("1,", maxValues) + "1]")
	if _, err := Read(many, MaxBytes); reason(err) != TooMany {
		t.Errorf("many values: %v", err)
	}
	big := []byte(`"` + strings.Repeat(`\ud83d\ude00`, 1<<20) + `"`)
	if v, err := Read(big, MaxBytes); err != nil || len(v.Text) != 4<<20 {
		t.Errorf("a large string: %d bytes, %v", len(v.Text), err)
	}
	if _, err := Read(make([]byte, MaxBytes+1), MaxBytes*2); reason(err) != TooLarge {
		t.Errorf("above every limit: %v", err)
	}
}

func TestPick(t *testing.T) {
	for _, c := range []struct {
		text string
		want Reason
	}{
		{`{"name":"a","other":1}`, ""},
		{`{}`, ""},
		{`{"names":1,"nam":2}`, ""},
		{`{"Name":"a"}`, AmbiguousKey},
		{`{"name":"a","NAME":"b"}`, AmbiguousKey},
		{`{"name":"a","n\u0041me":"b"}`, AmbiguousKey},
		{`{"\u212aey":"b"}`, AmbiguousKey}, // the sign for kelvin is a k to Go
		{`{"\u017feen":"b"}`, AmbiguousKey},
		{`{"name":"a","name\u0000":"b"}`, ControlInKey},
		{`{"name":"a","\u0000":"b"}`, ControlInKey},
		{`{"name":"a","x\u0009":"b"}`, ControlInKey},
	} {
		v, err := Read([]byte(c.text), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Pick("name", "key", "seen"); reason(err) != c.want {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
	v, err := Read([]byte(`{"b":null,"c":"x","d":1}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := v.Pick("a", "b", "c")
	if err != nil || p[0].Kind != Absent || p[1].Kind != Null || p[2].Text != "x" || p[0].Given() || p[1].Given() || !p[2].Given() {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := (Value{}).Pick("a"); err != nil || p[0].Kind != Absent {
		t.Errorf("of nothing: %+v %v", p, err)
	}
}

func TestCheckHead(t *testing.T) {
	for _, c := range []struct {
		header map[string][]string
		want   Reason
	}{
		{nil, ""},
		{map[string][]string{"Accept": {"text/html"}}, ""},
		{map[string][]string{"Content-Type": {"application/json"}}, ""},
		{map[string][]string{"content-type": {"APPLICATION/JSON; Charset=\"UTF-8\""}}, ""},
		{map[string][]string{"Content-Type": {"application/graphql-response+json;v=1"}}, ""},
		{map[string][]string{"Content-Type": {"application/x-special"}}, ""},
		{map[string][]string{"Content-Encoding": {"identity"}}, ""},
		{map[string][]string{"Content-Encoding": {""}}, ""},

		{map[string][]string{"Content-Type": {""}}, MediaType},
		{map[string][]string{"Content-Type": {"application/x-www-form-urlencoded"}}, MediaType},
		{map[string][]string{"CONTENT-TYPE": {"multipart/form-data; boundary=x"}}, MediaType},
		{map[string][]string{"Content-Type": {"text/plain"}}, MediaType},
		{map[string][]string{"Content-Type": {"text/json"}}, MediaType},
		{map[string][]string{"Content-Type": {"application/json, text/html"}}, MediaType},
		{map[string][]string{"Content-Type": {"application/json;charset"}}, MediaType},
		{map[string][]string{"Content-Type": {"application/json; charset=utf-8; charset=utf-16"}}, MediaType},
		{map[string][]string{"Content-Type": {"application/json\x00"}}, MediaType},
		{map[string][]string{"Content-Type": {"application/json", "application/json"}}, ManyTypes},
		{map[string][]string{"Content-Type": {"application/json"}, "content-type": {"application/json"}}, ManyTypes},
		{map[string][]string{"Content-Type": {"application/json; charset=utf-7"}}, Charset},
		{map[string][]string{"Content-Type": {"application/json; charset*=utf-8''utf-16"}}, Charset},
		{map[string][]string{"Content-Encoding": {"gzip"}}, ContentCoding},
		{map[string][]string{"content-encoding": {"identity", "br"}}, ContentCoding},
		{map[string][]string{"Content-Encoding": {"identity, gzip"}}, ContentCoding},
	} {
		if err := CheckHead(c.header, "application/x-special"); reason(err) != c.want {
			t.Errorf("%v: %v, want %q", c.header, err, c.want)
		}
	}
}

// What is read is JSON to Go's own reader, too, and means the same; what is
// refused for its syntax is not.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,"x",null,true,{"b":{}}],"c":-1.5e+3}`, `{"a":1,"\u0061":2}`, `"\ud83d\ude00"`, `"\\ud800"`,
		`[1,]`, `{} {}`, "\uFEFF1", `1e999`, `[[[[`, `{"a"1}`, "\"\xff\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Read(data, 0)
		valid := json.Valid(data)
		switch why := reason(err); {
		case err == nil:
			if !valid || !utf8.Valid(data) {
				t.Fatalf("read, and not valid: %q", data)
			}
			var want any
			dec := json.NewDecoder(strings.NewReader(string(data)))
			dec.UseNumber()
			if err := dec.Decode(&want); err != nil || !equal(v, want) {
				t.Fatalf("%q: %+v, want %v (%v)", data, v, want, err)
			}
		case why == "":
			t.Fatalf("%q: %v is no *Error", data, err)
		case valid && (why == Syntax || why == Trailing || why == Empty):
			t.Fatalf("%q is valid, and refused: %v", data, err)
		}
	})
}

func equal(v Value, want any) bool {
	switch w := want.(type) {
	case nil:
		return v.Kind == Null
	case bool:
		return v.Kind == Bool
	case json.Number:
		return v.Kind == Number && v.Text == string(w)
	case string:
		return v.Kind == String && v.Text == w
	case []any:
		if v.Kind != Array || len(v.Items) != len(w) {
			return false
		}
		for i := range w {
			if !equal(v.Items[i], w[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		if v.Kind != Object || len(v.Members) != len(w) {
			return false
		}
		for _, m := range v.Members {
			one, ok := w[m.Key]
			if !ok || !equal(m.Value, one) {
				return false
			}
		}
		return true
	}
	return false
}
