package naive_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/creel-run/creel/internal/naive"
	"github.com/creel-run/creel/internal/vectors"
	"github.com/creel-run/creel/policy"
)

func TestVectorHostMatch(t *testing.T) {
	vectors.Run(t, "host_match", map[string]string{
		"hm-075": "a host with an empty label is no host",
	}, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Pattern, Host string
			UsedAs        string `json:"used_as"`
		}
		var want struct{ Match bool }
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		got := naive.HostTaken(in.Pattern, in.Host)
		if in.UsedAs == "middleware_selector" {
			got = naive.SelectorTaken(in.Pattern, in.Host)
		}
		return vectors.Bool(got, want.Match), fmt.Sprint(got)
	})
}

func TestVectorPathMatch(t *testing.T) {
	vectors.Run(t, "path_match", nil, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct{ Pattern, Path string }
		var want struct {
			Match        bool
			PatternError bool `json:"pattern_error"`
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		got, err := naive.Glob(in.Pattern, in.Path, '/')
		if (err != nil) != want.PatternError {
			return vectors.Wrong, fmt.Sprint(got, err)
		}
		return vectors.Bool(got, want.Match), fmt.Sprint(got)
	})
}

func TestVectorQueryMatch(t *testing.T) {
	vectors.Run(t, "query_match", nil, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Kind, Pattern, Value, Query string
			Matchers                    map[string]any
			Params                      map[string][]string
		}
		var want struct {
			Match, Fires bool
			Params       map[string][]string
			Error        string
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		switch in.Kind {
		case "value":
			got, err := naive.Glob(in.Pattern, in.Value, '.')
			return vectors.Bool(got, want.Match), fmt.Sprint(got, err)
		case "decode":
			got, err := naive.DecodeQuery(in.Query)
			if (err != nil) != (want.Error != "") || err == nil && !reflect.DeepEqual(got, want.Params) {
				return vectors.Wrong, fmt.Sprint(got, err)
			}
			return vectors.Same, ""
		}
		// The matchers are those of a rule that would fire but for them.
		rule := naive.Rule{Method: "GET", Path: "**"}
		for key, v := range in.Matchers {
			globs, err := naive.ReadMatcher(v)
			if err != nil {
				t.Fatal(err)
			}
			rule.Query = append(rule.Query, naive.Query{Key: key, Any: globs})
		}
		p := naive.Policy{Version: 2, Networks: []naive.Network{{Key: "k", AnyBinary: true, Endpoints: []naive.Endpoint{
			{Host: "h.test", Ports: []uint16{443}, Protocol: "rest", Enforcement: "enforce"}}}}}
		q := naive.Question{Host: "h.test", Port: 443, Method: "GET", Path: "/", Query: in.Params}
		ep := &p.Networks[0].Endpoints[0]
		switch in.Kind {
		case "allow":
			ep.Allow = []naive.Rule{rule}
			return vectors.Bool(naive.Judge(p, q).Allowed, want.Fires), ""
		case "deny":
			ep.Access, ep.Deny = "full", []naive.Rule{rule}
			return vectors.Bool(naive.Judge(p, q).Allowed, !want.Fires), ""
		}
		t.Fatalf("unknown kind %q", in.Kind)
		return vectors.Wrong, ""
	})
}

func TestVectorEndpointPath(t *testing.T) {
	const oneSegment = "* stays within a segment, for choosing and for authorising alike"
	vectors.Run(t, "endpoint_path", map[string]string{"ep-006": oneSegment, "ep-031": oneSegment},
		func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
			var in struct {
				Kind, Selector, Path string
				Endpoints            []struct{ Path string }
			}
			var want struct {
				Match       bool
				Specificity int
				Index       int
			}
			vectors.Decode(t, e.In, &in)
			vectors.Decode(t, e.Want, &want)
			if in.Kind == "match" {
				if n := naive.Specificity(in.Selector); n != want.Specificity {
					return vectors.Wrong, fmt.Sprint("specificity ", n)
				}
				got := naive.SelectorPath(in.Selector, in.Path)
				return vectors.Bool(got, want.Match), fmt.Sprint(got)
			}
			var list []string
			for _, ep := range in.Endpoints {
				list = append(list, ep.Path)
			}
			if got := naive.Choose(list, in.Path); got != want.Index {
				return vectors.Wrong, fmt.Sprint(got)
			}
			return vectors.Same, ""
		})
}

// TestVectorPolicyDecision reads the YAML by itself: documents, protocols and
// faults that package policy does not take are judged, too. What it takes has to
// come out of FromDocument the same: a protocol that gets built fails here until
// FromDocument carries its fields.
func TestVectorPolicyDecision(t *testing.T) {
	vectors.Run(t, "policy_decision", nil, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in decisionVector
		var want struct {
			Decision, Layer, Policy string
			Audited                 bool
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		p, err := naive.Read(in.Policy)
		if err != nil {
			return vectors.Bool(false, want.Decision == "allow"), err.Error()
		}
		a := naive.Judge(p, in.question())
		got := fmt.Sprintf("%+v", a)
		// What Parse takes says the same as the YAML.
		if doc, _, err := policy.Parse("p.yaml", []byte(in.Policy)); err == nil {
			if d := naive.Judge(naive.FromDocument(doc), in.question()); !reflect.DeepEqual(d, a) {
				t.Errorf("the document says %+v, its YAML %+v", d, a)
			}
		}
		if outcome := vectors.Bool(a.Allowed, want.Decision == "allow"); outcome != vectors.Same {
			return outcome, got
		}
		if a.Audited != want.Audited || a.Layer != want.Layer || want.Policy != "" && !slices.Contains(a.Policies, want.Policy) {
			return vectors.Wrong, got
		}
		return vectors.Same, got
	})
}

type decisionVector struct {
	Policy, Binary, Host, Method, Path, Identity string
	Ancestors                                    []string
	Port                                         uint16
	Query                                        map[string][]string
	GraphQL                                      *struct {
		Operations []struct {
			Type, Name string
			Fields     []string
			Hash       string `json:"persisted_hash"`
			ID         string `json:"persisted_id"`
		}
		Error string
	}
	JSONRPC *struct {
		Messages []struct {
			Method, Tool string
			Response     bool
		}
		ReceiveStream bool `json:"receive_stream"`
		Error         string
	}
}

func (in decisionVector) question() naive.Question {
	q := naive.Question{Host: in.Host, Port: in.Port, Binary: in.Binary, Ancestors: in.Ancestors, KnownCaller: true,
		Relaxed: in.Identity == "relaxed", Method: in.Method, Path: in.Path, Query: in.Query}
	if g := in.GraphQL; g != nil {
		q.GraphQL = &naive.GraphQL{Faulty: g.Error != ""}
		for _, o := range g.Operations {
			q.GraphQL.Operations = append(q.GraphQL.Operations, naive.Operation{Type: o.Type, Name: o.Name, Fields: o.Fields, Hash: o.Hash, ID: o.ID})
		}
	}
	if r := in.JSONRPC; r != nil {
		q.RPC = &naive.RPC{Faulty: r.Error != "", ReceiveStream: r.ReceiveStream}
		for _, m := range r.Messages {
			if m.Response {
				q.RPC.Response = true
			} else {
				q.RPC.Calls = append(q.RPC.Calls, naive.Call{Method: m.Method, Tool: m.Tool})
			}
		}
	}
	return q
}
