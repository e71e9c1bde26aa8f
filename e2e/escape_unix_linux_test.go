package e2e

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostServer is a service of the host behind a unix socket that everybody may
// connect to. It counts who did.
type hostServer struct {
	path    string
	reached atomic.Int32
}

func newHostServer(t *testing.T, path string) *hostServer {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	h := &hostServer{path: path}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.reached.Add(1)
			_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nhost service")
			_ = c.Close()
		}
	}()
	return h
}

// control: from the host it can be reached, and that is forgotten.
func (h *hostServer) control(t *testing.T) {
	t.Helper()
	c, err := net.Dial("unix", h.path)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(c); !strings.Contains(string(b), "host service") {
		t.Fatalf("the service of the test says %q", b)
	}
	_ = c.Close()
	h.reached.Store(0)
}

// ownSocket is what works inside: a server and its client.
const ownSocket = `python3 -c '
import os, socket, struct, sys
for name in sys.argv[1:]:
    name = name.replace("@", "\0")
    s = socket.socket(socket.AF_UNIX); s.bind(name); s.listen(1)
    c = socket.socket(socket.AF_UNIX); c.connect(name); a = s.accept()[0]
    pid, uid, gid = struct.unpack("3i", a.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    assert (uid, gid) == (os.getuid(), os.getgid()), (pid, uid, gid)
    c.send(b"x"); assert a.recv(1) == b"x"
    if name[0] != "\0": os.unlink(name)
print("own sockets work")' ./own.sock /tmp/own.sock @own`

// hostFIFO makes a FIFO that everybody may write, and its reader. Landlock holds
// it, which knows no read-only folder below a writable one: for root it lies
// outside of the sandbox's own /tmp; an ordinary user has no other place, and
// there the owner's permission stands for it.
func hostFIFO(t *testing.T, host string) (string, *os.File) {
	t.Helper()
	dir, mode := filepath.Join(host, "pipes"), uint32(0o444)
	if os.Geteuid() == 0 {
		d, err := os.MkdirTemp("/srv", "creel-e2e-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(d) })
		dir, mode = d, 0o666
	} else if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := errors.Join(os.Chmod(dir, 0o755), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(fifo, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	if err := unix.Chmod(fifo, mode); err != nil {
		t.Fatal(err)
	}
	return fifo, pipe
}

// TestEscapeUnixSockets: sockets and FIFOs of host services.
func TestEscapeUnixSockets(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		host := t.TempDir()
		// A declared folder, as /run/user or a home folder would be, and the workspace.
		declared, ws := filepath.Join(host, "declared"), filepath.Join(host, "ws")
		for _, dir := range []string{declared, ws} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for dir := host; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		runtimeSocket := newHostServer(t, filepath.Join(declared, "docker.sock"))
		session := newHostServer(t, filepath.Join(ws, "bus"))
		fifo, pipe := hostFIFO(t, host)
		p := strings.Replace(policyHead(), "    - /etc\n", "    - /etc\n    - "+declared+"\n    - "+filepath.Dir(fifo)+"\n", 1) + "network_policies: {}\n"
		if !strings.Contains(p, declared) {
			t.Fatalf("the policy does not declare the folder:\n%s", p)
		}
		l := box{policy: p, workspace: ws}.start(t)
		later := newHostServer(t, filepath.Join(ws, "later"))
		servers := []*hostServer{runtimeSocket, session, later}
		for _, s := range servers {
			s.control(t)
		}
		works := func(x *line) string {
			if got := x.sh(ownSocket); got != "own sockets work" {
				return got
			}
			return ""
		}
		attack := func(x *line, servers ...*hostServer) {
			x.way(inside)
			for _, s := range servers {
				if got := x.sh("test -S " + s.path + " && echo shown"); got != "shown" {
					x.Errorf("%s is not there, so nothing is tried: %s", s.path, got)
				}
				for _, c := range []string{
					"curl -sS --max-time 5 --unix-socket " + s.path + " http://x/containers/json",
					"ln -s " + s.path + " link; curl -sS --max-time 5 --unix-socket ./link http://x/; rm link",
					"cd " + filepath.Dir(s.path) + " && curl -sS --max-time 5 --unix-socket ./" + filepath.Base(s.path) + " http://x/",
					"ln " + s.path + " hard 2>/dev/null && curl -sS --max-time 5 --unix-socket ./hard http://x/; rm -f hard",
					"mv " + s.path + " moved 2>/dev/null && { curl -sS --max-time 5 --unix-socket ./moved http://x/; mv moved " + s.path + "; }",
					`python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.sendto(b"x", "` + s.path + `")'`,
					`python3 -c 'import socket; a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.sendto(b"x", "` + s.path + `")'`,
					`python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect("` + s.path + `")'`,
					// A socket of the agent's own over the name, and away again, while it connects.
					`python3 -c '
import os, socket, threading
stop = False
def swap():
    while not stop:
        for to in ("` + s.path + `", "mine"):
            os.symlink(to, "t"); os.rename("t", "swapped")
m = socket.socket(socket.AF_UNIX); m.bind("mine"); m.listen(4096)
os.symlink("mine", "swapped")
t = threading.Thread(target=swap); t.start()
n = 0
for i in range(2000):
    c = socket.socket(socket.AF_UNIX); c.setblocking(False)
    try: c.connect("swapped"); n += 1
    except OSError: pass
    c.close()
stop = True; t.join()
for f in ("mine", "swapped"): os.unlink(f)
assert n'`,
				} {
					got := x.sh(c)
					if n := s.reached.Load(); n != 0 || strings.Contains(got, "host service") {
						x.Errorf("%s: the host's service was reached %d times: %s", c, n, got)
						s.reached.Store(0)
					}
				}
			}
		}
		l.escape(t, nil, "KRN-08", works, func(x *line) {
			seq := len(x.events())
			attack(x, runtimeSocket)
			if e := x.denied(seq); e.Protocol != "unix" || e.Path != runtimeSocket.path || e.Binary != "/usr/bin/curl" {
				x.Errorf("the event: %+v", e)
			}
			// A FIFO of the host: nothing may be written to its reader.
			x.sh("echo from inside > " + fifo)
			if err := pipe.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				x.Fatal(err)
			}
			buf := make([]byte, 64)
			if n, err := pipe.Read(buf); n > 0 {
				x.Errorf("the host's FIFO was written to: %q, %v", buf[:n], err)
			}
		})
		l.escape(t, nil, "KRN-09", works, func(x *line) {
			attack(x, session, later)
			got := x.sh("ls -A /run; for s in /run/dbus/system_bus_socket /run/user/$(id -u)/bus /run/systemd/private /var/run/docker.sock /tmp/.X11-unix/X0; do test -e $s && echo $s; done; env | grep -E 'DBUS|SSH_AUTH|XDG_RUNTIME|WAYLAND'; true")
			if strings.Contains(got, "/") || strings.Contains(got, "=") {
				x.Errorf("services of the session are visible: %s", got)
			}
		})
		for _, s := range servers {
			s.control(t) // still there
		}
	})
}

// TestUnixSocketsInside: what programs do with unix sockets of their own.
func TestUnixSocketsInside(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		l := box{policy: policyHead() + "network_policies: {}\n"}.start(t)
		for _, tt := range []struct{ program, script, want string }{
			{"python3", ownSocket, "own sockets work"},
			{"python3", `python3 -c '
import multiprocessing.managers as m, multiprocessing as p
with p.Manager() as g: print(g.list([1, 2]))'`, "[1, 2]"},
			{"node", `node -e '
const net=require("net"),fs=require("fs");
const s=net.createServer(c=>c.end("ipc")).listen("n.sock",()=>net.connect("n.sock").on("data",d=>{console.log(""+d);s.close()}));
fs.writeFileSync("c.js","process.on(\"message\",m=>{process.send(m+1);process.disconnect()})");
const c=require("child_process").fork("./c.js");
c.on("message",m=>console.log("child",m));c.send(41)' | sort | tr '\n' ' '`, "child 42 ipc"},
			{"ssh-agent", `eval $(ssh-agent) >/dev/null; ssh-keygen -q -t ed25519 -N "" -f k && ssh-add k 2>/dev/null && ssh-add -l | wc -l; kill $SSH_AGENT_PID`, "1"},
			{"tmux", `tmux -S t.sock new-session -d cat \; list-sessions \; kill-server | grep -c windows`, "1"},
			{"dbus-daemon", `dbus-daemon --session --fork --print-address=1 --print-pid=1 > d; dbus-send --bus=$(head -1 d) --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetId | grep -c string; kill $(tail -1 d)`, "1"},
			{"redis-server", `redis-server --port 0 --unixsocket r.sock --save "" >/dev/null & for i in $(seq 50); do redis-cli -s r.sock ping 2>/dev/null && break; sleep 0.1; done; redis-cli -s r.sock shutdown nosave; true`, "PONG"},
			{"/usr/lib/postgresql/15/bin/initdb", `b=/usr/lib/postgresql/15/bin; $b/initdb -D pg -A peer >/dev/null && $b/pg_ctl -D pg -o "-k $PWD -c listen_addresses=''" -l log -w start >/dev/null; psql -h $PWD -d postgres -Atc "select 40+2"; $b/pg_ctl -D pg stop -m immediate >/dev/null`, "42"},
		} {
			if l.sh("command -v "+tt.program+" >/dev/null || echo no") == "no" {
				t.Logf("not on this machine: %s", tt.program)
				continue
			}
			if got := l.sh(tt.script); !strings.Contains(got, tt.want) {
				t.Errorf("%s: %q, want %q", tt.program, got, tt.want)
			}
		}
	})
}
