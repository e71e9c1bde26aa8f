package automaton_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/policy/automaton"
)

var (
	escape = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	climb  = regexp.MustCompile(`(^|[/\\])\.\.?($|[/\\])|\x00`)
)

// TestClimbing: as it is, decoded once and decoded twice, and what has a third level.
func TestClimbing(t *testing.T) {
	decoded := func(s string) string {
		return escape.ReplaceAllStringFunc(s, func(e string) string {
			b, err := strconv.ParseUint(e[1:], 16, 8)
			if err != nil {
				t.Fatal(err)
			}
			return string([]byte{byte(b)})
		})
	}
	climbs := func(s string) bool {
		once := decoded(s)
		twice := decoded(once)
		return climb.MatchString(s) || climb.MatchString(once) || climb.MatchString(twice) || escape.MatchString(twice)
	}
	a := automaton.Climbing()
	if a.Size() > 200 {
		t.Errorf("%d states", a.Size())
	}
	counts := map[bool]int{}
	pieces := []string{".", "..", "/", `\`, "%", "%2e", "%2E", "%2f", "%5c", "%25", "%00", "%41", "%3", "%zz", "2", "5", "e", "E", "c", "0", "a", "x", "\x00", "é", "%252e", "%32", "%65"}
	rapid.Check(t, func(t *rapid.T) {
		for range 40 {
			s := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 9).Draw(t, "pieces"), "")
			want := climbs(s)
			if a.Match(s) != want {
				t.Fatalf("%q: automaton %v, want %v", s, a.Match(s), want)
			}
			counts[want]++
		}
	})
	if counts[true] < 100 || counts[false] < 100 {
		t.Error(counts)
	}
}
