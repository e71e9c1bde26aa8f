package sandbox

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestIsolation runs scripts inside and compares what they print. Each line is
// one wall.
func TestIsolation(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		secret := filepath.Join(scratch(t), "secret")
		if err := os.WriteFile(secret, []byte("canary"), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ name, script, want string }{
			{"no capabilities", `grep -E '^Cap' /proc/self/status | tr -d '0\t' | sort -u | tr '\n' ' '`, `^CapAmb: CapBnd: CapEff: CapInh: CapPrm:$`},
			{"no_new_privs and seccomp", `grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\t' | tr '\n' ' '`, `^NoNewPrivs:1 Seccomp:2$`},
			{"not root inside", `test "$(id -u)" -ne 0 && echo ordinary`, `^ordinary$`},
			{"root holds the declared paths alone", `ls / | tr '\n' ' '`, `^bin dev etc home lib (lib32 )?(lib64 )?(libx32 )?proc sbin tmp usr var ?$`},
			{"a host file in a shared parent is absent", `cat ` + secret, `No such file`},
			{"root is read-only", `touch /x`, `Read-only file system`},
			{"usr is read-only", `touch /usr/x`, `Read-only file system`},
			{"dev is sealed", `touch /dev/x`, `Read-only file system`},
			{"tmp is writable and its own", `touch /tmp/x && ls -A /tmp | grep -v creel-ws`, `^x$`},
			{"home is writable and empty", `ls -A $HOME; touch $HOME/x && echo ok`, `^ok$`},
			{"init is hidden", `cat /proc/1/environ; ls /proc/1/fd; ls /proc/1`, `(?s)No such file.*No such file.*No such file`},
			{"init cannot be signalled", `kill -9 1 || echo refused; kill -0 1 || echo refused`, `(?s)refused.*refused`},
			{"only the sandbox's processes", `ls /proc | grep -cE '^[0-9]+$'`, `^[1-5]$`},
			{"core_pattern", `echo x > /proc/sys/kernel/core_pattern`, `Read-only file system|ermission denied`},
			{"sysrq", `echo x > /proc/sysrq-trigger`, `Read-only file system|ermission denied|nonexistent`},
			{"pressure", `echo 'some 1000 2000000' > /proc/pressure/memory`, `Read-only file system|nonexistent`},
			{"terminals are bounded", `python3 -c "
import os
n = 0
try:
    while n < 4096: os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY); n += 1
except OSError as e: print(n, e.errno)
"`, `^256 28$`},
			{"file systems are not asked for more than files", `python3 -c "
import fcntl, os
for request in (0x50009417, 0x5000940e, 0x4020bc10, 0xc0406618):
    try: fcntl.ioctl(os.open('.', 0), request, b'x' * 1024); print('answered')
    except OSError as e: print(e.errno)
"`, `^1\n1\n1\n1$`},
			{"kcore and keys are empty", `cat /proc/kcore /proc/keys /proc/kallsyms 2>/dev/null | wc -c`, `^0$`},
			{"no new user namespace", `unshare -U true`, `Operation not permitted`},
			{"no mounts", `mount -t tmpfs x /mnt; mount -o remount,rw /usr`, `(?s)(ermission denied|not permitted|must be superuser|only root)`},
			{"rules cannot be flushed", `nft flush ruleset; ip route del default; ip link set lo down`, `(?s)not permitted.*not permitted`},
			{"no setuid file is born", `cp /bin/true t && chmod u+s t; chmod 2755 t; ls -l t | cut -c1-10`, `(?s)not permitted.*not permitted.*-rwxr-xr-x`},
			{"no descriptors but the streams", `ls /proc/self/fd | tr '\n' ' '`, `^0 1 2 3 ?$`},
			{"streams can be opened again", `echo out > /dev/stdout; echo err > /dev/stderr`, `(?s)out.*err`},
			{"core limit", `grep 'Max core' /proc/self/limits`, `^Max core file size +(1 +1|0 +0) `},
			{"wakes up without interrupting others", `python3 -c "import os; print(os.sched_getscheduler(0))"`, `^3$`}, // SCHED_BATCH
			{"host name", `hostname; cat /etc/hostname`, `^test`},
			{"vsock, packet, bluetooth", `python3 -c "
import socket
for f in (40, 17, 31, 38, 30):
    try: socket.socket(f, socket.SOCK_STREAM); print('open', f)
    except OSError as e: print(e.errno)
"`, `^(97\n?|1\n?){5}$`},
			{"session keyring is closed", `python3 -c "
import ctypes
l = ctypes.CDLL(None, use_errno=True)
print(l.syscall(250, 0, -3, 0), ctypes.get_errno())
"`, `^-1 1$`},
		} {
			t.Run(tt.name, func(t *testing.T) {
				if strings.Contains(tt.script, "python3") {
					if _, err := os.Stat("/usr/bin/python3"); err != nil {
						t.Fatal("needs /usr/bin/python3 (Debian: python3-minimal)")
					}
				}
				got := sh(t, config(t), tt.script)
				if !regexp.MustCompile(tt.want).MatchString(got) {
					t.Errorf("%s\nprints %q\nwanted %s", tt.script, got, tt.want)
				}
			})
		}
	})
}

func TestWorkspaceKeepsItsOwner(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		c := config(t)
		if got := sh(t, c, "mkdir d && echo hi > d/f && cat d/f && stat -c %u d/f && id -u"); !regexp.MustCompile(`^hi\n(\d+)\n(\d+)$`).MatchString(got) {
			t.Fatalf("inside: %q", got)
		}
		fi, err := os.Stat(filepath.Join(c.Workspace.Path, "d/f"))
		if err != nil {
			t.Fatal(err)
		}
		ws, err := os.Stat(c.Workspace.Path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fi.Sys().(*syscall.Stat_t).Uid, ws.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("on the host the file belongs to %d, the workspace to %d", got, want)
		}
		c.Workspace.Write = false
		if got := sh(t, c, "cat d/f; touch y"); !strings.Contains(got, "hi") || !strings.Contains(got, "Read-only") {
			t.Errorf("read-only workspace: %q", got)
		}
	})
}

func TestProtectedFileStaysReadOnly(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		c := config(t)
		p := filepath.Join(c.Workspace.Path, "creel.yaml")
		if err := os.WriteFile(p, []byte("version: 2\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		c.Protect = []string{p}
		sh(t, c, "echo x >> creel.yaml; rm -f creel.yaml; mv creel.yaml y; ln creel.yaml z; echo y > w; mv w creel.yaml; echo z >> z")
		b, err := os.ReadFile(p)
		if err != nil || string(b) != "version: 2\n" {
			t.Errorf("protected file: %q, %v", b, err)
		}
	})
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Sys().(*syscall.Stat_t).Uid
}
