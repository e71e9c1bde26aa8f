package e2e

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// clientsVar is the folder where `make clients` installed clients of Node and of
// Python (below py).
const clientsVar = "CREEL_CLIENTS"

// bind shows the installed programs of a variable in a place that every user can
// read, and makes the variable say so: a checkout may lie in a home of root's.
func bind(variable, program string) (string, error) {
	root := os.Getenv(variable)
	if root == "" {
		return "", fmt.Errorf("%s does not say where they are", variable)
	}
	if _, err := os.Stat(filepath.Join(root, program)); err != nil {
		return "", fmt.Errorf("not installed in %s: %w", root, err)
	}
	if os.Geteuid() != 0 {
		return root, nil
	}
	dir := filepath.Join(os.Getenv(shared), filepath.Base(root))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	// In the mount namespace of these tests alone, and gone with it.
	if err := unix.Mount(root, dir, "", unix.MS_BIND, ""); err != nil {
		return "", err
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return "", err
	}
	return dir, os.Setenv(variable, dir)
}

var bindClients = sync.OnceValues(func() (string, error) { return bind(clientsVar, "py") })

// needs skips a test by the name of what is missing.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing(t, fmt.Sprintf("%s is not installed\nhint: tools/prepare tests", p))
		}
	}
}

// installedClients is the folder of clientsVar.
func installedClients(t *testing.T) string {
	t.Helper()
	dir, err := bindClients()
	if err != nil {
		missing(t, fmt.Sprintf("clients: %v\nhint: make test-clients", err))
	}
	return dir
}

// missing skips. Where CI could have installed it, that is a failure.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" && os.Geteuid() == 0 {
		t.Fatal(what)
	}
	t.Skip(what)
}

//go:embed testdata/clients
var clientScripts embed.FS

// clientFolder is a workspace with the scripts of clients.
func clientFolder(t *testing.T, names ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ws")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := clientScripts.ReadFile("testdata/clients/" + name)
		if err != nil {
			t.Fatal(err)
		}
		writeMode(t, filepath.Join(dir, name), string(text), 0o644)
	}
	return dir
}
