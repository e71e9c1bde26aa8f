package policy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/creel-run/creel/internal/vectors"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/graphql"
	"github.com/creel-run/creel/policy/jsonrpc"
	"github.com/creel-run/creel/policy/target"
)

// vectorGraphQL and vectorRPC are the form of the vectors, in which a faulty
// body is an error beside the data.
type vectorGraphQL struct {
	Operations []struct {
		Type, Name    string
		Fields        []string
		PersistedHash string `json:"persisted_hash"`
		PersistedID   string `json:"persisted_id"`
	}
	Error string
}

func (v *vectorGraphQL) request() *graphql.Request {
	if v == nil || v.Error != "" {
		return nil
	}
	r := &graphql.Request{}
	for _, o := range v.Operations {
		r.Operations = append(r.Operations, graphql.Operation{Type: o.Type, Name: o.Name, Fields: o.Fields, Hash: o.PersistedHash, ID: o.PersistedID})
	}
	return r
}

type vectorRPC struct {
	Messages []struct {
		Method, Tool string
		Response     bool
	}
	Batch         bool
	ReceiveStream bool `json:"receive_stream"`
	Error         string
}

func (v *vectorRPC) request() *jsonrpc.Request {
	if v == nil || v.Error != "" {
		return nil
	}
	r := &jsonrpc.Request{Batch: v.Batch, ReceiveStream: v.ReceiveStream}
	for _, m := range v.Messages {
		if m.Response {
			r.Response = true
			continue
		}
		r.Calls = append(r.Calls, jsonrpc.Call{Method: m.Method, Tool: m.Tool})
	}
	return r
}

// The tables of what is judged more strictly on purpose; docs/policy/compatibility.md
// says the same to users.
var (
	stricterDocuments = map[string]string{
		"pv-version-7":     "a version nobody defined cannot be enforced",
		"pv-proc-zero-pad": "leading zeros mean octal to some readers",
		"pv-l4-rules":      "rules that nothing evaluates would promise a limit that is not there",
		"pv-deny-nopath":   "a deny rule that never fires protects nothing",
		"pv-deny-nomethod": "a deny rule that never fires protects nothing",
		"pv-deny-blank":    "a deny rule that never fires protects nothing",
		"pv-q-any-bad":     "a malformed glob is a fault",
		"pv-enf-typo":      "an unknown enforcement would mean audit",
		"pv-bin-blank":     "an empty path names no program",
	}
	stricterDecisions = map[string]string{
		"pd-deny-nopath":   "the policy is refused: a deny rule that never fires protects nothing",
		"pd-deny-nomethod": "the policy is refused: a deny rule that never fires protects nothing",
		"pd-reserved-key":  "the policy is refused: the key belongs to provider profiles",
	}
)

func TestStricterIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/policy/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []map[string]string{stricterDocuments, stricterDecisions, refusedInCorpus} {
		for id := range table {
			if !strings.Contains(string(page), "`"+id+"`") {
				t.Errorf("docs/policy/compatibility.md does not name %s", id)
			}
		}
	}
}

func TestVectorsPolicyValidation(t *testing.T) {
	vectors.Run(t, "policy_validation", stricterDocuments, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct{ Policy string }
		var want struct{ Valid bool }
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		_, _, err := policy.Parse("p.yaml", []byte(in.Policy))
		return vectors.Bool(err == nil, want.Valid), fmt.Sprint(err)
	})
}

func TestVectorsPolicyDecision(t *testing.T) {
	vectors.Run(t, "policy_decision", stricterDecisions, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Policy, Binary, Host, Method, Path, Identity string
			Ancestors                                    []string
			Port                                         uint16
			Query                                        map[string][]string
			GraphQL                                      *vectorGraphQL
			JSONRPC                                      *vectorRPC
		}
		var want struct {
			Decision, Layer, Policy string
			Audited                 bool
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		doc, _, err := policy.Parse("p.yaml", []byte(in.Policy))
		if err != nil {
			return vectors.Bool(false, want.Decision == "allow"), err.Error()
		}
		if in.Identity == "relaxed" {
			// Creel has no switch for all rules; a rule says so itself.
			for i := range doc.Networks {
				doc.Networks[i].AnyBinary = true
			}
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
			r := policy.Request{
				Connection: c, Method: in.Method, Target: target.Target{Path: in.Path, Query: in.Query},
				GraphQL: in.GraphQL.request(), RPC: in.JSONRPC.request(),
			}
			if in.Method == policy.MethodText {
				r.Method, r.Text = "", true
			}
			d = engine.Request(r)
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
