package layers_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/creel-run/creel/middleware/layers"
)

// needle is what has to come to light.
const needle = "Needle_0123456789/abcdefghijkl+xyz"

// encodings are ways to hide a text, each of which is undone.
var encodings = map[string]func(string) string{
	"plain":           func(s string) string { return s },
	"base64":          func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 url":      func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 shifted":  func(s string) string { return base64.StdEncoding.EncodeToString([]byte("u" + s + "v")) },
	"base64 behind /": func(s string) string { return "/x/" + base64.RawURLEncoding.EncodeToString([]byte(s)) + "/y" },
	"base64 glued":    func(s string) string { return "A" + base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"base64 lines": func(s string) string {
		return lines(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("filler ", 20)+s)), 76, "\r\n")
	},
	"base32": func(s string) string { return base32.StdEncoding.EncodeToString([]byte(s)) },
	"base32 small": func(s string) string {
		return strings.ToLower(base32.HexEncoding.WithPadding(-1).EncodeToString(nil)) + strings.ToLower(base32.StdEncoding.WithPadding(-1).EncodeToString([]byte(s)))
	},
	"hex":           func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex capitals":  func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"percent":       url.QueryEscape,
	"percent all":   func(s string) string { return each(s, "%%%02X") },
	"percent twice": func(s string) string { return url.QueryEscape(each(s, "%%%02x")) },
	"json":          func(s string) string { return string(must(json.Marshal(s))) },
	"json u":        func(s string) string { return each(s, `\u%04x`) },
	"json x":        func(s string) string { return each(s, `\x%02x`) },
	"json slashes":  func(s string) string { return strings.ReplaceAll(s, "/", `\\\/`) },
	"json in json": func(s string) string {
		return string(must(json.Marshal(string(must(json.Marshal(map[string]string{"a\n\"": each(s, `\u%04X`)}))))))
	},
	"references":    func(s string) string { return each(s, "&#x%x;") },
	"references 10": func(s string) string { return html.EscapeString(each(s, "&#%d;")) },
	"utf-16":        func(s string) string { return wide(s, binary.LittleEndian) },
	"utf-16 big":    func(s string) string { return "\xfe\xff" + wide(s, binary.BigEndian) },
	"utf-16 base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(wide(s, binary.LittleEndian))) },
	"zero width":    func(s string) string { return strings.Join(strings.Split(s, ""), "\u200b") },
	"gzip":          func(s string) string { return pack(s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }) },
	"zlib base64": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(pack(s, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })))
	},
	"gzip base64": func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(pack(s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })))
	},
	"gzip cut short": func(s string) string {
		p := pack(s+strings.Repeat("filler ", 20), func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
		return p[:len(p)-6]
	},
	"zip": func(s string) string {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w := must(z.Create("a/name.txt"))
		_, _ = w.Write([]byte(s))
		_ = z.Close()
		return b.String()
	},
}

// takesText are those that write characters, not bytes.
var takesText = map[string]bool{"json": true, "json u": true, "json in json": true, "json slashes": true, "references": true, "references 10": true,
	"utf-16": true, "utf-16 big": true, "utf-16 base64": true, "zero width": true}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func each(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

func lines(s string, n int, end string) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + end)
		s = s[n:]
	}
	return b.String() + s
}

func wide(s string, order binary.ByteOrder) string {
	b := make([]byte, 0, 2*len(s))
	for _, u := range utf16.Encode([]rune(s)) {
		var two [2]byte
		order.PutUint16(two[:], u)
		b = append(b, two[:]...)
	}
	return string(b)
}

func pack(s string, with func(io.Writer) io.WriteCloser) string {
	var b bytes.Buffer
	w := with(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

// search gives the place of the needle in any layer, and by which way it is there.
func search(t *testing.T, text string) (from, to int, via []string, ok bool) {
	t.Helper()
	for l, err := range layers.Of(context.Background(), []byte(text)) {
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(l.Text, []byte(needle)); i >= 0 {
			from, to, via = l.Origin(i, i+len(needle))
			return from, to, via, true
		}
	}
	return 0, 0, nil, false
}

// TestEncodings: each alone and each in each other, with a text around it; and
// the place that is told is that of the encoded text, whatever is put there.
func TestEncodings(t *testing.T) {
	const before, after = `{"first": "value", "data": "`, `", "last": "\n"}`
	for outer, f := range encodings {
		for inner, g := range encodings {
			if takesText[outer] && !utf8.ValidString(g(needle)) || inner == "zero width" && (takesText[outer] || outer == "base64 behind /") {
				continue // the outer one is none of these bytes, or has no row of ASCII to be told by
			}
			body := before + f(g(needle)) + after
			slack := 0
			if strings.Contains(outer+inner, "cut short") {
				slack = 8 // the end that is missing is taken from what stands behind
			}
			from, to, via, ok := search(t, body)
			if !ok {
				t.Errorf("%s of %s: not found", outer, inner)
				continue
			}
			if from < len(before) || to > len(body)-len(after)+slack || from >= to {
				t.Errorf("%s of %s: at %d to %d by %v, want it in %d to %d", outer, inner, from, to, via, len(before), len(body)-len(after))
				continue
			}
			if _, _, _, ok := search(t, body[:from]+"-"+body[to:]); ok {
				t.Errorf("%s of %s: still there without its place", outer, inner)
			}
		}
	}
}

// TestNotText: what is no encoding of anything is one layer.
func TestNotText(t *testing.T) {
	for _, text := range []string{"", "a", "internationalization and transubstantiation", "100 % sure & more", `C:\`, "0123456789abcdef0123456789abcdef",
		strings.Repeat("f", 64), "sha512-" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0x81, 0xff, 0x03}, 21))} {
		n := 0
		for l, err := range layers.Of(context.Background(), []byte(text)) {
			if err != nil || string(l.Text) != text {
				t.Errorf("%q: %q, %v", text, l.Text, err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%q has %d layers", text, n)
		}
	}
}

func last(text []byte) (n int, err error) {
	for _, err = range layers.Of(context.Background(), text) {
		n++
	}
	return n, err
}

// TestBounds: what does not end, or ends too late, is an error.
func TestBounds(t *testing.T) {
	deep := needle
	for range 12 {
		deep = base64.StdEncoding.EncodeToString([]byte(deep))
	}
	if _, err := last([]byte(deep)); !errors.Is(err, layers.ErrTooDeep) {
		t.Errorf("12 layers: %v", err)
	}
	zeros := strings.Repeat("\x01", 32<<20)
	bomb := pack(zeros, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	for name, text := range map[string]string{"gzip": bomb, "gzip of gzip": pack(bomb, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		"gzip marks": strings.Repeat("\x1f\x8b\x08\x00", 9000), "gzip in base64": base64.StdEncoding.EncodeToString([]byte(bomb))} {
		if n, err := last([]byte(text)); !errors.Is(err, layers.ErrTooMuch) {
			t.Errorf("%s: %d layers, %v", name, n, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	for _, err := range layers.Of(ctx, []byte(deep)) {
		cancel()
		if n++; n == 2 && !errors.Is(err, context.Canceled) || n > 2 {
			t.Errorf("after it was cancelled: %v", err)
		}
	}
}

func TestJoin(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":"one","b":"two","c":["th","r","ee"]}`: "onetwothree",
		`a=one&b=two&c=three`:                       "onetwothree",
		`x = "one" + 'two' + "three"`:               "onetwothree",
		"--b\r\nA: n=\"a\"\r\n\r\none\r\n--b\r\nA: n=\"b\"\r\n\r\ntwothree\r\n--b--": "abonetwothree",
		"one\ntwo\nthree\n":                        "onetwothree",
		"no pieces, \"of any kind\"":               "",
		`{"a":"` + strings.Repeat("x", 600) + `"}`: "",
	} {
		got := ""
		for _, j := range layers.Join([]byte(text)) {
			got += string(j.Text)
			for i := range j.Text {
				if text[j.Origin(i)] != j.Text[i] {
					t.Errorf("%q: byte %d is not at %d", text, i, j.Origin(i))
				}
			}
			if n := j.Pieces(); n < 2 {
				t.Errorf("%q: %d pieces", text, n)
			} else if from, to := j.Run(0, n+3); from != 0 || to != len(j.Text) {
				t.Errorf("%q: all pieces are %d to %d", text, from, to)
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzLayers: no text breaks it, every place that is told is one of the text,
// and what was copied is the same there.
func FuzzLayers(f *testing.F) {
	for _, e := range encodings {
		f.Add([]byte(e(needle)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rng := rand.New(rand.NewPCG(1, uint64(len(text))))
		for l, err := range layers.Of(context.Background(), text) {
			if err != nil {
				if !errors.Is(err, layers.ErrTooDeep) && !errors.Is(err, layers.ErrTooMuch) {
					t.Fatal(err)
				}
				break
			}
			for range min(50, len(l.Text)) {
				from := rng.IntN(len(l.Text))
				to := from + 1 + rng.IntN(len(l.Text)-from)
				a, b, via := l.Origin(from, to)
				if a < 0 || a > b || b > len(text) || l.Depth == 0 && (a != from || b != to || via != nil) {
					t.Fatalf("layer %d: %d to %d comes from %d to %d of %d", l.Depth, from, to, a, b, len(text))
				}
				if via == nil && !bytes.Equal(l.Text[from:to], text[a:b]) {
					t.Fatalf("layer %d: %q was not changed from %q", l.Depth, l.Text[from:to], text[a:b])
				}
				if l.Depth == 1 && l.Copied(from, to) && !slices.Equal(l.Text[from:to], text[a:b]) {
					t.Fatalf("%q was not copied from %q", l.Text[from:to], text[a:b])
				}
			}
			for _, j := range layers.Join(l.Text) {
				for i := range j.Text {
					if j.Text[i] != l.Text[j.Origin(i)] {
						t.Fatal("a piece is not where it stands")
					}
				}
			}
		}
	})
}
