package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// httpClient is an implementation of HTTP that people's programs use. Its script
// takes a version of HTTP and a base, and makes the same requests as all: one
// that is allowed with a credential's placeholder, one that is denied by its
// path, one whose body comes in parts, one to a denied host, 16 at once. It says
// of each what was answered, and in which version.
type httpClient struct {
	name     string
	needs    []string // programs
	argv     func(t *testing.T, ws string) []string
	versions []string // that it can speak over TLS
	plain    string   // what it is told for http://, where it speaks 1.1
}

// python and node run a script with the installed packages.
func python(script string) func(*testing.T, string) []string {
	return func(t *testing.T, _ string) []string {
		exe, _ := pythonRoot(t)
		return []string{"env", "PYTHONPATH=" + filepath.Join(installedClients(t), "py"), "PYTHONDONTWRITEBYTECODE=1", exe, script}
	}
}

func node(script string) func(*testing.T, string) []string {
	return func(t *testing.T, _ string) []string {
		return []string{"env", "NODE_PATH=" + filepath.Join(installedClients(t), "node_modules"), "node", script}
	}
}

// java compiles outside: starting a compiler inside shows nothing more.
func java(class string) func(*testing.T, string) []string {
	return func(t *testing.T, ws string) []string {
		must(t, exec.Command("javac", "-d", ws, filepath.Join(ws, class+".java")))
		return []string{"java", "-XX:TieredStopAtLevel=1", class}
	}
}

var httpClients = []httpClient{
	{name: "with_requests.py", argv: python("with_requests.py"), versions: []string{"1.1"}, plain: "1.1"},
	{name: "with_httpx.py", argv: python("with_httpx.py"), versions: []string{"1.1", "2"}, plain: "1.1"},
	{name: "with_aiohttp.py", argv: python("with_aiohttp.py"), versions: []string{"1.1"}, plain: "1.1"},
	{name: "with_undici.js", needs: []string{"node"}, argv: node("with_undici.js"), versions: []string{"1.1", "2"}, plain: "2"},
	{name: "with_fetch.js", needs: []string{"node"}, argv: node("with_fetch.js"), versions: []string{"1.1"}, plain: "1.1"},
	{name: "WithJava.java", needs: []string{"java", "javac"}, argv: java("WithJava"), versions: []string{"1.1", "2"}, plain: "2"},
}

const httpClientRules = `network_policies:
  ok:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: rest
        rules:
          - allow: {method: GET, path: "/public/**"}
          - allow: {method: POST, path: /public/post}
    binaries: any
`

// clientHead is policyHead with what the clients need to be seen of the machine.
func clientHead(t *testing.T) string {
	t.Helper()
	_, roots := pythonRoot(t)
	roots = append(append(roots, toolRoot(t, "node")...), installedClients(t))
	return strings.Replace(policyHead(), "  read_write:", "    - "+strings.Join(roots, "\n    - ")+"\n  read_write:", 1)
}

// bothVersions gives the sink's HTTPS server HTTP/2 as well.
func bothVersions(t *testing.T, s *sink, hosts ...string) (flags []string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(s)
	srv.EnableHTTP2, srv.TLS = true, testCA().config()
	srv.StartTLS()
	t.Cleanup(srv.Close)
	for _, h := range hosts {
		flags = append(flags, "--upstream", h+":80="+s.http.Addr().String(), "--upstream", h+":443="+srv.Listener.Addr().String())
	}
	return flags
}

// TestHTTPClients: what the policy allows works with each, what it denies they
// show with the reason, and the server sees the credential that they do not have.
func TestHTTPClients(t *testing.T) {
	installedClients(t)
	bothUsers(t, func(t *testing.T) {
		head := clientHead(t)
		for _, c := range httpClients {
			versions := append(slices.Clone(c.versions), "plain")
			if os.Getenv(asUser) != "" { // of another user what it is trusted by and where it runs differ, not how it speaks
				versions = c.versions[len(c.versions)-1:]
			}
			for _, version := range versions {
				t.Run(c.name+" "+version, func(t *testing.T) {
					needs(t, c.needs...)
					c.check(t, head, version)
				})
			}
		}
	})
}

func (c httpClient) check(t *testing.T, head, version string) {
	s := newSink(t)
	base, told := "https://ok.test", version
	if version == "plain" {
		base, told, version = "http://ok.test", c.plain, "1.1"
	}
	ws := clientFolder(t, c.name)
	argv := append(c.argv(t, ws), told, base)
	flags := []string{"--secret", "TOKEN=env:E2E_TOKEN@ok.test:X-Token"}
	if base == "http://ok.test" {
		flags = []string{"--env", "TOKEN=" + canary("token")} // no credential goes where everybody can read it
	}
	r := box{policy: head + httpClientRules, workspace: ws, env: []string{"E2E_TOKEN=" + canary("token")},
		flags: join(flags, bothVersions(t, s, "ok.test", "no.test"), []string{"--trust-ca", caFile(t)})}.run(t, argv...)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	want := []string{
		"get 200 " + version + " sink GET ok.test /public/get",
		"denied 403 " + version + ` {`,
		"post 200 " + version + " sink POST ok.test /public/post",
		"host 403 " + version + " {",
		"many 16",
	}
	if r.code != 0 || len(lines) != len(want) {
		t.Fatalf("status %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) {
			t.Errorf("line %d is %q, want %q", i, lines[i], w)
		}
		if strings.HasSuffix(w, "{") && (!strings.Contains(lines[i], `"error": "policy_denied"`) || !strings.Contains(lines[i], `"agent_guidance"`)) {
			t.Errorf("the denial does not say why: %s", lines[i])
		}
	}
	var get, post, many int
	for _, q := range s.requests() {
		if strings.TrimSuffix(strings.TrimPrefix(q.Proto, "HTTP/"), ".0") != version {
			t.Errorf("%s %s arrived as %s, want %s", q.Method, q.URI, q.Proto, version)
		}
		switch {
		case q.URI == "/public/get" && q.Header.Get("X-Token") == canary("token"):
			get++
		case q.Method == http.MethodPost && len(q.Body) == 300_000:
			post++
		case q.URI == "/public/many":
			many++
		default:
			t.Errorf("the server saw %+v", q)
		}
	}
	if got := fmt.Sprint(get, post, many); got != "1 1 16" {
		t.Errorf("the server saw %s requests", got)
	}
	denied := 0
	for _, e := range readEvents(t, r.audit) {
		if e.Verdict == "deny" {
			denied++
			if e.Reason == "" || e.Binary == "" {
				t.Errorf("incomplete event: %+v", e)
			}
		}
	}
	if denied != 2 {
		t.Errorf("%d denials are recorded", denied)
	}
}
