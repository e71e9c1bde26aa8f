package credential_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/creel-run/creel/credential"
	"github.com/creel-run/creel/netname"
	"github.com/google/go-cmp/cmp"
)

var env = map[string]string{
	"T":     "real-token-1",
	"K":     "real-key-2",
	"NEST":  "creel:cred:GH/key",
	"COLON": "a:b-c",
}

func getenv(k string) (string, bool) { v, ok := env[k]; return v, ok }

func parse(t *testing.T, flags ...string) *credential.Set {
	t.Helper()
	s, err := credential.Parse(flags, getenv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func host(t testing.TB, name string) netname.Host {
	t.Helper()
	h, err := netname.ParseHost(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestParse(t *testing.T) {
	tests := []struct {
		flags []string
		err   string // empty: fine
	}{
		{[]string{"GH=env:T@api.example"}, ""},
		{[]string{"GH=env:T@api.example:X-Key"}, ""},
		{[]string{"GH=env:T@[2001:db8::1]:X-Key"}, ""},
		{[]string{"GH=env:T@[2001:db8::1]"}, ""},
		{[]string{"GH=env:T@a.example", "GH=env:T@b.example"}, ""},
		{[]string{"GH=env:T@a.example", "B=env:K@a.example:X-Key"}, ""},
		{[]string{"GH=env:T"}, "a binding is needed"},
		{[]string{"GH=env:T@"}, "a binding is needed"},
		{[]string{"GH=env:T@:X-Key"}, "a binding is needed"},
		{[]string{"GH=file:/etc/x"}, "a binding is needed"},
		{[]string{"GH=real-token-1@api.example"}, "neither env:VAR nor file:PATH"},
		{[]string{"real-token-1"}, "want NAME="},
		{[]string{"=env:T@api.example"}, "want NAME="},
		{[]string{"A B=env:T@api.example"}, "want NAME="},
		{[]string{"GH=env:NONE@api.example"}, "not set"},
		{[]string{"GH=env:T@*.example"}, "host"},
		{[]string{"GH=env:T@api.example:"}, "not a name"},
		{[]string{"GH=env:T@api.example:X Key"}, "not a name"},
		{[]string{"GH=env:T@api.example:Host"}, "cannot carry"},
		{[]string{"GH=env:T@api.example:transfer-encoding"}, "cannot carry"},
		{[]string{"GH=env:T@api.example:sec-websocket-protocol"}, "cannot carry"},
		{[]string{"GH=env:T@[2001:db8::1"}, "no closing bracket"},
		{[]string{"GH=env:T@a.example", "B=env:K@A.example:authorization"}, "bound already"},
		{[]string{"GH=env:T@a.example", "GH=env:K@b.example"}, "two sources"},
	}
	for _, tt := range tests {
		_, err := credential.Parse(tt.flags, getenv)
		switch {
		case tt.err == "" && err != nil:
			t.Errorf("Parse(%q): %v", tt.flags, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("Parse(%q): %v, want %q", tt.flags, err, tt.err)
		case err != nil && strings.Contains(err.Error(), "real-token"):
			t.Errorf("Parse(%q) shows the value: %v", tt.flags, err)
		case strings.Contains(tt.err, "binding is needed") && !errors.Is(err, credential.ErrNoBinding):
			t.Errorf("Parse(%q): not ErrNoBinding", tt.flags)
		}
	}
}

func TestEnvAndBound(t *testing.T) {
	s := parse(t, "GH=env:T@a.example", "GH=env:T@b.example", "B=env:K@a.example:X-Key")
	if d := cmp.Diff([]string{"GH=creel:cred:GH/key", "B=creel:cred:B/key"}, s.Env()); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]bool{"a.example": true, "A.Example.": true, "b.example": true, "c.example": false, "x.a.example": false} {
		h, err := netname.ParseHost(name)
		if err != nil {
			continue // not every form is taken
		}
		if got := s.Bound(h); got != want {
			t.Errorf("Bound(%s) = %v", name, got)
		}
	}
	var none *credential.Set
	if none.Env() != nil || none.Bound(host(t, "a.example")) || s.Bound(netname.Host{}) {
		t.Error("a nil set or the zero host is bound")
	}
}

func basic(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }

func TestApply(t *testing.T) {
	const ph, other = "creel:cred:GH/key", "creel:cred:KEY/key"
	flags := []string{"GH=env:T@api.example", "KEY=env:K@key.example:X-Key"}
	tests := []struct {
		name, host, url string
		header          map[string]string
		wantHeader      string // NAME: VALUE after
		wantErr         string
		used            string
	}{
		{name: "inject bearer", host: "api.example", wantHeader: "Authorization: Bearer real-token-1", used: "GH"},
		{name: "inject bare", host: "key.example", wantHeader: "X-Key: real-key-2", used: "KEY"},
		{name: "whole value", host: "api.example", header: map[string]string{"Authorization": ph}, wantHeader: "Authorization: real-token-1", used: "GH"},
		{name: "bearer", host: "api.example", header: map[string]string{"Authorization": "Bearer " + ph}, wantHeader: "Authorization: Bearer real-token-1", used: "GH"},
		{name: "other scheme", host: "api.example", header: map[string]string{"Authorization": "token " + ph}, wantHeader: "Authorization: token real-token-1", used: "GH"},
		{name: "basic password", host: "api.example", header: map[string]string{"Authorization": basic("x:" + ph)}, wantHeader: "Authorization: " + basic("x:real-token-1"), used: "GH"},
		{name: "basic user", host: "api.example", header: map[string]string{"Authorization": basic(ph + ":x")}, wantHeader: "Authorization: " + basic("real-token-1:x"), used: "GH"},
		{name: "unbound host stays", host: "no.example", header: map[string]string{"Authorization": "Bearer mine"}, wantHeader: "Authorization: Bearer mine"},

		{name: "own key", host: "api.example", header: map[string]string{"Authorization": "Bearer attacker"}, wantErr: "another credential"},
		{name: "empty header", host: "api.example", header: map[string]string{"Authorization": ""}, wantErr: "another credential"},
		{name: "placeholder and more", host: "api.example", header: map[string]string{"Authorization": "Bearer " + ph + "x"}, wantErr: "another credential"},
		{name: "placeholder twice", host: "api.example", header: map[string]string{"Authorization": basic(ph + ":" + ph)}, wantErr: "another credential"},
		{name: "cross provider", host: "api.example", header: map[string]string{"Authorization": "Bearer " + other}, wantErr: "another credential"},
		{name: "cross provider basic", host: "api.example", header: map[string]string{"Authorization": basic("x:" + other)}, wantErr: "another credential"},
		{name: "second header", host: "key.example", header: map[string]string{"Authorization": "Bearer x"}, wantErr: "credential of its own in Authorization"},
		{name: "cookie", host: "key.example", header: map[string]string{"Cookie": "session=1"}, wantErr: "credential of its own in Cookie"},
		{name: "api key header", host: "api.example", header: map[string]string{"x-api-key": "x"}, wantErr: "credential of its own in X-Api-Key"},
		{name: "bound header for a server with a CGI past", host: "key.example", header: map[string]string{"X_Key": "x"}, wantErr: "credential of its own in X_key"},
		{name: "other header for a server with a CGI past", host: "api.example", header: map[string]string{"x_api_key": "x"}, wantErr: "credential of its own in X_api_key"},
		{name: "subprotocols", host: "api.example", header: map[string]string{"Sec-WebSocket-Protocol": "graphql-transport-ws, openai-beta.realtime-v1"}, wantHeader: "Authorization: Bearer real-token-1", used: "GH"},
		{name: "marked subprotocol", host: "api.example", header: map[string]string{"Sec-WebSocket-Protocol": "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.eA"}, wantErr: "credential of its own in Sec-WebSocket-Protocol"},
		{name: "key as a subprotocol", host: "api.example", header: map[string]string{"Sec-WebSocket-Protocol": "realtime, OpenAI-insecure-api-key.sk-x"}, wantErr: "credential of its own in Sec-WebSocket-Protocol"},
		{name: "token behind its name", host: "api.example", header: map[string]string{"Sec-WebSocket-Protocol": "access_token, abc"}, wantErr: "credential of its own in Sec-WebSocket-Protocol"},
		{name: "long subprotocol", host: "api.example", header: map[string]string{"Sec-WebSocket-Protocol": "a" + strings.Repeat("b", 48)}, wantErr: "credential of its own in Sec-WebSocket-Protocol"},
		{name: "query key", host: "api.example", url: "https://api.example/?a=b;Access%5FToken=x", wantErr: "credential of its own in query"},
		{name: "userinfo", host: "api.example", url: "https://u:p@api.example/", wantErr: "its URL"},
		{name: "plain http", host: "api.example", url: "http://api.example/", wantErr: "not encrypted"},

		{name: "other host", host: "no.example", header: map[string]string{"Authorization": "Bearer " + ph}, wantErr: "placeholder stands in header"},
		{name: "other host basic", host: "no.example", header: map[string]string{"Authorization": basic("u:" + ph)}, wantErr: "placeholder stands in header"},
		{name: "other host basic encoded", host: "no.example", header: map[string]string{"Authorization": basic("u:creel%3Acred%3AGH")}, wantErr: "placeholder stands in header"},
		{name: "other header", host: "api.example", header: map[string]string{"X-Other": ph}, wantErr: "placeholder stands in header"},
		{name: "encoded header", host: "no.example", header: map[string]string{"X-Other": "a creel%3acred%3AGH/key"}, wantErr: "placeholder stands in header"},
		{name: "path", host: "api.example", url: "https://api.example/a/" + ph, wantErr: "placeholder stands in the path"},
		{name: "encoded path", host: "api.example", url: "https://api.example/a/%63reel%3Acred%3AGH%2Fkey", wantErr: "placeholder stands in the path"},
		{name: "query", host: "api.example", url: "https://api.example/?k=" + ph, wantErr: "placeholder stands in the query"},
		{name: "encoded query", host: "api.example", url: "https://api.example/?k=creel%3Acred%3aGH", wantErr: "placeholder stands in the query"},
		{name: "unknown placeholder", host: "no.example", header: map[string]string{"X-Api-Key": "creel:cred:inference/key"}, wantErr: "placeholder stands in header"},
		{name: "cookie elsewhere", host: "no.example", header: map[string]string{"Cookie": "a=" + ph}, wantErr: "placeholder stands in header Cookie"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, flags...)
			if tt.url == "" {
				tt.url = "https://" + tt.host + "/a?b=c"
			}
			req, err := http.NewRequest("POST", tt.url, strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range tt.header {
				req.Header.Set(k, v)
			}
			before := req.Header.Clone()
			used, err := s.Apply(host(t, tt.host), req)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want %q", err, tt.wantErr)
				}
				if strings.Contains(err.Error(), "real-") {
					t.Errorf("the error shows a value: %v", err)
				}
				if d := cmp.Diff(before, req.Header); d != "" {
					t.Errorf("a refused request was changed: %s", d)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			name, want, _ := strings.Cut(tt.wantHeader, ": ")
			if d := cmp.Diff([]string{want}, req.Header.Values(name)); d != "" {
				t.Error(d)
			}
			if got := strings.Join(used, ","); got != tt.used {
				t.Errorf("used %q, want %q", got, tt.used)
			}
			if b, err := io.ReadAll(req.Body); err != nil || string(b) != "body" {
				t.Errorf("body %q, %v", b, err)
			}
		})
	}
}

func TestApplySecondValueOfBoundHeader(t *testing.T) {
	s := parse(t, "GH=env:T@api.example")
	req := httptest.NewRequest("GET", "https://api.example/", nil)
	req.Header["Authorization"] = []string{"Bearer mine", "Bearer creel:cred:GH/key"}
	if _, err := s.Apply(host(t, "api.example"), req); err == nil {
		t.Error("two values of the bound header were accepted")
	}
}

// A value that looks like a placeholder is put in once and not looked at again.
func TestApplyIsOnePass(t *testing.T) {
	s := parse(t, "GH=env:T@a.example", "N=env:NEST@b.example")
	req := httptest.NewRequest("GET", "https://b.example/", nil)
	req.Header.Set("Authorization", "Bearer creel:cred:N/key")
	if _, err := s.Apply(host(t, "b.example"), req); err != nil {
		t.Fatal(err)
	}
	if got := req.Header.Get("Authorization"); got != "Bearer creel:cred:GH/key" {
		t.Errorf("Authorization: %q", got)
	}
}

func TestBasicUserWithColon(t *testing.T) {
	s := parse(t, "C=env:COLON@a.example")
	req := httptest.NewRequest("GET", "https://a.example/", nil)
	req.Header.Set("Authorization", basic("creel:cred:C/key:x"))
	if _, err := s.Apply(host(t, "a.example"), req); err == nil || strings.Contains(err.Error(), env["COLON"]) {
		t.Errorf("error %v", err)
	}
}

func TestNilSetRefusesPlaceholders(t *testing.T) {
	var s *credential.Set
	req := httptest.NewRequest("GET", "https://a.example/", nil)
	if used, err := s.Apply(host(t, "a.example"), req); err != nil || used != nil {
		t.Errorf("a plain request: %v, %v", used, err)
	}
	req.Header.Set("X-Api-Key", "creel:cred:GH/key")
	if _, err := s.Apply(host(t, "a.example"), req); err == nil {
		t.Error("a placeholder passed")
	}
}

// The sink is the oracle: what a real server got of a body with a placeholder.
func TestBodyOnTheWire(t *testing.T) {
	got := make(chan string, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s|%s|%v", r.Header.Get("Authorization"), b, err)
	}))
	defer srv.Close()
	s := parse(t, "GH=env:T@127.0.0.1")
	send := func(body string) error {
		req, err := http.NewRequest("POST", srv.URL, io.NopCloser(strings.NewReader(body))) // no length: chunked
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Apply(host(t, "127.0.0.1"), req); err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := send("a fine body"); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != "Bearer real-token-1|a fine body|<nil>" {
		t.Errorf("the server got %q", g)
	}
	for _, body := range []string{"x creel:cred:GH/key", "k=creel%3Acred%3AGH"} {
		if err := send(strings.Repeat("p", 40000) + body); !errors.Is(err, credential.ErrPlaceholder) {
			t.Errorf("send: %v", err)
		}
		if g := <-got; strings.Contains(g, "creel") || strings.HasSuffix(g, "<nil>") {
			t.Errorf("the server got the begin of a placeholder, or a whole body: …%s", g[len(g)-60:])
		}
	}
}

func TestRedact(t *testing.T) {
	s := parse(t, "GH=env:T@a.example", "N=env:NEST@b.example")
	if got := s.Redact("got real-token-1 and creel:cred:GH/key"); got != "got creel:cred:GH/key and creel:cred:N/key" {
		t.Errorf("Redact: %q", got)
	}
	var none *credential.Set
	if none.Redact("x") != "x" {
		t.Error("a nil set changes text")
	}
}

func TestMask(t *testing.T) {
	s := parse(t, "GH=env:T@a.example", "K=env:K@a.example:X-Key", "N=env:NEST@b.example")
	req := httptest.NewRequest("GET", "https://a.example/", nil)
	req.Header.Set("Authorization", basic("user:creel:cred:GH/key"))
	if _, err := s.Apply(host(t, "a.example"), req); err != nil {
		t.Fatal(err)
	}
	m := s.Mask(host(t, "a.example"), req)
	for in, want := range map[string]string{
		"got real-token-1, real-key-2": "got creel:cred:GH/key, creel:cred:K/key",
		basic("user:real-token-1"):     basic("user:creel:cred:GH/key"),
		"other creel:cred:GH/key":      "other creel:cred:GH/key", // the value of another host
	} {
		if got := m.String(in); got != want {
			t.Errorf("Mask of %q: %q, want %q", in, got, want)
		}
	}
	if got := m.String(basic("another:real-token-1")); strings.Contains(got, base64.StdEncoding.EncodeToString([]byte("real-tok"))[:8]) || !strings.Contains(got, "creel:cred:GH/key") {
		t.Errorf("Basic with another user: %q", got)
	}
	var none *credential.Set
	if s.Mask(host(t, "c.example"), req) != nil || none.Mask(host(t, "a.example"), req) != nil {
		t.Error("a host without a binding has a mask")
	}
}
