package external_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/middleware/external"
)

// TestNoAnswer: whatever a server does but answer is an error, which says
// nothing of what the server said.
func TestNoAnswer(t *testing.T) {
	const loud = "words of the server"
	say := func(kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(text))
		}
	}
	grpc := func(text, status string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write([]byte(text))
			if status != "" {
				w.Header().Set("Grpc-Status", status)
			}
		}
	}
	forever := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // from then on the server sees that the client is gone
		<-r.Context().Done()
	}
	endless := func(kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			for w != nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
	}
	both := map[string]http.Handler{
		"redirect": http.RedirectHandler("/elsewhere", http.StatusTemporaryRedirect),
		"status":   http.NotFoundHandler(),
		"forever":  http.HandlerFunc(forever),
		"breaks": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}),
		"error": serve(t, func(context.Context, *dynamicpb.Message, http.Header) (*dynamicpb.Message, error) {
			return nil, connect.NewError(connect.CodeInternal, errors.New(loud))
		}),
		"text": say("text/plain", loud),
	}
	json := map[string]http.Handler{
		"nothing": say("application/json", ""), "no object": say("application/json", `"VERDICT_PASS"`), "no verdict": say("application/json", `{}`),
		"unknown verdict": say("application/json", `{"verdict":"PASS"}`), "unknown key": say("application/json", `{"verdict":"VERDICT_PASS","x":1}`),
		"twice": say("application/json", `{"verdict":"VERDICT_DENY","verdict":"VERDICT_PASS"}`), "other case": say("application/json", `{"Verdict":"VERDICT_PASS"}`),
		"more behind": say("application/json", `{"verdict":"VERDICT_PASS"}{}`), "no base64": say("application/json", `{"verdict":"VERDICT_CHANGE","body":"ä"}`),
		"negative place": say("application/json", `{"verdict":"VERDICT_PASS","findings":[{"from":-1}]}`), "no part": say("application/json", `{"verdict":"VERDICT_PASS","findings":[{"part":"x"}]}`),
		"cut short": say("application/json", `{"verdict":"VERDICT_PASS"`), "endless": endless("application/json"),
		"encoded": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			say("application/json", `{"verdict":"VERDICT_PASS"}`)(w, r)
		}),
	}
	pass := "\x00\x00\x00\x00\x02\x08\x01"
	proto := map[string]http.Handler{
		"nothing": grpc("", "0"), "no status": grpc(pass, ""), "status 2": grpc(pass, "2"), "compressed": grpc("\x01"+pass[1:], "0"), "two": grpc(pass+pass, "0"),
		"length": grpc("\x00\x00\x00\x00\x03\x08\x01", "0"), "field": grpc("\x00\x00\x00\x00\x02\x48\x01", "0"), "twice": grpc("\x00\x00\x00\x00\x04\x08\x03\x08\x01", "0"),
		"wire type": grpc("\x00\x00\x00\x00\x02\x0d\x01", "0"), "endless": endless("application/grpc"), "no gRPC": say("application/json", `{"verdict":"VERDICT_PASS"}`),
	}
	for _, way := range ways {
		handlers := map[string]http.Handler{}
		for _, set := range []map[string]http.Handler{both, map[bool]map[string]http.Handler{true: proto, false: json}[strings.HasPrefix(way.name, "grpc")]} {
			for name, h := range set {
				handlers[name] = h
			}
		}
		for name, h := range handlers {
			t.Run(way.name+" "+name, func(t *testing.T) {
				r := way.start(t, h)
				r.Timeout, r.MaxBody = 10*time.Second, 1<<20
				ctx := context.Background()
				if name == "forever" {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
					defer cancel()
				}
				a, err := open(t, r, nil).Check(ctx, message(t))
				if err == nil || a.Action != middleware.Deny || strings.Contains(err.Error(), loud) {
					t.Errorf("%+v, %v", a, err)
				}
			})
		}
	}
	// The helpers above are right where the answer is.
	for _, way := range ways[:4] {
		h := http.Handler(say("application/json; charset=utf-8", `{"verdict":"VERDICT_PASS"}`))
		if strings.HasPrefix(way.name, "grpc") {
			h = grpc(pass, "0")
		}
		if a, err := open(t, way.start(t, h), nil).Check(context.Background(), message(t)); err != nil || a.Action != middleware.Pass {
			t.Errorf("%s: %+v, %v", way.name, a, err)
		}
	}
}

// TestUnreachable: no server, and one that cannot be trusted.
func TestUnreachable(t *testing.T) {
	ok := serve(t, func(context.Context, *dynamicpb.Message, http.Header) (*dynamicpb.Message, error) {
		return reply(1, "", ""), nil
	})
	for _, way := range ways {
		if !strings.HasSuffix(way.name, "https") {
			continue
		}
		r := way.start(t, ok)
		r.RootCAs = nil
		if _, err := open(t, r, nil).Check(context.Background(), message(t)); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", way.name, err)
		}
	}
	r := external.Registration{Endpoint: "unix://" + filepath.Join(t.TempDir(), "none")}
	if _, err := open(t, r, nil).Check(context.Background(), message(t)); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("no socket: %v", err)
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"guard=unix:///run/guard.sock": "", "guard=http://127.0.0.1:8080": "", "guard=http://[::1]:8080/base": "", "guard=https://guard.example": "", "guard=grpc+https://guard.example": "", "guard=grpc+unix:///s": "",
		"guard": "want NAME=ENDPOINT", "=unix:///s": "want a name", "creel/x=unix:///s": "want a name", "openshell/regex=unix:///s": "want a name",
		"guard=http://guard.example": "loopback", "guard=http://localhost:80": "loopback", "guard=unix://s": "whole path", "guard=unix:s": "want an endpoint",
		"guard=https://u:p@guard.example": "want an endpoint", "guard=https://guard.example?x": "want an endpoint", "guard=ftp://x": "want an endpoint", "guard=https://": "want a host",
	} {
		r, err := external.Parse(text)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "u:p")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err == nil && (r.Name != "guard" || (r.Protocol == external.GRPC) != strings.Contains(text, "grpc+")) {
			t.Errorf("%s: %+v", text, r)
		}
	}
	for _, r := range []external.Registration{{Timeout: time.Millisecond}, {Timeout: time.Minute}, {MaxBody: -1}, {MaxBody: 5 << 20}, {Protocol: 2}, {On: 16}} {
		r.Name, r.Endpoint = "guard", "unix:///s"
		if _, err := external.Open(r); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
	s, err := external.Open(external.Registration{Name: "guard", Endpoint: "unix:///s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Factory(map[string]any{"x": strings.Repeat("x", 65<<10)}); err == nil {
		t.Error("a config of 65 KiB is taken")
	}
}

// TestDocumentedExample runs the server that docs/middleware.md shows.
func TestDocumentedExample(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	page, err := os.ReadFile("../../docs/middleware.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("(?s)```python\n(.*?)```").FindSubmatch(page)
	if code == nil {
		t.Fatal("docs/middleware.md shows no server")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "guard.sock")
	if err := os.WriteFile(filepath.Join(dir, "guard.py"), code[1], 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, filepath.Join(dir, "guard.py"), socket)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the server does not listen")
		}
	}
	mw := open(t, external.Registration{Endpoint: "unix://" + socket, Timeout: 10 * time.Second}, map[string]any{"terms": []any{"project-heron"}})
	for body, want := range map[string]string{"nothing": "pass", "about project-heron": "change about ▒▒▒▒", "": "pass"} {
		m := message(t)
		m.Body = []byte(body)
		a, err := mw.Check(context.Background(), m)
		got := a.Action.String()
		if a.Action == middleware.Change {
			got += " " + string(a.Body)
		}
		if err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", body, got, err, want)
		}
	}
	m := message(t)
	m.RawQuery = "q=project-heron"
	if a, err := mw.Check(context.Background(), m); err != nil || a.Action != middleware.Deny || a.Reason == "" {
		t.Errorf("%+v, %v", a, err)
	}
}

// FuzzAnswer: no answer breaks the reader, and none without a verdict passes.
func FuzzAnswer(f *testing.F) {
	f.Add(false, []byte(`{"verdict":"VERDICT_CHANGE","body":"eA==","findings":[{"rule":"r","part":"body","from":1,"to":2}]}`))
	f.Add(false, []byte(`{"verdict":3,"reason":"r"}`))
	f.Add(true, []byte("\x08\x02\x1a\x01x\x22\x05\x0a\x01r\x20\x01"))
	f.Fuzz(func(t *testing.T, proto bool, data []byte) {
		a, err := external.ReadAnswer(proto, data)
		if err != nil && (a.Action != middleware.Deny || a.Body != nil) {
			t.Fatalf("%+v with %v", a, err)
		}
		if err == nil && a.Action == middleware.Pass && a.Body != nil {
			t.Fatal("a body that passes")
		}
		_ = fmt.Sprint(a)
	})
}
