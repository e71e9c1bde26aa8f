package egress

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

const graphqlPolicy = `version: 2
network_policies:
  web:
    endpoints:
      - host: ok.test
        port: 443
        path: /graphql
        protocol: graphql
        persisted_queries: allow_registered
        graphql_persisted_queries:
          saved: {operation_type: query, operation_name: Saved, fields: [viewer]}
        graphql_max_body_bytes: 2000
        rules:
          - allow: {operation_type: query}
        deny_rules:
          - {operation_type: query, fields: [secrets]}
      - {host: ok.test, port: 443, path: "/rest/**", protocol: rest, access: full}
    binaries: any
`

// client is an HTTP client of the agent's, by way of the proxy listener.
func (r *rig) client() *http.Client {
	proxy := &url.URL{Scheme: "http", Host: r.proxy}
	t := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: r.agent}}
	r.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: patience}
}

// send makes one request and reads the whole answer.
func send(t *testing.T, c *http.Client, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return resp, string(got)
}

const asJSON = "application/json"

// arrivals is a handler that keeps the bodies it got, and answers "ok".
func arrivals() (http.HandlerFunc, func() []string) {
	got := make(chan string, 64)
	h := func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		got <- q.Method + " " + q.URL.RequestURI() + " " + string(b)
		w.Header().Set("Content-Type", asJSON)
		fmt.Fprint(w, `{"data":"ok"}`)
	}
	return h, func() []string {
		var all []string
		for len(got) > 0 {
			all = append(all, <-got)
		}
		return all
	}
}

func TestGraphQL(t *testing.T) {
	r := newRig(t, graphqlPolicy)
	h, arrived := arrivals()
	r.web("ok.test", 443, h)
	c := r.client()
	sum := sha256.Sum256([]byte("{viewer{login}}"))
	hash := hex.EncodeToString(sum[:])
	for _, tt := range []struct {
		name, method, path, body, kind string
		allowed                        bool
		why                            string // of a denial
	}{
		{name: "query", body: `{"query":"{ viewer { login } }"}`, allowed: true},
		{name: "batch", body: `[{"query":"{a}"},{"query":"query B {b}"}]`, allowed: true},
		{name: "batch with a mutation", body: `[{"query":"{a}"},{"query":"mutation {b}"}]`, why: "no rule"},
		{name: "mutation", body: `{"query":"mutation { drop }"}`, why: "no rule"},
		{name: "denied field behind an alias", body: `{"query":"{ harmless: secrets }"}`, why: "denies"},
		{name: "denied field in a fragment", body: `{"query":"query { ...F } fragment F on Query { secrets }"}`, why: "denies"},
		{name: "selected mutation", body: `{"query":"query A {a} mutation B {b}","operationName":"B"}`, why: "no rule"},
		{name: "two keys", body: `{"query":"{a}","query":"mutation {b}"}`, why: "key"},
		{name: "no JSON", body: `query=mutation{b}`, why: "JSON"},
		{name: "a form", body: `{"query":"{a}"}`, kind: "application/x-www-form-urlencoded", why: "content type"},
		{name: "GET", method: "GET", path: "?query=%7Ba%7D", allowed: true},
		{name: "GET of a mutation", method: "GET", path: "?query=mutation%7Ba%7D", why: "no rule"},
		{name: "body and query", path: "?query=%7Ba%7D", body: `{"query":"{a}"}`, why: "URL and in the body"},
		{name: "registered", body: `{"id":"saved"}`, allowed: true},
		{name: "not registered", body: `{"id":"other"}`, why: "not registered"},
		{name: "hash that is not registered", body: `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hash + `"}}}`, why: "not registered"},
		{name: "too long", body: `{"query":"{a}","variables":{"x":"` + strings.Repeat("y", 2000) + `"}}`, why: "longer than the 2000 bytes"},
		{name: "PUT", method: "PUT", body: `{"query":"{a}"}`, why: "GET or POST"},
		{name: "method in the query", path: "?_method=DELETE", body: `{"query":"{a}"}`, why: "GET or POST"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = "POST"
			}
			if tt.kind == "" {
				tt.kind = asJSON
			}
			resp, body := send(t, c, tt.method, "https://ok.test/graphql"+tt.path, tt.body, "Content-Type", tt.kind)
			got := arrived()
			if tt.allowed {
				if resp.StatusCode != 200 || len(got) != 1 || got[0] != tt.method+" /graphql"+tt.path+" "+tt.body {
					t.Errorf("%d %s, arrived %q", resp.StatusCode, body, got)
				}
				return
			}
			d := wantDenial(t, resp, body, 403, codePolicy)
			if !strings.Contains(d.Reason, tt.why) || len(got) != 0 {
				t.Errorf("%q, arrived %q", d.Reason, got)
			}
			// The log has the lines of the answer, also where no message was understood.
			if m := d.RuleMissing; m == nil || m.Type != "message_allow" || !strings.HasPrefix(m.Lines, "# ") {
				t.Fatalf("%+v", m)
			}
			r.event("the lines", func(ev audit.Event) bool {
				return ev.Verdict == "deny" && ev.Reason == d.Reason && ev.Detail[audit.RuleMissing] == d.RuleMissing.Lines
			})
		})
	}
	// Lines that are too long are not shortened.
	var fields strings.Builder
	for i := range 400 {
		fmt.Fprintf(&fields, "f%d ", i)
	}
	resp, body := send(t, c, "POST", "https://ok.test/graphql", `{"query":"mutation {`+strings.TrimSpace(fields.String())+`}"}`, "Content-Type", asJSON)
	if d := wantDenial(t, resp, body, 403, codePolicy); d.RuleMissing == nil || len(d.RuleMissing.Lines) <= audit.MaxRuleMissing {
		t.Errorf("%+v", d.RuleMissing)
	}
	r.event("too long lines", func(ev audit.Event) bool {
		return strings.HasPrefix(ev.Detail["graphql"], "mutation{f0 f1") && strings.HasPrefix(ev.Detail[audit.RuleMissing], "# the lines that would allow it are too long")
	})
	ev := r.event("what was asked", func(ev audit.Event) bool {
		return ev.Kind == audit.Request && ev.Detail["graphql"] == "query{a}, query B{b}"
	})
	if ev.Verdict != "allow" {
		t.Errorf("%+v", ev)
	}
	r.event("what was denied", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && ev.Detail["graphql"] == "query{a}, mutation{b}" && ev.Detail["error"] == codePolicy
	})
}

// TestBodyArrivesInPieces: what is judged is the whole, whatever its framing; and
// an encoded one is not judged by its bytes.
func TestBodyArrivesInPieces(t *testing.T) {
	r := newRig(t, graphqlPolicy)
	h, arrived := arrivals()
	r.web("ok.test", 443, h)
	open := func() io.ReadWriter {
		nc, _ := r.open(viaRedirect, "ok.test:443")
		tc, err := r.startTLS(nc, "ok.test")
		if err != nil {
			t.Fatal(err)
		}
		return tc
	}
	const head = "POST /graphql HTTP/1.1\r\nHost: ok.test\r\nContent-Type: application/json\r\n"
	for raw, allowed := range map[string]bool{
		head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"que\r\na\r\nry\":\"{a}\"}\r\n0\r\n\r\n":                      true,
		head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"que\r\n14\r\nry\":\"mutation { a }\"\r\n1\r\n}\r\n0\r\n\r\n": false,
		head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                                                           false,
		head + "Expect: 100-continue\r\nContent-Length: 15\r\n\r\n{\"query\":\"{a}\"}":                                 true,
	} {
		c := open()
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		resp, body := readFinal(t, c)
		if got := arrived(); (resp.StatusCode == 200) != allowed || (len(got) == 1) != allowed {
			t.Errorf("%q: %d %s, arrived %q", raw, resp.StatusCode, body, got)
		}
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	fmt.Fprint(w, `{"query":"{a}"}`)
	w.Close()
	resp, body := send(t, r.client(), "POST", "https://ok.test/graphql", z.String(), "Content-Type", asJSON, "Content-Encoding", "gzip")
	if d := wantDenial(t, resp, body, 403, codePolicy); !strings.Contains(d.Reason, "encoded") {
		t.Error(d.Reason)
	}
	// A body that breaks off is no request.
	c := open().(*tls.Conn)
	fmt.Fprint(c, head+"Content-Length: 100\r\n\r\n{\"query\":\"{a}\"}")
	_ = c.CloseWrite()
	r.event("denial", func(ev audit.Event) bool { return strings.Contains(ev.Reason, "incomplete") })
	if got := arrived(); len(got) != 0 {
		t.Errorf("arrived %q", got)
	}
}

// TestPolicyChangesWhileABodyIsRead: the last word has the policy that is in force
// when the body is complete.
func TestPolicyChangesWhileABodyIsRead(t *testing.T) {
	for name, text := range map[string]string{
		"narrower":         strings.Replace(graphqlPolicy, "- allow: {operation_type: query}", "- allow: {operation_type: mutation}", 1),
		"a shorter body":   strings.Replace(graphqlPolicy, "max_body_bytes: 2000", "max_body_bytes: 10", 1),
		"nothing any more": "version: 2\n",
		"the same, as new": graphqlPolicy,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, graphqlPolicy)
			h, arrived := arrivals()
			r.web("ok.test", 443, h)
			nc, _ := r.open(viaRedirect, "ok.test:443")
			c, err := r.startTLS(nc, "ok.test")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, "POST /graphql HTTP/1.1\r\nHost: ok.test\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n")
			line := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
			if _, err := io.ReadFull(c, line); err != nil { // it is being read now
				t.Fatal(err)
			}
			r.engine.Store(compile(t, text))
			fmt.Fprint(c, `{"query":"{a}"}`)
			resp, body := readFinal(t, c)
			allowed := text == graphqlPolicy
			if (resp.StatusCode == 200) != allowed || (len(arrived()) == 1) != allowed {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		})
	}
}

// TestLostBodyIsNotSent: what was read of a body and thrown away is missing in it,
// so that no other policy may let the rest through.
func TestLostBodyIsNotSent(t *testing.T) {
	free := "version: 2\nnetwork_policies:\n  web:\n    endpoints: [{host: ok.test, port: 443, protocol: rest, access: full}]\n    binaries: any\n"
	for name, raw := range map[string][2]string{
		"too long": {graphqlPolicy, "POST /graphql HTTP/1.1\r\nHost: ok.test\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"|7d1\r\n" + strings.Repeat("x", 2001) + "\r\n5\r\nother\r\n0\r\n\r\n"},
		"no push": {gitPolicy, "POST /team/app/git-receive-pack HTTP/1.1\r\nHost: ok.test\r\nContent-Type: application/x-git-receive-pack-request\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"|a\r\n0006xxrest\r\n0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, raw[0])
			h, arrived := arrivals()
			r.web("ok.test", 443, h)
			nc, _ := r.open(viaRedirect, "ok.test:443")
			c, err := r.startTLS(nc, "ok.test")
			if err != nil {
				t.Fatal(err)
			}
			head, body, _ := strings.Cut(raw[1], "|")
			fmt.Fprint(c, head)
			line := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
			if _, err := io.ReadFull(c, line); err != nil {
				t.Fatal(err)
			}
			r.engine.Store(compile(t, free))
			fmt.Fprint(c, body)
			resp, text := readFinal(t, c)
			if got := arrived(); resp.StatusCode != 403 || len(got) != 0 {
				t.Errorf("%d %s, arrived %q", resp.StatusCode, text, got)
			}
		})
	}
}

const rpcPolicy = `version: 2
network_policies:
  web:
    endpoints:
      - host: ok.test
        port: 443
        path: /rpc
        protocol: json-rpc
        json_rpc: {max_body_bytes: 1000}
        rules:
          - allow: {method: sum}
          - allow: {method: note}
    binaries: any
`

type rpcError struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Error   struct {
		Code    int        `json:"code"`
		Message string     `json:"message"`
		Data    denialBody `json:"data"`
	} `json:"error"`
}

func TestJSONRPC(t *testing.T) {
	r := newRig(t, rpcPolicy)
	h, arrived := arrivals()
	r.web("ok.test", 443, h)
	c := r.client()
	many := "[" + strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"x"},`, 20) + `{"jsonrpc":"2.0","id":1,"method":"x"}]`
	for _, tt := range []struct {
		name, method, body string
		status             int
		ids                string // of the errors
		why                string
	}{
		{name: "allowed", body: `{"jsonrpc":"2.0","id":1,"method":"sum","params":[1,2]}`, status: 200},
		{name: "batch", body: `[{"jsonrpc":"2.0","id":1,"method":"sum"},{"jsonrpc":"2.0","method":"note"}]`, status: 200},
		{name: "denied", body: `{"jsonrpc":"2.0","id":"a\u0062","method":"drop"}`, status: 200, ids: `"a\u0062"`, why: "no rule"},
		{name: "denied in a batch", body: `[{"jsonrpc":"2.0","id":1,"method":"sum"},{"jsonrpc":"2.0","method":"note"},{"jsonrpc":"2.0","id":null,"method":"drop"}]`, status: 200, ids: "1 null", why: "no rule"},
		{name: "denied notification", body: `{"jsonrpc":"2.0","method":"drop"}`, status: 403, why: "no rule"},
		{name: "response", body: `{"jsonrpc":"2.0","id":1,"result":{}}`, status: 403, why: "sends no responses"},
		{name: "two methods", body: `{"jsonrpc":"2.0","id":1,"method":"sum","method":"drop"}`, status: 403, why: "twice"},
		{name: "another case", body: `{"jsonrpc":"2.0","id":1,"method":"sum","Method":"drop"}`, status: 403, why: "case"},
		{name: "GET", method: "GET", status: 403, why: "POST"},
		{name: "many", body: many, status: 200, ids: strings.TrimSpace(strings.Repeat("1 ", 21)), why: "no rule"},
		{name: "too long", body: `{"jsonrpc":"2.0","id":1,"method":"sum","params":["` + strings.Repeat("x", 1000) + `"]}`, status: 403, why: "longer than the 1000 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = "POST"
			}
			resp, body := send(t, c, tt.method, "https://ok.test/rpc", tt.body, "Content-Type", asJSON)
			got := arrived()
			if tt.why == "" {
				if resp.StatusCode != 200 || len(got) != 1 || got[0] != "POST /rpc "+tt.body {
					t.Errorf("%d %s, arrived %q", resp.StatusCode, body, got)
				}
				return
			}
			if len(got) != 0 {
				t.Errorf("arrived %q", got)
			}
			if tt.ids == "" {
				if d := wantDenial(t, resp, body, tt.status, codePolicy); !strings.Contains(d.Reason, tt.why) {
					t.Error(d.Reason)
				}
				return
			}
			if !strings.HasPrefix(body, "[") {
				body = "[" + body + "]"
			}
			var list []rpcError
			if err := json.Unmarshal([]byte(body), &list); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			var ids []string
			for _, e := range list {
				ids = append(ids, string(e.ID))
				if e.Version != "2.0" || e.Error.Code != rpcDenied || !strings.Contains(e.Error.Message, tt.why) || e.Error.Data.Error != codePolicy {
					t.Errorf("%+v", e)
				}
			}
			if resp.StatusCode != tt.status || strings.Join(ids, " ") != tt.ids || resp.Header.Get(policyHeader) == "" {
				t.Errorf("%d, ids %s, want %s", resp.StatusCode, ids, tt.ids)
			}
		})
	}
	r.event("denial", func(ev audit.Event) bool { return ev.Verdict == "deny" && ev.Detail["rpc"] == "sum, note, drop" })
}
