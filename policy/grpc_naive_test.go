package policy_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/internal/naive"
	"github.com/creel-run/creel/internal/policygen"
	"github.com/creel-run/creel/policy"
)

// The engine and the naive evaluator agree about gRPC, too.
func TestEngineAgreesWithNaiveOnGRPC(t *testing.T) {
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		doc, text, err := policygen.Draw(t, policygen.Of{Version: 2, Protocols: []policy.Protocol{policy.GRPC, policy.REST, policy.L4}})
		if err != nil {
			counts["documents refused"]++
			t.Skip(err)
		}
		plain, err := naive.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		p := newPair(t, doc, plain, text)
		for range 50 {
			r := policygen.Question(t, doc)
			outcome := p.ask(t, r)
			if g := p.engine.Governing(r.Connection, r.Target.Path); g != nil && g.Protocol == policy.GRPC {
				counts[outcome]++
			}
		}
	})
	t.Log(counts)
	if counts["allowed"] == 0 || counts["denied"] == 0 {
		t.Errorf("gRPC was not compared: %v", counts)
	}
}
