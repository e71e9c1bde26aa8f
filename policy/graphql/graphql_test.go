package graphql

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
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

func post(body string) (Request, error) { return ParseHTTP("POST", "", nil, []byte(body), 0) }

// quote puts a document into an envelope.
func quote(t testing.TB, doc string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{"query": doc})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sum(doc string) string {
	s := sha256.Sum256([]byte(doc))
	return hex.EncodeToString(s[:])
}

func TestDocuments(t *testing.T) {
	for _, c := range []struct {
		doc, name string
		want      string // type name: fields
		err       Reason
	}{
		{`{ b a b }`, "", "query : a b", ""},
		{`query($x: [Int!]! = [1]) @d(a: {b: $x}) { z @skip(if: true) a(x: $x) { c } }`, "", "query : a z", ""},
		{`mutation M { x: b y: a x2: b }`, "M", "mutation M: a b", ""},
		{`subscription { a: b }`, "", "subscription : b", ""},
		{`query query { query: mutation }`, "", "query query: mutation", ""},
		{`{ on fragment true null }`, "", "query : fragment null on true", ""},
		{`query A { a } query B { b }`, "B", "query B: b", ""},
		{`query A { a } mutation B { b } fragment F on Q { f }`, "A", "query A: a", ""},
		{`"""what it does""" query A { a }`, "", "query A: a", ""},

		{`{ ...F } fragment F on Query { ... on Query { ...G b } } fragment G on Other @x { ... @include(if: false) { a } }`, "", "query : a b", ""},
		{`{ ...F ...F a { ...Missing } } fragment F on Query { x { ...F } }`, "", "query : a x", ""},
		{`fragment F on Query { a } { ...F }`, "", "query : a", ""},
		{`{ ... on Query { ... on Query { a: b } } }`, "", "query : b", ""},

		{`{ ...F } fragment F on Query { ...F }`, "", "", CyclicFragment},
		{`{ ...F } fragment F on Query { a ...G } fragment G on Query { ... { ...F } }`, "", "", CyclicFragment},
		{`{ ...F ...F } fragment F on Query { ...G ...G } fragment G on Query { ...H ...H } fragment H on Query { a }`, "", "query : a", ""},
		{`{ ...F }`, "", "", NoFragment},
		{`{ ...F } fragment F on Query { ...G }`, "", "", NoFragment},
		{`{ ...F } fragment f on Query { a }`, "", "", NoFragment},
		{`{ a } fragment F on Query { a } fragment F on Query { b }`, "", "", TwoNames},
		{`query A { a } query A { a }`, "A", "", TwoNames},
		{`query A { a } query B { a } query B { b }`, "A", "", TwoNames},
		{`query A { a } { b }`, "A", "", Anonymous},
		{`{ a } mutation { b }`, "", "", Anonymous},
		{`query A { a } query B { b }`, "", "", Choice},
		{`query A { a }`, "B", "", Choice},
		{`{ a }`, "A", "", Choice},
		{`fragment F on Query { a }`, "", "", Choice},
		{`# nothing`, "", "", Choice},

		{`{ a } type X { y: Int }`, "", "", Syntax},
		{`extend type X { y: Int }`, "", "", Syntax},
		{`Query { a }`, "", "", Syntax},
		{`query { }`, "", "", Syntax},
		{`query`, "", "", Syntax},
		{`{ a() }`, "", "", Syntax},
		{`{ a { } }`, "", "", Syntax},
		{`{ a: }`, "", "", Syntax},
		{`{ ...on }`, "", "", Syntax},
		{`{ "a" }`, "", "", Syntax},
		{`{ a(s: 'x') }`, "", "", Syntax},
		{`{ a(s: "x) }`, "", "", Syntax},
		{"{ a(s: \"x\n\") }", "", "", Syntax},
		{`{ a(s: """x) }`, "", "", Syntax},
		{`{ a(s: "\q") }`, "", "", Syntax},
		{"{ a\x00 }", "", "", Syntax},
		{"{ a\x0b }", "", "", Syntax},
		{"{ a # c \x0b } mutation { b }\n}", "", "", Syntax},
		{"{ a\u00a0b }", "", "", Syntax},
		{"{ a \u2028 b }", "", "", Syntax},
		{`} { a`, "", "", Syntax},
	} {
		var body []byte
		body, err := json.Marshal(map[string]string{"query": c.doc, "operationName": c.name})
		if err != nil {
			t.Fatal(err)
		}
		r, err := post(string(body))
		got := ""
		if err == nil {
			op := r.Operations[0]
			got = op.Type + " " + op.Name + ": " + strings.Join(op.Fields, " ")
		}
		if reason(err) != c.err || got != c.want {
			t.Errorf("%q %q\n got %s %v\nwant %s %s", c.doc, c.name, got, err, c.want, c.err)
		}
	}
}

// Where lexers disagree about the end of a string or a comment, one sees a
// mutation in what is text to another.
func TestStringsAndComments(t *testing.T) {
	for _, c := range []struct {
		doc string
		err Reason
	}{
		// A mutation of hidden to the library's lexer, of evil to the specification's.
		{"mutation { a(s: [\"\"\"x\"\"\"\" ] ) hidden #\" ]) evil\n}", Quotes},
		{`{ a(s: """x"""", t: "") }`, Quotes},
		{`{ a(s: """x""""") }`, Quotes},
		{`{ a(s: """""""""") }`, Quotes}, // 10 quotes: an empty block string and 4 more
		{`{ a(s: ["""x""""""y"""]) }`, Quotes},
		{`{ a(s: """\""""""") }`, Quotes}, // an escaped end, then 4 quotes
		{`{ a(s: """""") }`, ""},
		{`{ a(s: """"x" """) }`, ""},
		{`{ a(s: """\"""""") }`, ""},
		{`{ a(s: """\\"""""") }`, ""},
		{`{ a(s: ["""x""" """y"""]) }`, ""},
		{`{ a(s: ["x""y"""""]) }`, Syntax},
		{`{ a(s: ["x""y"]) }`, ""},
		{`{ a(s: "\\") }`, ""},
		{`{ a(s: "\") }") }`, ""},
		{`{ a(s: "# } mutation { b }") }`, ""},
		{`{ a(s: """# \" } mutation { b }""") }`, ""},
		{"{ a # \" \n }", ""},
		{"{ a # \"\"\" \r }", ""},
		{"{ a # x \u2028 } mutation { b } # \n }", LineSeparator},
		{"{ a # x \u2029 \n }", LineSeparator},
		{"{ a # x \u0085 \n }", LineSeparator},
		{"{ a(s: \"\u2028\") }", ""},
	} {
		r, err := post(quote(t, c.doc))
		if reason(err) != c.err || err == nil && !reflect.DeepEqual(r.Operations[0].Fields, []string{"a"}) {
			t.Errorf("%q: %+v %v, want %q", c.doc, r, err, c.err)
		}
	}
}

func TestEnvelopes(t *testing.T) {
	hash := sum("{a}")
	query := Operation{Type: "query", Fields: []string{"a"}}
	hashed := query
	hashed.Hash = hash
	withID := query
	withID.ID = "7"
	upper := query
	upper.Hash = strings.ToUpper(hash)
	for _, c := range []struct {
		body string
		want []Operation
		err  Reason
	}{
		{`{"query":"{a}","variables":{"x":[1]},"extensions":{}}`, []Operation{query}, ""},
		{`{"query":"{a}","extensions":null,"id":null,"documentId":""}`, []Operation{query}, ""},
		{`{"qu\u0065ry":"{\u0061}"}`, []Operation{query}, ""},
		{`[{"query":"{a}"},{"query":"{a}"}]`, []Operation{query, query}, ""},
		{`{"query":"{a}","extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hash + `"}}}`, []Operation{hashed}, ""},
		{`{"query":"{a}","extensions":{"persistedQuery":{"sha256Hash":"` + strings.ToUpper(hash) + `"}}}`, []Operation{upper}, ""},
		{`{"extensions":{"persistedQuery":{"sha256Hash":"abc"}},"operationName":"N"}`, []Operation{{Name: "N", Hash: "abc"}}, ""},
		{`{"query":"","extensions":{"persistedQuery":{"sha256Hash":"abc"}}}`, []Operation{{Hash: "abc"}}, ""},
		{`{"query":null,"queryId":"q"}`, []Operation{{ID: "q"}}, ""},
		{`{"query":"{a}","id":"7"}`, []Operation{withID}, ""},
		{`[{"query":"{a}"},{"id":"q"}]`, []Operation{query, {ID: "q"}}, ""},

		{`{"query":"{a}","extensions":{"persistedQuery":{"sha256Hash":"abc"}}}`, nil, WrongHash},
		{`{"query":"{a} ","extensions":{"persistedQuery":{"sha256Hash":"` + hash + `"}}}`, nil, WrongHash},
		{`{"id":"a","documentId":"a"}`, nil, TwoIDs},
		{`{"query":"{a}","id":"a","queryId":"b"}`, nil, TwoIDs},
		{`{"id":"a","extensions":{"persistedQuery":{"sha256Hash":"abc"}}}`, nil, TwoIDs},
		{`{"query":"{a}","doc_id":"1"}`, nil, UnknownID},
		{`{"query":"{a}","operationId":1}`, nil, UnknownID},
		{`{"doc_id":"1"}`, nil, UnknownID},
		{`{"query":"{a}","doc_id":null}`, []Operation{query}, ""},

		{`{}`, nil, NoOperation},
		{`{"query":" \n"}`, nil, NoOperation},
		{`{"variables":{}}`, nil, NoOperation},
		{`{"extensions":{"persistedQuery":{"sha256Hash":""}}}`, nil, NoOperation},
		{`{"extensions":{"persistedQuery":{}}}`, nil, NoOperation},
		{`[]`, nil, EmptyBatch},
		{`[[]]`, nil, NotEnvelope},
		{`[{"query":"{a}"},"x"]`, nil, NotEnvelope},
		{`[{"query":"{a}"},{}]`, nil, NoOperation},
		{`1`, nil, NotEnvelope},
		{`null`, nil, NotEnvelope},
		{`{"query":["{a}"]}`, nil, WrongType},
		{`{"query":"{a}","operationName":["A"]}`, nil, WrongType},
		{`{"query":"{a}","id":7}`, nil, WrongType},
		{`{"query":"{a}","extensions":[]}`, nil, WrongType},
		{`{"query":"{a}","extensions":{"persistedQuery":"abc"}}`, nil, WrongType},
		{`{"query":"{a}","extensions":{"persistedQuery":{"sha256Hash":1}}}`, nil, WrongType},

		{`{"query":"{a}","query":"{a}"}`, nil, NoJSON},
		{`{"query":"{a}","\u0071uery":"mutation{b}"}`, nil, NoJSON},
		{`{"query":"{a}","variables":{"x":1,"x":2}}`, nil, NoJSON},
		{`{"query":"{a}","extensions":{"persistedQuery":null,"persistedQuery":{"sha256Hash":"abc"}}}`, nil, NoJSON},
		{`{"query":"{a}","QUERY":"mutation{b}"}`, nil, Keys},
		{`{"query":"{a}","query\u0000":"mutation{b}"}`, nil, Keys},
		{`{"query":"{a}","OperationName":"x"}`, nil, Keys},
		{`{"query":"{a}","documentID":"x"}`, nil, Keys},
		{`{"query":"{a}","Extensions":{}}`, nil, Keys},
		{`{"query":"{a}","extensions":{"persistedquery":{"sha256Hash":"abc"}}}`, nil, Keys},
		{`{"query":"{a}","extensions":{"persistedQuery":{"SHA256Hash":"abc"}}}`, nil, Keys},
		{`{"query":"{a}"}{"query":"mutation{b}"}`, nil, NoJSON},
		{`{"query":"{a}"}` + "\x00", nil, NoJSON},
		{`{"query":"{a`, nil, NoJSON},
		{`query=mutation{b}`, nil, NoJSON},
		{`{a}`, nil, NoJSON},
	} {
		r, err := post(c.body)
		if reason(err) != c.err || !reflect.DeepEqual(r.Operations, c.want) {
			t.Errorf("%s\n got %+v %v\nwant %+v %s", c.body, r.Operations, err, c.want, c.err)
		}
	}
}

func TestStored(t *testing.T) {
	for _, c := range []struct {
		op   Operation
		want bool
	}{
		{Operation{}, true},
		{Operation{Hash: "h"}, true},
		{Operation{ID: "i"}, true},
		{Operation{Type: "query", ID: "i"}, true},
		{Operation{Type: "query", Hash: "h"}, false}, // the document's own
		{Operation{Type: "query"}, false},
	} {
		if got := c.op.Stored(); got != c.want {
			t.Errorf("%+v: %v", c.op, got)
		}
	}
}

func TestURL(t *testing.T) {
	q := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	a := []Operation{{Type: "query", Fields: []string{"a"}}}
	for _, c := range []struct {
		method, query, body string
		want                []Operation
		err                 Reason
	}{
		{"GET", q("query", "{a}"), "", a, ""},
		{"GET", q("query", "{a}", "variables", `{"x":1}`, "v", "1", "v", "2"), "", a, ""},
		{"GET", q("query", "{a}", "operationName", "", "extensions", "", "id", ""), "", a, ""},
		{"GET", q("query", "query A{a} query B{b}", "operationName", "B"), "", []Operation{{Type: "query", Name: "B", Fields: []string{"b"}}}, ""},
		{"GET", q("query", "{a}", "extensions", `{"persistedQuery":{"sha256Hash":"`+sum("{a}")+`"}}`), "", []Operation{{Type: "query", Fields: []string{"a"}, Hash: sum("{a}")}}, ""},
		{"GET", q("documentId", "d", "operationName", "N"), "", []Operation{{Name: "N", ID: "d"}}, ""},

		{"GET", "", "", nil, NoOperation},
		{"GET", q("query", "{a}"), "x", nil, TwoPlaces},
		{"GET", q("query", "{a}", "query", "{a}"), "", nil, Repeated},
		{"GET", q("query", "{a}", "extensions", "{}", "extensions", "{}"), "", nil, Repeated},
		{"GET", q("query", "{a}", "operationName", "", "operationName", "B"), "", nil, Repeated},
		{"GET", q("query", "{a}", "Query", "mutation{b}"), "", nil, Keys},
		{"GET", q("query", "{a}", "query[]", "mutation{b}"), "", nil, Keys},
		{"GET", q("query", "{a}", "query\x00", "mutation{b}"), "", nil, Keys},
		{"GET", q("query", "{a}", " query", "mutation{b}"), "", nil, Keys},
		{"GET", q("query", "{a}", "extensions[persistedQuery][sha256Hash]", "abc"), "", nil, Keys},
		{"GET", q("query", "{a}", "queryID", "x"), "", nil, Keys},
		{"GET", q("query", "{a}", "doc_id", "x"), "", nil, UnknownID},
		{"GET", q("query", "{a}", "extensions", `{"persistedQuery":{"sha256Hash":"abc"}}`), "", nil, WrongHash},
		{"GET", q("query", "{a}", "extensions", `{"a":1,"a":2}`), "", nil, NoJSON},
		{"GET", q("query", "{a}", "extensions", `{`), "", nil, NoJSON},
		{"GET", q("query", "{a}", "extensions", `[]`), "", nil, WrongType},
		{"GET", "query={a}%23;query=mutation{b}", "", nil, BadQuery},
		{"GET", "query=%7Ba%7", "", nil, BadQuery},
		{"GET", "query=%7Ba%7D%ff", "", nil, BadQuery},
		{"GET", "query=%7Ba%7D&query%ff=1", "", nil, BadQuery},
		{"GET", "query=%7Ba%7D&x=%ff", "", nil, BadQuery},
		{"GET", "query=%2525", "", nil, Syntax}, // decoded once, not twice

		{"POST", "", `{"query":"{a}"}`, a, ""},
		{"POST", "v=1&api-version=2", `{"query":"{a}"}`, a, ""},
		{"POST", "query=mutation%7Bb%7D", `{"query":"{a}"}`, nil, TwoPlaces},
		{"POST", "query=", `{"query":"{a}"}`, nil, TwoPlaces},
		{"POST", "id=1", `{"query":"{a}"}`, nil, TwoPlaces},
		{"POST", "operationName=B", `{"query":"query A{a} query B{b}","operationName":"A"}`, nil, TwoPlaces},
		{"POST", "QUERY=mutation%7Bb%7D", `{"query":"{a}"}`, nil, Keys},
		{"POST", "x=1;query=mutation%7Bb%7D", `{"query":"{a}"}`, nil, BadQuery},

		{"HEAD", q("query", "{a}"), "", nil, Method},
		{"PUT", "", `{"query":"{a}"}`, nil, Method},
		{"get", q("query", "{a}"), "", nil, Method},
		{"", "", `{"query":"{a}"}`, nil, Method},
	} {
		r, err := ParseHTTP(c.method, c.query, nil, []byte(c.body), 0)
		if reason(err) != c.err || !reflect.DeepEqual(r.Operations, c.want) {
			t.Errorf("%s %s %s\n got %+v %v\nwant %+v %s", c.method, c.query, c.body, r.Operations, err, c.want, c.err)
		}
	}
}

func TestHead(t *testing.T) {
	// To a reader of forms, this is a mutation.
	polyglot := []byte(`{"query":"{a}","variables":{"x":"&query=mutation{b}&"}}`)
	for kind, want := range map[string]Reason{
		"application/json":                  "",
		"application/x-www-form-urlencoded": BadHead,
		"multipart/form-data; boundary=x":   BadHead,
		"application/graphql":               BadHead,
		"application/json-rpc":              BadHead,
	} {
		header := map[string][]string{"content-type": {kind}}
		if _, err := ParseHTTP("POST", "", header, polyglot, 0); reason(err) != want {
			t.Errorf("%s: %v, want %q", kind, err, want)
		}
	}
}

func TestBounds(t *testing.T) {
	nest := func(n int, open, end string) string { return strings.Repeat(open, n) + "x" + strings.Repeat(end, n) }
	chain := func(n int) string {
		var b strings.Builder
		b.WriteString("{...F0}")
		for i := range n {
			b.WriteString(" fragment F" + strings.Repeat("x", i) + "0 on Q{...F" + strings.Repeat("x", i+1) + "0}")
		}
		return b.String() + " fragment F" + strings.Repeat("x", n) + "0 on Q{a}"
	}
	double := "{...F0}" // each fragment twice: 2^n if expanded without memory
	for i := range 60 {
		n, m := strings.Repeat("x", i), strings.Repeat("x", i+1)
		double += " fragment F" + n + "0 on Q{...F" + m + "0 ...F" + m + "0}"
	}
	double += " fragment F" + strings.Repeat("x", 60) + "0 on Q{a}"
	for name, c := range map[string]struct {
		doc string
		err Reason
	}{
		"depth":           {nest(128, "{a", "}"), ""},
		"deeper":          {nest(129, "{a", "}"), TooDeep},
		"lists":           {"{a(x:" + nest(126, "[", "]") + ")}", ""},
		"deeper lists":    {"{a(x:" + nest(127, "[", "]") + ")}", TooDeep},
		"deep types":      {"query(" + "$x:" + nest(200, "[", "]") + "){a}", TooDeep},
		"open":            {strings.Repeat("{a", 100000), TooDeep},
		"closed":          {strings.Repeat("}", 100000) + strings.Repeat("{a", 100000), Syntax},
		"tokens":          {"{a" + strings.Repeat(" b", 15000) + "}", ""},
		"many tokens":     {"{a" + strings.Repeat(" b", 20000) + "}", Syntax},
		"many comments":   {strings.Repeat("#\n", 20001) + "{a}", Syntax},
		"many operations": {strings.Repeat("{a}", 9000), Syntax},
		"chain":           {chain(300), ""},
		"double":          {double, ""},
		"long string":     {`{a(s:"` + strings.Repeat("x", 1<<20) + `")}`, ""},
		"quotes":          {`{a(s:` + strings.Repeat(`"`, 1<<20) + `)}`, Quotes},
		"backslashes":     {`{a(s:"""` + strings.Repeat(`\`, 1<<20) + `""")}`, Syntax},
		"spaces":          {"{a" + strings.Repeat(" ", 1<<20) + "}", ""},
		"directives":      {"{a" + strings.Repeat("@d", 20000) + "}", Syntax},
	} {
		_, err := ParseHTTP("POST", "", nil, []byte(quote(t, c.doc)), MaxBytes)
		if reason(err) != c.err {
			t.Errorf("%s: %v, want %q", name, err, c.err)
		}
	}
	large := quote(t, "{a #"+strings.Repeat("x", DefaultBytes)+"\n}")
	if _, err := post(large); reason(err) != NoJSON {
		t.Errorf("above the default limit: %v", err)
	}
	if Limit(0) != DefaultBytes || Limit(MaxBytes+1) != MaxBytes {
		t.Errorf("limits %d %d", Limit(0), Limit(MaxBytes+1))
	}
	if _, err := ParseHTTP("GET", "query="+strings.Repeat("a", DefaultBytes), nil, nil, 0); reason(err) != BadQuery {
		t.Errorf("a long query: %v", err)
	}
	batch := "[" + strings.Repeat(`{"query":"{a}"},`, 3000) + `{"query":"mutation{b}"}]`
	if r, err := post(batch); err != nil || len(r.Operations) != 3001 || r.Operations[3000].Type != "mutation" {
		t.Errorf("a long batch: %d, %v", len(r.Operations), err)
	}
}

func TestMessages(t *testing.T) {
	a := []Operation{{Type: "query", Fields: []string{"a"}}}
	for _, c := range []struct {
		text string
		want Message
		err  Reason
	}{
		{`{"type":"subscribe","id":"1","payload":{"query":"{a}"}}`, Message{Type: "subscribe", Request: Request{a}}, ""},
		{`{"payload":{"query":"{a}"},"id":"1","type":"st\u0061rt"}`, Message{Type: "start", Request: Request{a}}, ""},
		{`{"type":"subscribe","id":"1","payload":{"extensions":{"persistedQuery":{"sha256Hash":"abc"}}}}`,
			Message{Type: "subscribe", Request: Request{[]Operation{{Hash: "abc"}}}}, ""},
		{`{"type":"connection_init","payload":{"token":"x"}}`, Message{Type: "connection_init", Control: true}, ""},
		{`{"type":"connection_terminate"}`, Message{Type: "connection_terminate", Control: true}, ""},
		{`{"type":"pong","payload":null}`, Message{Type: "pong", Control: true}, ""},
		{`{"type":"subscribe","id":"","payload":{"query":"{a}"}}`, Message{}, MessageID},
		{`{"type":"subscribe","id":null,"payload":{"query":"{a}"}}`, Message{}, MessageID},
		{`{"type":"subscribe","id":"1","payload":null}`, Message{}, NoPayload},
		{`{"type":"subscribe","id":"1","payload":"{\"query\":\"{a}\"}"}`, Message{}, NoPayload},
		{`{"type":"subscribe","id":"1","payload":{}}`, Message{}, NoOperation},
		{`{"type":"subscribe","id":"1","payload":{"query":"{a}","Query":"{b}"}}`, Message{}, Keys},
		{`{"type":"subscribe","id":"1","payload":{"query":"{a}"},"payload":{"query":"{b}"}}`, Message{}, NoJSON},
		{`{"type":"ping","Payload":{}}`, Message{}, Keys},
		{`{"type":"ping","type\u0000":"subscribe"}`, Message{}, Keys},
		{`{"type":"next","id":"1"}`, Message{}, MessageType},
		{`{"type":"error"}`, Message{}, MessageType},
		{`{"type":"ping "}`, Message{}, MessageType},
		{`{}`, Message{}, WrongType},
		{`{"type":"ping"}{"type":"subscribe"}`, Message{}, NoJSON},
		{`"ping"`, Message{}, NotEnvelope},
		{``, Message{}, NoJSON},
		{"\xff", Message{}, NoJSON},
	} {
		got, err := ParseMessage([]byte(c.text), 0)
		if reason(err) != c.err || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s\n got %+v %v\nwant %+v %s", c.text, got, err, c.want, c.err)
		}
	}
}

// A body is never cut: no prefix of one is one.
func TestPrefixes(t *testing.T) {
	body := quote(t, `query A { a(s: "x") ...F } fragment F on Query { b }`)
	for i := range body {
		if r, err := post(body[:i]); err == nil {
			t.Errorf("%s: %+v", body[:i], r)
		}
	}
}

func TestErrorsAreOneLine(t *testing.T) {
	for _, doc := range []string{"{ s3cr\x01t }", "s3cret", "query s3cret", `{ a(x: "s3cret) }`, "{ ...s3cret }", "s3cret\n{"} {
		_, err := post(quote(t, doc))
		if err == nil || strings.Contains(err.Error(), "s3cr") || strings.ContainsAny(err.Error(), "\n\r\x01") {
			t.Errorf("%q: %v", doc, err)
		}
	}
}
