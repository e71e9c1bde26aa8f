package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/creel-run/creel/policy"
)

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// story is a short run: an allowed host, a denied method on it, a denied host
// twice, a packet, a rerouted model request.
func story() []Event {
	events := []Event{
		{Kind: SandboxStart},
		{Kind: Connect, Verdict: "allow", Host: "api.test", Port: 443, Binary: "/usr/bin/curl", Rule: "api", RuleAt: "p.yaml:3:5"},
		{Kind: Request, Verdict: "allow", Host: "api.test", Port: 443, Binary: "/usr/bin/curl", Rule: "api", RuleAt: "p.yaml:3:5", Method: "GET", Path: "/a"},
		{Kind: Request, Verdict: "deny", Host: "api.test", Port: 443, Binary: "/usr/bin/curl", Method: "DELETE", Path: "/a", Reason: "no rule allows DELETE"},
		{Kind: Connect, Verdict: "deny", Host: "evil.test", Port: 443, Binary: "/usr/bin/curl", Reason: "no rule names the host"},
		{Kind: Connect, Verdict: "deny", Host: "evil.test", Port: 443, Binary: "/usr/bin/curl", Reason: "no rule names the host"},
		{Kind: Refused, Verdict: "deny", Protocol: "udp", Host: "192.0.2.1", Port: 123, Reason: "only TCP and DNS leave"},
		{Kind: Connect, Verdict: "reroute", Host: "models.test", Port: 443},
		{Kind: Inference, Verdict: "reroute", Host: "models.test", Port: 443, Model: "big", Method: "POST", Path: "/v1/messages"},
		{Kind: InferenceDone, BytesIn: 3000, BytesOut: 100},
		{Kind: Close, BytesIn: 500, BytesOut: 20},
		{Kind: SandboxExit},
	}
	for i := range events {
		events[i].Time = start.Add(time.Duration(i) * 100 * time.Millisecond)
	}
	return events
}

func TestSummary(t *testing.T) {
	s := NewSummary()
	for _, e := range story() {
		s.Add(e)
	}
	var b strings.Builder
	suggest := func(e Entry) Proposal {
		if e.Host == "" || e.Protocol != "" {
			return Proposal{}
		}
		return Proposal{Rule: &policy.Draft{Key: "key", Binary: "/b", Remarks: []string{e.Host}}}
	}
	if err := s.Render(&b, SummaryOptions{Suggest: suggest, Audit: "/var/log/a\x1b.jsonl"}); err != nil {
		t.Fatal(err)
	}
	want := `creel: 1.1s · 2 allowed · 4 denied · 1 rerouted · 3.4 KiB in · 120 B out
allowed
      2× api.test:443 by /usr/bin/curl — rule api (p.yaml:3:5)
rerouted
      1× POST models.test:443/v1/messages model big
denied
      1× DELETE api.test:443/a by /usr/bin/curl — no rule allows DELETE
      2× evil.test:443 by /usr/bin/curl — no rule names the host
      1× udp 192.0.2.1:123 — only TCP and DNS leave
to allow what was denied, add what you agree with to the policy:
network_policies:
  # api.test
  key:
    endpoints:
    binaries:
      - {path: /b}
  # evil.test
  key_2:
    endpoints:
    binaries:
      - {path: /b}
audit: /var/log/a\x1b.jsonl
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	j, err := json.Marshal(s.Data(suggest))
	if err != nil {
		t.Fatal(err)
	}
	var back SummaryData
	if err := json.Unmarshal(j, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Totals{Allowed: 2, Denied: 4, Rerouted: 1, BytesIn: 3500, BytesOut: 120}, back.Totals); d != "" {
		t.Error(d)
	}
	if back.Millis != 1100 || len(back.Denied) != 3 || back.Denied[1].Count != 2 || len(back.Suggest) != 2 {
		t.Errorf("%s", j)
	}
}

func TestSummaryIsEmptyAtFirst(t *testing.T) {
	var s Summary // the zero value works too
	var b strings.Builder
	if err := s.Render(&b, SummaryOptions{}); err != nil || b.String() != "creel: 0s · 0 allowed · 0 denied · 0 rerouted · 0 B in · 0 B out\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	if j, err := json.Marshal(s.Data(nil)); err != nil || !strings.Contains(string(j), `"denied":[]`) {
		t.Errorf("%s, %v", j, err)
	}
}

// TestSummaryOfRemarks: what allows nothing is not announced as lines to add.
func TestSummaryOfRemarks(t *testing.T) {
	s := NewSummary()
	s.Add(Event{Kind: Connect, Verdict: "deny", Host: "a.test", Port: 443})
	var b strings.Builder
	if err := s.Render(&b, SummaryOptions{Suggest: func(Entry) Proposal { return Proposal{Note: "# not needed"} }, Next: "then"}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); !strings.HasSuffix(got, "about what was denied:\n# a.test:443: not needed\n") {
		t.Errorf("%s", got)
	}
}

// An unknown verdict must not look as if something was let out.
func TestSummaryCountsUnknownVerdictsAsDenied(t *testing.T) {
	s := NewSummary()
	for _, v := range []string{"", "ask", "ALLOW", "allowed"} {
		s.Add(Event{Kind: Connect, Verdict: v, Host: "a.test"})
	}
	if got := s.Totals(); got.Denied != 4 || got.Allowed != 0 {
		t.Errorf("%+v", got)
	}
}

func TestSummaryIsBoundedAndEscaped(t *testing.T) {
	s := NewSummary()
	for i := range maxEntries + 50 {
		s.Add(Event{Kind: Connect, Verdict: "deny", Host: fmt.Sprintf("h%d.test", i)})
	}
	s.Add(Event{Kind: Connect, Verdict: "allow", Host: "\x1b[2Jgood.test" + strings.Repeat("ü", maxShown)})
	d := s.Data(func(e Entry) Proposal { return Proposal{Note: e.Host} })
	if len(d.Denied) != maxEntries || d.More != 50 || d.Totals.Denied != maxEntries+50 || len(d.Allowed) != 1 || len(d.Suggest) != 20 {
		t.Errorf("denied %d, more %d, allowed %d, suggestions %d", len(d.Denied), d.More, len(d.Allowed), len(d.Suggest))
	}
	if n := len(d.Allowed[0].Host); n > maxShown+len("…") {
		t.Errorf("host of %d bytes", n)
	}
	var b strings.Builder
	if err := s.Render(&b, SummaryOptions{Suggest: func(Entry) Proposal { return Proposal{Note: "\x1b[31m"} }}); err != nil {
		t.Fatal(err)
	}
	if out := b.String(); strings.Contains(out, "\x1b") || !strings.Contains(out, "and 980 more\n") || !strings.Contains(out, "and 50 more decisions") {
		t.Errorf("%s", out)
	}
}

// Requests to one host by one program are one rule, and no suggestion changes
// because another one was merged with it.
func TestMergeOfRequests(t *testing.T) {
	entry := func(bin, method, path string) Entry {
		return Entry{Host: "a.test", Port: 443, Binary: bin, Method: method, Path: path}
	}
	list := suggestions([]Entry{entry("/c", "GET", "/x"), entry("/w", "GET", "/x"), entry("/c", "GET", "/y"), entry("/c", "GET", "/x"), entry("/c", "PUT", "/z"), entry("/c", "", "")}, SuggestFor(nil))
	lines, notes := merge(list)
	want := `network_policies:
  allow_a_test_443:
    endpoints:
      - host: a.test
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /x}
          - allow: {method: GET, path: /y}
          - allow: {method: PUT, path: /z}
          - allow: {method: GET, path: "/**"}
    binaries:
      - {path: /c}
  allow_a_test_443_2:
    endpoints:
      - host: a.test
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /x}
    binaries:
      - {path: /w}`
	if d := cmp.Diff(want, strings.Join(lines, "\n")); d != "" || len(notes) != 0 {
		t.Error(d, notes)
	}
	if _, _, err := policy.Parse("p", []byte("version: 2\n"+want)); err != nil {
		t.Error(err)
	}
	if strings.Contains(list[0].rule.YAML(""), "/y") {
		t.Error("merging has changed a suggestion")
	}
}

// A server that was not reached is told apart from what was let out.
func TestSummaryTellsFailures(t *testing.T) {
	s := NewSummary()
	s.Add(Event{Kind: Connect, Verdict: "allow", Inspected: true, Host: "a.test", Port: 443})
	s.Add(Event{Kind: Request, Verdict: "allow", Host: "a.test", Port: 443})
	s.Add(Event{Kind: Close, Host: "a.test", Port: 443, Reason: "connect: refused", Detail: map[string]string{"error": UpstreamFailed}})
	s.Add(Event{Kind: Close, Host: "b.test", Port: 443, Reason: "done"})
	for _, host := range []string{"m.test", "n.test"} { // two hosts, one backend
		s.Add(Event{Kind: Inference, Verdict: "reroute", Host: host, Port: 443, Path: "/v1/messages"})
		s.Add(Event{Kind: InferenceDone, Host: host, Port: 443, Path: "/v1/messages", Reason: "connection refused", Detail: map[string]string{"error": UpstreamFailed, "backend": "http://127.0.0.1:1"}})
	}
	s.Add(Event{Kind: InferenceDone, Host: "m.test", Port: 443, Reason: "the agent went away"})
	var b strings.Builder
	if err := s.Render(&b, SummaryOptions{}); err != nil || s.Totals().Failed != 1 || !strings.Contains(b.String(), "allowed, but not reached\n      1× a.test:443 — connect: refused") {
		t.Errorf("%v %s", err, b.String())
	}
	if s.Totals().Missed != 2 || s.Totals().Rerouted != 2 || !strings.Contains(b.String(), "rerouted, but not reached\n      2× http://127.0.0.1:1 — connection refused\n") {
		t.Error(b.String())
	}
}

func TestMergeOfSuggestions(t *testing.T) {
	denied := []Entry{
		{Host: "a.test", Port: 443, Path: "/x"}, {Host: "a.test", Port: 443, Path: "/y"}, {Host: "127.0.0.1", Port: 80},
		{Host: "a.test", Port: 443, Path: shorten("/" + strings.Repeat("z", maxShown))}, {Host: "quiet.test", Port: 1},
	}
	list := suggestions(denied, func(e Entry) Proposal {
		switch {
		case e.Host == "quiet.test":
			return Proposal{}
		case e.Port == 80:
			return Proposal{Note: "# never dialled\n"}
		}
		return Proposal{Rule: &policy.Draft{Key: "a", Remarks: []string{e.Path}}}
	})
	lines, notes := merge(list)
	want := []string{"network_policies:", "  # /x", "  a:", "    endpoints:", "    binaries: any", "  # /y", "  a_2:", "    endpoints:", "    binaries: any"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"# 127.0.0.1:80: never dialled"}, notes); d != "" {
		t.Error(d)
	}
}

func TestText(t *testing.T) {
	e := Event{
		Time: start, Kind: Request, Verdict: "deny", Method: "PUT", Host: "a\x1b.test", Port: 443, Path: "/x", Binary: "/bin/b",
		Status: 403, BytesIn: 2048, Millis: 5, Rule: "r", RuleAt: "p:1:2", Reason: "why", Model: "m", Detail: map[string]string{"k": "v\n"},
	}
	want := ` http.request      deny PUT a\x1b.test:443/x 403 model m by /bin/b 2.0 KiB in, 0 B out 5 ms rule r (p:1:2) — why k=v\n`
	if got := e.Text(); !strings.HasSuffix(got, want) {
		t.Errorf("%q, want %q at its end", got, want)
	}
}

func TestRead(t *testing.T) {
	log := string(join(lines(t, 3)...))
	tests := []struct {
		log    string
		events int
		want   string
	}{
		{log, 3, ""},
		{"", 0, ""},
		{strings.TrimSuffix(log, "\n"), 2, "line 3 has no end"},
		{log + "x\n", 3, "line 4"},
	}
	for _, tt := range tests {
		n, failed := 0, error(nil)
		for _, err := range Read(strings.NewReader(tt.log)) {
			if failed = err; err == nil {
				n++
			}
		}
		if n != tt.events || (failed == nil) != (tt.want == "") || failed != nil && !strings.Contains(failed.Error(), tt.want) {
			t.Errorf("%d events, %v; want %d, %q", n, failed, tt.events, tt.want)
		}
	}
	for _, err := range Read(failing{}) {
		if err == nil || errors.Unwrap(err) == nil {
			t.Errorf("%v", err)
		}
	}
}

func TestVerifyHead(t *testing.T) {
	ls := lines(t, 3)
	log := string(join(ls...))
	rep := verify(t, []byte(log))
	cut := string(ls[0]) // a sound log by itself
	for _, tt := range []struct {
		log, head string
		ok        bool
	}{{log, rep.Head, true}, {cut, rep.Head, false}, {cut, "", true}, {"", rep.Head, false}} {
		if rep, err := VerifyHead(strings.NewReader(tt.log), tt.head); err != nil || rep.OK() != tt.ok {
			t.Errorf("%+v, %v", rep, err)
		}
	}
}

// Denials by a message are told with what was asked, and what would allow each
// stands once, below its endpoint. No rule of a path is made of any.
func TestSummaryOfMessages(t *testing.T) {
	deny := func(path string, detail ...string) Event {
		e := Event{Kind: Request, Verdict: "deny", Host: "git.test", Port: 443, Method: "POST", Path: path, Binary: "/usr/bin/git", Detail: map[string]string{"layer": "request"}}
		for i := 0; i < len(detail); i += 2 {
			e.Detail[detail[i]] = detail[i+1]
		}
		return e
	}
	add := func(rule string) string {
		return "# add to the rules of the endpoint at g.yaml:8:9:\n#   - allow: {" + rule + "}\n"
	}
	s := NewSummary()
	s.Add(deny("/app/git-receive-pack", "git", "push app refs/heads/a", RuleMissing, add("refs: [refs/heads/a]")))
	s.Add(deny("/app/git-receive-pack", "git", "push app refs/heads/b\x1b[31m", RuleMissing, add("refs: [refs/heads/b]")))
	s.Add(deny("/app.git/git-receive-pack", "git", "push app refs/heads/a", RuleMissing, add("refs: [refs/heads/a]")))
	s.Add(deny("/"+strings.Repeat("long", maxShown), RuleMissing, "# no rule allows it\nnetwork_policies: {}\n"))
	s.Add(deny("/huge", "rpc", "tools/call huge", RuleMissing, add(strings.Repeat("x", MaxRuleMissing))))
	for _, key := range []string{"git", "graphql", "grpc", "package", "rpc"} {
		s.Add(deny("/old", key, "this\none"))
	}
	for _, engine := range []*policy.Engine{nil, engineOf(t, "version: 2\n")} {
		var b strings.Builder
		if err := s.Render(&b, SummaryOptions{Suggest: SuggestFor(engine)}); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		old := ": no lines are suggested, because a rest rule for this path would allow every request to it; add a rule for this to an endpoint with protocol: "
		want := `about what was denied:
# git.test:443: add to the rules of the endpoint at g.yaml:8:9:
#   - allow: {refs: [refs/heads/a]}
#   - allow: {refs: [refs/heads/b]}
# git.test:443: no rule allows it
# network_policies: {}
# git.test:443: rpc tools/call huge` + old + `mcp (or json-rpc)
# git.test:443: git this one` + old + `git
# git.test:443: graphql this one` + old + `graphql
# git.test:443: grpc this one` + old + `grpc
# git.test:443: package this one` + old + `package
# git.test:443: rpc this one` + old + `mcp (or json-rpc)
`
		if _, after, _ := strings.Cut(got, "about"); cmp.Diff(want, "about"+after) != "" {
			t.Error(cmp.Diff(want, "about"+after))
		}
		for _, line := range []string{
			"1× POST git.test:443/app/git-receive-pack (git push app refs/heads/a) by /usr/bin/git\n",
			"1× POST git.test:443/app/git-receive-pack (git push app refs/heads/b\\x1b[31m) by /usr/bin/git\n",
		} {
			if !strings.Contains(got, line) {
				t.Errorf("no %q in %s", line, got)
			}
		}
	}
	// A policy that lets the request through by now needs nothing.
	allows := engineOf(t, "version: 2\nnetwork_policies:\n  a:\n    endpoints: [{host: git.test, port: 443}]\n    binaries: any\n")
	if d := s.Data(SuggestFor(allows)); d.Policy != "" {
		t.Error(d.Policy)
	}
	// With the endpoint at hand an old log is told where it is.
	there := engineOf(t, "version: 2\nnetwork_policies:\n  a:\n    endpoints: [{host: git.test, port: 443, protocol: git, rules: [{allow: {operation: fetch, repository: app}}]}]\n    binaries: any\n")
	if d := s.Data(SuggestFor(there)); !strings.Contains(d.Policy, "# git.test:443: rpc this\none: ") && !strings.Contains(d.Policy, "the endpoint at p:4:") || strings.Contains(d.Policy, "protocol: rest\n") {
		t.Error(d.Policy)
	}
}

func engineOf(t *testing.T, text string) *policy.Engine {
	t.Helper()
	doc, _, err := policy.Parse("p", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return engine
}
