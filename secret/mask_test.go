package secret_test

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/creel-run/creel/secret"
)

const mark = "creel:cred:T/key"

func mask(texts ...string) *secret.Mask {
	var covers []secret.Cover
	for _, t := range texts {
		covers = append(covers, secret.Cover{Value: secret.New(t), With: mark})
	}
	return secret.NewMask(covers...)
}

func TestMask(t *testing.T) {
	for _, tt := range []struct{ secrets, in, want string }{
		{"k-secret", "", ""},
		{"k-secret", "a k-secret b", "a " + mark + " b"},
		{"k-secret", "k-k-secret", "k-" + mark},
		{"k-secret", "k-secretk-secret", mark + mark},
		{"k-secret", "ends in k-secre", "ends in k-secre"},
		{"k-secret-longer", "cut in k-secret-l", "cut in " + mark}, // a begin that tells too much
		{"abcd abcdefgh", "abcdefgh abcd abcdefg", mark + " " + mark + " " + mark + "efg"},
		{"aaaab", "aaaaaaab", "aaa" + mark},
		{"abc", "abc", "abc"}, // too short to be told from ordinary text
		{"a/b+c=d", "a%2Fb%2Bc%3Dd a%2fb%2bc%3dd a%2Fb+c=d", mark + " " + mark + " " + mark},
		{"a b/c\"d", `a+b%2Fc%22d a%20b%2Fc%22d a b\/c\"d`, mark + " " + mark + " " + mark},
		{`ends in "`, `{"k":"ends in \""}`, `{"k":"` + mark + `"}`},
		{"x<y>&z'", `x\u003cy\u003e\u0026z' ` + html.EscapeString("x<y>&z'"), mark + " " + mark},
	} {
		m := mask(strings.Fields(tt.secrets)...)
		if strings.Contains(tt.secrets, `"`) {
			m = mask(tt.secrets)
		}
		if got := m.String(tt.in); got != tt.want {
			t.Errorf("%q in %q: %q, want %q", tt.secrets, tt.in, got, tt.want)
		}
		for name, r := range map[string]io.Reader{
			"whole": strings.NewReader(tt.in), "bytes": iotest.OneByteReader(strings.NewReader(tt.in)),
			"data and error": iotest.DataErrReader(strings.NewReader(tt.in)), "halves": iotest.HalfReader(strings.NewReader(tt.in)),
		} {
			if got, err := io.ReadAll(m.Reader(r)); string(got) != tt.want || err != nil {
				t.Errorf("%s: %q in %q: %q, %v, want %q", name, tt.secrets, tt.in, got, err, tt.want)
			}
		}
	}
	var none *secret.Mask
	if none.String("x") != "x" || none.Holds("x") || secret.NewMask() != nil || secret.NewMask(secret.Cover{}) != nil {
		t.Error("no mask changes text")
	}
	if got, _ := io.ReadAll(none.Reader(strings.NewReader("x"))); string(got) != "x" {
		t.Error("no mask changes a stream")
	}
}

func TestMaskBase64(t *testing.T) {
	const value = "tok-3n/+Zq~9?"
	m := mask(value)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		for before := range 7 {
			for after := range 4 {
				in := enc.EncodeToString([]byte(strings.Repeat("u", before) + value + strings.Repeat("v", after)))
				got := m.String("x " + in + " y")
				if strings.Count(got, mark) != 1 || !strings.HasPrefix(got, "x ") || !strings.HasSuffix(got, " y") {
					t.Fatalf("%d before, %d after: %q", before, after, got)
				}
				// What is left of it must not hold two bytes of the value.
				left, right, _ := strings.Cut(got, mark)
				if n := len(left) + len(right) - len("x  y"); n > (before+after)*4/3+6 {
					t.Errorf("%d characters are left: %q", n, got)
				}
			}
		}
	}
}

func TestMaskStars(t *testing.T) {
	m := secret.NewMask(secret.Cover{Value: secret.New("k-secret-long")}, secret.Cover{Value: secret.New("only/this"), With: "-", Exact: true})
	if got := m.String("a k-secret-long b k-secret-"); got != "a ************* b *********" {
		t.Errorf("the length changed: %q", got)
	}
	if got := m.String("only/this only%2Fthis"); got != "- only%2Fthis" {
		t.Errorf("exact: %q", got)
	}
}

func TestMaskHoldsNothingBack(t *testing.T) {
	s := mask("k-secret").Stream()
	if got := string(s.Next([]byte("data: x\n\n"))); got != "data: x\n\n" {
		t.Errorf("an event was held back: %q", got)
	}
	if got := string(s.Next([]byte("a k-sec"))); got != "a " {
		t.Errorf("the begin of the secret was given out: %q", got)
	}
	if got := string(s.Next([]byte("ond\n"))); got != "k-second\n" {
		t.Errorf("what was held back came as %q", got)
	}
}

func TestMaskHolds(t *testing.T) {
	m := mask("Tok-Abcdef")
	for text, want := range map[string]bool{"X-Rate-tok-ABCDEF": true, "X-Rate": false, "X-" + base64.RawURLEncoding.EncodeToString([]byte("Tok-Abcdef")): true} {
		if m.Holds(text) != want {
			t.Errorf("Holds(%q) = %v", text, !want)
		}
	}
}

// FuzzMask: whatever the pieces, the whole result is the same, and holds the
// secret in none of its forms.
func FuzzMask(f *testing.F) {
	f.Add("k-secret", "a k-secret b", uint8(3))
	f.Add("aabaab", "aabaabaabaaab%2f", uint8(1))
	f.Add(`a"/b`, `"a\"\/b" a%22%2fb`, uint8(2))
	f.Fuzz(func(t *testing.T, value, in string, size uint8) {
		if len(value) < 4 || len(value) > 100 || strings.ContainsAny(value, "\r\n\x00") || size == 0 {
			t.Skip()
		}
		const with = "\x01\x02" // in no secret, so that no new one can come together
		if strings.ContainsAny(value+in, with) {
			t.Skip()
		}
		m := secret.NewMask(secret.Cover{Value: secret.New(value), With: with})
		want := m.String(in)
		var got strings.Builder
		s := m.Stream()
		for rest := in; rest != ""; {
			n := min(int(size), len(rest))
			got.Write(s.Next([]byte(rest[:n])))
			rest = rest[n:]
		}
		got.Write(s.Rest())
		if got.String() != want {
			t.Fatalf("in pieces %q, whole %q", got.String(), want)
		}
		quoted, _ := json.Marshal(value)
		for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value), string(quoted[1 : len(quoted)-1])} {
			if strings.Contains(want, form) {
				t.Fatalf("%q is still in %q", form, want)
			}
		}
		if !strings.Contains(want, with) && want != in {
			t.Fatalf("%q became %q", in, want)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	s := mask("ghx_0123456789abcdefghijklmnopqrstuv").Stream()
	piece := make([]byte, 32<<10)
	state := uint32(1)
	for i := range piece { // as a compressed file
		state = state*1664525 + 1013904223
		piece[i] = byte(state >> 24)
	}
	b.SetBytes(int64(len(piece)))
	for b.Loop() {
		s.Next(piece)
	}
}
