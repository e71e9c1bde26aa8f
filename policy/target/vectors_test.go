package target

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/creel-run/creel/internal/vectors"
	"github.com/creel-run/creel/policy/glob"
)

var canonicalStricter = map[string]string{
	"pc-query-bad-pct":         "a query that does not decode refuses the request",
	"pc-backslash-raw":         "dot segments between backslashes are refused, some upstreams take them for slashes",
	"pc-add-userinfo-absolute": "user information in a target is refused",
}

func TestVectorPathCanonical(t *testing.T) {
	vectors.Run(t, "path_canonical", canonicalStricter, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Target            string
			AllowEncodedSlash bool `json:"allow_encoded_slash"`
		}
		var want struct {
			Path, Error string
			Query       *string
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		got, err := Parse(in.Target, in.AllowEncodedSlash)
		detail := fmt.Sprintf("%q %v", got, err)
		switch {
		case err != nil:
			return vectors.Bool(false, want.Error == ""), detail
		case want.Error != "" || got.Path != want.Path || got.HasQuery != (want.Query != nil):
			return vectors.Wrong, detail
		case want.Query != nil && *want.Query != got.RawQuery:
			return vectors.Wrong, detail
		}
		return vectors.Same, detail
	})
}

// matcher reads a matcher of a vector: a glob, or {"any": [globs]}.
func matcher(t *testing.T, v any) (Matcher, error) {
	t.Helper()
	switch v := v.(type) {
	case string:
		return ParseMatcher(v)
	case map[string]any:
		var globs []string
		if list, ok := v["any"].([]any); ok && len(v) == 1 {
			for _, g := range list {
				globs = append(globs, g.(string))
			}
			return ParseMatcher(globs...)
		}
	}
	t.Fatalf("unknown matcher %v", v)
	return Matcher{}, nil
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
			g, err := glob.Compile(in.Pattern, '.')
			return vectors.Bool(g.Match(in.Value), want.Match), fmt.Sprint(err)
		case "decode":
			got, err := DecodeQuery(in.Query)
			switch {
			case err != nil:
				return vectors.Bool(false, want.Error == ""), fmt.Sprint(err)
			case want.Error != "" || !reflect.DeepEqual(got, want.Params):
				return vectors.Wrong, fmt.Sprint(got)
			}
			return vectors.Same, ""
		}
		byKey := map[string]Matcher{}
		for k, v := range in.Matchers {
			m, err := matcher(t, v)
			if err != nil { // the policy is refused, so nothing is allowed
				return vectors.Bool(false, want.Fires == (in.Kind == "allow")), fmt.Sprint(err)
			}
			byKey[k] = m
		}
		ms := NewMatchers(byKey)
		switch in.Kind {
		case "allow":
			return vectors.Bool(ms.Allows(in.Params), want.Fires), ""
		case "deny":
			return vectors.Bool(!ms.Denies(in.Params), !want.Fires), ""
		}
		t.Fatalf("unknown kind %q", in.Kind)
		return vectors.Wrong, ""
	})
}

const oneSegment = "* stays within a segment, for choosing and for authorising alike"

var selectorStricter = map[string]string{
	"ep-006": oneSegment,
	"ep-031": oneSegment,
}

func TestVectorEndpointPath(t *testing.T) {
	vectors.Run(t, "endpoint_path", selectorStricter, func(t *testing.T, e vectors.Entry) (vectors.Outcome, string) {
		var in struct {
			Kind, Selector, Path string
			Endpoints            []struct{ Path string }
		}
		var want struct {
			Match       bool
			Specificity int
			Index       *int
		}
		vectors.Decode(t, e.In, &in)
		vectors.Decode(t, e.Want, &want)
		if in.Kind == "match" {
			s, err := ParseSelector(in.Selector)
			if err == nil && s.Specificity() != want.Specificity {
				return vectors.Wrong, fmt.Sprint("specificity ", s.Specificity())
			}
			return vectors.Bool(s.Match(in.Path), want.Match), fmt.Sprint(err)
		}
		var list []Selector
		for _, p := range in.Endpoints {
			s, err := ParseSelector(p.Path)
			if err != nil { // the policy is refused, so nothing is chosen
				return vectors.Bool(false, want.Index != nil), err.Error()
			}
			list = append(list, s)
		}
		i, ok := Select(list, in.Path)
		switch {
		case !ok:
			return vectors.Bool(false, want.Index != nil), "none"
		case want.Index == nil || *want.Index != i:
			return vectors.Wrong, fmt.Sprint(i)
		}
		return vectors.Same, ""
	})
}
