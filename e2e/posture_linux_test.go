package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// row is a layer of `creel posture --json`.
type row struct{ Name, State, Detail, Want, Fix string }

// posture reads the posture of a live sandbox, numbers as #.
func posture(t *testing.T, name string) []row {
	t.Helper()
	rows := decode[struct{ Layers []row }](t, creelCmd(t, "posture", "--json", name).want(t, 0).stdout).Layers
	for i := range rows {
		rows[i].Detail = regexp.MustCompile(`\d+`).ReplaceAllString(rows[i].Detail, "#")
	}
	return rows
}

// wanted is the whole posture of a plain sandbox; a kind of sandbox says what is
// different about it. A new layer has its line here.
var wanted = []row{
	{"user", "enforced", "host uid #, gid #; the only ids that exist inside", "", ""},
	{"groups", "enforced", "no supplementary groups", "", ""},
	{"privileges", "enforced", "no_new_privs, all five capability sets empty", "", ""},
	{"namespaces", "enforced", "own user, mnt, pid, net, ipc, uts, cgroup; the network belongs to the outer user namespace", "", ""},
	{"init", "enforced", "a child of the supervisor, without capabilities", "", ""},
	{"mounts", "enforced", "# mounts, the declared ones alone; nosuid, nodev, root read-only", "", ""},
	{"masks", "enforced", "# paths covered, kernel settings read-only", "", ""},
	{"protected", "enforced", "# protected paths read-only, # hidden, # noexec; # absent names looked for at the end", "", ""},
	{"files", "enforced", "# files of creel's (names, accounts, certificates), as supplied", "", ""},
	{"landlock", "enforced", "ABI #, files, signals and abstract sockets scoped; as entered at the start", "", ""},
	{"seccomp", "enforced", "mode #, # filter of creel's; connects are reported", "", ""},
	{"network", "enforced", "lo alone; # rules as loaded: TCP and DNS to the supervisor, the rest refused", "", ""},
	{"listeners", "enforced", "# sockets, all the supervisor's", "", ""},
	{"terminal", "enforced", "a session of its own, without a terminal", "", ""},
	{"core dumps", "enforced", "limit # #", "", ""},
	{"audit", "enforced", "every decision is written before it takes effect", "", ""},
	{"unix sockets", "enforced", "the supervisor makes the agent's connects: only to sockets that were bound inside; no unix datagrams", "", ""},
}

// limitRows follow: root of this machine may make control groups (version 1), an
// ordinary user may not.
func limitRows() []row {
	const ofHost = "at most #M in its own folders together; folders of the host that it may write: not limited"
	rows := []row{
		{"memory", "enforced", "at most #M, control group version #", "", ""},
		{"cpu", "enforced", "no limit asked; all its processes together weigh as one, control group version #", "", ""},
		{"processes", "enforced", "at most #, threads included: control group version # (# for creel's init among them), RLIMIT_NPROC in its user namespace", "", ""},
		{"open files", "enforced", "at most # for each process", "", ""},
		{"disk", "degraded", ofHost, "", ""},
		{"oom", "enforced", "the agent goes before creel (oom_score_adj #)", "", ""},
	}
	if os.Geteuid() != 0 {
		const why = "version #, and its groups are not this user's: permission denied"
		rows[0].State, rows[0].Detail = "degraded", "at most #M for each process alone: "+why
		rows[1].State, rows[1].Detail = "degraded", "no limit asked; each of its processes weighs as one: "+why
		rows[2].Detail = "at most #, threads included: RLIMIT_NPROC in its user namespace"
	}
	return rows
}

// TestPostureOfEveryKind starts every kind of sandbox and compares the whole
// posture with the table.
func TestPostureOfEveryKind(t *testing.T) {
	bothUsers(t, func(t *testing.T) {
		const none = "network_policies: {}\n"
		const unwritable = "enforced: at most #M in its own folders together"
		const v1 = "version: 1\nfilesystem_policy: {include_workdir: true, read_only: [/usr, /etc, %s]}\nlandlock: {compatibility: best_effort}\nprocess: {run_as_user: sandbox, run_as_group: sandbox}\n" + none
		ca := caFile(t)
		inside := filepath.Dir(probePath())
		cpu := "at most # processors, control group version #"
		if os.Geteuid() != 0 {
			cpu = "absent: version #, and its groups are not this user's: permission denied"
		}
		for _, kind := range []struct {
			name   string
			box    box
			files  []string          // put into the workspace; a folder ends in /
			differ map[string]string // detail of a row, by its name; with its state before it unless enforced
		}{
			{name: "read-write workspace", box: box{policy: policyHead() + none}},
			{name: "read-only workspace", box: box{policy: policyHead() + none, flags: []string{"--workspace", "WS:ro"}}, differ: map[string]string{"disk": unwritable}},
			{name: "copy-on-write workspace", box: box{policy: policyHead() + none, flags: []string{"--workspace", "WS:cow"}}, files: []string{"a", "d/"}},
			{name: "hidden and noexec", box: box{policy: strings.Replace(policyHead(), "  read_write: [/tmp]\n", "  read_write: [/tmp]\n  hidden: [.env, secrets]\n  noexec: [downloads]\n", 1) + none}, files: []string{".env", "secrets/", "downloads/"}},
			{name: "protected files", box: box{policy: policyHead() + none}, files: []string{".git/config", ".git/hooks/", ".envrc"}},
			{name: "limits asked for", box: box{policy: policyHead() + none, flags: []string{"--memory", "512M", "--cpu", "1", "--pids", "100", "--disk", "64M", "--limits", "best_effort"}},
				differ: map[string]string{"cpu": cpu, "disk": "degraded: at most #M in its own folders together, #M in any single file; folders of the host that it may write: not limited"}},
			{name: "open switches", box: box{policy: policyHead() + "syscalls: {nested_namespaces: true, ptrace_children: true, io_uring: true, unix_datagrams: true, memfd_exec: false}\n" + none},
				differ: map[string]string{"seccomp": "degraded: syscalls.nested_namespaces is open: …", "unix sockets": "degraded: syscalls.io_uring is open: …"}},
			{name: "workspace not included", box: box{policy: strings.Replace(policyHead(), "include_workdir: true", "include_workdir: false", 1) + none}, differ: map[string]string{"disk": unwritable}},
			{name: "built-in policy", box: box{own: true}},
			{name: "a policy in the workspace", box: box{policy: "WS"}},
			{name: "version 1, best effort", box: box{policy: fmt.Sprintf(v1, inside)}},
			{name: "another id", box: box{policy: policyHead() + "process: {run_as_user: \"4711\", run_as_group: \"4711\"}\n" + none}},
			{name: "the whole root to read", box: box{policy: "version: 2\nfilesystem_policy: {include_workdir: true, read_only: [/]}\n" + none, own: true}},
			{name: "sysfs and a device", box: box{policy: strings.Replace(policyHead(), "    - /usr\n", "    - /usr\n    - /sys\n    - /dev/zero\n", 1) + none}},
			{name: "inspected network", box: box{policy: twoHosts(restFull, "ok.test")}},
			{name: "tcp network", box: box{policy: policyHead() + "network_policies: {db: {endpoints: [{host: db.test, port: 5432}], binaries: any}}\n"}},
			{name: "secrets", box: box{policy: twoHosts(restFull, "ok.test"), flags: []string{"--secret", "TOKEN=env:E2E_TOKEN@ok.test:X-Token"}, env: []string{"E2E_TOKEN=" + canary("token")}}},
			{name: "inference", box: box{policy: policyHead() + none, flags: []string{"--inference", "http://127.0.0.1:9", "--inference-key", "env:E2E_KEY", "--model", "m"}, env: []string{"E2E_KEY=" + canary("model")}}},
			{name: "upstreams and certificates", box: box{policy: twoHosts(restFull, "ok.test"), flags: []string{"--upstream", "ok.test:443=127.0.0.1:9", "--trust-ca", ca}},
				differ: map[string]string{"network": "lo alone; # rules as loaded: TCP and DNS to the supervisor, the rest refused; operator's upstreams: ok.test:#=#.#.#.#:#; operator's certificates: CA"}},
		} {
			t.Run(kind.name, func(t *testing.T) {
				b := kind.box
				b.name = fmt.Sprintf("e2e-kind-%d", os.Getpid())
				mode := ""
				if len(b.flags) == 2 && b.flags[0] == "--workspace" {
					mode = strings.TrimPrefix(b.flags[1], "WS")
				}
				if b.policy == "WS" || mode != "" || kind.files != nil {
					b.workspace = t.TempDir()
				}
				for _, f := range kind.files {
					path := filepath.Join(b.workspace, f)
					if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
						t.Fatal(err)
					}
					if strings.HasSuffix(f, "/") {
						path = filepath.Join(path, "file")
						if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
							t.Fatal(err)
						}
					}
					write(t, path, "x\n")
				}
				if b.policy == "WS" {
					write(t, filepath.Join(b.workspace, "creel.yaml"), policyHead()+none)
					b.policy, b.flags = "", []string{"--policy", filepath.Join(b.workspace, "creel.yaml")}
				} else if mode != "" {
					b.flags = []string{"--workspace", b.workspace + mode}
				}
				l := b.start(t)
				compare(t, posture(t, b.name), kind.differ, ca)
				l.end()
			})
		}
		t.Run("with a terminal", func(t *testing.T) {
			b := box{policy: policyHead() + none, name: fmt.Sprintf("e2e-tty-%d", os.Getpid())}
			cmd, _, _ := b.setup(t, "sh", "-c", "echo there; read x")
			s := onScreen(t, cmd)
			s.see("there")
			compare(t, posture(t, b.name), map[string]string{"terminal": "a session and a terminal of its own"}, ca)
			s.key("\n")
			s.exit()
		})
	})
}

func compare(t *testing.T, got []row, differ map[string]string, ca string) {
	t.Helper()
	wanted := append(slices.Clone(wanted), limitRows()...)
	if len(got) != len(wanted) {
		t.Errorf("%d layers, want %d", len(got), len(wanted))
	}
	for i := range min(len(got), len(wanted)) {
		g, w := got[i], wanted[i]
		if d, ok := differ[w.Name]; ok {
			for _, state := range []string{"enforced", "degraded", "absent"} {
				if rest, ok := strings.CutPrefix(d, state+": "); ok {
					w.State, d = state, rest
				}
			}
			w.Detail = strings.ReplaceAll(d, "CA", regexp.MustCompile(`\d+`).ReplaceAllString(ca, "#"))
		}
		if head, ok := strings.CutSuffix(w.Detail, "…"); ok && strings.HasPrefix(g.Detail, head) {
			w.Detail = g.Detail
		}
		if g.Name != w.Name || g.State != w.State || g.Detail != w.Detail {
			t.Errorf("layer %d:\ngot  %s, %s: %s\nwant %s, %s: %s", i, g.Name, g.State, g.Detail, w.Name, w.State, w.Detail)
		}
		if g.State != "enforced" && (g.Want == "" || g.Fix == "") {
			t.Errorf("%s is %s without what would be, or without a command: %+v", g.Name, g.State, g)
		}
	}
}

// TestPostureCannotLie changes live sandboxes from outside, as root of the host
// can: the row of what was changed says so, and no other.
func TestPostureCannotLie(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root of the host can change a sandbox")
	}
	for _, tt := range []struct {
		what, layer, says string
		command           string // run with INIT and AGENT as pids
	}{
		{"a mask is taken off", "masks", "/proc/keys can be seen", "nsenter -t INIT -m -p umount /proc/keys"},
		{"kernel settings are writable", "masks", "/proc/sys is writable", "nsenter -t INIT -m umount /proc/sys"},
		{"something is mounted over a declared path", "mounts", "/usr is ", "nsenter -t INIT -m mount -t tmpfs none /usr"},
		{"something is mounted elsewhere", "mounts", "/usr/share is mounted and was not asked for", "nsenter -t INIT -m mount -t tmpfs -o nosuid,nodev none /usr/share"},
		{"a declared path is writable", "mounts", "/usr is writable", "nsenter -t INIT -m mount -o remount,bind,rw,nosuid,nodev /usr"},
		{"setuid counts", "mounts", "/tmp honours setuid", "nsenter -t INIT -m mount -o remount,bind,suid,nodev /tmp"},
		{"devices open", "mounts", "/tmp opens devices", "nsenter -t INIT -m mount -o remount,bind,nosuid,dev /tmp"},
		{"the root is writable", "mounts", "the root is not", "nsenter -t INIT -m mount -o remount,bind,rw,nosuid,nodev /"},
		{"processes of others are shown", "mounts", "/proc shows", "nsenter -t INIT -m mount -o remount,hidepid=0 /proc"},
		{"the resolver's file is gone", "files", "/etc/resolv.conf", "nsenter -t INIT -m -p umount /etc/resolv.conf"},
		{"rules are flushed", "network", "chain refuse has # rules, not #", "nsenter -t INIT -n nft flush chain inet creel refuse"},
		{"a rule says something else", "network", "not those of the start", "nsenter -t INIT -n sh -c 'h=$(nft -a list chain inet creel refuse | sed -n \"s/.*reject.* handle //p\"); nft replace rule inet creel refuse handle $h accept'"},
		{"another table stands before", "network", "not those of the start", "nsenter -t INIT -n sh -c 'nft add table ip other'"},
		{"the memory limit is raised", "memory", "no limit in its control group", "for f in memory.memsw.limit_in_bytes memory.limit_in_bytes; do find /sys/fs/cgroup/memory -path '*/creel-e2e-lie-*' -name $f -exec sh -c 'echo -1 > $1' sh {} ';'; done"},
		{"a protected file is free", "protected", ".git/config", "nsenter -t INIT -m -p umount WS/.git/config"},
		{"a hidden path is shown", "protected", "secrets", "nsenter -t INIT -m -p umount WS/secrets"},
		{"a device is added", "network", "device br#", "nsenter -t INIT -n ip link add br9 type bridge"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			b := box{name: fmt.Sprintf("e2e-lie-%d", os.Getpid()), workspace: t.TempDir(),
				policy: strings.Replace(policyHead(), "  read_write: [/tmp]\n", "  read_write: [/tmp]\n  hidden: [secrets]\n", 1) + "network_policies: {}\n"}
			for _, f := range []string{".git/config", "secrets/key"} {
				if err := os.MkdirAll(filepath.Join(b.workspace, filepath.Dir(f)), 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(b.workspace, f), "x\n")
			}
			l := b.start(t)
			before := posture(t, b.name)
			agent := agentOf(t, l.cmd.Process.Pid)
			command := strings.NewReplacer("INIT", agent[0], "AGENT", agent[1], "WS", b.workspace).Replace(tt.command)
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
			for i, r := range posture(t, b.name) {
				switch {
				case r.Name != tt.layer:
					if r.State != before[i].State {
						t.Errorf("%s is %s: %s", r.Name, r.State, r.Detail)
					}
				case r.State != "degraded" || !strings.Contains(r.Detail, tt.says):
					t.Errorf("%s is %s: %s; want degraded: %s", r.Name, r.State, r.Detail, tt.says)
				case !strings.HasPrefix(r.Fix, "creel stop "+b.name):
					t.Errorf("hint %q", r.Fix)
				}
			}
		})
	}
}

// agentOf gives the pids of a supervisor's init and agent.
func agentOf(t *testing.T, supervisor int) [2]string {
	t.Helper()
	child := func(pid int) int {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, f := range threads {
			if first, _, _ := strings.Cut(readFile(t, f), " "); first != "" {
				n, err := strconv.Atoi(first)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("process %d has no child", pid)
		return 0
	}
	init := child(supervisor)
	return [2]string{strconv.Itoa(init), strconv.Itoa(child(init))}
}
