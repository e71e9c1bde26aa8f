package supervisor

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creel-run/creel/egress/pac"
)

// TestReadScript: a script is a file, or comes over TLS that is verified; all of it,
// or an error that shows no query.
func TestReadScript(t *testing.T) {
	const script = "function FindProxyForURL() { return 'DIRECT' }"
	mux := http.NewServeMux()
	mux.HandleFunc("/proxy.pac", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(script)) })
	mux.Handle("/moved", http.RedirectHandler("/proxy.pac", http.StatusFound))
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for b := make([]byte, 64<<10); r.Context().Err() == nil; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	})
	s := httptest.NewTLSServer(mux)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, long := write("proxy.pac", script), write("long.pac", strings.Repeat("x", pac.MaxScript+1))
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for where, shown := range map[string]string{good: "pac:" + good, "file://" + good: "pac:file://" + good, s.URL + "/proxy.pac?key=canary": "pac:" + s.URL + "/proxy.pac"} {
		text, from, err := readScript(where, roots)
		if err != nil || text != script || !strings.HasPrefix(from, shown+" (sha256 ") {
			t.Errorf("%s: %q %q %v", where, text, from, err)
		}
	}
	for where, want := range map[string]string{
		"": "want a path", dir: "is not a file", fifo: "is not a file", dir + "/none": "no such file", long: "more than 1024 KiB", "http://p.test/proxy.pac": "over http", "ftp://p.test/x": "want a path", "file://host.test/x": "want a path", "https:///x": "want a path",
		s.URL + "/moved?key=canary": "status 302", s.URL + "/none?key=canary": "status 404", s.URL + "/endless": "more than 1024 KiB", "https://127.0.0.1:1/x?key=canary": "fetch the script",
	} {
		if text, from, err := readScript(where, roots); text != "" || from != "" || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %.20q %q %v, want %q", where, text, from, err, want)
		}
	}
	if _, _, err := readScript(s.URL+"/proxy.pac?key=canary", nil); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a server that nobody vouches for: %v", err)
	}
}
