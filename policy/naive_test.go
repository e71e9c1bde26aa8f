package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/creel-run/creel/internal/naive"
	"github.com/creel-run/creel/internal/policygen"
	"github.com/creel-run/creel/internal/vectors"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// The compiled engine and the naive evaluator agree about random documents and
// sequences of connections and requests: whether one is let through and how it
// goes on, whether that is for audit alone, who is asked, what is counted, when
// the answer ends, and which limits hold.
func TestEngineAgreesWithNaive(t *testing.T) {
	counts, protocols := map[string]int{}, map[string]int{}
	property := func(t *rapid.T) {
		doc, text, err := policygen.Draw(t, policygen.Of{})
		if err != nil {
			counts["documents refused"]++
			t.Skip(err)
		}
		counts["documents"]++
		plain, err := naive.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		p := newPair(t, doc, plain, text)
		var r policy.Request
		for i := range 50 {
			if i == 0 || rapid.IntRange(0, 3).Draw(t, "again") < 3 { // uses are used up by repetition
				r = policygen.Question(t, doc)
			}
			outcome := p.ask(t, r)
			counts[outcome]++
			if g := p.engine.Governing(r.Connection, r.Target.Path); g != nil && (outcome == "allowed" || outcome == "denied") {
				protocols[string(g.Protocol)+" "+outcome]++
			}
		}
	}
	for range 8 { // a document says one thing, and there is much to say
		rapid.Check(t, property)
	}
	t.Log(counts, protocols)
	for _, p := range []policy.Protocol{policy.REST, policy.GraphQL, policy.WebSocket, policy.JSONRPC, policy.MCP, policy.Git, policy.Package} {
		if protocols[string(p)+" allowed"] == 0 || protocols[string(p)+" denied"] == 0 {
			t.Errorf("protocol %s was not compared: %v", p, protocols)
		}
	}
	for _, outcome := range []string{"documents", "refused connection", "asked connection", "uninspected", "counted connection", "denied", "asked", "allowed", "audited", "counted"} {
		if counts[outcome] == 0 {
			t.Errorf("no %s among what was drawn: %v", outcome, counts)
		}
	}
	if counts["documents refused"]*20 > counts["documents"] {
		t.Errorf("more than one in twenty documents is refused: %v", counts)
	}
}

// The same for policies that people wrote: the corpus and the vectors.
func TestEngineAgreesWithNaiveOnWritten(t *testing.T) {
	documents := written(t)
	if len(documents) < 20 {
		t.Fatalf("only %d documents", len(documents))
	}
	names := slices.Sorted(maps.Keys(documents))
	counts := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "document")
		doc := documents[name]
		p := newPair(t, doc, naive.FromDocument(doc), name)
		for range 20 {
			counts[p.ask(t, policygen.Question(t, doc))]++
		}
	})
	t.Log(len(documents), counts)
}

// written are all documents of the corpus and of the vectors that load and name
// an endpoint.
func written(t *testing.T) map[string]*policy.Document {
	t.Helper()
	documents := map[string]*policy.Document{}
	add := func(name string, data []byte) {
		doc, _, err := policy.Parse(name, data)
		if err == nil && len(doc.Networks) > 0 && !slices.ContainsFunc(doc.Networks, func(n policy.Network) bool { return len(n.Endpoints) == 0 }) {
			documents[name] = doc
		}
	}
	err := filepath.WalkDir("testdata/corpus", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			add(path, data)
			add(path+" as a preset", presetDocument(t, data))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := vectors.Dir()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"policy_decision.json", "policy_validation.json"} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another folder of vectors, see package vectors
		}
		if err != nil {
			t.Fatal(err)
		}
		var entries []struct {
			ID string
			In struct{ Policy string }
		}
		if err := json.Unmarshal(data, &entries); err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			add(e.ID, []byte(e.In.Policy))
		}
	}
	return documents
}

// pair is a policy in both evaluators, each with its own count of what was used.
type pair struct {
	doc    *policy.Document
	engine *policy.Engine
	plain  naive.Policy
	text   string

	uses *policy.Uses
	used map[string]int64
}

func newPair(t *rapid.T, doc *policy.Document, plain naive.Policy, text string) *pair {
	engine, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{doc, engine, plain, text, new(policy.Uses), map[string]int64{}}
}

// ask compares the answers to one question, counts it if it is let through, and
// names the outcome. What they disagree about is shown with as little of the
// document as it takes.
func (p *pair) ask(t *rapid.T, r policy.Request) string {
	if rapid.IntRange(0, 15).Draw(t, "no counts") < 15 {
		r.Uses = p.uses
	}
	outcome, fault := p.compare(r)
	if fault == "" {
		return outcome
	}
	least := policygen.Reduce(p.doc, func(d *policy.Document) bool {
		e, err := policy.Compile(d)
		if err != nil {
			return false
		}
		q := pair{d, e, naive.FromDocument(d), "", p.uses, p.used}
		_, fault := q.compareNow(r)
		return fault != ""
	})
	t.Fatalf("%s\nof %+v\nof:\n%s", fault, naive.FromDocument(least), p.text)
	return ""
}

// compare says where engine and evaluator differ, or names the outcome and takes
// what was used.
func (p *pair) compare(r policy.Request) (outcome, fault string) {
	outcome, fault = p.compareNow(r)
	if fault != "" || r.Uses == nil {
		return outcome, fault
	}
	d := p.engine.Request(r)
	if d.Verdict != policy.Allow || d.Uses == nil {
		return outcome, ""
	}
	if !p.uses.Take(d.Uses) {
		return "", "what was allowed cannot be taken"
	}
	for _, key := range p.wants(r).Uses {
		p.used[key]++
	}
	held := r // judged again while it is in flight, as at a reload
	held.Holds = []*policy.Counters{d.Uses}
	if again := p.engine.Request(held); again.Verdict != policy.Allow {
		return "", fmt.Sprintf("what is in flight is %v: %s", again.Verdict, again.Reason)
	}
	return "counted" + map[bool]string{true: " connection"}[!p.engine.Connect(r.Connection).Inspect], ""
}

func (p *pair) wants(r policy.Request) naive.Answer {
	q := naive.FromRequest(r)
	if r.Uses != nil {
		q.Used = p.used
	}
	return naive.Judge(p.plain, q)
}

// compareNow changes nothing.
func (p *pair) compareNow(r policy.Request) (outcome, fault string) {
	asked, err := json.Marshal(r)
	if err != nil {
		return "", err.Error()
	}
	q := naive.FromConnection(r.Connection)
	if r.Uses != nil {
		q.Used = p.used
	}
	c, want := p.engine.Connect(r.Connection), naive.Judge(p.plain, q)
	different := func(what string, got any) (string, string) {
		return "", fmt.Sprintf("%s: %s %s\nused   %v\nengine %+v\nnaive  %+v", what, r.Host, asked, p.used, got, want)
	}
	if !same(c.Decision, want) {
		return different("connection", c)
	}
	limits := map[int]bool{}
	p.engine.Limits(r.Connection, r.Target.Path, func(l *policy.Limited) { limits[int(l.Limits.Connections)] = true })
	delete(limits, 0)
	if w := naive.Limits(p.plain, naive.FromRequest(r)); !maps.Equal(limits, w) {
		return different(fmt.Sprint("limits ", w), limits)
	}
	if !want.Allowed {
		if d := p.engine.Request(r); d.Verdict != c.Verdict {
			return different("request", d)
		}
		return map[bool]string{true: "asked connection", false: "refused connection"}[want.Asked], ""
	}
	addresses := map[netname.DestinationMode]string{netname.AllowedIPs: "allowed_ips", netname.LiteralIP: "literal", netname.DeclaredHost: "host"}[c.Destination.Mode]
	if c.Rule.Policy != want.Policies[0] || c.Inspect != want.Inspect || c.SkipTLS != want.SkipTLS || c.AllowEncodedSlash != want.EncodedSlash ||
		addresses != want.Addresses || !c.Until.Equal(want.Until) {
		return different("how it goes on", c)
	}
	d := p.engine.Request(r)
	if want = p.wants(r); !same(d, want) {
		return different("request", d)
	}
	switch {
	case !want.Inspect:
		return "uninspected", ""
	case want.Audited:
		return "audited", ""
	case want.Allowed:
		return "allowed", ""
	case want.Asked:
		return "asked", ""
	}
	return "denied", ""
}

// same compares verdicts, and whether something is counted; what, the answers to
// later questions show.
func same(d policy.Decision, want naive.Answer) bool {
	verdict := policy.Deny
	switch {
	case want.Allowed:
		verdict = policy.Allow
	case want.Asked:
		verdict = policy.Ask
	}
	return d.Verdict == verdict && d.Audited == want.Audited && (d.Uses != nil) == (len(want.Uses) > 0)
}
