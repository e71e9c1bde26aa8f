package traffic_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/audit/traffic"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// log is a log file of events, as a sandbox would have written it.
func log(t testing.TB, events ...audit.Event) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	l, err := audit.Open(path, "box")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := l.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func connect(conn uint64, verdict, host string, inspected bool) audit.Event {
	return audit.Event{Kind: audit.Connect, Conn: conn, Verdict: verdict, Host: host, Port: 443, Binary: "/usr/bin/curl", Inspected: inspected, Rule: "old", RuleAt: "o.yaml:1:2"}
}

func request(conn uint64, verdict, host, method, path string) audit.Event {
	e := connect(conn, verdict, host, false)
	e.Kind, e.Method, e.Path = audit.Request, method, path
	return e
}

func layered(e audit.Event, layer string) audit.Event {
	e.Detail = map[string]string{"layer": layer}
	return e
}

func TestRead(t *testing.T) {
	unverified := connect(0, "deny", "u.test", false)
	unverified.Unverified = true
	noPath := request(0, "deny", "a.test", "GET", "")
	noPath.Path = "relative"
	text := log(t,
		audit.Event{Kind: audit.SandboxStart},
		connect(1, "allow", "a.test", true), // its request follows
		request(1, "allow", "a.test", "GET", "/x%2Fy"),
		connect(2, "allow", "b.test", true), // none follows
		audit.Event{Kind: audit.Close, Conn: 2, Host: "b.test", Port: 443},
		connect(3, "allow", "c.test", true), // nor here, and it never ends
		layered(connect(4, "deny", "d.test", false), "connection"),
		layered(connect(5, "deny", "e.test", false), "address"),
		layered(request(5, "deny", "e.test", "GET", "/"), "http"),
		audit.Event{Kind: audit.Refused, Verdict: "deny", Protocol: "udp", Host: "192.0.2.1", Port: 53},
		audit.Event{Kind: audit.Inference, Verdict: "reroute", Host: "m.test", Port: 443, Method: "POST", Path: "/v1"},
		connect(6, "reroute", "m.test", false),
		connect(7, "ask", "q.test", false),
		connect(8, "whatever", "w.test", false),
		connect(9, "deny", "not a host", false),
		noPath,
		unverified,
	)
	var got []string
	rep, err := traffic.Read(strings.NewReader(text), func(c traffic.Call) {
		got = append(got, fmt.Sprintf("%d %s %s%s known=%t", c.Line, c.Verdict, c.Method, c.Host.String()+c.Path, c.Known))
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"3 allow GETa.test/x%2Fy known=true",
		"4 allow b.test known=true",
		"7 deny d.test known=true",
		"12 reroute m.test known=true",
		"13 ask q.test known=true",
		"14 deny w.test known=true",
		"17 deny u.test known=false",
		"6 allow c.test known=true",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if rep.Calls != 8 || rep.Other != 3 || rep.Unreadable != 2 || !rep.OK() {
		t.Errorf("%+v", rep)
	}
}

// A damaged line counts for nothing and is reported by its number; what follows
// it is read.
func TestDamage(t *testing.T) {
	lines := strings.SplitAfter(log(t, connect(1, "allow", "a.test", false), connect(2, "allow", "b.test", false), connect(3, "allow", "c.test", false)), "\n")[:3]
	changed := strings.Replace(lines[1], "b.test", "x.test", 1)
	for name, tt := range map[string]struct {
		text  string
		calls string
		line  uint64 // of the first fault
		torn  bool
	}{
		"sound":       {lines[0] + lines[1] + lines[2], "a.test b.test c.test", 0, false},
		"changed":     {lines[0] + changed + lines[2], "a.test c.test", 2, false},
		"no event":    {lines[0] + "{}\n" + lines[2], "a.test c.test", 2, false},
		"no hash":     {lines[0] + `{"kind":"net.connect","verdict":"allow","host":"x.test","port":443}` + "\n" + lines[2], "a.test c.test", 2, false},
		"missing":     {lines[0] + lines[2], "a.test c.test", 2, false},
		"no start":    {lines[1] + lines[2], "b.test c.test", 1, false},
		"torn":        {lines[0] + lines[1][:50], "a.test", 0, true},
		"empty lines": {lines[0] + "\n\n" + lines[1], "a.test b.test", 2, false},
	} {
		var hosts []string
		rep, err := traffic.Read(strings.NewReader(tt.text), func(c traffic.Call) { hosts = append(hosts, c.Host.String()) })
		if err != nil || strings.Join(hosts, " ") != tt.calls || (rep.Torn != nil) != tt.torn {
			t.Errorf("%s: %v %+v %v", name, hosts, rep, err)
		}
		if got := len(rep.Faults) > 0; got != (tt.line > 0) || got && rep.Faults[0].Line != tt.line {
			t.Errorf("%s: %+v", name, rep.Faults)
		}
	}
}

func engine(t testing.TB, text string) *policy.Engine {
	t.Helper()
	doc, _, err := policy.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.Compile(doc)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestReplay(t *testing.T) {
	e := engine(t, `version: 2
network_policies:
  a:
    endpoints:
      - {host: a.test, port: 443, protocol: rest, rules: [{allow: {method: GET, path: "/ok/**"}}, {allow: {method: GET, path: /q, query: {k: v}}}]}
      - {host: audit.test, port: 443, protocol: rest, enforcement: audit, access: read-only}
      - {host: raw.test, port: 443}
    binaries: [/usr/bin/curl]
  models:
    endpoints: [{host: model2.test, port: 443, protocol: rest, access: full}]
    binaries: [/usr/bin/curl]
`)
	tests := []struct {
		name  string
		event audit.Event
		want  string // "": as it was
	}{
		{"allowed by both", request(1, "allow", "a.test", "GET", "/ok/1"), ""},
		{"denied by both", request(1, "deny", "a.test", "POST", "/ok/1"), ""},
		{"request opened", request(1, "deny", "a.test", "GET", "/ok/1"), "deny old -> allow a"},
		{"request closed", request(1, "allow", "a.test", "GET", "/no"), "allow old -> deny "},
		{"connection closed", connect(1, "allow", "other.test", false), "allow old -> deny "},
		{"connection opened", connect(1, "deny", "raw.test", false), "deny old -> allow a"},
		{"connection opened, its requests are judged", connect(1, "deny", "a.test", false), "deny old -> allow a inspected"},
		{"not inspected any more", request(1, "deny", "raw.test", "POST", "/"), "deny old -> allow a"},
		{"only audited now", request(1, "deny", "audit.test", "POST", "/"), "deny old -> allow a"},
		{"encoded slash", request(1, "allow", "a.test", "GET", "/ok/a%2Fb"), "allow old -> deny "},
		{"query is not kept", request(1, "allow", "a.test", "GET", "/q"), "allow old -> deny  unsure: the query of the request"},
		{"query is not kept, as before", request(1, "deny", "a.test", "GET", "/q"), "deny old -> deny  unsure: the query of the request"},
		{"asked", connect(1, "ask", "other.test", false), "ask old -> deny "},
		{"claimed now", connect(1, "allow", "model.test", false), "allow old -> reroute "},
		{"claimed as before", connect(1, "reroute", "model.test", false), ""},
		{"claimed no more", connect(1, "reroute", "other.test", false), "reroute old -> deny "},
		{"model call, routed", request(1, "allow", "model2.test", "POST", "/ok/v1/messages"), "allow old -> reroute models"},
		{"model call, denied", request(1, "allow", "model2.test", "POST", "/ok/api/chat"), "allow old -> deny models"},
		{"of another layer", layered(request(1, "deny", "a.test", "GET", "/ok/1"), "http"), ""},
	}
	for _, tt := range tests {
		r := traffic.NewReplay(e, func(h netname.Host, _ uint16) bool { return h.String() == "model.test" }, func(path string) bool { return path == "/v1/messages" })
		if _, err := traffic.Read(strings.NewReader(log(t, tt.event, tt.event)), r.Add); err != nil {
			t.Fatal(err)
		}
		res, got := r.Result(), ""
		for _, c := range append(res.Flips, res.Unsure...) {
			got = fmt.Sprintf("%s %s -> %s %s", c.Then.Verdict, c.Then.Rule, c.Now.Verdict, c.Now.Rule)
			if c.Inspected {
				got += " inspected"
			}
			if c.Unsure != "" {
				got += " unsure: " + c.Unsure
			}
			if c.Count != 2 || c.First != 1 || c.Then.At != "o.yaml:1:2" || c.Reason == "" {
				t.Errorf("%s: %+v", tt.name, c)
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestReplayIsBounded(t *testing.T) {
	r := traffic.NewReplay(nil, nil, nil)
	h, err := netname.ParseHost("a.test")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10010 {
		r.Add(traffic.Call{Line: uint64(i + 1), Host: h, Port: 443, Method: "GET", Path: fmt.Sprintf("/%d", i), Verdict: policy.Allow})
	}
	if res := r.Result(); len(res.Flips) != 10000 || res.More != 10 || res.Same != 0 {
		t.Errorf("%d flips, %d more", len(res.Flips), res.More)
	}
}

// Whatever the bytes are: no panic, and no call out of a line that is not sound.
func FuzzRead(f *testing.F) {
	f.Add([]byte(log(f, connect(1, "allow", "a.test", true), request(1, "deny", "a.test", "GET", "/x"), connect(2, "ask", "b.test", false))))
	f.Add([]byte(log(f, layered(connect(4, "deny", "d.test", false), "connection"))[:80]))
	f.Add([]byte("{}\n\n[1]\n"))
	e := engine(f, "version: 1\nnetwork_policies:\n  a:\n    endpoints: [{host: a.test, port: 443, protocol: rest, access: full}]\n    binaries: [{path: /b}]\n")
	f.Fuzz(func(t *testing.T, data []byte) {
		r := traffic.NewReplay(e, nil, nil)
		rep, err := traffic.Read(strings.NewReader(string(data)), func(c traffic.Call) {
			if c.Host.IsZero() || c.Port == 0 || c.Line == 0 || c.Line > uint64(strings.Count(string(data), "\n")) {
				t.Errorf("%+v", c)
			}
			r.Add(c)
		})
		if err != nil {
			t.Fatal(err)
		}
		res := r.Result()
		n := res.Same + res.More
		for _, c := range append(res.Flips, res.Unsure...) {
			n += c.Count
		}
		if n != rep.Calls {
			t.Errorf("%d calls, %d in the result", rep.Calls, n)
		}
	})
}

// FuzzCall gives every field of an event any bytes, in a line that is sound.
func FuzzCall(f *testing.F) {
	f.Add("net.connect", "allow", "a.test", uint16(443), "/usr/bin/curl", "", "", false)
	f.Add("http.request", "deny", "a.test", uint16(443), "/usr/bin/curl", "GET", "/x%2Fy", true)
	e := engine(f, "version: 1\nnetwork_policies:\n  a:\n    endpoints: [{host: a.test, port: 443, protocol: rest, access: full}]\n    binaries: [{path: /b}]\n")
	f.Fuzz(func(t *testing.T, kind, verdict, host string, port uint16, binary, method, path string, inspected bool) {
		r := traffic.NewReplay(e, nil, nil)
		text := log(t, audit.Event{Kind: audit.Kind(kind), Verdict: verdict, Host: host, Port: port, Binary: binary, Method: method, Path: path, Inspected: inspected})
		if _, err := traffic.Read(strings.NewReader(text), r.Add); err != nil {
			t.Fatal(err)
		}
		r.Result()
	})
}

// What is known about a host: how often it was asked for, and what could be
// read before in the same sandbox.
func TestHistory(t *testing.T) {
	other := connect(9, "deny", "late.test", false)
	h := traffic.NewHistory()
	_, err := traffic.Read(strings.NewReader(log(t,
		connect(1, "deny", "early.test", false),
		request(2, "allow", "web.test", "GET", "/page"),
		request(2, "allow", "web.test", "GET", "/more"),
		request(3, "deny", "web.test", "POST", "/"),
		request(3, "deny", "late.test", "GET", "/x"),
		request(3, "deny", "late.test", "GET", "/x"),
		request(4, "ask", "early.test", "GET", "/x"),
		request(5, "allow", "post.test", "POST", "/x"),
		connect(6, "reroute", "model.test", false),
		request(7, "deny", "later.test", "GET", "/x"),
		connect(8, "allow", "raw.test", false),
		other,
		request(7, "deny", "last.test", "GET", "/x"),
	)), h.Add)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, host := range h.Hosts() {
		got[name.String()] = fmt.Sprintf("%d %s", host.Calls, host.AfterRead)
	}
	want := map[string]string{
		"early.test": "2 ", "web.test": "3 ", "late.test": "3 web.test", "post.test": "1 web.test", "model.test": "1 web.test",
		"later.test": "1 web.test", "raw.test": "1 web.test", "last.test": "1 raw.test",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	calls, total, more := h.Denied()
	var denied []string
	for _, c := range calls {
		denied = append(denied, fmt.Sprintf("%d %s %s%s", c.Count, c.Method, c.Host, c.Path))
	}
	if d := cmp.Diff([]string{"1  early.test", "1 POST web.test/", "2 GET late.test/x", "1 GET early.test/x", "1 GET later.test/x", "1  late.test", "1 GET last.test/x"}, denied); d != "" || total != 8 || more != 0 {
		t.Errorf("%d, %d more: %s", total, more, d)
	}
}
