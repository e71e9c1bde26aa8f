package policy_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

// benchRules names a file of rules and questions that bench wrote for B6; its
// peers read the same.
const benchRules = "CREEL_BENCH_RULES"

// BenchmarkDecision measures one decision about the rules of that file, the
// questions in turn.
func BenchmarkDecision(b *testing.B) {
	path := os.Getenv(benchRules)
	if path == "" {
		b.Skip(benchRules + " names no file")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var file struct {
		Rules []struct {
			Key, Host   string
			Port        uint16
			Binaries    []string
			Globs       []string `json:"binary_globs"`
			Allow, Deny []struct {
				Method, Path string
				Query        map[string]string
			}
		}
		Questions []struct {
			Host, Binary, Method, Path string
			Port                       uint16
			Query                      map[string][]string
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		b.Fatal(err)
	}
	doc := &policy.Document{Version: 2}
	for _, r := range file.Rules {
		e := policy.Endpoint{Host: r.Host, Ports: []uint16{r.Port}, Protocol: policy.REST}
		for _, a := range r.Allow {
			e.Allow = append(e.Allow, requestRule(a.Method, a.Path, a.Query))
		}
		for _, d := range r.Deny {
			e.Deny = append(e.Deny, requestRule(d.Method, d.Path, d.Query))
		}
		n := policy.Network{Key: r.Key, Endpoints: []policy.Endpoint{e}}
		for _, p := range append(r.Binaries, r.Globs...) {
			n.Binaries = append(n.Binaries, policy.Binary{Path: p})
		}
		doc.Networks = append(doc.Networks, n)
	}
	engine, err := policy.Compile(doc)
	if err != nil {
		b.Fatal(err)
	}
	var requests []policy.Request
	for _, q := range file.Questions {
		c := policy.Connection{Host: host(b, q.Host), Port: q.Port, Binary: q.Binary, KnownCaller: true}
		r := policy.Request{Connection: c, Method: q.Method, Target: target.Target{Path: q.Path, Query: q.Query}}
		if d := engine.Request(r); d.Verdict != policy.Allow {
			b.Fatalf("%+v: %+v", q, d)
		}
		requests = append(requests, r)
	}
	b.Run("connect", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			engine.Connect(requests[i%len(requests)].Connection)
		}
	})
	b.Run("request", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			engine.Request(requests[i%len(requests)])
		}
	})
}

func requestRule(method, path string, query map[string]string) policy.RequestRule {
	r := policy.RequestRule{Method: method, Path: path}
	for k, glob := range query {
		r.Query = append(r.Query, policy.QueryRule{Key: k, Any: []string{glob}})
	}
	return r
}
