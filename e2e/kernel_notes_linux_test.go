package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creel-run/creel/audit"
)

// Facts about the kernel that the walls rest on, which no other test touches;
// docs/kernel-notes-tests.md lists which test stands for which.

// TestRootOfTheAgentsNamespace (kernel note 1): every capability in the agent's
// own user namespace is none over the network, which belongs to the outer one.
func TestRootOfTheAgentsNamespace(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		b := box{policy: policyHead() + "network_policies: {}\n", name: fmt.Sprintf("e2e-note1-%d", os.Getpid())}
		l := b.start(t)
		agent := agentOf(t, l.cmd.Process.Pid)[1]
		for _, try := range []string{"nft flush ruleset", "nft add table ip x", "ip route del default", "ip link set lo down", "ip addr add 192.0.2.1/32 dev lo"} {
			out, err := exec.Command("nsenter", append([]string{"-t", agent, "-U", "-n", "--preserve-credentials"}, strings.Fields(try)...)...).CombinedOutput()
			if err == nil || !strings.Contains(strings.ToLower(string(out)), "not permitted") {
				t.Errorf("%s: %v %s", try, err, out)
			}
		}
		for _, r := range posture(t, b.name) {
			if (r.Name == "network" || r.Name == "listeners") && r.State != "enforced" {
				t.Errorf("%s is %s: %s", r.Name, r.State, r.Detail)
			}
		}
	})
}

// TestProcWithMasks (kernel note 4): where no fresh /proc can be mounted there is
// no sandbox, and the message says why and what to do.
func TestProcWithMasks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mask its /proc")
	}
	ws := t.TempDir()
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs none /proc/sys && cd "$1" && exec "$0" run --quiet -- touch ran`, creel, ws)
	r := finish(t, cmd).want(t, 3).err(t, "has masks", "hint: ", "systempaths=unconfined", "creel doctor")
	if strings.Contains(r.stderr, "start sandbox: start sandbox") {
		t.Errorf("the verb twice: %s", r.stderr)
	}
	if _, err := os.Stat(ws + "/ran"); err == nil {
		t.Error("the command ran")
	}
}

// TestGroupsAreTold (kernel note 5): an ordinary user's agent keeps the user's
// supplementary groups, and posture and start say so.
func TestGroupsAreTold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a process groups")
	}
	uid, gid := ordinaryUser()
	home, err := os.MkdirTemp("/tmp", "creel-e2e-home-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	if err := os.Chown(home, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	as := func(argv ...string) *exec.Cmd {
		cmd := exec.Command(creel, argv...)
		cmd.Dir = home
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "TMPDIR=/tmp"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: []uint32{gid, 54321}}, Pdeathsig: syscall.SIGKILL}
		return cmd
	}
	ws := home + "/ws"
	if err := os.Mkdir(ws, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(ws, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	run := as("run", "--quiet", "--name", "grouped", "--workspace", ws, "--", "sh", "-c", "id -G; cat")
	in, err := run.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out safeBuffer
	run.Stdout, run.Stderr = &out, &out
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = run.Wait() }()
	if !eventually(func() bool { return strings.Contains(out.String(), "65534") }) {
		t.Fatalf("the agent's groups: %s", out.String())
	}
	var text bytes.Buffer
	p := as("posture", "grouped")
	p.Stdout = &text
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"groups", "degraded", "54321", "hint: sudo creel run"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in the posture:\n%s", want, text.String())
		}
	}
}

// TestOriginalDestination (kernel notes 10 and 12): each kind of socket that
// connects is judged by the address it asked for, other kinds do not open, and
// nothing binds over a listener.
func TestOriginalDestination(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		l := box{policy: policyHead() + "network_policies: {}\n"}.start(t)
		got := l.sh(`python3 -c '
import socket
def t(what, f):
    try: print(what, f())
    except OSError as e: print(what, "refused")
def to(fam, a, kind=0):
    s = socket.socket(fam, socket.SOCK_STREAM, kind); s.settimeout(9); s.connect(a); return s.recv(9)
t("plain4", lambda: to(socket.AF_INET, ("192.0.2.6", 80)))
t("plain6", lambda: to(socket.AF_INET6, ("2001:db8::6", 81)))
t("mapped", lambda: to(socket.AF_INET6, ("::ffff:192.0.2.9", 84)))
t("nat64", lambda: to(socket.AF_INET6, ("64:ff9b::c000:20a", 85)))
t("mptcp", lambda: to(socket.AF_INET, ("192.0.2.7", 86), 262))
def tfo(fam, a):
    s = socket.socket(fam, socket.SOCK_STREAM); s.settimeout(9); s.sendto(b"x", 0x20000000, a); return s.recv(9)
t("tfo4", lambda: tfo(socket.AF_INET, ("192.0.2.8", 87)))
t("tfo6", lambda: tfo(socket.AF_INET6, ("2001:db8::8", 88)))
def over(fam, a):
    s = socket.socket(fam, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(a); s.listen(); return "BOUND"
for p in (31001, 3128, 31053):
    for a in ("127.0.0.1", "0.0.0.0"): t("bind", lambda: over(socket.AF_INET, (a, p)))
    for a in ("::1", "::"): t("bind", lambda: over(socket.AF_INET6, (a, p)))
'`)
		if strings.Contains(got, "BOUND") || strings.Count(got, "bind refused") != 12 {
			t.Errorf("a listener can be bound over: %s", got)
		}
		judged := func(host string, port uint16) func() bool {
			return func() bool {
				for _, e := range l.events() {
					if e.Kind == audit.Connect && e.Verdict == "deny" && e.Host == host && e.Port == port {
						return true
					}
				}
				return false
			}
		}
		for _, want := range []struct {
			what, host string
			port       uint16
		}{{"plain4", "192.0.2.6", 80}, {"plain6", "2001:db8::6", 81}, {"mapped", "192.0.2.9", 84}, {"nat64", "64:ff9b::c000:20a", 85}} {
			if !eventually(judged(want.host, want.port)) {
				t.Errorf("%s is not judged as %s:%d:\n%s\n%s", want.what, want.host, want.port, got, show(l.events()))
			}
		}
		for _, closed := range []string{"mptcp refused", "tfo4 refused", "tfo6 refused"} {
			if !strings.Contains(got, closed) {
				t.Errorf("not %s: %s", closed, got)
			}
		}
		// Straight to a listener: no address was asked for, so it is closed and recorded.
		mark := len(l.events())
		l.sh("curl -sS -m 5 http://127.0.0.1:31001/; curl -sS -m 5 'http://[::1]:31001/'")
		l.denied(mark)
	})
}

// TestConntrackExhaustion (kernel note 15): with the table of connections filled,
// what is denied still does not get out, and the sandbox recovers.
func TestConntrackExhaustion(t *testing.T) {
	s := newSink(t)
	l := box{policy: twoHosts(restFull, "ok.test"), flags: join(s.upstreams("ok.test", "no.test"), []string{"--trust-ca", caFile(t)})}.start(t)
	got := l.sh(`python3 -c '
import socket
for i in range(6):
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in range(1, 65536):
        if port == 53: continue
        try: u.sendto(b"x", ("127.0.0.1", port))
        except OSError: pass
'; cat /proc/sys/net/netfilter/nf_conntrack_count /proc/sys/net/netfilter/nf_conntrack_max
curl -sS -m 3 http://no.test/mark-a; curl -sS -m 3 -x http://127.0.0.1:3128 http://no.test/mark-a
` + probePath() + " probe udp 192.0.2.5:9 mark-a")
	if s.holds("mark-a") || s.got("/mark-a") || strings.Contains(got, "sent: <nil>") {
		t.Errorf("it got out: %s", got)
	}
	var count, most int
	if _, err := fmt.Sscan(got, &count, &most); err != nil || count < most*9/10 {
		t.Errorf("the table was not filled: %d of %d, %v", count, most, err)
	}
	if !eventually(func() bool { l.sh("curl -sS -m 3 http://ok.test/after"); return s.got("/after") }) {
		t.Error("the sandbox does not recover")
	}
}

// TestResolverFiles (kernel note 16): names are asked of Creel alone.
func TestResolverFiles(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		l := box{policy: policyHead() + "network_policies: {}\n"}.start(t)
		conf := l.sh("grep -c ^nameserver /etc/resolv.conf; cat /etc/resolv.conf")
		if !strings.HasPrefix(conf, "1\n") || !strings.Contains(conf, "ndots:1") || strings.Contains(conf, "search") || strings.Contains(conf, "nameserver 127.") {
			t.Errorf("resolv.conf: %s", conf)
		}
		if got := l.sh("grep ^hosts: /etc/nsswitch.conf | tr -s ' '"); got != "hosts: files dns" {
			t.Errorf("nsswitch.conf: %q", got)
		}
		if got := l.sh("ls -A /run; find / -xdev -type s 2>/dev/null"); got != "" && got != "creel" {
			t.Errorf("in /run: %s", got)
		}
		for _, name := range []string{"localhost", "a.localhost"} {
			if got := l.sh("getent ahosts " + name); !strings.Contains(got, "127.0.0.1") && !strings.Contains(got, "::1") {
				t.Errorf("%s: %s", name, got)
			}
		}
		if got := l.sh("ls /etc/hosts /etc/host.conf /etc/gai.conf"); strings.Contains(got, "No such") {
			t.Error(got)
		}
	})
}
