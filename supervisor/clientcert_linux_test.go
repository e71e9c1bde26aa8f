package supervisor

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/egress/ca"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/netname"
)

func TestParseClientCerts(t *testing.T) {
	authority, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Leaf("operator.test")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c, k := write("c.pem", "CERTIFICATE", leaf.Certificate[0]), write("k.pem", "PRIVATE KEY", key)
	junk := write("junk.pem", "PRIVATE KEY", []byte("s3cret"))
	got, err := parseClientCerts([]string{"API.test=" + c + "," + k, "api.test:8443=" + c + "," + k})
	if err != nil || len(got) != 2 || got[endpoint{hostOf(t, "api.test"), 443}] == nil || got[endpoint{hostOf(t, "api.test"), 8443}] == nil {
		t.Fatalf("%v %v", got, err)
	}
	for _, bad := range []string{
		"", "api.test", "api.test=" + c, "api.test=" + c + ",", "=" + c + "," + k, "*.test=" + c + "," + k, "api.test:0=" + c + "," + k, "api.test:x=" + c + "," + k,
		"api.test=" + k + "," + c, "api.test=" + c + "," + junk, "api.test=" + c + "," + filepath.Join(dir, "none"),
	} {
		_, err := parseClientCerts([]string{bad})
		if err == nil || exitOf(err) != fault.Usage || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := parseClientCerts([]string{"a.test=" + c + "," + k, "A.test:443=" + c + "," + k}); err == nil {
		t.Error("two certificates for one host were taken")
	}
}

func hostOf(t *testing.T, name string) netname.Host {
	t.Helper()
	h, err := netname.ParseHost(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func exitOf(err error) int {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.Exit()
	}
	return -1
}
