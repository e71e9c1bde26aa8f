package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEscapeKernel: KRN, and what of PROC and CRED is the kernel's to refuse.
func TestEscapeKernel(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		outside := fmt.Sprintf("creel-e2e-outside-%d", os.Getpid())
		abstract, err := net.Listen("unix", "@"+outside)
		if err != nil {
			t.Fatal(err)
		}
		defer abstract.Close()
		l := box{policy: policyHead() + "network_policies: {}\n"}.start(t)
		t.Run("escape_KRN-02_KRN-04_KRN-14_CRED-19_PROC-07", func(t *testing.T) {
			if x := l.probe("kernel"); x.Code != 0 || !strings.Contains(string(x.Stdout), "all refused") {
				t.Errorf("status %d: %s%s", x.Code, x.Stdout, x.Stderr)
			}
		})
		t.Run("escape_KRN-05", func(t *testing.T) {
			for _, abi := range []string{"int80", "x32"} {
				if x := l.probe(abi); x.Code != 128+int(syscall.SIGSYS) {
					t.Errorf("%s: status %d, want a kill by SIGSYS: %s%s", abi, x.Code, x.Stdout, x.Stderr)
				}
			}
		})
		t.Run("escape_KRN-10", func(t *testing.T) {
			if c, err := net.Dial("unix", "@"+outside); err != nil {
				t.Fatal(err) // the control: from here it can be reached
			} else {
				_ = c.Close()
			}
			if x := l.probe("connect-abstract", outside); x.Code == 0 {
				t.Error("an abstract socket of the host was reached")
			}
		})
		t.Run("escape_KRN-11", func(t *testing.T) {
			got := l.sh("kill -9 1; kill -STOP 1; kill -9 " + fmt.Sprint(l.cmd.Process.Pid) + "; ls -d /proc/[0-9]* | wc -l; cat /proc/[0-9]*/comm | sort -u | tr '\\n' ' '")
			if strings.Contains(got, "creel ") || strings.Contains(got, "systemd") {
				t.Errorf("processes of the host are visible: %s", got)
			}
			if l.cmd.Process.Signal(syscall.Signal(0)) != nil {
				t.Fatal("the supervisor is gone")
			}
		})
		t.Run("escape_KRN-12", func(t *testing.T) {
			b := box{flags: []string{"--quiet"}}
			cmd, _, _ := b.setup(t, "python3", "-c", `
import fcntl, termios, struct
for name, req, arg in (("TIOCSTI", 0x5412, b"x"), ("TIOCLINUX", 0x541C, struct.pack("b", 3)), ("TIOCCONS", 0x541D, 0)):
    try:
        fcntl.ioctl(0, req, arg); print(name, "WORKED")
    except OSError as e: print(name, "refused", e.errno)
print("checked")`)
			cmd.Env = append(cmd.Env, "PATH=/usr/bin:/bin")
			s := onScreen(t, cmd)
			s.exit()
			if !eventually(func() bool { return strings.Contains(s.shown(), "checked") }) || strings.Contains(s.shown(), "WORKED") {
				t.Error(s.shown())
			}
		})
		if got := l.sh("echo alive"); got != "alive" {
			t.Errorf("the sandbox does not work afterwards: %s", got)
		}
	})
}

// TestEscapeCaller: PROC.
func TestEscapeCaller(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		policy := policyHead() + "network_policies:\n  only:\n    endpoints:\n      - {host: only.test, port: 80, protocol: rest, access: full}\n    binaries:\n      - {path: /usr/bin/curl}\n" +
			"  ok:\n    endpoints:\n      - {host: ok.test, ports: [80, 443], protocol: rest, access: full}\n    binaries: any\n"
		a := &arena{live: box{policy: policy, flags: join(s.upstreams("only.test", "ok.test"), []string{"--trust-ca", caFile(t)})}.start(t), s: s}
		if got := a.sh("curl -sS http://only.test/control; /proc/self/root/usr/bin/curl -sS http://only.test/alias"); !s.got("/control") {
			t.Fatalf("the named program is refused: %s", got)
		}
		const py = `python3 -c 'import urllib.request as u; u.urlopen("http://only.test/MARK")'`
		a.run(t, "PROC-01", scripts(py, "bash -c \"exec -a /usr/bin/curl "+strings.ReplaceAll(py, `"`, `\"`)+"\"",
			`python3 -c 'import ctypes,urllib.request as u; ctypes.CDLL(None).prctl(15, b"curl"); u.urlopen("http://only.test/MARK")'`)...)
		a.run(t, "PROC-04", scripts("cp /usr/bin/curl ./curl && ./curl -sS http://only.test/MARK", "mkdir -p usr/bin && cp /usr/bin/curl usr/bin/curl && usr/bin/curl -sS http://only.test/MARK",
			"$(ls /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2>/dev/null | head -1) /usr/bin/curl -sS http://only.test/MARK", "cp /usr/bin/curl /tmp/curl && /tmp/curl -sS http://only.test/MARK",
			"cp /usr/bin/curl '/tmp/curl (deleted)' && '/tmp/curl (deleted)' -sS http://only.test/MARK", "/usr/bin/curl -sS -x http://127.0.0.1:3128 http://ok.test/; cp /usr/bin/curl c2; ./c2 -sS -x http://127.0.0.1:3128 http://only.test/MARK")...)
		a.run(t, "PROC-05", scripts("cp /usr/bin/python3 ./p && ./p -c 'import os; os.unlink(\"p\"); import urllib.request as u; u.urlopen(\"http://only.test/MARK\")'",
			"cp /usr/bin/python3 ./p && ./p -c 'import os; os.unlink(\"p\"); os.symlink(\"/usr/bin/curl\", \"p\"); import urllib.request as u; u.urlopen(\"http://only.test/MARK\")'")...)
		// Execution without a file is not refused yet; it is nobody whom a rule names.
		a.run(t, "KRN-03", script(probePath()+" probe memfd /usr/bin/curl -sS http://only.test/MARK"))
		// Descriptors passed on: the socket is its opener's.
		a.run(t, "PROC-09-inherit", script(`bash -c 'exec 3<>/dev/tcp/only.test/80; printf "GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n" >&3; exec /usr/bin/curl --version'`))
		// Last: equal denials in a row are recorded as a number only.
		a.run(t, "PROC-09", script(`for i in $(seq 40); do bash -c 'exec 3<>/dev/tcp/only.test/80; printf "GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n" >&3' & done; wait`),
			script(`python3 -c '
import os, socket
s = socket.create_connection(("only.test", 80))
s.send(b"GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n")
os.execv("/usr/bin/curl", ["curl", "--version"])'`))
	})
}

// TestEscapeFiles: FS.
func TestEscapeFiles(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		host := t.TempDir()
		secret := filepath.Join(host, "secret")
		if err := os.WriteFile(secret, []byte("host-secret"), 0o644); err != nil {
			t.Fatal(err)
		}
		ws := filepath.Join(host, "ws")
		if err := os.Mkdir(ws, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(secret, filepath.Join(ws, "before")); err != nil {
			t.Fatal(err)
		}
		l := box{policy: policyHead() + "network_policies: {}\n", workspace: ws}.start(t)
		t.Run("escape_FS-01", func(t *testing.T) {
			for _, c := range []string{"cat before", "cat " + secret, "cat ../secret", "ln -s " + secret + " k; cat k", "ln -s / r; cat r" + secret, "cat /proc/self/cwd/../secret", "cat /proc/1/root" + secret,
				"cat /proc/1/cwd" + secret, "cat /proc/self/root" + secret, "ln " + secret + " hard", "echo x > ../secret2", "ls " + host + " | grep secret", "cat /proc/*/root" + secret, "cat /etc/shadow"} {
				if got := l.sh(c); strings.Contains(got, "host-secret") || strings.Contains(got, "root:") {
					t.Errorf("%s: %s", c, got)
				}
			}
			if got := l.sh("echo mine > file && cat file"); got != "mine" {
				t.Errorf("the workspace does not work: %s", got)
			}
		})
		l.end()
		if names, _ := os.ReadDir(host); len(names) != 2 {
			t.Errorf("the host's folder was changed: %v", names)
		}
		info, err := os.Stat(filepath.Join(ws, "file"))
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
			t.Errorf("a file of uid %d is left in the workspace of uid %d", uid, os.Geteuid())
		}
		// A read-only workspace cannot be written.
		r := box{policy: policyHead() + "network_policies: {}\n", workspace: ws, flags: []string{"--workspace", ws + ":ro"}}.run(t, "sh", "-c", "echo x > new || echo refused; cat file").want(t, 0)
		r.out(t, "refused", "mine")
		// Streams of the host are relayed: a file opened for reading cannot be opened for writing inside.
		in := filepath.Join(host, "input")
		write(t, in, "input\n")
		f, err := os.Open(in)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		box{workspace: ws, stdin: f}.run(t, "sh", "-c", "echo changed > /proc/self/fd/0; ls -l /proc/self/fd; true").want(t, 0)
		if got := readFile(t, in); got != "input\n" {
			t.Errorf("the host's file was written through a descriptor: %q", got)
		}
	})
}

// TestEscapeLogs: APR-12, APR-13 and CTL.
func TestEscapeLogs(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		name := fmt.Sprintf("e2e-logs-%d", os.Getpid())
		l := box{policy: twoHosts(restFull, "ok.test"), name: name, flags: join(s.upstreams("ok.test"), []string{"--trust-ca", caFile(t), "--verbose"})}.start(t)
		l.sh(`curl -sS 'https://no.test/%0a%1b[2J{"kind":"forged"}'; curl -sS -A "$(printf 'a\033[2J')" https://no.test/; curl -sS 'https://ok.test/%1b%5d52;c;x%07?token=` + canary("query") + `'`)
		l.sh(`p="$(printf 'c\033[2J\nforged\342\200\256')"; cp /usr/bin/curl "$p"; "./$p" -sS https://no.test/`)
		l.wire(wire{Way: transparent, Host: "ok.test", TLS: true, Payload: []byte("GET /\x1b[2J HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
		l.wire(wire{Way: transparent, Host: "ok.test", TLS: true, Payload: []byte("G\x1b[2JT / HTTP/1.1\r\nHost: ok.test\r\n\r\n")})
		l.wire(wire{Way: connect, Head: "CONNECT a\x1b[2J.test:443 HTTP/1.1\r\nHost: a\r\n\r\n"})
		l.probe("dns", "", "a\x1b[2J\nforged.no.test")
		l.end()
		log := readFile(t, l.audit)
		for i, line := range strings.Split(strings.TrimSuffix(log, "\n"), "\n") {
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) || !strings.HasPrefix(line, `{"seq":`+fmt.Sprint(i+1)+",") {
				t.Errorf("line %d: %q", i+1, line)
			}
		}
		shown := creelCmd(t, "audit", "show", l.audit)
		for what, text := range map[string]string{"standard error": l.stderr.String(), "audit show": shown.stdout + shown.stderr} {
			if strings.ContainsAny(text, "\x1b\x07\u202e") {
				t.Errorf("%s holds control characters: %q", what, text)
			}
			for _, line := range strings.Split(text, "\n") {
				if strings.HasPrefix(line, "forged") {
					t.Errorf("%s: a forged line: %q", what, line)
				}
			}
		}
		if strings.Contains(log+l.stderr.String(), canary("query")) {
			t.Error("a query string stands in the log")
		}
		creelCmd(t, "audit", "verify", l.audit).want(t, 0)
	})
}

// TestEscapeControl: CTL-04: from inside nothing can be asked of the supervisor.
func TestEscapeControl(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("e2e-ctl-%d", os.Getpid())
		l := box{policy: twoHosts(restFull), name: name}.start(t)
		if err := install(creel, filepath.Join(l.box.workspace, "creel")); err != nil {
			t.Fatal(err)
		}
		for _, c := range []string{"./creel stop " + name, "./creel reload " + name + " --policy creel.yaml", "./creel posture " + name, "./creel run -- true"} {
			if x := l.do("sh", "-c", c); x.Code == 0 {
				t.Errorf("%s: %s", c, x.Stdout)
			}
		}
		if got := l.sh("find / -xdev -type s 2>/dev/null; cat /proc/net/unix | grep creel; ls /run/creel; ./creel ls"); strings.Contains(got, "/control") || strings.Contains(got, name) {
			t.Errorf("a socket is visible: %s", got)
		}
		creelCmd(t, "posture", name).want(t, 0)
	})
}

func init() {
	// without takes away what a sandbox needs, and executes a command.
	probes["without"] = func(args []string) error {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			return err
		}
		return syscall.Exec(args[0], args, os.Environ())
	}
}

// TestEscapeDegraded (CFG-04): where a sandbox cannot be built the command does
// not run without one.
func TestEscapeDegraded(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		for _, flags := range []uintptr{syscall.CLONE_NEWUSER, syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS} {
			b := box{policy: policyHead() + "network_policies: {}\n"}
			inner, _, _ := b.setup(t, "touch", "ran")
			cmd := exec.Command(probePath(), append([]string{"probe", "without", creel}, inner.Args[1:]...)...)
			cmd.Dir, cmd.Env = b.workspace, inner.Env
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  flags,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
				AmbientCaps: []uintptr{unix.CAP_SYS_RESOURCE}, Pdeathsig: syscall.SIGKILL,
			}
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			_ = cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(out.String(), "creel doctor") {
				t.Errorf("status %d, want 3: %s", code, out.String())
			}
			if _, err := os.Lstat(filepath.Join(b.workspace, "ran")); err == nil {
				t.Error("the command ran without a sandbox")
			}
		}
	})
}
