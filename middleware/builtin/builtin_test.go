package builtin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/middleware/builtin"
	"github.com/creel-run/creel/middleware/external"
	"github.com/creel-run/creel/middleware/secrets"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/secret"
)

const text = `version: 2
network_middlewares:
  guard:
    middleware: guard
    order: 3
    config: {seen: true}
    endpoints: {include: ["*.example.test"]}
  secrets:
    middleware: creel/secrets
    order: 1
    config: {mode: redact, on: [request, message, response]}
    endpoints: {include: ["**"]}
  people:
    middleware: creel/pii
    order: 2
    config: {mode: redact, kinds: [email]}
    endpoints: {include: ["**"], exclude: [mail.example.test]}
`

// TestPolicy: a policy's own text to what is sent, over a real service.
func TestPolicy(t *testing.T) {
	var last struct {
		Config string
		Body   []byte
	}
	verdict := `{"verdict":"VERDICT_PASS"}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last.Body = nil
		if err := json.NewDecoder(r.Body).Decode(&last); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(verdict))
	}))
	defer srv.Close()
	guard, err := external.Open(external.Registration{Name: "guard", Endpoint: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Close()
	value := make([]byte, 30)
	for i := range value {
		value[i] = byte('a' + rand.IntN(26))
	}
	known, err := builtin.Factories([]secrets.Known{{Name: "github/key", Value: secret.New(string(value))}}, guard)
	if err != nil {
		t.Fatal(err)
	}
	doc, _, err := policy.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := middleware.New(doc.Middlewares, known)
	if err != nil {
		t.Fatal(err)
	}
	selected := func(name string) *middleware.Selection {
		h, err := netname.ParseHost(name)
		if err != nil {
			t.Fatal(err)
		}
		return chain.For(h)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(`{"key": "` + string(value) + `", "to": "jane@mail.example"}`))
	_ = w.Close()
	m := &middleware.Message{Direction: middleware.Request, Method: "POST", Path: "/", Header: http.Header{"Content-Encoding": {"gzip"}}, Body: packed.Bytes()}
	const want = `{"key": "[redacted:secrets/known/github/key]", "to": "[redacted:pii/email]"}`
	r := selected("api.example.test").Check(context.Background(), m, nil)
	if r.Action != middleware.Change || string(r.Body) != want || string(last.Body) != want || last.Config != `{"seen":true}` || len(r.Reports) != 3 {
		t.Errorf("%+v, the service saw %q with %s", r, last.Body, last.Config)
	}
	if r := selected("mail.example.test").Check(context.Background(), m, nil); r.Action != middleware.Change || !strings.Contains(string(r.Body), "jane@") {
		t.Errorf("%+v", r)
	}
	verdict = `{}`
	if r := selected("api.example.test").Check(context.Background(), m, nil); r.Action != middleware.Deny || !r.Failed || r.By != "guard" || r.At.Line != 3 {
		t.Errorf("%+v", r)
	}
	s := selected("elsewhere.test")
	if s.Takes(middleware.ServerMessage) || !s.Takes(middleware.Response) || s.MaxBody(middleware.Request) != middleware.MaxBody {
		t.Error("the directions are not those of the policy")
	}

	if _, err := builtin.Factories(nil, guard, guard); err == nil {
		t.Error("two services have one name")
	}
}
