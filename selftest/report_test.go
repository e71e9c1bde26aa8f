package selftest

import "testing"

// TestVerdictIsTheWorst: nothing that is said later makes a layer better.
func TestVerdictIsTheWorst(t *testing.T) {
	v := &verdicts{}
	for _, s := range []State{Enforced, Degraded, Enforced, Broken, Absent, Enforced} {
		v.of("a").add(s, string(s))
	}
	v.of("b").add(Enforced, "")
	if len(v.list) != 2 || v.list[0].State != Broken || v.list[0].Evidence[0] != "absent" || v.list[1].State != Enforced {
		t.Errorf("%+v %+v", v.list[0], v.list[1])
	}
}
