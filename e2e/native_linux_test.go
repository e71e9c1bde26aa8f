package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creel-run/creel/audit"
)

// native is a server that people run, whose protocol creel does not know.
type native struct {
	name  string
	needs []string // programs
	port  int      // that clients know
	// start gives the server; the address is where it has to listen. dir is its own,
	// ws the agent's.
	start func(t *testing.T, host string, port int, dir, ws string) *exec.Cmd
	// client is what the agent runs, and out what it prints then.
	client, out string
	ready       func(t *testing.T, addr string) // nil: it accepts connections
}

const mariaBin = "/usr/sbin/"

// pgBin is where the newest PostgreSQL of Debian's lies.
var pgBin = func() string {
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	return append([]string{"/usr/lib/postgresql/bin"}, all...)[len(all)] + "/"
}()

// asService runs a server as an ordinary user, where it refuses to be root.
func asService(t *testing.T, name, dir string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		return cmd
	}
	uid, gid := ordinaryUser()
	if u, err := user.Lookup(name); err == nil { // it wants an entry in passwd
		n, _ := strconv.ParseUint(u.Uid, 10, 32)
		g, _ := strconv.ParseUint(u.Gid, 10, 32)
		uid, gid = uint32(n), uint32(g)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}, Pdeathsig: syscall.SIGKILL}
	cmd.Dir = dir
	return cmd
}

func must(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

func writeMode(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

var natives = []native{
	{
		name: "redis", needs: []string{"redis-server", "redis-cli"}, port: 6379,
		start: func(t *testing.T, host string, port int, dir, _ string) *exec.Cmd {
			return exec.Command("redis-server", "--bind", host, "--port", fmt.Sprint(port), "--save", "", "--appendonly", "no", "--dir", dir)
		},
		client: "redis-cli -h redis.test set fish lobster; redis-cli -h redis.test get fish", out: "lobster",
	},
	{
		// The client asks for TLS in its own first eight bytes, and begins it later.
		name: "postgres", needs: []string{pgBin + "postgres", pgBin + "initdb", pgBin + "psql"}, port: 5432,
		start: func(t *testing.T, host string, port int, dir, _ string) *exec.Cmd {
			must(t, asService(t, "postgres", dir, exec.Command(pgBin+"initdb", "-D", dir+"/data", "-U", "lobster", "-A", "trust", "--no-sync")))
			cert, key := leafPEM(t, "postgres.test")
			script := fmt.Sprintf("umask 077; cat > %[1]s/server.crt <<'E'\n%[2]sE\ncat > %[1]s/server.key <<'E'\n%[3]sE\n", dir+"/data", cert, key)
			must(t, asService(t, "postgres", dir, exec.Command("sh", "-c", script)))
			return asService(t, "postgres", dir, exec.Command(pgBin+"postgres", "-D", dir+"/data", "-h", host, "-p", fmt.Sprint(port), "-k", dir, "-c", "ssl=on", "-c", "fsync=off"))
		},
		ready: func(t *testing.T, addr string) {
			host, port, _ := net.SplitHostPort(addr)
			poll(t, "postgres", func() bool { return exec.Command(pgBin+"pg_isready", "-h", host, "-p", port).Run() == nil })
		},
		client: `for mode in require disable; do ` + pgBin + `psql "host=postgres.test user=lobster dbname=postgres sslmode=$mode" -Atc "select ssl || ' for ' || current_user || ' ' || 6*7 from pg_stat_ssl where pid = pg_backend_pid()"; done`,
		out:    "true for lobster 42\nfalse for lobster 42",
	},
	{
		name: "ssh", needs: []string{"/usr/sbin/sshd", "ssh", "ssh-keygen"}, port: 22,
		start:  sshd,
		client: "ssh -q -i ./key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -l $(cat login) ssh.test 'echo the pot; cat' </dev/null", out: "the pot",
	},
	{
		name: "mariadb", needs: []string{mariaBin + "mariadbd", "mariadb-install-db", "mariadb"}, port: 3306,
		start: func(t *testing.T, host string, port int, dir, _ string) *exec.Cmd {
			must(t, asService(t, "mysql", dir, exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")))
			init := writeMode(t, dir+"/init.sql", "CREATE USER lobster@'%' IDENTIFIED BY 'pot';\nCREATE USER lobster@localhost IDENTIFIED BY 'pot';\n", 0o644)
			return asService(t, "mysql", dir, exec.Command(mariaBin+"mariadbd", "--no-defaults", "--datadir="+dir+"/data", "--bind-address="+host, "--port="+fmt.Sprint(port), "--socket="+dir+"/s", "--pid-file="+dir+"/p", "--init-file="+init))
		},
		client: "mariadb --no-defaults -h mariadb.test -u lobster -ppot -N -e 'select 6*7'", out: "42",
	},
	{
		name: "smtp", needs: []string{"python3", "/usr/bin/python3"}, port: 587,
		start: func(t *testing.T, host string, port int, dir, ws string) *exec.Cmd {
			script, err := clientScripts.ReadFile("testdata/clients/mail.py")
			if err != nil {
				t.Fatal(err)
			}
			writeMode(t, ws+"/mail.py", string(script), 0o644)
			writeMode(t, ws+"/ca.pem", string(testCA().pem), 0o644)
			cert, key := leafPEM(t, "smtp.test")
			python, _ := pythonRoot(t)
			cmd := exec.Command(python, "-m", "aiosmtpd", "-n", "-l", fmt.Sprint(host, ":", port),
				"--tlscert", writeMode(t, dir+"/crt", string(cert), 0o600), "--tlskey", writeMode(t, dir+"/key", string(key), 0o600))
			cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(installedClients(t), "py"))
			return cmd
		},
		client: "/usr/bin/python3 mail.py smtp.test", out: "sent with TLSv1.3",
	},
}

// leafPEM is the certificate of a name, and its key.
func leafPEM(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	leaf, err := testCA().leaf(name)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// sshd is a server for one user, with the key in ws.
func sshd(t *testing.T, host string, port int, dir, ws string) *exec.Cmd {
	must(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir+"/host"))
	must(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ws+"/key"))
	pub, err := os.ReadFile(ws + "/key.pub")
	if err != nil {
		t.Fatal(err)
	}
	writeMode(t, dir+"/authorized", string(pub), 0o600)
	_ = os.MkdirAll("/run/sshd", 0o755)
	conf := fmt.Sprintf("ListenAddress %s\nPort %d\nHostKey %[3]s/host\nAuthorizedKeysFile %[3]s/authorized\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n", host, port, dir)
	return exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", writeMode(t, dir+"/conf", conf, 0o600))
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what + " does not come up")
		}
	}
}

// TestNativeClients: clients that know no proxy reach servers by name, whoever
// speaks first, and whatever they speak; no other name is a way to the same server.
func TestNativeClients(t *testing.T) {
	for _, n := range natives {
		t.Run(n.name, func(t *testing.T) {
			needs(t, n.needs...)
			dir, err := os.MkdirTemp("/tmp", "creel-e2e-native-") // short: it holds sockets
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			ws := filepath.Join(t.TempDir(), "ws")
			if err := os.Mkdir(ws, 0o700); err != nil {
				t.Fatal(err)
			}
			me, err := user.Current()
			if err != nil {
				t.Fatal(err)
			}
			writeMode(t, ws+"/login", me.Username, 0o600)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := l.Addr().(*net.TCPAddr)
			_ = l.Close()
			var log bytes.Buffer
			cmd := n.start(t, "127.0.0.1", addr.Port, dir, ws)
			cmd.Stdout, cmd.Stderr = &log, &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGQUIT)
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if t.Failed() {
					t.Logf("the server: %s", log.String())
				}
			})
			if n.ready != nil {
				n.ready(t, addr.String())
			} else {
				await(t, addr.String())
			}
			host := n.name + ".test"
			policy := policyHead() + fmt.Sprintf("network_policies:\n  native:\n    endpoints: [{host: %s, port: %d, protocol: tcp}]\n    binaries: any\n", host, n.port)
			b := box{policy: policy, workspace: ws}
			for _, h := range []string{host, "other.test"} {
				b.flags = append(b.flags, "--upstream", fmt.Sprintf("%s:%d=%v", h, n.port, addr))
			}
			r := b.run(t, "sh", "-c", n.client).want(t, 0).out(t, n.out)
			var opened, closed bool
			for _, e := range readEvents(t, r.audit) {
				opened = opened || e.Kind == audit.Connect && e.Verdict == "allow" && e.Host == host && e.Rule == "native" && e.Binary != ""
				closed = closed || e.Kind == audit.Close && e.Host == host && e.BytesIn > 0 && e.BytesOut > 0
			}
			if !opened || !closed {
				t.Error("the log does not tell of the connection and its end")
			}
			if r := b.run(t, "sh", "-c", strings.ReplaceAll(n.client, host, "other.test")); strings.Contains(r.stdout, n.out) {
				t.Errorf("another name led to it: %s", r.stdout)
			}
		})
	}
}
