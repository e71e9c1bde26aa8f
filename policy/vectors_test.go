package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/creel-run/creel/internal/vectors"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// notBuilt reports that a document is refused for nothing but words that are
// part of the language and not built.
func notBuilt(err error) bool {
	var faults policy.Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		return false
	}
	for _, f := range faults {
		if f.Kind != policy.NotYet {
			return false
		}
	}
	return true
}

func TestVectorsPolicyValidation(t *testing.T) {
	vectors.Run(t, "policy_validation", map[string]string{
		"pv-version-7":     "a version nobody defined cannot be enforced",
		"pv-proc-zero-pad": "leading zeros mean octal to some readers",
		"pv-l4-rules":      "rules that nothing evaluates would promise a limit that is not there",
		"pv-deny-nopath":   "a deny rule that never fires protects nothing",
		"pv-deny-nomethod": "a deny rule that never fires protects nothing",
		"pv-deny-blank":    "a deny rule that never fires protects nothing",
		"pv-q-any-bad":     "a malformed glob is a fault",
		"pv-enf-typo":      "an unknown enforcement would mean audit",
		"pv-bin-blank":     "an empty path names no program",
	}, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct{ Policy string }
		var want struct{ Valid bool }
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		_, _, err := policy.Parse("p.yaml", []byte(in.Policy))
		if notBuilt(err) {
			return vectors.Pending, err.Error()
		}
		return vectors.Bool(err == nil, want.Valid), fmt.Sprint(err)
	})
}

func TestVectorsPolicyDecision(t *testing.T) {
	vectors.Run(t, "policy_decision", map[string]string{
		"pd-deny-nopath":   "the policy is refused: a deny rule that never fires protects nothing",
		"pd-deny-nomethod": "the policy is refused: a deny rule that never fires protects nothing",
		"pd-reserved-key":  "the policy is refused: the key belongs to provider profiles",
	}, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Policy, Binary, Host, Method, Path, Identity string
			Ancestors                                    []string
			Port                                         uint16
			Query                                        map[string][]string
			GraphQL, JSONRPC                             any
		}
		var want struct {
			Decision, Layer, Policy string
			Audited                 bool
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		if in.Identity != "" || in.GraphQL != nil || in.JSONRPC != nil || in.Method == "WEBSOCKET_TEXT" {
			return vectors.Pending, "not built"
		}
		doc, _, err := policy.Parse("p.yaml", []byte(in.Policy))
		if notBuilt(err) {
			return vectors.Pending, err.Error()
		}
		if err != nil {
			return vectors.Bool(false, want.Decision == "allow"), err.Error()
		}
		engine, err := policy.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		host, err := netname.ParseHost(in.Host)
		if err != nil {
			return vectors.Bool(false, want.Decision == "allow"), err.Error()
		}
		c := policy.Connection{Host: host, Port: in.Port, Binary: in.Binary, Ancestors: in.Ancestors, KnownCaller: true}
		conn := engine.Connect(c)
		d, layer := conn.Decision, "connection"
		if d.Verdict == policy.Allow && in.Method != "" {
			layer = "request"
			d = engine.Request(policy.Request{Connection: c, Method: in.Method, Target: target.Target{Path: in.Path, Query: in.Query}})
		}
		got := fmt.Sprintf("%v at %s by %q audited %v: %s", d.Verdict, layer, d.Rule.Policy, d.Audited, d.Reason)
		outcome := vectors.Bool(d.Verdict == policy.Allow, want.Decision == "allow")
		if outcome != vectors.Same {
			return outcome, got
		}
		switch {
		case d.Audited != want.Audited:
			return vectors.Wrong, got
		case want.Decision == "deny" && layer != want.Layer:
			return vectors.Wrong, got
		case want.Decision == "allow" && !strings.Contains(in.Policy, conn.Rule.Policy+":"),
			want.Decision == "allow" && in.Method == "" && conn.Rule.Policy != want.Policy:
			return vectors.Wrong, got
		}
		return vectors.Same, got
	})
}
