package secrets

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/secret"
)

// draw gives a text of characters, drawn anew in each process: no file holds it.
func draw(n int, letters string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return string(b)
}

const alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func pat() string { return "gh" + "p_" + draw(36, alnum) }

// hidings are the ways of docs/THREATS.md's EXF lines and others to send a
// secret in a body.
func hidings(key string) map[string]string {
	quoted := func(v any) string { b, _ := json.Marshal(v); return string(b) }
	b64 := base64.StdEncoding.EncodeToString
	gz := func(s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(s))
		_ = w.Close()
		return b.String()
	}
	note := "a note about " + key + " and more"
	all := map[string]string{
		"plain":                 note,
		"json":                  quoted(map[string]string{"body": "![x](https://img.example/?d=" + key + ")"}),
		"json in json":          quoted(map[string]string{"arguments": quoted(map[string]string{"text": "line\n" + key})}),
		"base64":                quoted(map[string]string{"data": b64([]byte(note))}),
		"base64 twice":          quoted(map[string]string{"data": b64([]byte(b64([]byte(note))))}),
		"base64 three times":    b64([]byte(b64([]byte(b64([]byte(note)))))),
		"hex":                   hex.EncodeToString([]byte(note)),
		"percent":               "note=" + url.QueryEscape(note),
		"percent of all":        "note=" + strings.ReplaceAll(fmt.Sprintf("% x", " "+key), " ", "%"),
		"escapes of all":        `{"a":"` + strings.ReplaceAll(fmt.Sprintf("% x", " "+key), " ", `\u00`) + `"}`,
		"gzip":                  gz(note),
		"gzip in base64":        quoted([]string{b64([]byte(gz(note)))}),
		"base64 in gzip":        gz(quoted([]string{b64([]byte(note))})),
		"fields of json":        `{"a":"` + key[:17] + `","b":"` + key[17:] + `"}`,
		"fields of a form":      "a=" + key[:17] + "&b=" + key[17:],
		"three elements":        quoted([]string{key[:10], key[10:20], key[20:]}),
		"source code":           "x := \"" + key[:12] + "\" +\n\t\"" + key[12:] + "\"",
		"lines":                 key[:20] + "\n" + key[20:] + "\n",
		"parts of a form":       "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + key[:11] + "\r\n--b\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n" + key[11:] + "\r\n--b--\r\n",
		"utf-16":                strings.ReplaceAll(fmt.Sprintf("%q", ""), `""`, "") + strings.Join(strings.Split(note, ""), "\x00"),
		"zero width characters": strings.Join(strings.Split(note, ""), "\u200b"),
		"fields in base64":      b64([]byte(`{"a":"` + key[:17] + `","b":"` + key[17:] + `"}`)),
	}
	return all
}

// TestHidden: a token by the rules, whatever was done to it.
func TestHidden(t *testing.T) {
	key := pat()
	for name, body := range hidings(key) {
		list := find(t, body)
		found := false
		for _, f := range list {
			found = found || f.Rule == "secrets/github-pat"
		}
		if !found {
			t.Errorf("%s: %v in %q", name, list, body)
		}
	}
}

// TestKnown: a value of no form is found as itself, in every form that it may
// have, and in any number of pieces.
func TestKnown(t *testing.T) {
	value := draw(32, alnum+"+/=_-")
	known := Known{"github/key", secret.New(value)}
	all := hidings(value)
	all["backwards"] = "x" + backwards(value) + "y"
	all["hexadecimal digits in words"] = "x" + hex.EncodeToString([]byte(value)) + "y"
	all["inside of base64 of other bytes"] = base64.StdEncoding.EncodeToString([]byte("\xff\xfe\x80\x81" + value + "\x80\xff\x81"))
	pieces, _ := json.Marshal(strings.Split(value, ""))
	all["a character each"] = string(pieces)
	for name, body := range all {
		list := find(t, body, known)
		if !hasRule(list, "secrets/known/github/key") {
			t.Errorf("%s: %v in %q", name, list, body)
		}
		if len(find(t, body, Known{"other", secret.New(draw(32, alnum))})) > len(list) {
			t.Errorf("%s: another value is found as well", name)
		}
	}
	if list := find(t, "x abcdefg y", Known{"short", secret.New("abcdefg")}); len(list) > 0 {
		t.Errorf("a value of 7 bytes: %v", list)
	}
	// A long one is found by parts of it, which cannot be replaced alone.
	long := draw(5000, alnum)
	list := find(t, "x "+long[1000:3000]+" y", Known{"long", secret.New(long)})
	if !hasRule(list, "secrets/known/long") || !list[0].Scattered {
		t.Errorf("a part of a long value: %v", list)
	}
	many, err := NewScanner(someKnown(200)...)
	if err != nil || len(many.known) < 2 {
		t.Errorf("200 values: %v, %d automatons", err, len(many.known))
	}
	if got := fmt.Sprintf("%v %+v %#v", many, *many, many.known[0]); strings.Contains(got, "key-") {
		t.Error("printing a scanner shows values")
	}
}

func hasRule(list []middleware.Finding, rule string) bool {
	for _, f := range list {
		if f.Rule == rule {
			return true
		}
	}
	return false
}

// TestOrdinary: what agents send all day holds no secret.
func TestOrdinary(t *testing.T) {
	for _, size := range []int{64 << 10, 1 << 20} {
		for name, body := range bodies(t, size) {
			if list := find(t, string(body), someKnown(20)...); len(list) > 0 {
				t.Errorf("%s of %d bytes: %v", name, size, list)
			}
		}
	}
	// Sources, documents, lock files and checksums of this project.
	for _, root := range []string{"..", "../../docs", "../../policy", "../../egress", "../../tools", "../../go.sum"} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "testdata" || d.Name() == "node_modules") {
				return filepath.SkipDir
			}
			if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "rules_gen.go") {
				return nil // they hold what looks like a secret
			}
			if info, err := d.Info(); err != nil || !info.Mode().IsRegular() || info.Size() > middleware.MaxBody {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, f := range find(t, string(text)) {
				t.Errorf("%s: %s by %v: %.60q", path, f.Rule, f.Via, text[f.From:f.To])
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestRedact: what is sent holds the secret in no form that could be found, and
// all else of it; what cannot be taken out is not sent.
func TestRedact(t *testing.T) {
	key, value := pat(), draw(32, alnum)
	s, err := NewScanner(Known{"k", secret.New(value)})
	if err != nil {
		t.Fatal(err)
	}
	mw, err := Factory(s)(map[string]any{"mode": "redact"})
	if err != nil {
		t.Fatal(err)
	}
	changed, denied := 0, 0
	for _, secret := range []string{key, value} {
		for name, body := range hidings(secret) {
			m := &middleware.Message{Direction: middleware.Request, Path: "/", Header: http.Header{}, Body: []byte(body)}
			a, err := mw.Check(context.Background(), m)
			if err != nil || len(a.Findings) == 0 {
				t.Errorf("%s: %+v, %v", name, a, err)
				continue
			}
			switch a.Action {
			case middleware.Change:
				changed++
				if again, err := mw.Check(context.Background(), &middleware.Message{Direction: middleware.Request, Path: "/", Body: a.Body}); err != nil || again.Action != middleware.Pass {
					t.Errorf("%s: still found in %q", name, a.Body)
				}
				if bytes.Contains(a.Body, []byte(secret)) || !bytes.Contains(a.Body, []byte("[redacted:secrets/")) {
					t.Errorf("%s became %q", name, a.Body)
				}
				if json.Valid([]byte(body)) && !json.Valid(a.Body) {
					t.Errorf("%s is no JSON any more: %q", name, a.Body)
				}
			case middleware.Deny:
				denied++
				if strings.Contains(a.Reason, secret) || !strings.Contains(a.Reason, "apart") {
					t.Errorf("%s: %s", name, a.Reason)
				}
			default:
				t.Errorf("%s passed", name)
			}
		}
	}
	if changed < 20 || denied < 8 {
		t.Errorf("%d changed, %d denied", changed, denied)
	}
}

// TestParts: query, path and headers count as much as a body, and no finding is
// taken out of them.
func TestParts(t *testing.T) {
	key := pat()
	scanner := &Scanner{}
	for _, mode := range []string{"deny", "redact", "report"} {
		mw, err := Factory(scanner)(map[string]any{"mode": mode})
		if err != nil {
			t.Fatal(err)
		}
		for name, m := range map[string]*middleware.Message{
			"query":      {Path: "/search", RawQuery: "q=" + url.QueryEscape(key)},
			"path":       {Path: "/" + base64.RawURLEncoding.EncodeToString([]byte("a "+key+" b"))},
			"not random": {Path: "/", Header: http.Header{"Sec-Websocket-Key": {base64.StdEncoding.EncodeToString([]byte(draw(16, alnum)))}, "X": {key}}},
			"cookie":     {Path: "/", Header: http.Header{"Accept": {"*/*"}, "Cookie": {"a=b", "sid=" + key}}},
		} {
			m.Direction = middleware.Request
			a, err := mw.Check(context.Background(), m)
			if err != nil || len(a.Findings) != 1 || (a.Action == middleware.Deny) != (mode != "report") || a.Action == middleware.Change {
				t.Errorf("%s, %s: %+v, %v", mode, name, a, err)
				continue
			}
			f := a.Findings[0]
			switch name {
			case "not random": // the first one is of the protocol
				if f.Name != "X" {
					t.Errorf("%+v", f)
				}
			case "cookie":
				if f.Part != middleware.Header || f.Name != "Cookie" || f.From != 4 || f.To != 4+len(key) {
					t.Errorf("%+v", f)
				}
			default:
				if f.Part != middleware.Target || f.From < 0 || f.To > len(m.Target()) {
					t.Errorf("%s: %+v", name, f)
				}
			}
		}
		// The answer to a request repeats its target.
		m := &middleware.Message{Direction: middleware.Response, Path: "/" + key, Status: 200}
		if a, err := mw.Check(context.Background(), m); err != nil || a.Action != middleware.Pass {
			t.Errorf("an answer: %+v, %v", a, err)
		}
	}
}

// TestHostile: bodies that are made to cost much end, with an answer or an error.
func TestHostile(t *testing.T) {
	const n = 128 << 10
	for name, unit := range map[string]string{
		"keywords": "key=", "assignments": `token: "aaaaaaaaaa1" `, "values": "secret=A1b2C3d4E5f6G7h8I9j0 ", "begins": "-----BEGIN PRIVATE KEY-----\n",
		"curl": "curl -H 'Authorization: Bearer ", "dots": ".ey", "tokens": "ghp_", "backslashes": `\`, "percents": "%25", "references": "&amp;", "nul": "\x00",
		"base64": "QUFB", "hex": "61", "gzip": "\x1f\x8b\x08\x00", "zip": "PK\x03\x04", "quotes": `"a",`, "facebook": "facebook 1234567890123456|", "lines": "a\n", "letters": "A",
	} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // as a chain does
		begin := time.Now()
		_, err := (&Scanner{}).Find(ctx, []byte(strings.Repeat(unit, n/len(unit))))
		cancel()
		t.Logf("%s: %v, %v", name, time.Since(begin), err)
		if err != nil && strings.Contains(err.Error(), unit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (&Scanner{}).Find(ctx, []byte("text")); !errors.Is(err, context.Canceled) {
		t.Errorf("after it was cancelled: %v", err)
	}
}

// FuzzScan: no text breaks the scanner; places are places of the text; what is
// redacted is clean.
func FuzzScan(f *testing.F) {
	for i := range table {
		if text, ok := sample(&table[i], i); ok {
			f.Add([]byte(text))
		}
	}
	for _, body := range hidings(pat()) {
		f.Add([]byte(body))
	}
	s, err := NewScanner(Known{"k", secret.New("0123-known")})
	if err != nil {
		f.Fatal(err)
	}
	redact, err := Factory(s)(map[string]any{"mode": "redact"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := s.Find(context.Background(), text)
		if err != nil {
			return
		}
		for _, x := range list {
			if x.From < 0 || x.From >= x.To || x.To > len(text) || !strings.HasPrefix(x.Rule, prefix) {
				t.Fatalf("%+v in %d bytes", x, len(text))
			}
		}
		a, err := redact.Check(context.Background(), &middleware.Message{Direction: middleware.Request, Path: "/", Body: text})
		if err != nil {
			return
		}
		if (a.Action == middleware.Pass) != (len(list) == 0) {
			t.Fatalf("%v with %v", a.Action, list)
		}
		if a.Action == middleware.Change {
			if left, err := s.Find(context.Background(), a.Body); err != nil || len(left) > 0 {
				t.Fatalf("%v, %v are left", left, err)
			}
		}
	})
}

// TestOpenShell: the one built-in middleware of that system.
func TestOpenShell(t *testing.T) {
	mw, err := OpenShell(map[string]any{"mode": "redact"})
	if err != nil {
		t.Fatal(err)
	}
	key := "sk" + "-" + draw(20, alnum)
	for in, want := range map[string]string{
		"a " + key + " b":                    "a [REDACTED] b",
		`{"api_key": "abc", "Password":'x'}`: `{"api_key": "[REDACTED]", "Password":'[REDACTED]'}`,
		"sk-short and password: none":        "",
		"":                                   "",
	} {
		a, err := mw.Check(context.Background(), &middleware.Message{Direction: middleware.Request, Body: []byte(in)})
		if err != nil || string(a.Body) != want || (a.Action == middleware.Change) != (want != "") || a.Action == middleware.Deny {
			t.Errorf("%q: %v %q, %v", in, a.Action, a.Body, err)
		}
	}
	if _, err := mw.Check(context.Background(), &middleware.Message{Direction: middleware.Request, Body: []byte("\xff")}); err == nil {
		t.Error("it looked at a body that is no text")
	}
	for _, config := range []map[string]any{{"mode": "deny"}, {"terms": []any{"x"}}} {
		if _, err := OpenShell(config); err == nil {
			t.Errorf("%v is taken", config)
		}
	}
}
