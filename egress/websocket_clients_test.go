package egress

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clientsVar is the folder where `make clients` installed clients of Node, ws
// among them, and of Python (below py), websockets among them.
const clientsVar = "CREEL_CLIENTS"

// TestWebSocketClients: the usual implementations of two languages, every client
// with every server, compressed and not.
func TestWebSocketClients(t *testing.T) {
	dir := os.Getenv(clientsVar)
	if dir == "" {
		t.Skip(clientsVar + " does not say where the clients are\nhint: make test-clients")
	}
	tool := func(script string, args ...string) *exec.Cmd {
		script, err := filepath.Abs(filepath.Join("testdata", "websocket", script))
		if err != nil {
			t.Fatal(err)
		}
		name := "node"
		if strings.HasSuffix(script, ".py") {
			name = "python3"
		}
		cmd := exec.Command(name, append([]string{script}, args...)...)
		cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"), "PYTHONPATH="+filepath.Join(dir, "py"))
		cmd.Stderr = os.Stderr
		return cmd
	}
	for _, server := range []string{"server.js", "server.py"} {
		r := newRig(t, socketPolicy)
		cmd := tool(server)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		port, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		r.upstream("ok.test", 80, elsewhere("127.0.0.1:"+strings.TrimSpace(port)))
		for _, mode := range []string{"plain", "default", "deflate"} {
			for _, client := range []string{"client.js", "client.py"} {
				t.Run(fmt.Sprint(client, " ", server, " ", mode), func(t *testing.T) {
					at := r.ways["ok.test:80"]
					if client == "client.js" {
						at = "ws://" + at + "/ws/chat/1"
					} else {
						_, at, _ = net.SplitHostPort(at)
					}
					got, err := tool(client, at, "ok.test", mode).Output()
					want := fmt.Sprintf("extension %v\nclose 4000 messages 6 pongs 1\n", mode == "deflate")
					if err != nil || string(got) != want {
						t.Errorf("%v, got %q, want %q", err, got, want)
					}
				})
			}
		}
	}
}

// elsewhere is the address of a server that is not the test's own.
type elsewhere string

func (e elsewhere) Addr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", string(e))
	if err != nil {
		panic(err)
	}
	return a
}
func (elsewhere) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (elsewhere) Close() error              { return nil }
