package audit

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "api.example.test/v1?", "api.example.test/v1?"},
		{"letters", "grün 日本 é", "grün 日本 é"},
		{"ansi", "\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		{"line feed and tab", "a\nb\tc\r", `a\nb\tc\r`},
		{"del", "a\x7f", `a\x7f`},
		{"c1 csi", "\u009b31m", `\u009b31m`},
		{"raw c1 byte", "\x9b31m", `\x9b31m`},
		{"bidi", "safe\u202egnp.exe", `safe\u202egnp.exe`},
		{"isolate", "\u2066x\u2069", `\u2066x\u2069`},
		{"zero width", "ad\u200bmin\ufeff", `ad\u200bmin\ufeff`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"no-break space", "a\u00a0b", `a\u00a0b`},
		{"tag", "a\U000e0041", `a\U000e0041`},
		{"selector", "a\ufe0f", `a\ufe0f`},
		{"filler", "\u3164", `\u3164`},
		{"replacement itself", "\ufffd", "\ufffd"},
		{"not utf-8", "\xff\xfe", `\xff\xfe`},
	}
	for _, tt := range tests {
		if got := Printable(tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestPrintableJSON(t *testing.T) {
	for _, in := range []string{"plain", "grün 日本", "a\x7fb", "\u009b31m", "safe\u202egnp", "ad\u200bmin", "a\U000e0041", "\u3164", "\x1b\n\t", "\xff", "a\u2028b"} {
		doc, err := json.MarshalIndent(map[string]string{"k": in, in: "v"}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got := PrintableJSON(doc)
		var before, after map[string]string
		if json.Unmarshal(doc, &before) != nil || json.Unmarshal(got, &after) != nil || !maps.Equal(before, after) {
			t.Errorf("%q: %s means something else than %s", in, got, doc)
		}
		if text := strings.ReplaceAll(string(got), "\n", ""); Printable(text) != text {
			t.Errorf("%q: %q", in, text)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b]0;title\x07\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := Printable(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if !strconv.IsPrint(r) {
				t.Fatalf("%q still holds %U", got, r)
			}
		}
		if strings.ContainsAny(got, "\n\r\x1b") || Printable(got) != got {
			t.Fatalf("%q is not stable", got)
		}
	})
}
