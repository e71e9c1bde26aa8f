package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creel-run/creel/audit"
)

// TestEscapeCaller: PROC. only.test is for curl alone.
func TestEscapeCaller(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		s := newSink(t)
		policy := policyHead() + "network_policies:\n  only:\n    endpoints:\n      - {host: only.test, port: 80, protocol: rest, access: full}\n    binaries:\n      - {path: /usr/bin/curl}\n" +
			"  ok:\n    endpoints:\n      - {host: ok.test, ports: [80, 443], protocol: rest, access: full}\n    binaries: any\n"
		b := box{policy: policy, flags: join(s.upstreams("only.test", "ok.test"), []string{"--trust-ca", caFile(t)})}
		a := &arena{live: b.start(t), s: s, box: b}
		if got := a.sh("curl -sS http://only.test/control; /proc/self/root/usr/bin/curl -sS http://only.test/alias"); !s.got("/control") {
			t.Fatalf("the named program is refused: %s", got)
		}
		for i, at := range everyWay("/usr/bin/curl -sS http://only.test/way") { // by the proxy, too, it is the program that counts
			path := fmt.Sprintf("/way%d", i)
			if got := a.sh(strings.ReplaceAll(at.what, "/way", path)); !s.got(path) {
				t.Fatalf("the named program is refused by %s: %s", at.way, got)
			}
		}
		const py = `python3 -c 'import urllib.request as u; u.urlopen("http://only.test/MARK")'`
		const open = `import socket; s = socket.create_connection(("only.test", 80)); s.send(b"GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n")`
		a.run(t, "PROC-01", attacks(byPython("", "ENV /usr/bin/bash -c 'exec -a /usr/bin/curl /usr/bin/python3 w.py'"), scripts(py, "bash -c \"exec -a /usr/bin/curl "+strings.ReplaceAll(py, `"`, `\"`)+"\"",
			`python3 -c 'import ctypes,urllib.request as u; ctypes.CDLL(None).prctl(15, b"curl"); u.urlopen("http://only.test/MARK")'`,
			// The arguments in its memory: what a script's name is read from.
			`printf '%s\n' 'import urllib.request as u; u.urlopen("http://only.test/MARK")' > curl.py; bash -c 'exec -a /usr/bin/curl python3 ./curl.py'`))...)
		a.run(t, "PROC-04", attacks(byPython("", "mkdir -p l; ln -sf /usr/bin/python3 l/curl; ENV l/curl w.py"), byPython("", "cp /usr/bin/python3 /tmp/curl; ENV /tmp/curl w.py"), scripts("cp /usr/bin/curl ./curl && ./curl -sS http://only.test/MARK", "mkdir -p usr/bin && cp /usr/bin/curl usr/bin/curl && usr/bin/curl -sS http://only.test/MARK",
			"$(ls /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2>/dev/null | head -1) /usr/bin/curl -sS http://only.test/MARK", "cp /usr/bin/curl /tmp/curl && /tmp/curl -sS http://only.test/MARK",
			"cp /usr/bin/curl '/tmp/curl (deleted)' && '/tmp/curl (deleted)' -sS http://only.test/MARK", "/usr/bin/curl -sS -x http://127.0.0.1:3128 http://ok.test/; cp /usr/bin/curl c2; ./c2 -sS -x http://127.0.0.1:3128 http://only.test/MARK",
			"mkdir -p b && ln -sf $(command -v python3) b/curl && b/curl -c 'import urllib.request as u; u.urlopen(\"http://only.test/MARK\")'"))...)
		a.run(t, "PROC-05", attacks(byPython("import os; os.unlink(\"r\"); os.symlink(\"/usr/bin/curl\", \"r\")\n", "rm -f r; cp /usr/bin/python3 r; ENV ./r w.py"), scripts("cp /usr/bin/python3 ./p && ./p -c 'import os; os.unlink(\"p\"); import urllib.request as u; u.urlopen(\"http://only.test/MARK\")'",
			"cp /usr/bin/python3 ./p && ./p -c 'import os; os.unlink(\"p\"); os.symlink(\"/usr/bin/curl\", \"p\"); import urllib.request as u; u.urlopen(\"http://only.test/MARK\")'",
			"cp /usr/bin/curl ./q && (./q -sS --retry 3 --retry-delay 1 --retry-all-errors http://only.test/MARK & sleep 0.02; cp /usr/bin/true ./q2; mv ./q2 ./q; wait)"))...)
		// The thread that connects, and the exec that ends it.
		a.run(t, "PROC-06", attacks(byPython("import os, threading, time\ndef go():\n  for i in range(2):\n    try: exec(code)\n    except Exception: pass\nfor i in range(2): threading.Thread(target=go, daemon=True).start()  # equal denials are recorded up to a number\ntime.sleep(1)\nos.execv(\"/usr/bin/curl\", [\"curl\", \"--version\"])\n",
			"ENV /usr/bin/python3 w.py"), scripts(`for i in 1 2 3 4 5 6 7 8 9; do python3 -c '
import os, socket, threading, time
def go():
    while True:
        try: s = socket.create_connection(("only.test", 80)); s.send(b"GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n"); s.set_inheritable(True)
        except OSError: pass
for i in range(4): threading.Thread(target=go, daemon=True).start()
time.sleep(0.0'$i')
os.execv("/usr/bin/curl", ["curl", "--version"])' >/dev/null; done`))...)
		const inject = "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\npid = os.posix_spawn(\"/usr/bin/curl\", [\"curl\", \"-sS\", \"http://ok.test/slow\"], {})\n" +
			"if any(c.ptrace(r, pid, 0, 0) == 0 for r in (16, 0x4206)): os.execv(\"/usr/bin/curl\", [\"curl\", \"http://only.test/MARK\"])\nos.kill(pid, 9)\n"
		a.run(t, "PROC-07", attacks(byPython(inject, "ENV /usr/bin/python3 w.py"), scripts(`python3 -c '
import ctypes, os, signal
c = ctypes.CDLL(None, use_errno=True)
pid = os.posix_spawn("/usr/bin/curl", ["curl", "-sS", "http://ok.test/slow"], {})
worked = any(c.ptrace(req, pid, 0, 0) == 0 for req in (16, 0x4206)) # attach, seize
worked = worked or c.syscall(311, pid, 0, 0, 0, 0, 0) >= 0 # process_vm_writev
os.kill(pid, 9)
`+open+`
if worked: os.execv("/usr/bin/curl", ["curl", "http://only.test/MARK"])'`))...)
		// A socket is its opener's, whoever holds it then.
		a.run(t, "PROC-08", attacks(bySocket(`ENV /usr/bin/bash -c 'exec 3<>/dev/tcp/TO; printf "TEXT" >&3; exec /usr/bin/curl --version'`), scripts(`bash -c 'exec 3<>/dev/tcp/only.test/80; printf "GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n" >&3; exec /usr/bin/curl --version'`,
			`python3 -c '
import os, socket
a, b = socket.socketpair()
if os.fork() == 0:
    s = socket.create_connection(("only.test", 80))
    socket.send_fds(a, [b"x"], [s.fileno()]); os._exit(0)
fd = socket.recv_fds(b, 1, 1)[1][0]; os.wait()
os.dup2(fd, 0); os.write(0, b"GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n")
os.execv("/usr/bin/curl", ["curl", "--version"])'`,
			`python3 -c '
`+open+`
try: s.connect(("only.test", 80))
except OSError: pass'`))...)
		a.run(t, "PROC-10", attacks(byPython("", "mkdir -p o; (echo '#!/usr/bin/python3'; cat w.py) > o/curl; chmod +x o/curl; ENV o/curl"), scripts(`curl() { `+py+`; }; curl`, `mkdir -p p; printf '%s\n' '#!/usr/bin/python3' 'import urllib.request as u; u.urlopen("http://only.test/MARK")' > p/curl; chmod +x p/curl; PATH=$PWD/p:$PATH curl`,
			`printf '%s\n' '#!/usr/bin/python3' 'import urllib.request as u; u.urlopen("http://only.test/MARK")' > pager; chmod +x pager; export PAGER=$PWD/pager GIT_PAGER=$PWD/pager; git init -q g; cd g; git -c user.email=a@b -c user.name=a commit -q --allow-empty -m x; git --paginate log; ../pager`))...)
		a.run(t, "KRN-03", script(probePath()+" probe memfd /usr/bin/curl -sS http://only.test/MARK"))
		// Equal denials in a row are recorded as a number only: last in this sandbox.
		a.run(t, "PROC-09", attacks(bySocket(`for i in 1 2 3 4 5; do ENV /usr/bin/bash -c 'exec 3<>/dev/tcp/TO; printf "TEXT" >&3; read -t 2 <&3' & done; wait`), scripts(`for i in $(seq 40); do bash -c 'exec 3<>/dev/tcp/only.test/80; printf "GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n" >&3' & done; wait`, `python3 -c '
import os, socket
s = socket.create_connection(("only.test", 80))
s.send(b"GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n")
os.execv("/usr/bin/curl", ["curl", "--version"])'`))...)
	})
}

// byPython makes an attack of each way in: run starts w.py, in which begin stands
// before a program that has /MARK of only.test in that way, or uses it as code. ENV
// is the environment.
func byPython(begin, run string) (all []attack) {
	const direct = `import urllib.request as u; u.urlopen("http://only.test/MARK")`
	const proxied = `import http.client as h; c = h.HTTPConnection("127.0.0.1", 3128); `
	for _, w := range []struct{ way, env, code string }{
		{transparent, "", direct}, {connect, "", proxied + `c.set_tunnel("only.test", 80); c.request("GET", "/MARK"); c.getresponse()`},
		{absolute, "", proxied + `c.request("GET", "http://only.test/MARK"); c.getresponse()`}, {cleared, "env -i ", direct},
	} {
		text := "cat > w.py <<'EOF'\ncode = '''" + w.code + "'''\n" + begin + w.code + "\nEOF\n" + strings.ReplaceAll(run, "ENV ", w.env)
		all = append(all, attack{what: w.way + ": " + run, way: w.way, do: func(a *arena, mark string) string { return a.sh(strings.ReplaceAll(text, "MARK", mark)) }})
	}
	return all
}

// bySocket does the same with what bash sends: TO and TEXT.
func bySocket(run string) (all []attack) {
	const get = `GET /MARK HTTP/1.1\r\nHost: only.test\r\n\r\n`
	for _, w := range []struct{ way, env, to, text string }{
		{transparent, "", "only.test/80", get}, {connect, "", "127.0.0.1/3128", `CONNECT only.test:80 HTTP/1.1\r\nHost: only.test:80\r\n\r\n` + get},
		{absolute, "", "127.0.0.1/3128", strings.Replace(get, "/MARK", "http://only.test/MARK", 1)}, {cleared, "env -i ", "only.test/80", get},
	} {
		text := strings.NewReplacer("ENV ", w.env, "TO", w.to, "TEXT", w.text).Replace(run)
		all = append(all, attack{what: w.way + ": " + run, way: w.way, do: func(a *arena, mark string) string { return a.sh(strings.ReplaceAll(text, "MARK", mark)) }})
	}
	return all
}

// TestCallerIsNamed: what is known of a caller stands in the event, the 403 and
// the summary, facts apart from claims.
func TestCallerIsNamed(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		l := box{policy: policyHead() + "network_policies: {}\n", flags: []string{"--verbose"}}.start(t)
		last := func() (e audit.Event) {
			for _, ev := range l.events() {
				if ev.Verdict == "deny" {
					e = ev
				}
			}
			return e
		}
		const fetch = `import urllib.request, urllib.error
try: urllib.request.urlopen("http://named.test/")
except urllib.error.HTTPError as e: print(e.read().decode())`
		write(t, filepath.Join(l.box.workspace, "x.py"), fetch)
		if err := os.Chmod(filepath.Join(l.box.workspace, "x.py"), 0o644); err != nil {
			t.Fatal(err)
		}
		got := l.sh("python3 ./x.py")
		if e := last(); !strings.Contains(e.Binary, "/usr/bin/python3") || e.Script != "./x.py" || e.Unverified {
			t.Errorf("the script's event: %+v", e)
		}
		for _, want := range []string{`"binary": "/usr/bin/python3`, `"script": "./x.py"`} {
			if !strings.Contains(got, want) {
				t.Errorf("the denial does not say %s: %s", want, got)
			}
		}
		l.sh("cp $(readlink -f /usr/bin/python3) /tmp/p; /tmp/p -c '" + strings.ReplaceAll(fetch, "named.test", "copied.test") + "'")
		if e := last(); e.Host != "copied.test" || !e.Unverified || e.Binary != "/tmp/p" {
			t.Errorf("the copy's event: %+v", e)
		}
		l.sh("/tmp/p -c 'import os; os.unlink(\"/tmp/p\")\n" + strings.ReplaceAll(fetch, "named.test", "deleted.test") + "'")
		if e := last(); e.Host != "deleted.test" || !e.Unverified || e.Binary != "/tmp/p (deleted)" {
			t.Errorf("the deleted program's event: %+v", e)
		}
		l.end()
		for _, want := range []string{"(script, by its own word: ./x.py)", "/tmp/p (deleted) (unverified)"} {
			if !strings.Contains(l.stderr.String(), want) {
				t.Errorf("--verbose and summary do not say %q: %s", want, l.stderr.String())
			}
		}
	})
}

// TestEscapeHelpers (PROC-12): the supervisor runs no program of the workspace.
func TestEscapeHelpers(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		dir := t.TempDir()
		ws, ran := filepath.Join(dir, "ws"), filepath.Join(dir, "ran")
		bin := filepath.Join(ws, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"ip", "nft", "iptables", "nsenter", "unshare", "mount", "umount", "newuidmap", "newgidmap", "dmesg", "modprobe", "git", "getent", "creel-stage", "creel-init", "systemd-run", "fusermount", "ldconfig"} {
			write(t, filepath.Join(bin, name), fmt.Sprintf("#!/bin/sh\n/usr/bin/touch %s\n", ran))
			if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		l := box{policy: policyHead() + "network_policies: {}\n", workspace: ws, env: []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + bin}}.start(t)
		l.escape(t, nil, "PROC-12", nothing, func(x *line) {
			x.way(inside)
			x.sh("curl -sS http://no.test/; true")
			if _, err := os.Lstat(ran); err == nil {
				x.Error("a program of the workspace ran outside")
			}
		})
		l.end()
		if _, err := os.Lstat(ran); err == nil {
			t.Error("a program of the workspace ran outside, at the end")
		}
	})
}
