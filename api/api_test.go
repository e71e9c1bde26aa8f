package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/cow"
	"github.com/creel-run/creel/fault"
)

// backend answers with fixed values.
type backend struct{ stopped chan struct{} }

var box = Sandbox{Name: "box", PID: 7, Command: []string{"bash"}, Started: time.Unix(1_900_000_000, 0).UTC(), Revision: 3, Counts: Counts{Denied: 2}}

func (b *backend) Sandbox(context.Context) (Sandbox, error) { return box, nil }
func (b *backend) Posture(context.Context) (Posture, error) {
	return Posture{}, errors.New("proc is gone")
}
func (b *backend) Reload(_ context.Context, policy string) (Reloaded, error) {
	switch policy {
	case "":
		return Reloaded{Revision: 4, Closed: 1, Changed: true}, nil
	case "faulty":
		return Reloaded{}, NewFaultyPolicy("nothing was changed", []Fault{{File: "p.yaml", Line: 3, Column: 5, Message: "unknown key"}}, "creel policy check p.yaml")
	}
	return Reloaded{}, fault.HostError("load policy", "no", "hint one")
}
func (b *backend) Apply(_ context.Context, o cow.Options) ([]cow.Result, error) {
	return []cow.Result{{Path: o.Paths[0], Applied: o.Force}}, nil
}
func (b *backend) Stop(context.Context) error { close(b.stopped); return nil }

// runtimeFolder gives the test a runtime folder of its own.
func runtimeFolder(t *testing.T) string {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Skip("root's runtime folder is fixed: covered by TestSocketOfOrdinaryUser")
	}
	dir, err := os.MkdirTemp("", "crl") // short: a socket's path is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("TMPDIR", dir)
	return dir
}

func serve(t *testing.T, l net.Listener, b Backend) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, b) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestExchange(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sandboxes run on Linux")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{stopped: make(chan struct{})}
	serve(t, l, b)
	c := NewClient("box", path)
	ctx := t.Context()

	if s, err := c.Sandbox(ctx); err != nil || !reflect.DeepEqual(s, box) {
		t.Errorf("Sandbox: %+v, %v", s, err)
	}
	if _, err := c.Posture(ctx); err == nil || !strings.Contains(err.Error(), "proc is gone") {
		t.Errorf("Posture: %v", err)
	}
	if r, err := c.Reload(ctx, ""); err != nil || r.Revision != 4 || !r.Changed {
		t.Errorf("Reload: %+v, %v", r, err)
	}
	_, err = c.Reload(ctx, "faulty")
	var faulty *FaultyPolicy
	if !errors.As(err, &faulty) || len(faulty.Faults) != 1 || faulty.Faults[0].String() != "p.yaml:3:5: unknown key" {
		t.Errorf("Reload of a faulty policy: %v", err)
	}
	var e *fault.Error
	if !errors.As(err, &e) || e.Exit() != fault.Usage || !slices.Contains(e.Hints, "creel policy check p.yaml") {
		t.Errorf("Reload of a faulty policy: %#v", e)
	}
	if _, err = c.Reload(ctx, "other"); !errors.As(err, &e) || e.Exit() != fault.Host || !slices.Equal(e.Hints, []string{"hint one"}) {
		t.Errorf("code and hints are lost: %v", err)
	}
	if err := c.Stop(ctx); err != nil {
		t.Error(err)
	}
	<-b.stopped
	if err := c.do(ctx, http.MethodGet, "/v1/other", nil, nil); err == nil || !strings.Contains(err.Error(), "no such request") {
		t.Errorf("unknown request: %v", err)
	}
	if err := c.do(ctx, http.MethodPost, "/v1/sandbox", nil, nil); err == nil {
		t.Error("a wrong method was answered")
	}
}

func TestClientBoundsTheAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 8 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	if _, err := NewClient("box", path).Sandbox(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("error %v", err)
	}
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "claude-7f3a": true, "a.b_c": true, strings.Repeat("a", maxName): true,
		"": false, ".": false, "..": false, "-a": false, "a-": false, "a/b": false, "A": false, "ä": false,
		"a b": false, "a\x00": false, strings.Repeat("a", maxName+1): false, "a\n": false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v, want good %v", name, err, good)
		}
	}
}

func TestPostureEnforced(t *testing.T) {
	e, d := Layer{State: Enforced}, Layer{State: Degraded}
	tests := []struct {
		layers []Layer
		want   bool
	}{{nil, false}, {[]Layer{e}, true}, {[]Layer{e, d}, false}, {[]Layer{{}}, false}}
	for _, tt := range tests {
		if got := (Posture{tt.layers}).Enforced(); got != tt.want {
			t.Errorf("%v: %v", tt.layers, got)
		}
	}
}
