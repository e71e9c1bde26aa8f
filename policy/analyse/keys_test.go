package analyse_test

import (
	"fmt"
	"testing"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

// The bound of what nobody looks into is a limit like one that is written.
func TestLimitOfWhatNobodyLooksInto(t *testing.T) {
	parse := func(version int, limits string) *policy.Document {
		t.Helper()
		binaries := "any"
		if version == 1 {
			binaries = "[{path: /**}]"
		}
		doc, _, err := policy.Parse("p.yaml", []byte(fmt.Sprintf("version: %d\nnetwork_policies:\n  a:\n    binaries: %s\n    endpoints: [{host: a.test, port: 443, tls: skip%s}]\n", version, binaries, limits)))
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	const key = "limits.bytes_out of a.test:443 for any program"
	unsaid, same, less := parse(2, ""), parse(2, ", limits: {bytes_out: {size: 64M, per: 24h}}"), parse(2, ", limits: {bytes_out: {size: 1M, per: 24h}}")
	r, err := analyse.ReachOf(unsaid, now)
	if err != nil || len(r.Limits) != 1 || r.Limits[0].Key != key || r.Limits[0].Is != "64M in 1d" {
		t.Errorf("%v %+v", err, r.Limits)
	}
	if r, err := analyse.ReachOf(parse(1, ""), now); err != nil || len(r.Limits) != 0 {
		t.Errorf("version 1: %v %+v", err, r.Limits)
	}
	if d, err := analyse.Diff(unsaid, same, now); err != nil || !d.Equal() {
		t.Errorf("the same limit: %v %+v", err, d)
	}
	if d, err := analyse.Diff(unsaid, less, now); err != nil || len(d.Sections) != 1 || d.Sections[0].Key != key || d.Sections[0].Is != "1M in 1d" {
		t.Errorf("less: %v %+v", err, d)
	}
}
