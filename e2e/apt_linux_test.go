package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// debs are the packages of the test's repository, with what they depend on.
var debs = []struct{ name, version, depends string }{
	{"hello", "1.0", "libhello"}, {"hello", "6.6", "libhello"}, {"libhello", "1.0-2", ""}, {"secret", "1.0", ""},
}

// archive makes a signed Debian repository, and gives the file of its key.
func archive(t *testing.T) (root, key string) {
	t.Helper()
	root = t.TempDir()
	var list strings.Builder
	for _, d := range debs {
		tree := t.TempDir()
		control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: T <t@t.test>\nDescription: of a test\n", d.name, d.version)
		if d.depends != "" {
			control += "Depends: " + d.depends + "\n"
		}
		if err := os.MkdirAll(filepath.Join(tree, "DEBIAN"), 0o755); err != nil {
			t.Fatal(err)
		}
		writeMode(t, filepath.Join(tree, "DEBIAN", "control"), control, 0o644)
		writeMode(t, filepath.Join(tree, "data"), strings.Repeat(d.name, 20_000), 0o644)
		at := fmt.Sprintf("pool/main/%c/%s/%s_%s_all.deb", d.name[0], d.name, d.name, d.version)
		if strings.HasPrefix(d.name, "lib") {
			at = strings.Replace(at, "/l/", "/"+d.name[:4]+"/", 1)
		}
		deb := filepath.Join(root, at)
		if err := os.MkdirAll(filepath.Dir(deb), 0o755); err != nil {
			t.Fatal(err)
		}
		must(t, exec.Command("dpkg-deb", "--root-owner-group", "--build", tree, deb))
		text, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&list, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", control, at, len(text), sha256.Sum256(text))
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(list.String()))
	_ = z.Close()
	release := "Origin: creel\nSuite: stable\nCodename: stable\nArchitectures: all amd64 arm64\nComponents: main\nAcquire-By-Hash: yes\nDate: " +
		time.Now().UTC().Format(time.RFC1123) + "\nSHA256:\n"
	dist := filepath.Join(root, "dists", "stable")
	lists := filepath.Join(dist, "main", "binary-all")
	if err := os.MkdirAll(filepath.Join(lists, "by-hash", "SHA256"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"Packages": list.String(), "Packages.gz": packed.String()} {
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
		writeMode(t, filepath.Join(lists, name), text, 0o644)
		writeMode(t, filepath.Join(lists, "by-hash", "SHA256", sum), text, 0o644)
		release += fmt.Sprintf(" %s %d main/binary-all/%s\n", sum, len(text), name)
	}
	home, err := os.MkdirTemp("/tmp", "creel-e2e-gpg-") // short: it holds sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	gpg := func(args ...string) *exec.Cmd {
		return exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--quiet", "--passphrase", ""}, args...)...)
	}
	must(t, gpg("--quick-gen-key", "t@t.test", "ed25519", "sign", "never"))
	writeMode(t, filepath.Join(dist, "Release"), release, 0o644)
	must(t, gpg("--output", filepath.Join(dist, "InRelease"), "--clearsign", filepath.Join(dist, "Release")))
	key = filepath.Join(home, "key.gpg")
	must(t, gpg("--output", key, "--export", "t@t.test"))
	return root, key
}

// aptFolder is a workspace in which apt has nothing of the machine.
func aptFolder(t *testing.T, key, scheme string) string {
	t.Helper()
	ws := clientFolder(t)
	for _, dir := range []string{"etc/preferences.d", "state/lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(ws, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pub, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	writeMode(t, filepath.Join(ws, "etc", "key.gpg"), string(pub), 0o644)
	writeMode(t, filepath.Join(ws, "state", "status"), "", 0o644)
	writeMode(t, filepath.Join(ws, "etc", "sources.list"), fmt.Sprintf("deb [signed-by=%s/etc/key.gpg] %s://ok.test/x/debian stable main\n", ws, scheme), 0o644)
	writeMode(t, filepath.Join(ws, "apt.conf"), fmt.Sprintf(`Dir::Etc "%[1]s/etc/";
Dir::Etc::Parts "/dev/null/";
Dir::Etc::netrc "%[1]s/etc/auth.conf";
Dir::State "%[1]s/state/";
Dir::State::status "%[1]s/state/status";
Dir::Cache "%[1]s/cache/";
Dir::Log "%[1]s/log/";
Debug::NoLocking "true";
Acquire::Retries "0";
Acquire::Languages "none";
`, ws), 0o644)
	return ws
}

const aptRules = `network_policies:
  debian:
    endpoints:
      - host: ok.test
        ports: [80, 443]
        protocol: package
        registry: debian
        registry_path: /x/debian
        rules:
          - allow: {package: hello}
          - allow: {package: libhello}
        deny_rules:
          - {package: hello, versions: ["6.*"]}
    binaries: any
`

// TestApt: a signed repository, whose lists apt checks and of whose packages it
// gets those that the policy names, several in a row on one connection.
func TestApt(t *testing.T) {
	needs(t, "apt-get", "dpkg-deb", "gpg", "gpgconf", "gpgv")
	bothUsers(t, func(t *testing.T) {
		root, key := archive(t)
		for _, scheme := range []string{"https", "http"} {
			t.Run(scheme, func(t *testing.T) {
				s := newSink(t)
				s.extra = http.StripPrefix("/x/debian/", http.FileServerFS(os.DirFS(root)))
				ws := aptFolder(t, key, scheme)
				flags := join(s.upstreams("ok.test"), []string{"--trust-ca", caFile(t), "--env", "APT_CONFIG=" + ws + "/apt.conf"})
				user := "reader:" + canary("token")
				if scheme == "https" {
					flags = append(flags, "--secret", "TOKEN=env:E2E_TOKEN@ok.test")
				}
				r := box{policy: policyHead() + aptRules, workspace: ws, flags: flags, env: []string{"E2E_TOKEN=" + canary("token")}}.run(t, "sh", "-c", `exec 2>&1
				[ -z "$TOKEN" ] || echo "machine ok.test login reader password $TOKEN" >etc/auth.conf
				apt-get update; echo "status $?"
				apt-get -y --download-only install hello=1.0; echo "status $?"
				ls cache/archives
				apt-get download secret hello=6.6 libhello; echo "status $?"
				ls *.deb`).want(t, 0)
				rest := r.stdout
				for _, part := range []string{"status 0", "status 0", "hello_1.0_all.deb", "libhello_1.0-2_all.deb", "403", "403", "status 100", "libhello_1.0-2_all.deb"} {
					_, after, ok := strings.Cut(rest, part)
					if !ok {
						t.Fatalf("%q is not in the rest of\n%s\n%s", part, r.stdout, r.stderr)
					}
					rest = after
				}
				if s.got("/x/debian/pool/main/s") || s.got("/x/debian/pool/main/h/hello/hello_6") {
					t.Error("the server was asked for what is denied")
				}
				for _, want := range []string{"/x/debian/dists/stable/InRelease", "/x/debian/dists/stable/main/binary-all/by-hash/SHA256/", "/x/debian/pool/main/h/hello/hello_1.0_all.deb"} {
					if !s.got(want) {
						t.Errorf("the server was not asked for %s", want)
					}
				}
				if auth := "Basic " + base64.StdEncoding.EncodeToString([]byte(user)); scheme == "https" && !s.has(func(q seen) bool { return q.Header.Get("Authorization") == auth }) {
					t.Error("the credential did not arrive")
				}
				var denied []string
				for _, e := range readEvents(t, r.audit) {
					if e.Verdict == "deny" && e.Kind == audit.Request {
						denied = append(denied, e.Detail["package"])
					}
				}
				slices.Sort(denied)
				if got := strings.Join(denied, ", "); got != "download hello 6.6, download secret 1.0" {
					t.Errorf("denied %s", got)
				}
			})
		}
	})
}
