package supervisor

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/netname"
)

// TestCompileMiddlewares: faults of middlewares refuse a revision and say where, and
// creel/secrets knows what this run keeps.
func TestCompileMiddlewares(t *testing.T) {
	values := map[string]string{"TOKEN": "token-value-of-a-test", "KEY": "key-value-of-a-test", "OTHER": "other-value-of-a-test"}
	s := &supervisor{o: Options{
		Secrets: []string{"T=env:TOKEN@a.test"}, Inference: "https://models.test/v1", InferenceKey: "env:KEY", Middlewares: []string{"guard=unix:///nowhere/guard.sock"},
		Getenv: func(k string) (string, bool) { v, ok := values[k]; return v, ok },
	}}
	if err := s.openMiddlewares(); err != nil {
		t.Fatal(err)
	}
	defer s.closeMiddlewares()
	compile := func(lines string) (*revision, error) {
		src := &source{name: "test.yaml", data: []byte("version: 2\nnetwork_middlewares:\n" + lines), known: s.middlewares}
		rev, _, err := src.compile(1)
		return rev, err
	}
	for lines, want := range map[string]string{
		"  m: {middleware: gaurd, endpoints: {include: [a.test]}}\n":                              "gaurd",
		"  m: {middleware: creel/secrets, config: {mod: deny}, endpoints: {include: [a.test]}}\n": "mod",
	} {
		_, err := compile(lines)
		var faulty *api.FaultyPolicy
		if !errors.As(err, &faulty) || faulty.Faults[0].Line != 3 || !strings.Contains(faulty.Faults[0].Message, want) {
			t.Errorf("%s: %v", lines, err)
		}
	}
	src := &source{name: "test.yaml", data: []byte("version: 2\nnetwork_middlewares: {m: {middleware: creel/pii, endpoints: {include: [a.test]}}}\n")}
	if rev, _, err := src.compile(1); err == nil || rev != nil {
		t.Error("nothing is known, and it compiles")
	}
	rev, err := compile("  m: {middleware: creel/secrets, endpoints: {include: [a.test]}}\n  g: {middleware: guard, order: 1, endpoints: {include: [b.test]}}\n")
	if err != nil {
		t.Fatal(err)
	}
	host, err := netname.ParseHost("a.test")
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range values {
		r := rev.chain.For(host).Check(context.Background(), &middleware.Message{Direction: middleware.Request, Host: host, Body: []byte("a " + value)}, nil)
		if found := r.Action == middleware.Deny; found != (name != "OTHER") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if rev, err := compile("  {}\n"); err != nil || rev.chain != nil {
		t.Errorf("no middlewares: %v", err)
	}
}

func TestGuardSockets(t *testing.T) {
	dir := t.TempDir()
	s := &supervisor{o: Options{Middlewares: []string{"guard=unix://" + filepath.Join(dir, "guard.sock")}}, areas: areas{realPath(dir)}}
	if err := s.openMiddlewares(); err != nil {
		t.Fatal(err)
	}
	if err := s.guardSockets(); err == nil {
		t.Error("it lies where the agent can write")
	}
	s.areas = areas{realPath(t.TempDir())}
	if err := s.guardSockets(); err != nil {
		t.Error(err)
	}
	if err := (&supervisor{o: Options{Middlewares: []string{"guard"}}}).openMiddlewares(); err == nil {
		t.Error("no endpoint")
	}
}
