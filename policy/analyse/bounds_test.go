package analyse_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
	"github.com/creel-run/creel/policy/automaton"
)

// manyPrograms is a version 1 policy in which n rules for one host have a
// program of their own; what they allow comes from allow.
func manyPrograms(n int, allow func(i int) policy.RequestRule) *policy.Document {
	doc := &policy.Document{Version: 1}
	for i := range n {
		doc.Networks = append(doc.Networks, policy.Network{
			Key:      fmt.Sprintf("rule%02d", i),
			Binaries: []policy.Binary{{Path: fmt.Sprintf("/usr/bin/p%02d", i)}},
			Endpoints: []policy.Endpoint{{
				Host: "api.test", Ports: []uint16{443}, Protocol: policy.REST,
				Allow: []policy.RequestRule{allow(i)},
			}},
		})
	}
	return doc
}

// Programs that may do the same are one kind of caller, however many they are;
// rules that differ for each of many programs reach a bound, with an error.
func TestCallerBounds(t *testing.T) {
	none := &policy.Document{Version: 1}
	d, err := analyse.Diff(none, manyPrograms(60, func(int) policy.RequestRule { return policy.RequestRule{Method: "GET", Path: "/x"} }), time.Time{})
	if err != nil || len(d.Allowed) != 1 || len(d.Allowed[0].Callers) != 60 {
		t.Errorf("%+v, %v", d, err)
	}
	own := func(i int) policy.RequestRule { return policy.RequestRule{Method: "GET", Path: fmt.Sprintf("/%d", i)} }
	if d, err = analyse.Diff(none, manyPrograms(8, own), time.Time{}); err != nil || len(d.Allowed) != 8 {
		t.Errorf("%+v, %v", d, err)
	}
	var many *analyse.TooManyError
	if _, err := analyse.Diff(none, manyPrograms(60, own), time.Time{}); !errors.As(err, &many) {
		t.Errorf("got %v, want a bound", err)
	}
	// In version 2 ancestors do not count, so there is nothing to combine.
	two := manyPrograms(1000, own)
	two.Version = 2
	if d, err = analyse.Diff(none, two, time.Time{}); err != nil {
		t.Error(err)
	} else if len(d.Allowed) != 1000 {
		t.Errorf("%d classes", len(d.Allowed))
	}
	two = manyPrograms(1100, own)
	two.Version = 2
	if _, err := analyse.Diff(none, two, time.Time{}); !errors.As(err, &many) || !analyse.AtBound(err) || !strings.HasPrefix(err.Error(), "rules for api.test port 443: ") {
		t.Errorf("got %v, want a bound and where", err)
	}
}

func TestStateBounds(t *testing.T) {
	none := &policy.Document{Version: 2}
	doc := parse(t, rest("rules: [{allow: {method: GET, path: '/*a"+strings.Repeat("?", 24)+"'}}]"))
	var large *automaton.TooLargeError
	if _, err := analyse.Diff(none, doc, time.Time{}); !errors.As(err, &large) {
		t.Errorf("got %v, want a bound", err)
	}
}

// What this package does not know is an error of the analysis, unless both
// policies say the same.
func TestUnknown(t *testing.T) {
	doc := parse(t, rest("access: full"))
	strange := *doc
	strange.Networks = append([]policy.Network{}, doc.Networks...)
	strange.Networks[0].Endpoints = append([]policy.Endpoint{}, doc.Networks[0].Endpoints...)
	strange.Networks[0].Endpoints[0].Protocol = "gopher"
	d, err := analyse.Diff(doc, &strange, time.Time{})
	if err != nil || d.Equal() || len(d.Unknown) != 1 || !strings.Contains(d.Unknown[0].Error(), "policy.yaml:6:9: cannot be told exactly: requests under protocol gopher") {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = analyse.Diff(&strange, &strange, time.Time{}); err != nil || !d.Equal() {
		t.Errorf("%+v, %v", d, err)
	}
}

// Names whose shortest example would be no name: labels are counted.
func TestLongLabels(t *testing.T) {
	x, y := strings.Repeat("x", 40), strings.Repeat("y", 40)
	text := func(host string) string {
		return "version: 2\nnetwork_policies:\n  api:\n    binaries: any\n    endpoints:\n" +
			"      - {host: '" + x + "*.a.test', port: 443}\n      - {host: '" + host + "', port: 443}\n"
	}
	// x*y would be 80 bytes long, so nothing is in both.
	d, err := analyse.Diff(parse(t, text("*"+y+".a.test")), parse(t, text("*"+y+".a.test")), time.Time{})
	if err != nil || !d.Equal() {
		t.Fatalf("%+v, %v", d, err)
	}
	s, err := analyse.Reachable(parse(t, text("*"+y+".a.test")), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	_ = s
	r, err := analyse.ReachOf(parse(t, text("*"+y+".a.test")), time.Time{})
	if err != nil || len(r.Network) != 1 || len(r.Network[0].Hosts) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
}
