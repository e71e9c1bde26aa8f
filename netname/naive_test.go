package netname_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/internal/naive"
	"github.com/creel-run/creel/netname"
)

// Host patterns and middleware selectors agree with the naive reading.
func TestPatternAgreesWithNaive(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"a", "b", "A", "*", "**", ".", ".", "-", "1", "_", "test"})
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(pieces, 1, 7).Draw(t, "pattern"), "") + rapid.SampledFrom([]string{"", ".test", ".a.test"}).Draw(t, "end")
		p, err := netname.ParsePattern(text)
		s, serr := netname.ParseSelector(text)
		if err != nil && serr != nil {
			counts["refused"]++
			return
		}
		for range 10 {
			name := strings.Join(rapid.SliceOfN(pieces, 1, 6).Draw(t, "host"), "")
			if rapid.IntRange(0, 2).Draw(t, "near") > 0 {
				name = strings.NewReplacer("**", rapid.SampledFrom([]string{"a", "a.b", "b.a.b"}).Draw(t, "labels"),
					"*", rapid.SampledFrom([]string{"", "a", "ab", "a.b"}).Draw(t, "label")).Replace(text)
			}
			if rapid.IntRange(0, 9).Draw(t, "address") == 9 {
				name = rapid.SampledFrom([]string{"1.1.1.1", "::1", "::ffff:1.1.1.1", "192.0.2.1"}).Draw(t, "an address")
			}
			h, herr := netname.ParseHost(name)
			if herr != nil {
				continue
			}
			if want := naive.HostTaken(text, h.String()); err == nil && p.Match(h) != want {
				t.Fatalf("pattern %q takes %q: %v, want %v", text, h, p.Match(h), want)
			}
			want := naive.SelectorTaken(text, h.String())
			if serr == nil && s.Match(h) != want {
				t.Fatalf("selector %q takes %q: %v, want %v", text, h, s.Match(h), want)
			}
			counts[map[bool]string{true: "taken", false: "not taken"}[want]]++
		}
	})
	t.Log(counts)
	if counts["taken"] == 0 || counts["not taken"] == 0 {
		t.Errorf("one outcome is missing: %v", counts)
	}
}
