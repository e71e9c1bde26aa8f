package audit

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestAppendEvent holds the encoder against encoding/json, field by field.
func TestAppendEvent(t *testing.T) {
	same := func(t *testing.T, e Event) {
		t.Helper()
		e.Hash = ""
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		want = PrintableJSON(want)
		got, err := appendEvent([]byte("x"), &e)
		if err != nil || string(got) != "x"+string(want) {
			t.Fatalf("%v\n have %s\n want %s", err, got[1:], want)
		}
	}
	same(t, Event{})
	texts := []string{"", "plain", `"`, `\`, "<&>", "\x00\x1f\x7f", "\xff\xfe", "é", "\u202e", "\u2028", "😀", strings.Repeat("a", 300)}
	rnd := rand.New(rand.NewPCG(1, 2))
	text := func() string { return texts[rnd.IntN(len(texts))] + texts[rnd.IntN(len(texts))] }
	fill := func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(text())
		case reflect.Bool:
			v.SetBool(rnd.IntN(2) == 0)
		case reflect.Int, reflect.Int64:
			v.SetInt([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, rnd.Int64()}[rnd.IntN(6)])
		case reflect.Uint16:
			v.SetUint([]uint64{0, 1, 443, math.MaxUint16}[rnd.IntN(4)])
		case reflect.Uint64:
			v.SetUint([]uint64{0, 1, math.MaxUint64, rnd.Uint64()}[rnd.IntN(4)])
		case reflect.Map:
			m := make(map[string]string)
			for range rnd.IntN(4) {
				m[text()] = text()
			}
			v.Set(reflect.ValueOf(m))
		case reflect.Struct:
			v.Set(reflect.ValueOf(time.Unix(rnd.Int64N(1<<33), rnd.Int64N(1e9)).UTC()))
		default:
			t.Fatalf("a field of kind %s, which nothing fills here", v.Kind())
		}
	}
	for range 3000 {
		var e Event
		v := reflect.ValueOf(&e).Elem()
		for i := range v.NumField() {
			fill(v.Field(i))
		}
		same(t, e)
	}
	// One field alone: what encoding/json leaves out of an empty one.
	for i := range reflect.TypeFor[Event]().NumField() {
		for range 8 {
			var e Event
			fill(reflect.ValueOf(&e).Elem().Field(i))
			same(t, e)
		}
	}
	if _, err := appendEvent(nil, &Event{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}); err == nil {
		t.Error("a year that has no form in RFC 3339")
	}
}

func BenchmarkEncode(b *testing.B) {
	e := Event{
		Seq: 123456, Time: time.Now().UTC(), Sandbox: "amber-fox", Kind: Request, Verdict: "allow", Rule: "web",
		RuleAt: "policy.yaml:12:9", Conn: 17, Via: Transparent, Host: "web.example", Port: 443, Protocol: "https",
		Binary: "/usr/bin/curl", PID: 4711, Method: "GET", Path: "/v1/items/7", Prev: strings.Repeat("0a", 32),
	}
	b.ReportAllocs()
	var line []byte
	for b.Loop() {
		var err error
		if line, _, err = encode(line[:0], &e); err != nil {
			b.Fatal(err)
		}
	}
}
