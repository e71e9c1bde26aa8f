package egress

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

const packagePolicy = `version: 2
network_policies:
  packages:
    endpoints:
      - host: ok.test
        port: 443
        path: "/npm/**"
        protocol: package
        registry: npm
        registry_path: /npm
        allow_encoded_slash: true
        rules:
          - allow: {package: "@acme/*", min_age: 7d}
          - allow: {package: lib}
          - allow: {package: own, publish: true}
        deny_rules:
          - {package: lib, versions: ["6.6.6"]}
      - host: ok.test
        port: 443
        path: "/pypi/**"
        protocol: package
        registry: pypi
        registry_path: /pypi
        rules: [{allow: {package: "acme-*", min_age: 7d}}]
      - host: ok.test
        port: 443
        path: "/go/**"
        protocol: package
        registry: go
        registry_path: /go
        rules: [{allow: {package: "acme.test/**", min_age: 7d}}]
      - host: ok.test
        port: 443
        path: "/cargo/**"
        protocol: package
        registry: cargo
        registry_path: /cargo
        rules: [{allow: {package: "acme-*", min_age: 7d}}]
      - host: ok.test
        port: 443
        path: "/debian/**"
        protocol: package
        registry: debian
        registry_path: /debian
        rules: [{allow: {package: acme, min_age: 7d}}, {allow: {package: curl}}]
    binaries: any
`

// shelf is a registry of files: a path with its content.
type shelf struct {
	mu    sync.Mutex
	files map[string]string
	asked map[string]int
	kinds map[string]string // content types
}

func newShelf() *shelf {
	return &shelf{files: map[string]string{}, asked: map[string]int{}, kinds: map[string]string{}}
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.Copy(io.Discard, q.Body)
	s.asked[q.URL.EscapedPath()]++
	text, ok := s.files[q.URL.EscapedPath()]
	if !ok {
		http.NotFound(w, q)
		return
	}
	kind := s.kinds[q.URL.EscapedPath()]
	if kind == "" {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = io.WriteString(w, text)
}

func (s *shelf) put(path, text string, kind ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path], s.kinds[path] = text, strings.Join(kind, "")
}

func (s *shelf) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

const longSince = "2020-01-02T03:04:05Z"

// lately is younger than every min_age of the policy.
func lately() string { return time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) }

func TestPackages(t *testing.T) {
	r, s := newRig(t, packagePolicy), newShelf()
	r.web("ok.test", 443, s.ServeHTTP)
	c := r.client()
	for _, name := range []string{"lib/-/lib-1.0.0.tgz", "lib/-/lib-6.6.6.tgz", "@acme/app/-/app-1.0.0.tgz", "@acme/app/-/app-2.0.0.tgz", "@acme/app/-/app-3.0.0.tgz",
		"@acme%2Fnew/-/new-1.0.0.tgz", "own", "lib"} {
		s.put("/npm/"+name, "x")
	}
	s.put("/npm/@acme/app", `{"time":{"1.0.0":"`+longSince+`","2.0.0":"`+lately()+`"}}`)
	s.put("/npm/@acme%2Fnew", `{"time":{"1.0.0":"`+lately()+`"}}`)
	s.put("/pypi/packages/acme_a-1.0.tar.gz", "x")
	s.put("/debian/pool/a/acme/acme_1.0_amd64.deb", "x")
	s.put("/debian/pool/c/curl/curl_1.0_amd64.deb", "x")
	s.put("/debian/dists/stable/InRelease", "x")
	for _, tt := range []struct {
		method, path string
		allowed      bool
		why          string
	}{
		{"GET", "/npm/lib", true, ""},
		{"GET", "/npm/lib/-/lib-1.0.0.tgz", true, ""},
		{"GET", "/npm/lib/-/lib-6.6.6.tgz", false, "denies"},
		{"GET", "/npm/other/-/other-1.0.0.tgz", false, "allows this package"},
		{"GET", "/npm/@acme/app/-/app-1.0.0.tgz", true, ""},
		{"GET", "/npm/@acme/app/-/app-1.0.0.tgz", true, ""},
		{"GET", "/npm/@acme/app/-/app-2.0.0.tgz", false, "min_age"},
		{"GET", "/npm/@acme/app/-/app-3.0.0.tgz", false, "cannot be told"},
		{"GET", "/npm/@acme%2fnew/-/new-1.0.0.tgz", false, "min_age"},
		{"GET", "/npm/@acme/gone/-/gone-1.0.0.tgz", false, "the registry answers 404"},
		{"PUT", "/npm/lib", false, "denies"},
		{"PUT", "/npm/own", true, ""},
		{"GET", "/npm/-/v1/search?text=a", false, "could not be read"},
		{"GET", "/npm/lib/-/../../../pypi/x", false, ""},
		{"GET", "/pypi/packages/acme_a-1.0.tar.gz", false, "cannot be told"},
		{"GET", "/debian/dists/stable/InRelease", true, ""},
		{"GET", "/debian/pool/a/acme/acme_1.0_amd64.deb", false, "cannot be told"},
		{"GET", "/debian/pool/c/curl/curl_1.0_amd64.deb", true, ""},
	} {
		body := ""
		if tt.method == "PUT" {
			body = "{}"
		}
		resp, text := send(t, c, tt.method, "https://ok.test"+tt.path, body)
		if tt.allowed {
			if resp.StatusCode != 200 {
				t.Errorf("%s: %d %s", tt.path, resp.StatusCode, text)
			}
		} else if d := wantDenial(t, resp, text, 403, codePolicy); !strings.Contains(d.Reason, tt.why) {
			t.Errorf("%s: %s", tt.path, d.Reason)
		}
	}
	if n := s.count("/npm/@acme/app"); n != 3 { // once for each version
		t.Errorf("the registry was asked %d times", n)
	}
	if n := s.count("/npm/@acme/app/-/app-2.0.0.tgz"); n != 0 {
		t.Error("a version that is too young was asked for")
	}
	r.event("the question of Creel's own", func(ev audit.Event) bool {
		return ev.Kind == audit.Request && ev.Path == "/npm/@acme/app" && strings.Contains(ev.Reason, "creel asks")
	})
	r.event("what was denied", func(ev audit.Event) bool {
		return ev.Verdict == "deny" && strings.HasPrefix(ev.Detail["package"], "download @acme/app 2.0.0 of 20")
	})
	resp, text := send(t, c, "GET", "https://ok.test/npm/lib", "x")
	wantDenial(t, resp, text, 403, codePolicy)
}

// TestAgeIsAskedUnderTheLock: a policy that changes while the registry is asked
// has the last word.
func TestPolicyChangesWhileTheRegistryIsAsked(t *testing.T) {
	r := newRig(t, packagePolicy)
	asked, answer := make(chan struct{}), make(chan struct{})
	r.web("ok.test", 443, func(w http.ResponseWriter, q *http.Request) {
		if strings.HasSuffix(q.URL.Path, ".tgz") {
			t.Error("the package was asked for")
			return
		}
		close(asked)
		<-answer
		fmt.Fprint(w, `{"time":{"1.0.0":"`+longSince+`"}}`)
	})
	done := make(chan int)
	go func() {
		resp, err := r.client().Get("https://ok.test/npm/@acme/app/-/app-1.0.0.tgz")
		if err != nil { // the connection was cut
			done <- 0
			return
		}
		resp.Body.Close()
		done <- resp.StatusCode
	}()
	<-asked
	r.swap(strings.Replace(packagePolicy, `package: "@acme/*"`, `package: "@other/*"`, 1))
	close(answer)
	if code := <-done; code == 200 {
		t.Error("it was let through")
	}
}

// tgz is a compressed archive of files.
func tgz(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, text)
	}
	if w.Close() != nil || z.Close() != nil {
		t.Fatal("no archive")
	}
	return b.String()
}

func zipped(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(f, text)
	}
	if w.Close() != nil {
		t.Fatal("no archive")
	}
	return b.String()
}

// clientRig is an agent with package clients, behind it a registry of files.
func clientRig(t *testing.T, client string) (r *rig, s *shelf, run func(env []string, args ...string) (string, error)) {
	t.Helper()
	path, err := exec.LookPath(client)
	if err != nil {
		t.Skipf("%s is not installed", client)
	}
	r, s = newRig(t, packagePolicy), newShelf()
	r.web("ok.test", 443, s.ServeHTTP)
	dir, home := t.TempDir(), t.TempDir()
	ca := filepath.Join(home, "ca.pem")
	if err := os.WriteFile(ca, r.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	return r, s, func(env []string, args ...string) (string, error) {
		cmd := exec.Command(path, args...)
		cmd.Dir = dir
		proxy := "http://" + r.proxy
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "HTTPS_PROXY=" + proxy, "https_proxy=" + proxy, "NO_PROXY=", "no_proxy=",
			"SSL_CERT_FILE=" + ca, "NODE_EXTRA_CA_CERTS=" + ca, "PIP_CERT=" + ca, "CARGO_HTTP_CAINFO=" + ca, "CREEL_TEST_DIR=" + dir}, env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

func TestNPM(t *testing.T) {
	_, s, run := clientRig(t, "npm")
	versions := ""
	for _, v := range []string{"1.0.0", "2.0.0"} {
		file := tgz(t, map[string]string{"package/package.json": `{"name":"@acme/app","version":"` + v + `"}`})
		sum := sha512.Sum512([]byte(file))
		s.put("/npm/@acme/app/-/app-"+v+".tgz", file)
		versions += `,"` + v + `":{"name":"@acme/app","version":"` + v + `","dist":{"tarball":"https://ok.test/npm/@acme/app/-/app-` + v + `.tgz","integrity":"sha512-` + base64.StdEncoding.EncodeToString(sum[:]) + `"}}`
	}
	doc := `{"name":"@acme/app","dist-tags":{"latest":"2.0.0"},"versions":{` + versions[1:] + `},"time":{"1.0.0":"` + longSince + `","2.0.0":"` + lately() + `"}}`
	for _, path := range []string{"/npm/@acme/app", "/npm/@acme%2Fapp", "/npm/@acme%2fapp"} {
		s.put(path, doc, asJSON)
	}
	install := func(what string) (string, error) {
		return run(nil, "install", "--registry=https://ok.test/npm/", "--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=0", "--prefix", ".", what)
	}
	if out, err := install("@acme/app@1.0.0"); err != nil {
		t.Errorf("old enough: %s", out)
	}
	if out, err := install("@acme/app@2.0.0"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("too young: %v %s", err, out)
	}
	if out, err := install("other"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("not named: %v %s", err, out)
	}
}

func TestPip(t *testing.T) {
	_, s, run := clientRig(t, "python3")
	if out, err := run(nil, "-m", "pip", "--version"); err != nil {
		t.Skipf("pip is not installed: %s", out)
	}
	files := ""
	for _, v := range []string{"1.0", "2.0"} {
		name := "acme_app-" + v + "-py3-none-any.whl"
		info := "acme_app-" + v + ".dist-info/"
		wheel := zipped(t, map[string]string{"acme_app.py": "", info + "METADATA": "Metadata-Version: 2.1\nName: acme-app\nVersion: " + v + "\n",
			info + "WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n", info + "RECORD": ""})
		sum := sha256.Sum256([]byte(wheel))
		s.put("/pypi/packages/"+name, wheel)
		when := longSince
		if v == "2.0" {
			when = lately()
		}
		files += `,{"filename":"` + name + `","url":"../../packages/` + name + `","hashes":{"sha256":"` + hex.EncodeToString(sum[:]) + `"},"upload-time":"` + when + `"}`
	}
	s.put("/pypi/simple/acme-app/", `{"meta":{"api-version":"1.1"},"name":"acme-app","files":[`+files[1:]+`]}`, "application/vnd.pypi.simple.v1+json")
	install := func(what string) (string, error) {
		return run(nil, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir", "--retries=0", "--index-url=https://ok.test/pypi/simple/", "--target=site", what)
	}
	if out, err := install("acme-app==1.0"); err != nil {
		t.Errorf("old enough: %s", out)
	}
	if out, err := install("acme-app==2.0"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("too young: %v %s", err, out)
	}
	if out, err := install("other"); err == nil {
		t.Errorf("not named: %s", out)
	}
}

func TestGoModules(t *testing.T) {
	_, s, run := clientRig(t, "go")
	for v, when := range map[string]string{"v1.0.0": longSince, "v1.1.0": lately()} {
		base := "/go/acme.test/mod/@v/" + v
		s.put(base+".info", `{"Version":"`+v+`","Time":"`+when+`"}`)
		s.put(base+".mod", "module acme.test/mod\n")
		s.put(base+".zip", zipped(t, map[string]string{"acme.test/mod@" + v + "/go.mod": "module acme.test/mod\n", "acme.test/mod@" + v + "/mod.go": "package mod\n"}))
	}
	s.put("/go/acme.test/mod/@v/list", "v1.0.0\nv1.1.0\n")
	download := func(what string) (string, error) {
		return run([]string{"GOPROXY=https://ok.test/go", "GONOSUMDB=*", "GONOSUMCHECK=1", "GOFLAGS=-modcacherw", "GOTOOLCHAIN=local", "GO111MODULE=on"}, "mod", "download", "-json", what)
	}
	if out, err := download("acme.test/mod@v1.0.0"); err != nil || !strings.Contains(out, `"Zip"`) {
		t.Errorf("old enough: %v %s", err, out)
	}
	if out, err := download("acme.test/mod@v1.1.0"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("too young: %v %s", err, out)
	}
	if out, err := download("other.test/mod@v1.0.0"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("not named: %v %s", err, out)
	}
}

func TestCargo(t *testing.T) {
	_, s, run := clientRig(t, "cargo")
	s.put("/cargo/config.json", `{"dl":"https://ok.test/cargo/api/v1/crates","api":"https://ok.test/cargo"}`)
	lines := ""
	for v, when := range map[string]string{"1.0.0": longSince, "2.0.0": lately()} {
		dir := "acme-app-" + v + "/"
		crate := tgz(t, map[string]string{dir + "Cargo.toml": "[package]\nname = \"acme-app\"\nversion = \"" + v + "\"\nedition = \"2021\"\n", dir + "src/lib.rs": ""})
		sum := sha256.Sum256([]byte(crate))
		s.put("/cargo/api/v1/crates/acme-app/"+v+"/download", crate)
		lines += `{"name":"acme-app","vers":"` + v + `","deps":[],"cksum":"` + hex.EncodeToString(sum[:]) + `","features":{},"yanked":false,"pubtime":"` + when + `"}` + "\n"
	}
	s.put("/cargo/ac/me/acme-app", lines)
	fetch := func(name, version string) (string, error) {
		dir, home := t.TempDir(), t.TempDir()
		for file, text := range map[string]string{
			filepath.Join(dir, "Cargo.toml"):   "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\npath = \"lib.rs\"\n[dependencies]\n" + name + " = \"=" + version + "\"\n",
			filepath.Join(dir, "lib.rs"):       "",
			filepath.Join(home, "config.toml"): "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \"sparse+https://ok.test/cargo/\"\n[net]\nretry = 0\n",
		} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		env := []string{"CARGO_HOME=" + home}
		if user, err := os.UserHomeDir(); err == nil { // where a shim of cargo's finds the real one
			env = append(env, "RUSTUP_HOME="+filepath.Join(user, ".rustup"))
		}
		return run(env, "fetch", "--manifest-path", filepath.Join(dir, "Cargo.toml"))
	}
	if out, err := fetch("acme-app", "1.0.0"); err != nil {
		t.Errorf("old enough: %s", out)
	}
	if out, err := fetch("acme-app", "2.0.0"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("too young: %v %s", err, out)
	}
	if out, err := fetch("other", "1.0.0"); err == nil {
		t.Errorf("not named: %s", out)
	}
}
