package pii

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/middleware"
)

func find(t *testing.T, text string, names ...string) []middleware.Finding {
	t.Helper()
	if names == nil {
		names = slices.Sorted(maps.Keys(kinds))
	}
	f, err := newFinder(names)
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.find(context.Background(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestKinds: each alone in a text, with what is found of it in brackets. The
// numbers are those that schemes publish for tests, or none that anyone has.
func TestKinds(t *testing.T) {
	for kind, texts := range map[string][]string{
		"email": {"<mail [a.b+c@mail.example.com].>", "mailto:[o'neil@example.test]?x", "git@host.example and user@localhost", "@scope/name a@b logo@2x.png x@1.2.3",
			"a@-b.example a@b..example .@b.example", `{"from":"[x_y@sub-domain.example]"}`, "a..b@c.example", "[a@b.example]@c.example"},
		"phone": {"call [+49 30 1234567], now", "[+1 (212) 555-0100]", "tel:[+442079460000]", "+12 +1234567x 1+4930123456 ++4930123456", "+999123456789", "+49301234567890123", "a+4930123456", "[+33123456789] x"},
		"card": {"[4111 1111 1111 1111] x", "no 4111111111111112", "[5555-5555-5555-4444]", "[378282246310005]", "[6011111111111117]", "[30569309025904]",
			"x4111111111111111 4111111111111111x 94111111111111111", "4.111111111111111 1764508800123456789", `{"n":[4111111111111111]}`, "4111111111111111.5"},
		"iban":   {"to [DE89 3704 0044 0532 0130 00], please", "[GB82WEST12345698765432]", "DE88370400440532013000", "XDE89370400440532013000 DE89370400440532013000X", "DE8937040044053201300", "XX89370400440532013000", "[NO9386011117947]"},
		"ip":     {"at [8.8.8.8], and [2001:4860:4860::8888].", "[9.9.9.9]:53", "127.0.0.1 10.0.0.1 192.168.1.1 ::1 fe80::1 fd00::1", "1.2.3 1.2.3.4.5 300.1.1.1", "v1.2.3.4x face:b00k"},
		"us_ssn": {"no [219-09-9998].", "000-12-3456 666-12-3456 912-12-3456 123-00-4567 123-45-0000", "1219-09-9999 219-09-99991 219099999 219-09-9999-1"},
		"br_cpf": {"[529.982.247-25]", "529.982.247-26 111.111.111-11 52998224725"},
		"es_dni": {"[12345678Z]", "12345678A x12345678Z 12345678ZZ 1234567Z"},
		"fr_nir": {"[1 85 05 78 006 084 91]", "[185057800608491]", "185057800608492 385057800608491 185137800608491"},
	} {
		for _, marked := range texts {
			text := strings.NewReplacer("[", "", "]", "").Replace(marked)
			var got strings.Builder
			at := 0
			for _, f := range find(t, text, kind) {
				if f.Rule != "pii/"+kind || f.From < at {
					t.Errorf("%s: %+v in %q", kind, f, text)
				}
				got.WriteString(text[at:f.From] + "\x01" + text[f.From:f.To] + "\x02")
				at = f.To
			}
			got.WriteString(text[at:])
			if want := strings.NewReplacer("[", "\x01", "]", "\x02").Replace(marked); got.String() != want && !strings.HasPrefix(marked, `{"n"`) {
				t.Errorf("%s: %q, want %q", kind, got.String(), want)
			} else if strings.HasPrefix(marked, `{"n"`) && !strings.Contains(got.String(), "\x014111111111111111\x02") {
				t.Errorf("%s: %q", kind, got.String())
			}
		}
	}
}

// TestRedact: what is found goes, in what is encoded too; JSON stays JSON.
func TestRedact(t *testing.T) {
	mw, err := Factory(map[string]any{"mode": "redact", "kinds": []any{"email", "card"}})
	if err != nil {
		t.Fatal(err)
	}
	const mail, number = "jane.doe@mail.example", "4111111111111111"
	inside := base64.StdEncoding.EncodeToString([]byte("please write to " + mail))
	body := fmt.Sprintf(`{"a": "x\u0020%s", "n": %s, "b": %q, "c": "\u006aane.doe@mail.example", "keep": "+49 30 1234567"}`, mail, number, inside)
	a, err := mw.Check(context.Background(), &middleware.Message{Direction: middleware.Request, Path: "/", Body: []byte(body)})
	if err != nil || a.Action != middleware.Change || len(a.Findings) < 4 {
		t.Fatalf("%+v, %v", a, err)
	}
	var got map[string]any
	if err := json.Unmarshal(a.Body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"a": "x[redacted:pii/email]", "n": 0.0, "b": "[redacted:pii/email]", "c": "[redacted:pii/email]", "keep": "+49 30 1234567"}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// In a query it is denied.
	if a, err := mw.Check(context.Background(), &middleware.Message{Direction: middleware.Request, Path: "/", RawQuery: "to=jane.doe%40mail.example"}); err != nil || a.Action != middleware.Deny || strings.Contains(a.Reason, "jane") {
		t.Errorf("%+v, %v", a, err)
	}
	for _, config := range []map[string]any{{"kinds": []any{"names"}}, {"kind": "email"}, {"kinds": []any{}}} {
		if _, err := Factory(config); err == nil {
			t.Errorf("%v is taken", config)
		}
	}
}

// TestOrdinary: the usual kinds find nothing in sources, lock files and logs.
func TestOrdinary(t *testing.T) {
	text := strings.Repeat(`2026-11-30T13:12:28.123456789Z INFO 10.0.0.1:443 sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  "integrity": "sha512-kCV+RSa1PG1cbJ2nHNMYRnGqPZg5yDSsEUe/Lyb3iZ8Lh0yCHZvBz1Mb4MaLbg2dFzCqKpk1eSFpEsc2GA1MTg=="
@@ -1,7 +120,8 @@ func (c *chain) a(b int) { return 0x7fffffff }
uuid 123e4567-e89b-12d3-a456-426614174000 id 9007199254740993 1700000000000
`, 20)
	if list := find(t, text, usual...); len(list) > 0 {
		t.Errorf("%v", list)
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte("a@b.example +49301234567 4111 1111 1111 1111 DE89370400440532013000 219-09-9998 8.8.8.8"))
	f.Add([]byte("1 1 1 1 1-1-1.1.1@1@+1+1 DE89 DE89 ::::"))
	all, err := newFinder(slices.Sorted(maps.Keys(kinds)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := all.find(context.Background(), text)
		if err != nil {
			return
		}
		for _, x := range list {
			if x.From < 0 || x.From >= x.To || x.To > len(text) {
				t.Fatalf("%+v in %d bytes", x, len(text))
			}
		}
	})
}

// TestHostile: texts that are made to cost much end in linear time.
func TestHostile(t *testing.T) {
	all, err := newFinder(slices.Sorted(maps.Keys(kinds)))
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"@", "a@", "a.b@c.", "1", "1 ", "1-", "+1", "+1 ", "DE89", "DE89 ", ":", "a:", "1.", "é"} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if _, err := all.find(ctx, []byte(strings.Repeat(unit, 256<<10/len(unit)))); ctx.Err() != nil {
			t.Errorf("%q: %v", unit, err)
		}
		cancel()
	}
}
