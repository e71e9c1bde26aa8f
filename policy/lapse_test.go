package policy_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/target"
)

const lapsing = `version: 2
network_policies:
  a_short:
    endpoints:
      - {host: api.test, port: 443, protocol: rest, access: full, deny_rules: [{method: DELETE, path: "**"}]}
    binaries: any
    expires_at: 2030-01-01T12:00:00Z
  b_counted:
    endpoints:
      - {host: count.test, port: 443, protocol: rest, access: full, max_uses: 2}
      - {host: line.test, port: 5432, protocol: tcp}
    binaries: any
    max_uses: 3
  c_long:
    endpoints:
      - {host: api.test, port: 443, protocol: rest, access: read-only}
    binaries: any
    expires_at: 2031-01-01T12:00:00+02:00
  d_audit:
    endpoints:
      - {host: seen.test, port: 443, protocol: rest, access: read-only, enforcement: audit, expires_at: 2030-01-01T12:00:00Z}
    binaries: any
`

func engineOf(t testing.TB, text string) *policy.Engine {
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

func ask(c policy.Connection, method, path string) policy.Request {
	return policy.Request{Connection: c, Method: method, Target: target.Target{Path: path}}
}

// What ends takes away and opens nothing: deny rules stay, inspection stays.
func TestExpiry(t *testing.T) {
	e := engineOf(t, lapsing)
	first := time.Date(2030, 1, 1, 11, 59, 59, 0, time.UTC)
	tests := []struct {
		name    string
		now     time.Time
		host    string
		method  string
		connect policy.Verdict
		request policy.Verdict
		rule    string // of the request's decision
		until   string
		reason  string
	}{
		{"before", first, "api.test", "POST", policy.Allow, policy.Allow, "a_short", "2030-01-01T12:00:00Z", "allows"},
		{"a deny rule", first, "api.test", "DELETE", policy.Allow, policy.Deny, "a_short", "2030-01-01T12:00:00Z", "denies"},
		{"at the time", first.Add(time.Second), "api.test", "POST", policy.Allow, policy.Deny, "a_short", "2031-01-01T12:00:00+02:00", "until 2030-01-01T12:00:00Z, and that is over"},
		{"another rule", first.Add(time.Second), "api.test", "GET", policy.Allow, policy.Allow, "c_long", "2031-01-01T12:00:00+02:00", "allows"},
		{"a deny rule that ended", first.Add(time.Second), "api.test", "DELETE", policy.Allow, policy.Deny, "a_short", "2031-01-01T12:00:00+02:00", "denies"},
		{"all are over", first.AddDate(2, 0, 0), "api.test", "GET", policy.Deny, policy.Deny, "a_short", "", "over"},
		{"no time", time.Time{}, "api.test", "GET", policy.Deny, policy.Deny, "a_short", "", "over"},
		{"audit, before", first, "seen.test", "POST", policy.Allow, policy.Allow, "d_audit", "2030-01-01T12:00:00Z", "audit"},
		{"audit, after", first.Add(time.Second), "seen.test", "POST", policy.Deny, policy.Deny, "d_audit", "", "over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := curl(t, tt.host, 443)
			c.Now = tt.now
			conn := e.Connect(c)
			if conn.Verdict != tt.connect {
				t.Errorf("connection: %v %s", conn.Verdict, conn.Reason)
			}
			until := ""
			if !conn.Until.IsZero() {
				until = conn.Until.Format(time.RFC3339)
			}
			if until != tt.until {
				t.Errorf("until %s, want %s", until, tt.until)
			}
			d := e.Request(ask(c, tt.method, "/a"))
			if d.Verdict != tt.request || d.Rule.Policy != tt.rule || !strings.Contains(d.Reason, tt.reason) {
				t.Errorf("request: %v by %s: %s", d.Verdict, d.Rule.Policy, d.Reason)
			}
		})
	}
}

func TestMaxUses(t *testing.T) {
	e := engineOf(t, lapsing)
	var uses policy.Uses
	c, line := curl(t, "count.test", 443), curl(t, "line.test", 5432)
	if d := e.Connect(c); d.Verdict != policy.Deny || !strings.Contains(d.Reason, "used up") {
		t.Errorf("without a count: %+v", d)
	}
	c.Uses, line.Uses = &uses, &uses
	if d := e.Connect(c); d.Verdict != policy.Allow || d.Uses != nil {
		t.Errorf("an inspected connection is counted: %+v", d)
	}
	for range 2 {
		d := e.Request(ask(c, "GET", "/"))
		if d.Verdict != policy.Allow || d.Uses == nil || !uses.Take(d.Uses) {
			t.Fatalf("%+v", d)
		}
		held := c
		held.Holds = []*policy.Counters{d.Uses}
		if d := e.Request(ask(held, "GET", "/")); d.Verdict != policy.Allow {
			t.Errorf("what is held: %+v", d)
		}
	}
	if d := e.Request(ask(c, "GET", "/")); d.Verdict != policy.Deny || !strings.Contains(d.Reason, "allowed 2 uses") {
		t.Errorf("the third request: %+v", d)
	}
	d := e.Connect(line)
	if d.Verdict != policy.Allow || !uses.Take(d.Uses) {
		t.Errorf("the policy's third use: %+v", d)
	}
	if e.Connect(line).Verdict != policy.Deny || uses.Take(d.Uses) {
		t.Error("the policy's fourth use is allowed")
	}
	// A new engine of a document in another order counts on.
	again := engineOf(t, strings.Replace(lapsing, "max_uses: 3", "max_uses: 5", 1))
	if again.Connect(line).Verdict != policy.Allow || again.Connect(c).Verdict != policy.Deny {
		t.Error("the counts did not outlive the engine")
	}
}

func TestUsesAreCountedOnce(t *testing.T) {
	e := engineOf(t, lapsing)
	var uses policy.Uses
	c := curl(t, "line.test", 5432)
	c.Uses = &uses
	d := e.Connect(c)
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if uses.Take(d.Uses) {
				got.Add(1)
			}
		})
	}
	wg.Wait()
	if got.Load() != 3 {
		t.Errorf("%d uses, want 3", got.Load())
	}
}

func TestUnmatched(t *testing.T) {
	const text = `version: 2
unmatched: ask
network_policies:
  quiet:
    unmatched: deny
    endpoints: [{host: quiet.test, port: 443}]
    binaries: [{path: /usr/bin/git}]
  web:
    endpoints:
      - {host: api.test, port: 443, protocol: rest, path: /v1/**, access: read-only, deny_rules: [{method: GET, path: /v1/secret}]}
      - {host: strict.test, port: 443, protocol: rest, access: read-only, enforcement: enforce}
      - {host: here.test, port: 443, protocol: rest, access: read-only, unmatched: deny}
    binaries: [{path: /usr/bin/curl}]
  asked:
    unmatched: deny
    endpoints: [{host: asked.test, port: 443, protocol: rest, access: read-only, enforcement: ask}]
    binaries: any
`
	e := engineOf(t, text)
	wget := func(host string) policy.Connection {
		c := curl(t, host, 443)
		c.Binary = "/usr/bin/wget"
		return c
	}
	tests := []struct {
		name         string
		c            policy.Connection
		method, path string
		want         policy.Verdict
		reason       string
	}{
		{"a host that nothing names", curl(t, "other.test", 443), "", "", policy.Ask, "names this host and port; unmatched is ask"},
		{"a host that is never dialled", curl(t, "localhost", 443), "", "", policy.Deny, ""},
		{"a program that is not named", wget("api.test"), "", "", policy.Ask, "do not name the calling program; unmatched is ask"},
		{"a network policy that denies", wget("quiet.test"), "", "", policy.Deny, ""},
		{"an endpoint that denies", wget("here.test"), "", "", policy.Deny, ""},
		{"a method that is not allowed", curl(t, "api.test", 443), "POST", "/v1/a", policy.Ask, "enforcement is ask"},
		{"a deny rule", curl(t, "api.test", 443), "GET", "/v1/secret", policy.Deny, "denies"},
		{"a path of no endpoint", curl(t, "api.test", 443), "GET", "/v2", policy.Ask, "takes this path; unmatched is ask"},
		{"what is allowed", curl(t, "api.test", 443), "GET", "/v1/a", policy.Allow, ""},
		{"enforcement is written", curl(t, "strict.test", 443), "POST", "/", policy.Deny, ""},
		{"unmatched of the endpoint", curl(t, "here.test", 443), "POST", "/", policy.Deny, ""},
		{"enforcement: ask alone", curl(t, "asked.test", 443), "POST", "/", policy.Ask, "enforcement is ask"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := e.Connect(tt.c).Decision
			if tt.method != "" {
				d = e.Request(ask(tt.c, tt.method, tt.path))
			}
			if d.Verdict != tt.want || !strings.Contains(d.Reason, tt.reason) {
				t.Errorf("%v: %s", d.Verdict, d.Reason)
			}
		})
	}
}
