package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// none fails if a line of a script's output says that something worked. The
// scripts of these tests print WORKED for that, and nothing else counts.
func (x *line) none(what, script string) {
	x.Helper()
	x.way(inside)
	if got := x.sh(script + "\necho checked"); strings.Contains(got, "WORKED") || !strings.HasSuffix(got, "checked") {
		x.Errorf("%s: %s", what, got)
	}
}

// nothing is the control of lines that have no permitted counterpart but a
// sandbox that works, which escape looks at itself.
func nothing(*line) string { return "" }

// TestEscapeKernel: KRN, and what of CRED is the kernel's to refuse.
func TestEscapeKernel(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		outside := fmt.Sprintf("creel-e2e-outside-%d", os.Getpid())
		abstract, err := net.Listen("unix", "@"+outside)
		if err != nil {
			t.Fatal(err)
		}
		defer abstract.Close()
		name := fmt.Sprintf("e2e-kernel-%d", os.Getpid())
		l := box{policy: policyHead() + "network_policies: {}\n", name: name,
			env: []string{"SSH_AUTH_SOCK=/run/user/1000/agent", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus", "GH_TOKEN=canary-gh", "AWS_SECRET_ACCESS_KEY=canary-aws"}}.start(t)
		escape := func(id string, attack func(x *line)) { l.escape(t, nil, id, nothing, attack) }

		escape("KRN-02", func(x *line) {
			x.none("a user namespace, then a mount", `
unshare -Urm mount -t tmpfs x /mnt 2>/dev/null && echo WORKED 1
unshare -U true 2>/dev/null && echo WORKED 2
mount -t tmpfs x /tmp 2>/dev/null && echo WORKED 3
mount -o remount,rw / 2>/dev/null && echo WORKED 4
umount /proc/sys 2>/dev/null && echo WORKED 5
python3 -c '
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
for flag in (0x10000000, 0x20000, 0x10020000):
    if c.unshare(flag) == 0: print("WORKED unshare", flag)
    if c.syscall(56, flag | 17, 0, 0, 0, 0) >= 0: print("WORKED clone", flag)
'`)
		})
		escape("KRN-04", func(x *line) {
			x.way(inside)
			if a := x.probe("kernel"); a.Code != 0 || !strings.Contains(string(a.Stdout), "all refused") {
				x.Errorf("status %d: %s%s", a.Code, a.Stdout, a.Stderr)
			}
		})
		escape("KRN-05", func(x *line) {
			x.way(inside)
			for _, abi := range []string{"int80", "x32"} {
				if a := x.probe(abi); a.Code != 128+int(syscall.SIGSYS) {
					x.Errorf("%s: status %d, want a kill by SIGSYS: %s%s", abi, a.Code, a.Stdout, a.Stderr)
				}
			}
		})
		escape("KRN-06", func(x *line) {
			x.none("a program with a set-user-id bit, and a child of it", `
for p in su mount newgrp passwd chsh; do
  test -u "$(command -v $p)" || continue
  found=1
  "$(command -v $p)" >/dev/null 2>&1 < /proc/self/fd/0 & sleep 0.05
  grep -H Uid: /proc/[0-9]*/status 2>/dev/null | grep -wE '\s0\s' && echo WORKED $p
  kill $! 2>/dev/null
done
test -n "$found" || echo "no set-user-id program here: WORKED not tried"
for s in $(seq 3); do sh -c 'grep -qx "Seccomp:	2" /proc/self/status && grep -qx "NoNewPrivs:	1" /proc/self/status || echo WORKED'; done
python3 -c '
import ctypes
c = ctypes.CDLL(None)
if c.prctl(38, 0, 0, 0, 0) == 0: print("WORKED no_new_privs off")
if c.prctl(22, 0, 0, 0, 0) == 0: print("WORKED seccomp off")
'`)
		})
		escape("KRN-07", func(x *line) {
			x.none("writes beside the list", `
for f in /usr/x /etc/x /x /etc/passwd /bin/x /lib/x /proc/sys/x /dev/x /run/x /var/x /home/x; do
  { echo x > $f; } 2>/dev/null && echo WORKED $f
  mkdir $f.d 2>/dev/null && echo WORKED $f.d
  ln -s /tmp $f.l 2>/dev/null && echo WORKED $f.l
done
truncate -s 0 /etc/hosts 2>/dev/null && echo WORKED truncate
mv /etc/hosts /tmp/ 2>/dev/null && echo WORKED rename
ln /etc/passwd /tmp/hard 2>/dev/null && echo WORKED link`)
			if p := creelCmd(x.T, "posture", name, "--json"); !strings.Contains(strings.Join(strings.Fields(p.stdout), ""), `"name":"landlock","state":"enforced"`) {
				x.Errorf("the posture does not say that Landlock is on: %s%s", p.stdout, p.stderr)
			}
		})
		escape("KRN-10", func(x *line) {
			x.way(inside)
			if c, err := net.Dial("unix", "@"+outside); err != nil {
				x.Fatal(err) // the control: from here it can be reached
			} else {
				_ = c.Close()
			}
			if a := x.probe("connect-abstract", outside); a.Code == 0 {
				x.Error("an abstract socket of the host was reached")
			}
			x.none("names of X", `python3 -c '
import socket
for n in ("\0/tmp/.X11-unix/X0", "\0/tmp/dbus-x", "\0`+outside+`"):
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        try: s = socket.socket(socket.AF_UNIX, kind); s.connect(n); print("WORKED", n)
        except OSError: pass'`)
		})
		escape("KRN-11", func(x *line) {
			pid := fmt.Sprint(x.cmd.Process.Pid)
			x.none("signals", `
for s in KILL STOP TERM INT; do for p in 1 `+pid+`; do kill -$s $p 2>/dev/null && echo WORKED $s $p; done; done
python3 -c '
import os, signal
for p in (1, `+pid+`):
    try: fd = os.pidfd_open(p); signal.pidfd_send_signal(fd, 9); print("WORKED pidfd", p)
    except OSError: pass'
cat /proc/[0-9]*/comm 2>/dev/null | grep -E '^(creel|systemd)$' && echo WORKED sees the host
true`)
			if x.cmd.Process.Signal(syscall.Signal(0)) != nil {
				x.Fatal("the supervisor is gone")
			}
		})
		escape("KRN-12", func(x *line) {
			x.way(inside)
			b := box{flags: []string{"--quiet"}}
			cmd, _, _ := b.setup(x.T, "python3", "-c", `
import fcntl, termios, struct
for name, req, arg in (("TIOCSTI", 0x5412, b"x"), ("TIOCSTI high bit", 0x100005412, b"x"), ("TIOCLINUX", 0x541C, struct.pack("b", 3)), ("TIOCCONS", 0x541D, 0), ("TIOCSETD", 0x5423, struct.pack("i", 15))):
    try:
        import ctypes
        fcntl.ioctl(0, req & 0xffffffff, arg); print(name, "WORKED")
    except OSError as e: print(name, "refused", e.errno)
print("checked")`)
			cmd.Env = append(cmd.Env, "PATH=/usr/bin:/bin")
			s := onScreen(x.T, cmd)
			s.exit()
			if !eventually(func() bool { return strings.Contains(s.shown(), "checked") }) || strings.Contains(s.shown(), "WORKED") {
				x.Error(s.shown())
			}
		})
		escape("KRN-13", func(x *line) {
			// No container runtime builds a sandbox here; these are the holes that
			// runtimes had: a leaked descriptor or working folder of the host, its own
			// program behind /proc/PID/exe, masks over what a race put there.
			x.none("holes of container runtimes", `python3 -c '
import os, stat
for fd in os.listdir("/proc/self/fd"):
    try: t = os.readlink("/proc/self/fd/" + fd); st = os.fstat(int(fd))
    except OSError: continue
    if stat.S_ISDIR(st.st_mode) or stat.S_ISBLK(st.st_mode) or "creel" in t and "memfd" in t: print("WORKED leaked", fd, t)
for p in ("/proc/1/exe", "/proc/1/cwd", "/proc/1/root", "/proc/1/fd"):
    try: os.stat(p + "/"); print("WORKED", p)
    except OSError: pass
    try: os.listdir(p); print("WORKED list", p)
    except OSError: pass
for p, want in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
    st = os.stat("/dev/" + p)
    if not stat.S_ISCHR(st.st_mode) or os.minor(st.st_rdev) != want: print("WORKED swapped", p)
for p in ("/proc/kcore", "/proc/sysrq-trigger", "/proc/keys", "/proc/timer_list"):
    try:
        if os.read(os.open(p, os.O_RDONLY), 1): print("WORKED", p)
    except OSError: pass
try: os.open("/proc/self/exe", os.O_WRONLY); print("WORKED exe")
except OSError: pass
'
case "$PWD" in "(unreachable)"*) echo WORKED cwd;; esac`)
		})
		escape("KRN-14", func(x *line) {
			x.none("leftover power", `
grep -E '^Cap' /proc/self/status | grep -v 0000000000000000 && echo WORKED capabilities
for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sysrq-trigger /proc/sys/vm/drop_caches /proc/self/oom_score_adj_x /sys/kernel/uevent_helper; do { echo x > $f; } 2>/dev/null && echo WORKED $f; done
find / -xdev -name release_agent -writable 2>/dev/null | grep . && echo WORKED release_agent
mknod /tmp/blk b 8 0 2>/dev/null && echo WORKED block; mknod /tmp/chr c 1 1 2>/dev/null && echo WORKED mem; mknod /tmp/wh c 0 0 2>/dev/null && echo WORKED whiteout
head -c 1 /dev/kmsg 2>/dev/null | grep -q . && echo WORKED kmsg
dmesg >/dev/null 2>&1 && echo WORKED dmesg
id -u | grep -qx 0 && echo WORKED root
chmod u+s /tmp 2>/dev/null && echo WORKED setuid
true`)
		})
		escape("KRN-15", func(x *line) {
			x.way(inside)
			for _, word := range []string{"binds: [\"/:/host\"]", "privileged: true", "network: host", "seccomp: unconfined", "devices: [/dev/mem]", "runtime: runc", "syscalls: {bpf: true}", "syscalls: {all: true}", "landlock: off"} {
				r := box{policy: policyHead() + "network_policies: {}\n" + word + "\n"}.run(x.T, "echo", "WORKED")
				if r.code != 2 || strings.Contains(r.stdout, "WORKED") {
					x.Errorf("%s: status %d: %s%s", word, r.code, r.stdout, r.stderr)
				}
			}
		})
		escape("KRN-16", func(x *line) {
			x.none("devices", `ls /dev | grep -vxE 'fd|full|null|ptmx|pts|random|shm|stderr|stdin|stdout|tty|urandom|zero' && echo WORKED
ls -d /sys/class/drm /sys/bus/pci /proc/driver/nvidia 2>/dev/null && echo WORKED
true`)
		})
		escape("CRED-16", func(x *line) {
			x.none("local helpers", `
env | grep -E 'SSH_AUTH_SOCK|DBUS_|GH_TOKEN|AWS_SECRET|canary' && echo WORKED env
ssh-add -l 2>/dev/null && echo WORKED ssh-agent
printf 'protocol=https\nhost=ok.test\n\n' | GIT_TERMINAL_PROMPT=0 timeout 5 git credential fill 2>/dev/null | grep password && echo WORKED git
ls /run/user /run/dbus /run/keyring 2>/dev/null | grep . && echo WORKED run
ls -d ~/.ssh ~/.aws ~/.config/gh ~/.git-credentials ~/.netrc ~/.docker 2>/dev/null && echo WORKED home
python3 -c '
import ctypes
if ctypes.CDLL(None).syscall(250, 0, -3, 0) >= 0: print("WORKED keyctl")'
true`)
		})
		escape("CRED-19", func(x *line) {
			pid := fmt.Sprint(x.cmd.Process.Pid)
			x.none("memory of the supervisor and of init", `
for p in 1 `+pid+`; do for f in mem maps environ auxv stack syscall fd cwd root exe ns/net map_files; do
  head -c 1 /proc/$p/$f >/dev/null 2>&1 && echo WORKED $p $f
  readlink /proc/$p/$f >/dev/null 2>&1 && echo WORKED link $p $f
done; done
python3 -c '
import ctypes
c = ctypes.CDLL(None)
for p in (1, `+pid+`):
    if c.ptrace(16, p, 0, 0) == 0 or c.ptrace(0x4206, p, 0, 0) == 0: print("WORKED ptrace", p)
    if c.syscall(310, p, 0, 0, 0, 0, 0) >= 0: print("WORKED process_vm_readv", p)
'
ulimit -Hc unlimited 2>/dev/null && echo WORKED core
ulimit -c unlimited 2>/dev/null && echo WORKED core
true`)
		})
	})
}

// TestEscapeFileless: KRN-03 where the policy refuses it.
func TestEscapeFileless(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		const sealed = `import os; f = os.memfd_create("x", 8); os.write(f, b"x"); import mmap; m = mmap.mmap(f, 4096 if os.ftruncate(f, 4096) is None else 0); print("sealed works")`
		l := box{policy: policyHead() + "network_policies: {}\nsyscalls: {memfd_exec: false}\n"}.start(t)
		l.escape(t, nil, "KRN-03-refused", func(x *line) string {
			if got := x.sh("python3 -c '" + sealed + "'"); !strings.Contains(got, "sealed works") {
				return got
			}
			return ""
		}, func(x *line) {
			x.way(inside)
			if a := x.probe("memfd", "/bin/echo", "WORKED"); a.Code == 0 || strings.Contains(string(a.Stdout), "WORKED") {
				x.Errorf("a file in memory was executed: %s", a.Stdout)
			}
			x.none("flags", `python3 -c '
import os
for flags in (0, 1, 2, 0x10, 0x13):
    try: os.memfd_create("x", flags); print("WORKED", flags)
    except OSError: pass
try:
    f = os.memfd_create("x", 8); os.fchmod(f, 0o755); print("WORKED chmod")
except OSError: pass'`)
		})
	})
}

// TestSwitches: what a policy opens works, and the posture says so.
func TestSwitches(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		name := fmt.Sprintf("e2e-switches-%d", os.Getpid())
		l := box{policy: policyHead() + "network_policies: {}\nsyscalls: {nested_namespaces: true, ptrace_children: true, unix_datagrams: true}\n", name: name}.start(t)
		for script, want := range map[string]string{
			`unshare -Urn sh -c 'echo nested; mount -t tmpfs x /mnt 2>/dev/null && echo mounted'`:                                     "nested",
			`python3 -c 'import socket; a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM); a.send(b"x"); print(b.recv(1))'`: "b'x'",
			`python3 -c 'import ctypes, os; print("traced" if ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0 else "refused")'`:             "traced",
			`python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(425, 8, 0))'`:                                                 "-1",
		} {
			if got := l.sh(script); got != want {
				t.Errorf("%s: %q, want %q", script, got, want)
			}
		}
		p := creelCmd(t, "posture", name)
		for _, want := range []string{"nested_namespaces", "ptrace_children", "unix_datagrams", "degraded"} {
			if !strings.Contains(p.stdout, want) {
				t.Errorf("the posture does not say %s: %s%s", want, p.stdout, p.stderr)
			}
		}
	})
}
