package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/cgi"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// registriesVar carries what root's clients are configured with to the ordinary
// user's half, whose home has no configuration.
const registriesVar = "CREEL_E2E_REGISTRIES"

// clients is where this machine's package clients get packages from. The hosts
// are the machine's to say; they stand in no file.
type clients struct {
	NPM     string // URL
	PyPI    string // index URL
	PyFiles string // host
	GoProxy string
	GoSumDB string
}

func clientEnv() []string {
	c, err := readClients()
	if err != nil {
		return nil // the ordinary user's half asks for itself, and fails with the message
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil
	}
	return []string{registriesVar + "=" + string(b)}
}

func readClients() (c clients, err error) {
	if text := os.Getenv(registriesVar); text != "" {
		return c, json.Unmarshal([]byte(text), &c)
	}
	ask := func(name string, args ...string) string {
		out, e := exec.Command(name, args...).Output()
		if e != nil && err == nil {
			err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), e)
		}
		return strings.TrimSpace(string(out))
	}
	c.NPM = ask("npm", "config", "get", "registry")
	if out, e := exec.Command("python3", "-m", "pip", "config", "get", "global.index-url").Output(); e == nil {
		c.PyPI = strings.TrimSpace(string(out))
	}
	lines := strings.Fields(ask("python3", "-c", "from pip._internal.models.index import PyPI as p; print(p.simple_url, p.file_storage_domain)"))
	if len(lines) == 2 {
		if c.PyPI == "" {
			c.PyPI = lines[0]
		}
		c.PyFiles = lines[1]
	}
	c.GoProxy, c.GoSumDB = ask("go", "env", "GOPROXY"), ask("go", "env", "GOSUMDB")
	return c, err
}

// hosts are the hosts and ports that the clients may ask.
func (c clients) hosts() (all []string) {
	add := func(text string) {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			port := u.Port()
			if port == "" {
				port = map[string]string{"http": "80"}[u.Scheme]
			}
			if port == "" {
				port = "443"
			}
			if a := net.JoinHostPort(u.Hostname(), port); !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	add(c.NPM)
	add(c.PyPI)
	add("https://" + c.PyFiles)
	for _, p := range strings.FieldsFunc(c.GoProxy, func(r rune) bool { return r == ',' || r == '|' }) {
		add(p)
	}
	for _, f := range strings.Fields(c.GoSumDB) {
		switch {
		case strings.HasPrefix(f, "http"):
			add(f)
		case f != "off" && !strings.Contains(f, "+"):
			add("https://" + f)
		}
	}
	return all
}

// internal are the ranges that a mirror may stand in, besides the private ones.
var internal = []string{"100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"}

// policy allows reading from the clients' hosts; what resolves to addresses
// inside gets its allowed_ips.
func (c clients) policy(t *testing.T, extra string, readOnly ...string) string {
	t.Helper()
	text := policyHead()
	for _, p := range readOnly {
		text = strings.Replace(text, "  read_write:", "    - "+p+"\n  read_write:", 1)
	}
	text += "network_policies:\n" + extra + "  packages:\n    endpoints:\n"
	for _, hp := range c.hosts() {
		host, port, _ := net.SplitHostPort(hp)
		addrs, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip", host)
		if err != nil {
			// The checksum database may be reached through the proxy alone; the
			// client fails if it was needed.
			t.Logf("a configured package host cannot be resolved, so it is left out: %v", err)
			continue
		}
		var ips []string
		for _, a := range addrs {
			a = a.Unmap()
			inside := a.IsPrivate()
			for _, p := range internal {
				inside = inside || netip.MustParsePrefix(p).Contains(a)
			}
			if inside {
				ips = append(ips, netip.PrefixFrom(a, a.BitLen()).String())
			}
		}
		text += fmt.Sprintf("      - host: %s\n        port: %s\n        protocol: rest\n        access: read-only\n        allow_encoded_slash: true\n", host, port)
		if len(ips) > 0 {
			text += "        allowed_ips: [" + strings.Join(ips, ", ") + "]\n"
		}
	}
	return text + "    binaries: any\n"
}

// TestPackageManagers: real clients against the machine's registries, without
// proxy variables and without certificates set by hand.
func TestPackageManagers(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		c, err := readClients()
		if err != nil {
			t.Fatalf("the package clients of this machine are not configured: %v", err)
		}
		python, roots := pythonRoot(t)
		for _, tool := range []string{"npm", "node", "go"} {
			roots = append(roots, toolRoot(t, tool)...)
		}
		policy := c.policy(t, "", roots...)
		run := func(name string, check string, env []string, argv ...string) {
			t.Run(name, func(t *testing.T) {
				b := box{policy: policy}
				for _, e := range env {
					b.flags = append(b.flags, "--env", e)
				}
				if name == "go" {
					dir := filepath.Join(t.TempDir(), "ws")
					if err := os.Mkdir(dir, 0o700); err != nil {
						t.Fatal(err)
					}
					write(t, filepath.Join(dir, "go.mod"), "module x.test/y\n\ngo 1.21\n\nrequire github.com/inconshreveable/mousetrap v1.1.0\n")
					b.workspace = dir
				}
				r := b.run(t, "sh", "-c", strings.Join(argv, " ")+" && "+check+"; s=$?; env | grep -i proxy= | grep -v GOPROXY; exit $s")
				if r.code != 0 {
					t.Fatalf("status %d\n%s\n%s", r.code, r.stdout, r.stderr)
				}
				r.err(t, " 0 denied")
			})
		}
		run("npm", "test -s node_modules/is-number/package.json", []string{"npm_config_registry=" + c.NPM}, "npm", "install", "--no-audit", "--no-fund", "is-number@7.0.0")
		run("pip", "ls six-*", []string{"PIP_INDEX_URL=" + c.PyPI}, python, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "six")
		run("go", "ls $(go env GOMODCACHE)/github.com/inconshreveable", []string{"GOPROXY=" + c.GoProxy, "GOSUMDB=" + c.GoSumDB, "GOTOOLCHAIN=local"}, "go", "mod", "download", "-x")
	})
}

// pythonRoot gives an interpreter that has pip, and what must be visible for it.
func pythonRoot(t *testing.T) (python string, roots []string) {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import sys, os, pip; print(os.path.realpath(sys.executable)); print(sys.base_prefix)").Output()
	lines := strings.Fields(string(out))
	if err != nil || len(lines) != 2 {
		t.Fatalf("no python3 with pip: %v", err)
	}
	if !strings.HasPrefix(lines[1]+"/", "/usr/") {
		roots = append(roots, lines[1])
	}
	return lines[0], roots
}

// toolRoot is the folder of a program that lies outside of the usual ones.
func toolRoot(t *testing.T, name string) []string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		t.Fatalf("%s is needed by this test: %v", name, err)
	}
	if strings.HasPrefix(path, "/usr/") || strings.HasPrefix(path, "/bin/") {
		return nil
	}
	return []string{filepath.Dir(filepath.Dir(path))}
}

// TestClients: the other clients of the issue against servers of the test.
func TestClients(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		exec1 := func(dir, name string, args ...string) string {
			cmd := exec.Command(name, args...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s %v: %v\n%s", name, args, err, out)
			}
			return strings.TrimSpace(string(out))
		}
		root := t.TempDir()
		exec1(root, "git", "init", "-q", "-b", "main", "work")
		work := filepath.Join(root, "work")
		write(t, filepath.Join(work, "file"), strings.Repeat("content\n", 10000))
		exec1(work, "git", "add", "file")
		exec1(work, "git", "-c", "user.name=t", "-c", "user.email=t@t.test", "commit", "-q", "-m", "one")
		exec1(root, "git", "clone", "-q", "--bare", "work", "repo.git")
		core := exec1(root, "git", "--exec-path")
		s.extra = &cgi.Handler{Path: filepath.Join(core, "git-http-backend"), Root: "/x", Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, Stderr: io.Discard}
		python, roots := pythonRoot(t)
		policy := policyHead()
		for _, p := range roots {
			policy = strings.Replace(policy, "  read_write:", "    - "+p+"\n  read_write:", 1)
		}
		policy += fmt.Sprintf(`network_policies:
  git:
    endpoints:
      - host: git.test
        port: 443
        protocol: rest
        rules:
          - allow: {method: GET, path: "/x/repo.git/**"}
          - allow: {method: POST, path: "/x/repo.git/git-upload-pack"}
    binaries:
      - {path: %q}
  rest:
    endpoints:
      - {host: ok.test, port: 443, protocol: rest, access: read-only}
    binaries: any
`, core+"/*")
		b := box{policy: policy, flags: join(s.upstreams("git.test", "ok.test"), []string{"--trust-ca", caFile(t)})}
		b.run(t, "sh", "-c", "git clone -q https://git.test/x/repo.git && test -s repo/file && cd repo && git fetch -q && ! git push -q origin main:other").want(t, 0).err(t, "git.test")
		// The rule names git: curl is another program.
		b.run(t, "sh", "-c", "curl -sS https://git.test/x/repo.git/HEAD | grep -q policy_denied").want(t, 0)
		b.run(t, python, "-c", "import urllib.request as u; print(u.urlopen('https://ok.test/python').read())").want(t, 0).out(t, "/python")
		b.run(t, "node", "-e", "fetch('https://ok.test/node').then(r => r.text()).then(t => console.log(t))").want(t, 0).out(t, "/node")
		b.run(t, "curl", "-sS", "-w", " HTTP/%{http_version}", "https://ok.test/curl").want(t, 0).out(t, "/curl").out(t, "HTTP/2")
		b.run(t, "curl", "-sS", "--http1.1", "-w", " HTTP/%{http_version}", "https://ok.test/curl").want(t, 0).out(t, "HTTP/1.1")
		b.run(t, "node", "-e", `const c = require('http2').connect('https://ok.test'); let n = 2
			for (const path of ['/node-h2', '/node-h2-too']) {
				const r = c.request({':path': path}); let t = ''
				r.on('response', h => { t += h[':status'] + ' ' }); r.on('data', d => { t += d }); r.on('end', () => { console.log(t); if (!--n) c.close() }); r.end()
			}`).want(t, 0).out(t, "/node-h2").out(t, "/node-h2-too")
		b.run(t, "openssl", "s_client", "-connect", "ok.test:443", "-servername", "ok.test", "-verify_return_error", "-brief").want(t, 0)
	})
}
