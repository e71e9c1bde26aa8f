package glob

import (
	"fmt"
	"testing"

	"github.com/creel-run/creel/internal/vectors"
)

func TestVectorPathMatch(t *testing.T) {
	vectors.Run(t, "path_match", nil, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct{ Pattern, Path string }
		var want struct {
			Match        bool
			PatternError bool `json:"pattern_error"`
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		g, err := Compile(in.Pattern, '/')
		got := fmt.Sprint(g.Match(in.Path), " ", err)
		switch {
		case want.PatternError && err == nil:
			return vectors.Wrong, got
		case !want.PatternError && err != nil:
			return vectors.Bool(false, true), got
		}
		return vectors.Bool(g.Match(in.Path), want.Match), got
	})
}
