package probe

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAttemptsSeeWhatGetsThrough: outside of a sandbox the attempts do not call
// themselves refused. Those that would harm this machine are not made here.
func TestAttemptsSeeWhatGetsThrough(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("terces"), 0o600); err != nil {
		t.Fatal(err)
	}
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	sock, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 64)
			n, _ := c.Read(buf)
			_, _ = c.Write(buf[:n])
			_ = c.Close()
		}
	}()
	for what, list := range map[string][]Attempt{
		"status": Status()[:1], "a file": Denied([]string{file}), "a socket": Unix([]string{sock.Addr().String()}),
		"a value": Hunt("secret", []string{dir}), "a server": Reach([]string{echo.Addr().String()}, "127.0.0.1:1", "mark")[:1],
		"a descriptor": OpenDescriptors(),
	} {
		for _, r := range Run(list) {
			if r.Held {
				t.Errorf("%s: %s is called refused", what, r.Name)
			}
		}
	}
	// And what is not there is refused.
	for what, list := range map[string][]Attempt{
		"a file": Denied([]string{file + "x"}), "a socket": Unix([]string{filepath.Join(dir, "t")}), "a value": Hunt("dnuof eb ton", []string{dir}),
		"a server": Reach([]string{"127.0.0.1:1"}, "127.0.0.1:1", "mark"),
	} {
		if err := Failed(Run(list)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestAttemptsAreNamedOnce: a verdict points at one attempt.
func TestAttemptsAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, list := range [][]Attempt{Calls(), Files(), Status(), Sockets(), Signals(), OpenDescriptors(), Names("a.test"), Reach(nil, "", "")} {
		for _, a := range list {
			if seen[a.Name] || a.Layer == "" || strings.TrimSpace(a.Name) == "" || a.Try == nil {
				t.Errorf("attempt %q of layer %q", a.Name, a.Layer)
			}
			seen[a.Name] = true
		}
	}
}
