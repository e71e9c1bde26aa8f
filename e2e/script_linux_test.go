package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// scriptFile writes a proxy configuration script where the agent cannot.
func scriptFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "proxy.pac")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestParentProxyScript: a script of the operator's network says per host which way
// connections take, names that it looks up included; what it does not say is no way.
func TestParentProxyScript(t *testing.T) {
	inWorld(t, func(t *testing.T) {
		s, z, g := worldSink(t), newZone(t, worldAnswer), newGate(t)
		file := scriptFile(t, fmt.Sprintf(`
			function FindProxyForURL(url, host) {
				if (host == "raw.test") return "DIRECT";
				if (host == "int.test") for (;;);
				if (url != "https://ok.test/" && url != "http://ok.test/") return "PROXY 127.0.0.1:1";
				if (isInNet(host, %q, "255.255.255.255") && isResolvable("none.test")) return "PROXY 127.0.0.1:1; PROXY %s; DIRECT";
				return "DIRECT";
			}`, publicAddr, g.addr))
		name := fmt.Sprintf("script-%d", os.Getpid())
		b := box{policy: wayOutPolicy(), name: name, flags: []string{"--trust-ca", caFile(t), "--parent-proxy", "pac:" + file}}
		l := b.start(t)
		if got := l.do("sh", "-c", goOut); got.Code != 0 {
			t.Fatalf("%s%s", got.Stdout, got.Stderr)
		}
		seen := g.saw()
		if len(seen) != 2 || len(s.requests()) != 4 { // raw.test went straight
			t.Errorf("the proxy saw %q, the sink %v", seen, s.requests())
		}
		for _, asked := range seen {
			if !strings.HasPrefix(asked, publicAddr+":") {
				t.Errorf("the proxy was asked for %q", asked)
			}
		}
		if !z.wasAsked("none.test") {
			t.Error("the script's name was not looked up")
		}
		// A script that does not come to an end is no way out, and holds nobody up after.
		n := s.connections()
		if got := l.do("sh", "-c", "curl -sS -w '%{http_code}' https://int.test/"); !strings.Contains(string(got.Stdout), "the proxy configuration script gave no answer") || s.connections() != n {
			t.Errorf("%s%s", got.Stdout, got.Stderr)
		}
		if got := l.do("sh", "-c", "curl -sSf https://ok.test/public/z"); got.Code != 0 {
			t.Errorf("%s%s", got.Stdout, got.Stderr)
		}
		creelCmd(t, "posture", name).out(t, "way out: the proxies that pac:"+file+" (sha256 ")
		l.end()
		if first := readEvents(t, l.audit)[0]; first.Kind != audit.SandboxStart || !strings.HasPrefix(first.Detail["parent_proxy"], "the proxies that pac:"+file) {
			t.Errorf("the log begins with %+v", first)
		}
	})
}

// TestParentProxyScriptRefused: a script that is wrong, or that the agent could write,
// is told of before anything is started.
func TestParentProxyScriptRefused(t *testing.T) {
	ws := t.TempDir()
	if err := os.WriteFile(filepath.Join(ws, "proxy.pac"), []byte(`function FindProxyForURL() { return "DIRECT" }`), 0o600); err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]string{
		"pac:" + scriptFile(t, `function FindProxyForURL( {`): "SyntaxError",
		"pac:" + scriptFile(t, `throw "no way"`):              "reading the script: no way",
		"pac:" + scriptFile(t, ``):                            "no function FindProxyForURL",
		"pac:" + ws + "/proxy.pac":                            "the agent could write",
		"pac:/nowhere/proxy.pac":                              "no such file",
		"pac:http://p.test/proxy.pac":                         "over http",
		"pac:https://u:canary@p.test/proxy.pac":               "no password",
	} {
		r := box{workspace: ws, flags: []string{"--parent-proxy", script}}.run(t, "true").want(t, 2).err(t, want)
		r.err(t, "hint: ")
		ofScript := want == "SyntaxError" || strings.HasPrefix(want, "reading the script") || strings.HasPrefix(want, "no function")
		if ofScript != strings.Contains(r.stderr, "hint: a script is JavaScript with one function: function FindProxyForURL(url, host)") {
			t.Errorf("%s: what a script is should be told: %t: %s", script, ofScript, r.stderr)
		}
		if strings.Contains(r.stderr, "canary") {
			t.Errorf("%s: %s", script, r.stderr)
		}
	}
}
