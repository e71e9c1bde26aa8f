package egress

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/creel-run/creel/audit"
)

// TestFormScan: a field that names a method is judged before it is given out
// whole, in whatever pieces the body comes; other forms pass as they are.
func TestFormScan(t *testing.T) {
	const form, multi = "application/x-www-form-urlencoded", `multipart/form-data; boundary="b"`
	part := func(head string) string { return "--b\r\n" + head + "\r\n\r\nDELETE\r\n--b--\r\n" }
	for _, tt := range []struct {
		kind, body string
		want       string // the method that was refused
	}{
		{form, "a=b&c=d", ""},
		{form, "a=_method&b=_method%3DDELETE", ""},
		{form, "_method=DELETE", "DELETE"},
		{form, "a=1&_method=delete", "DELETE"},
		{form, "_method=delete&a=1", "DELETE"},
		{form, "%5fmethod=%64elete", "DELETE"},
		{form, "a;_METHOD=delete", "DELETE"},
		{form, "_method=post", ""},
		{form, "_method=", ""},
		{form, "_method", ""},
		{form, "_method=" + strings.Repeat("x", 200), "none"},
		{form + "; charset=utf-8", "_method=put", "PUT"},
		{strings.ToUpper(form), "_method=put", "PUT"},
		{"text/plain", "_method=DELETE", ""},
		// What Go's mime does not take, servers do.
		{form + "; a=1; a=2", "_method=put", "PUT"},
		{form + "; =", "_method=put", "PUT"},
		{form + ", text/plain", "_method=put", "PUT"},
		{" " + form + " ;", "_method=put", "PUT"},
		{"multipart/form-data", part(`Content-Disposition: form-data; name="_method"`), "PUT"},
		{"multipart/form-data; boundary=b; boundary=c", part(`Content-Disposition: form-data; name="_method"`), "PUT"},
		{"multipart/form-data; boundary=other", part(`Content-Disposition: form-data; name="_method"`), "PUT"},
		{multi, part(`Content-Disposition: form-data; name="a"`), ""},
		{multi, "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nname=\"_method\"\r\n--b--\r\n", ""},
		{multi, part(`Content-Disposition: form-data; name="_method"`), "PUT"},
		{multi, part(`Content-Disposition: form-data; name=_method`), "PUT"},
		{multi, part(`content-disposition:form-data;NAME="_Method"`), "PUT"},
		{multi, part(`Content-Disposition: form-data; name*=UTF-8''%5fmethod`), "PUT"},
		{multi, "--b\nContent-Disposition: form-data; name=\"_method\"\n\nPUT\n--b--\n", "PUT"},
	} {
		for how, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "half": iotest.HalfReader} {
			refused := ""
			body, _ := scanForm(http.Header{"Content-Type": {tt.kind}}, io.NopCloser(wrap(strings.NewReader(tt.body))), func(m string) error {
				if m == "POST" {
					return nil
				}
				refused = m
				return &overrideError{"no " + m}
			})
			got, err := io.ReadAll(body)
			if tt.want == "" {
				if err != nil || string(got) != tt.body {
					t.Errorf("%s %q: %q, %v", how, tt.body, got, err)
				}
				continue
			}
			var other *overrideError
			if !errors.As(err, &other) || len(got) >= len(tt.body) || tt.want != "none" && refused != tt.want || strings.Contains(strings.ToLower(string(got)), "elete") {
				t.Errorf("%s %q: gave %q, %v, refused %q", how, tt.body, got, err, refused)
			}
		}
	}
}

// TestEncodedForm: what cannot be read may name any method.
func TestEncodedForm(t *testing.T) {
	for _, only := range []string{"", "DELETE"} {
		body, _ := scanForm(http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Content-Encoding": {"gzip"}}, io.NopCloser(strings.NewReader("\x1f\x8b")), func(m string) error {
			if m == only {
				return &overrideError{"no " + m}
			}
			return nil
		})
		if got, err := io.ReadAll(body); (err == nil) != (only == "") || err != nil && len(got) > 0 {
			t.Errorf("%q refused: %q, %v", only, got, err)
		}
	}
}

// TestMethodInForm: as TestMethodInQuery, with the field in the body.
func TestMethodInForm(t *testing.T) {
	r := newRig(t, basePolicy)
	r.web("ok.test", 443, echo)
	ask := func(body string) string {
		return fmt.Sprintf("POST /public/a HTTP/1.1\r\nHost: ok.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	if resp, body := r.https(viaRedirect, "ok.test:443", ask("a=b&_method=get")); resp.StatusCode != 200 {
		t.Errorf("both methods are allowed: %d %s", resp.StatusCode, body)
	}
	resp, body := r.https(viaRedirect, "ok.test:443", ask("a=b&_method=DELETE"))
	if d := wantDenial(t, resp, body, 403, codePolicy); !strings.Contains(d.Reason, "names another method, DELETE") {
		t.Errorf("reason %q", d.Reason)
	}
	r.event("denial", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && strings.Contains(ev.Reason, "DELETE") && ev.Rule != ""
	})
}
