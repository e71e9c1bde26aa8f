package middleware_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// fake answers as a test says.
type fake struct {
	on    middleware.Direction
	most  int
	check func(ctx context.Context, m *middleware.Message) (middleware.Answer, error)
}

func (f *fake) Takes() middleware.Direction { return f.on }
func (f *fake) MaxBody() int                { return f.most }
func (f *fake) Check(ctx context.Context, m *middleware.Message) (middleware.Answer, error) {
	return f.check(ctx, m)
}

var (
	pass = func(context.Context, *middleware.Message) (middleware.Answer, error) {
		return middleware.Answer{Action: middleware.Pass}, nil
	}
	broken = func(context.Context, *middleware.Message) (middleware.Answer, error) {
		return middleware.Answer{}, errors.New("broken")
	}
)

// appends adds a text to the body.
func appends(text string) func(context.Context, *middleware.Message) (middleware.Answer, error) {
	return func(_ context.Context, m *middleware.Message) (middleware.Answer, error) {
		return middleware.Answer{Action: middleware.Change, Body: []byte(string(m.Body) + text), Findings: []middleware.Finding{{Rule: text}}}, nil
	}
}

const head = "version: 2\nnetwork_middlewares:\n"

// chain makes the chain of a policy's text.
func chain(t *testing.T, text string, all map[string]*fake) *middleware.Chain {
	t.Helper()
	doc, _, err := policy.Parse("test.yaml", []byte(head+text))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]middleware.Factory{}
	for name, f := range all {
		if f.on == 0 {
			f.on = middleware.Request
		}
		if f.most == 0 {
			f.most = 1000
		}
		known[name] = func(map[string]any) (middleware.Middleware, error) { return f, nil }
	}
	c, err := middleware.New(doc.Middlewares, known)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func host(t *testing.T, name string) netname.Host {
	t.Helper()
	h, err := netname.ParseHost(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func request(body string) *middleware.Message {
	return &middleware.Message{Direction: middleware.Request, Method: "POST", Path: "/", Header: http.Header{}, Body: []byte(body)}
}

const both = `  second: {middleware: b, order: 2, endpoints: {include: [a.test]}}
  first: {middleware: a, order: 1, endpoints: {include: ["**.test"], exclude: [other.test]}}
`

// TestOrder: the policy's order and selectors; each sees what the one before made.
func TestOrder(t *testing.T) {
	c := chain(t, both, map[string]*fake{"a": {check: appends("1")}, "b": {check: appends("2")}})
	for name, want := range map[string]string{"a.test": "body12", "b.test": "body1", "other.test": "", "a.example": ""} {
		s := c.For(host(t, name))
		if (s == nil) != (want == "") {
			t.Errorf("%s: selected %v", name, s)
		}
		r := s.Check(context.Background(), request("body"), nil)
		if r.Action == middleware.Deny || string(r.Body) != want || (r.Action == middleware.Change) != (want != "") {
			t.Errorf("%s: %+v", name, r)
		}
		if want == "body12" && (len(r.Reports) != 2 || r.Reports[0].Key != "first" || r.Reports[1].Findings[0].Rule != "2" || r.Reports[1].At.Line != 3) {
			t.Errorf("%+v", r.Reports)
		}
		// No one looks at answers here.
		if got := s.Check(context.Background(), &middleware.Message{Direction: middleware.Response}, nil); got.Action != middleware.Pass || s.Takes(middleware.Response) {
			t.Errorf("%s: a response: %+v", name, got)
		}
	}
}

// TestFailures: whatever goes wrong denies, and passes only where the policy
// says so.
func TestFailures(t *testing.T) {
	zipped := func(body string, with func(io.Writer) io.WriteCloser) string {
		var b bytes.Buffer
		w := with(&b)
		_, _ = io.WriteString(w, body)
		_ = w.Close()
		return b.String()
	}
	gz := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	coded := func(body string, codings ...string) *middleware.Message {
		m := request(body)
		m.Header["Content-Encoding"] = codings
		return m
	}
	unseen := request("")
	unseen.Unseen = "the connection is opaque"
	for name, tt := range map[string]struct {
		check func(context.Context, *middleware.Message) (middleware.Answer, error)
		m     *middleware.Message
		want  string // of the reason
	}{
		"error": {broken, request("x"), "broken"},
		"panic": {func(context.Context, *middleware.Message) (middleware.Answer, error) { panic("with a body") }, request("x"), "broke down"},
		"action": {func(context.Context, *middleware.Message) (middleware.Answer, error) {
			return middleware.Answer{Action: 7}, nil
		}, request("x"), "none of pass"},
		"large answer": {func(context.Context, *middleware.Message) (middleware.Answer, error) {
			return middleware.Answer{Action: middleware.Change, Body: make([]byte, 1001)}, nil
		}, request("x"), "more than 1000 bytes"},
		"large body":       {pass, request(strings.Repeat("x", 1001)), "more than 1000 bytes"},
		"unseen":           {pass, unseen, "opaque"},
		"unknown coding":   {pass, coded("x", "br"), "content coding that cannot be undone"},
		"wrong coding":     {pass, coded("x", "gzip"), "not what its content coding says"},
		"cut short":        {pass, coded(zipped("x", gz)[:20], "gzip"), "not what its content coding says"},
		"something behind": {pass, coded(zipped("x", gz)+"x", "gzip"), "not what its content coding says"},
		"bomb":             {pass, coded(zipped(strings.Repeat("x", 100000), gz), "gzip"), "more than 1000 bytes without"},
		"too many codings": {pass, coded("x", "gzip, gzip", "gzip, gzip"), "more than 3"},
	} {
		for _, open := range []bool{false, true} {
			text := "  m: {middleware: a, endpoints: {include: [a.test]}}\n"
			if open {
				text = "  m: {middleware: a, on_error: fail_open, endpoints: {include: [a.test]}}\n"
			}
			c := chain(t, text, map[string]*fake{"a": {check: tt.check}})
			r := c.For(host(t, "a.test")).Check(context.Background(), tt.m, nil)
			if open {
				if r.Action != middleware.Pass || len(r.Reports) != 1 || !strings.Contains(r.Reports[0].Failure, tt.want) {
					t.Errorf("%s, fail_open: %+v", name, r)
				}
			} else if r.Action != middleware.Deny || !r.Failed || r.By != "m" || r.At.Line != 3 || !strings.Contains(r.Reason, tt.want) || r.Body != nil {
				t.Errorf("%s: %+v", name, r)
			}
			if strings.Contains(r.Reason, "with a body") {
				t.Errorf("%s: the reason has a part of the message: %s", name, r.Reason)
			}
		}
	}
	// What can be undone is shown without, whatever was changed then.
	c := chain(t, both, map[string]*fake{"a": {check: appends("1")}, "b": {check: func(_ context.Context, m *middleware.Message) (middleware.Answer, error) {
		if m.Header.Get("Content-Encoding") != "" {
			return middleware.Answer{Reason: "it is coded"}, nil
		}
		return middleware.Answer{Action: middleware.Pass}, nil
	}}})
	m := coded(zipped(zipped("body", func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }), gz), "deflate, identity", "GZIP")
	if r := c.For(host(t, "a.test")).Check(context.Background(), m, nil); r.Action != middleware.Change || string(r.Body) != "body1" || m.Header.Get("Content-Encoding") == "" {
		t.Errorf("%+v", r)
	}
}

// TestDenied: the first one that denies ends it, and its reason is one short line.
func TestDenied(t *testing.T) {
	called := false
	c := chain(t, both, map[string]*fake{
		"a": {check: func(context.Context, *middleware.Message) (middleware.Answer, error) {
			return middleware.Answer{Reason: "no\nforged: \x1b[2J\xff" + strings.Repeat("x", 1000), Findings: make([]middleware.Finding, 200)}, nil
		}},
		"b": {check: func(context.Context, *middleware.Message) (middleware.Answer, error) {
			called = true
			return pass(nil, nil)
		}},
	})
	r := c.For(host(t, "a.test")).Check(context.Background(), request("x"), nil)
	if r.Action != middleware.Deny || r.Failed || called || strings.ContainsAny(r.Reason, "\n\x1b") || !utf8.ValidString(r.Reason) || len(r.Reason) > 310 || r.By != "first" {
		t.Errorf("%+v", r)
	}
	if len(r.Reports) != 1 || r.Reports[0].Found != 200 || len(r.Reports[0].Findings) != 100 {
		t.Errorf("%d findings are reported", len(r.Reports[0].Findings))
	}
	// The zero answer denies.
	c = chain(t, both, map[string]*fake{"a": {check: func(context.Context, *middleware.Message) (middleware.Answer, error) { return middleware.Answer{}, nil }}, "b": {check: pass}})
	if r := c.For(host(t, "a.test")).Check(context.Background(), request("x"), nil); r.Action != middleware.Deny || r.Reason == "" {
		t.Errorf("%+v", r)
	}
}

// TestJudged: a body that a middleware wrote is judged before the next one sees it.
func TestJudged(t *testing.T) {
	var seen []string
	judge := func(body []byte) error {
		seen = append(seen, string(body))
		if strings.Contains(string(body), "2") {
			return errors.New("the method is not allowed")
		}
		return nil
	}
	c := chain(t, both, map[string]*fake{"a": {check: appends("1")}, "b": {check: appends("2")}})
	r := c.For(host(t, "a.test")).Check(context.Background(), request("x"), judge)
	if r.Action != middleware.Deny || r.By != "second" || !strings.Contains(r.Reason, "method is not allowed") || strings.Join(seen, " ") != "x1 x12" {
		t.Errorf("%+v, judged %q", r, seen)
	}
}

// TestTime: one that takes too long gives no answer, and all others wait for
// their turn only so long.
func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forever := func(ctx context.Context, _ *middleware.Message) (middleware.Answer, error) {
			<-ctx.Done()
			return middleware.Answer{Action: middleware.Pass}, nil // which comes too late
		}
		c := chain(t, both, map[string]*fake{"a": {check: forever}, "b": {check: pass}})
		s := c.For(host(t, "a.test"))
		begin := time.Now()
		if r := s.Check(context.Background(), request("x"), nil); r.Action != middleware.Deny || !strings.Contains(r.Reason, "longer than 500ms") || time.Since(begin) != 500*time.Millisecond {
			t.Errorf("%+v after %v", r, time.Since(begin))
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if r := s.Check(ctx, request("x"), nil); r.Action != middleware.Deny || !r.Failed {
			t.Errorf("cancelled: %+v", r)
		}
		var wait sync.WaitGroup
		results := make(chan middleware.Result, 200)
		for range 200 {
			wait.Go(func() { results <- s.Check(context.Background(), request("x"), nil) })
		}
		wait.Wait()
		close(results)
		busy, late := 0, 0
		for r := range results {
			switch {
			case strings.Contains(r.Reason, "messages wait"):
				busy++
			case strings.Contains(r.Reason, "longer than"):
				late++
			}
			if r.Action != middleware.Deny {
				t.Errorf("%+v", r)
			}
		}
		if busy == 0 || late == 0 || busy+late != 200 {
			t.Errorf("%d were too many, %d too late", busy, late)
		}
	})
}

// TestFaults: all entries that cannot be made are named, with their places.
func TestFaults(t *testing.T) {
	doc, _, err := policy.Parse("test.yaml", []byte(head+`  a: {middleware: none, order: 1, endpoints: {include: [a.test]}}
  b: {middleware: picky, order: 2, config: {x: 1}, endpoints: {include: [a.test]}}
  c: {middleware: idle, order: 3, endpoints: {include: [a.test]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = middleware.New(doc.Middlewares, map[string]middleware.Factory{
		"picky": func(config map[string]any) (middleware.Middleware, error) {
			return nil, middleware.NewSettings(config).Err()
		},
		"idle": func(map[string]any) (middleware.Middleware, error) { return &fake{}, nil },
	})
	var faults policy.Faults
	if !errors.As(err, &faults) || len(faults) != 3 {
		t.Fatalf("%v", err)
	}
	for i, want := range []string{`network_middlewares.a.middleware: found "none", which is not known here, want one of idle, picky`, `"x" is no key of it`, "looks at nothing"} {
		if f := faults[i]; !strings.Contains(f.Error(), want) || f.At.Line != i+3 {
			t.Errorf("%v at %v, want %s", f, f.At, want)
		}
	}
	if c, err := middleware.New(nil, nil); c != nil || err != nil || c.For(host(t, "a.test")) != nil {
		t.Error("a policy without middlewares has a chain")
	}
}
