package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/internal/naive"
	"github.com/creel-run/creel/internal/policygen"
	"github.com/creel-run/creel/policy"
)

// Layers mean what the naive evaluator makes of them, allow no more than those
// above but under names that are open, and every decision names the file and
// line of the rule that made it.
func TestLayersAgreeWithNaive(t *testing.T) {
	counts := map[string]int{}
	property := func(t *rapid.T) {
		texts := policygen.Layers(t, policygen.Of{})
		last := len(texts) - 1
		files := map[string]string{}
		layers := make([]naive.Policy, len(texts))
		for i, text := range texts {
			files[policygen.LayerName(i)] = text
			var err error
			if layers[i], err = naive.Read(text); err != nil {
				t.Fatal(err)
			}
		}
		all := strings.Join(texts, "---\n")
		doc, _, err := policy.ParseLayers(policygen.LayerName(last), []byte(texts[last]), func(_, name string) (string, []byte, error) {
			if text, ok := files[name]; ok {
				return name, []byte(text), nil
			}
			return "", nil, errors.New("there is no such file")
		})
		if err != nil {
			counts["refused"]++
			return
		}
		if !slices.ContainsFunc(doc.Networks, func(n policy.Network) bool { return len(n.Endpoints) > 0 }) {
			return
		}
		counts["layered documents"]++
		p := newPair(t, doc, naive.Layers(layers...), all)
		above := wayAbove(layers)
		for range 50 {
			r := policygen.Question(t, doc)
			if fault := p.looser(above, r); fault != "" {
				t.Fatalf("%s\nof:\n%s", fault, all)
			}
			if fault := origin(p.engine, r, files, layers); fault != "" {
				t.Fatalf("%s\nof:\n%s", fault, all)
			}
			counts[p.ask(t, r)]++
		}
	}
	for range 8 {
		rapid.Check(t, property)
	}
	t.Log(counts)
	for _, outcome := range []string{"layered documents", "refused", "refused connection", "uninspected", "denied", "allowed", "counted"} {
		if counts[outcome] == 0 {
			t.Errorf("no %s among what was drawn: %v", outcome, counts)
		}
	}
	if counts["refused"] > 2*counts["layered documents"] {
		t.Errorf("two of three layers are refused: %v", counts)
	}
}

// wayAbove are the policies above the last layer: all of them, and the same with
// what the last one says under open names.
func wayAbove(layers []naive.Policy) [2]naive.Policy {
	last := len(layers) - 1
	up := naive.Layers(layers[:last]...)
	opened := layers[last]
	opened.Unmatched, opened.Limit = "", 0
	opened.Networks = slices.DeleteFunc(slices.Clone(opened.Networks), func(n naive.Network) bool { return !naive.Open(layers[:last], n.Key) })
	return [2]naive.Policy{up, naive.Layers(append(slices.Clone(layers[:last]), opened)...)}
}

// looser says what the engine lets through and neither of the policies above, used
// as often, does.
func (p *pair) looser(above [2]naive.Policy, r policy.Request) string {
	r.Uses = p.uses
	rank := map[policy.Verdict]int{policy.Ask: 1, policy.Allow: 2}
	q, c := naive.FromConnection(r.Connection), naive.FromRequest(r)
	q.Used, c.Used = p.used, p.used
	low, lowRequest := p.engine.Connect(r.Connection), p.engine.Request(r)
	fits := func(a naive.Answer, v policy.Verdict) bool {
		return a.Allowed || a.Asked && rank[v] < 2 || rank[v] == 0
	}
	connection, uninspected, opaque, request := false, false, false, false
	for _, up := range above {
		a := naive.Judge(up, q)
		connection = connection || fits(a, low.Verdict)
		uninspected = uninspected || a.Allowed && !a.Inspect
		opaque = opaque || a.Allowed && a.SkipTLS
		request = request || fits(naive.Judge(up, c), lowRequest.Verdict)
	}
	if !connection || !request || low.Verdict == policy.Allow && !low.Inspect && !uninspected || low.SkipTLS && !opaque {
		return fmt.Sprintf("%s: below %+v, request %+v\n%+v\nabove %+v", r.Host, low, lowRequest, r, naive.Judge(above[0], c))
	}
	return ""
}

// origin says if a decision names another place than that of its rule.
func origin(e *policy.Engine, r policy.Request, files map[string]string, layers []naive.Policy) string {
	r.Uses = new(policy.Uses)
	d := e.Request(r)
	if d.Rule.Policy == "" {
		return ""
	}
	lines := strings.Split(files[d.Rule.At.File], "\n")
	if d.Rule.At.Line < 1 || d.Rule.At.Line > len(lines) {
		return fmt.Sprintf("no such place: %+v", d)
	}
	line, key := strings.TrimSpace(lines[d.Rule.At.Line-1]), ""
	for _, l := range lines[:d.Rule.At.Line] { // the network policy that the line is in
		if strings.HasPrefix(l, "  ") && !strings.HasPrefix(l, "   ") {
			key = strings.TrimSuffix(strings.TrimSpace(l), ":")
		}
	}
	if key != d.Rule.Policy || !strings.HasPrefix(line, "- ") {
		return fmt.Sprintf("%q in %q is not the place of %+v", line, key, d)
	}
	if d.Verdict == policy.Allow && !d.Audited { // the last layer that speaks of it
		last := ""
		for i, l := range layers {
			if slices.ContainsFunc(l.Networks, func(n naive.Network) bool { return n.Key == key }) {
				last = policygen.LayerName(i)
			}
		}
		if d.Rule.At.File != last {
			return fmt.Sprintf("%s has the last word about %s, and not %+v", last, key, d)
		}
	}
	return ""
}
