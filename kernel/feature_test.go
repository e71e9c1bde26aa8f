package kernel

import (
	"encoding/json"
	"testing"
)

func TestOutcomeText(t *testing.T) {
	var zero Outcome
	if zero != Unknown || zero.String() != "unknown" || Outcome(9).String() != "unknown" {
		t.Error("the zero outcome, or a foreign one, is not unknown")
	}
	for _, o := range []Outcome{Unknown, No, Yes} {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var back Outcome
		if err := json.Unmarshal(b, &back); err != nil || back != o {
			t.Errorf("%s: back as %v, %v", b, back, err)
		}
	}
	var o Outcome
	if err := json.Unmarshal([]byte(`"maybe"`), &o); err == nil {
		t.Error("an unknown word was taken")
	}
}

func TestBlocks(t *testing.T) {
	for f, want := range map[Feature]bool{
		{Outcome: No, Required: true}: true, {Outcome: No}: false,
		{Required: true}: false, {Outcome: Yes, Required: true}: false,
	} {
		if f.Blocks() != want {
			t.Errorf("%+v: %v", f, !want)
		}
	}
}

func TestIsProbe(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want bool
	}{
		{[]string{"creel", ProbeRole, "inside"}, true},
		{[]string{"creel", ProbeRole}, false},
		{[]string{"creel", "run", ProbeRole}, false},
		{[]string{"creel", ProbeRole, "inside", "more"}, false},
		{nil, false},
	} {
		if IsProbe(tt.args) != tt.want {
			t.Errorf("%q: %v", tt.args, !tt.want)
		}
	}
}
