package supervisor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/sandbox/seccomp"
)

// userLayer: one id that is not 0, in all four places, and the map of the agent's
// own user namespace holds that id alone.
func (s *supervisor) userLayer(r reading) api.Layer {
	var faults []string
	for _, id := range []struct {
		kind, file   string
		host, inside int
	}{{"Uid", "uid_map", s.box.UID, s.box.Plan.UID}, {"Gid", "gid_map", s.box.GID, s.box.Plan.GID}} {
		want := strconv.Itoa(id.host)
		for _, got := range strings.Fields(r.status[id.kind]) {
			if got != want || got == "0" {
				faults = append(faults, fmt.Sprintf("%s %s", strings.ToLower(id.kind), r.status[id.kind]))
				break
			}
		}
		if len(strings.Fields(r.status[id.kind])) != 4 {
			faults = append(faults, "no "+id.kind)
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", r.agent, id.file))
		if got := strings.Join(strings.Fields(string(b)), " "); err != nil || got != fmt.Sprintf("%d %d 1", id.inside, id.host) {
			faults = append(faults, fmt.Sprintf("%s is %q %s", id.file, got, errorText(err)))
		}
	}
	return judged("user", faults, fmt.Sprintf("host uid %d, gid %d; the only ids that exist inside", s.box.UID, s.box.GID), "one id that is not 0")
}

// groupLayer: an ordinary user's agent keeps its user's supplementary groups.
func (s *supervisor) groupLayer(r reading) api.Layer {
	var kept []string
	for _, g := range strings.Fields(r.status["Groups"]) {
		if g != strconv.Itoa(s.box.GID) {
			kept = append(kept, g)
		}
	}
	if len(kept) == 0 {
		return layer("groups", true, "no supplementary groups", "")
	}
	return api.Layer{Name: "groups", State: api.Degraded, Want: "none",
		Detail: "the agent keeps its user's supplementary groups " + strings.Join(kept, " ") + " (setgroups is denied to ordinary users)",
		Fix:    "sudo creel run …  (started by root the agent has no groups), or a user without them"}
}

func privilegeLayer(r reading) api.Layer {
	faults := heldCapabilities(r.status, "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
	if r.status["NoNewPrivs"] != "1" {
		faults = append(faults, "no_new_privs "+r.status["NoNewPrivs"])
	}
	return judged("privileges", faults, "no_new_privs, all five capability sets empty", "no capabilities, no_new_privs 1")
}

func heldCapabilities(status map[string]string, sets ...string) (held []string) {
	for _, set := range sets {
		if strings.Trim(status[set], "0") != "" || status[set] == "" {
			held = append(held, set+" "+status[set])
		}
	}
	return held
}

// ioctls of linux/nsfs.h.
const nsGetUserNS = 0xb701

// namespaceLayer: all seven differ from the supervisor's; six are init's, the
// user namespace is the agent's own; and the network belongs to the outer one, so
// that no power that the agent could get reaches its rules (kernel-notes 1).
func namespaceLayer(r reading) api.Layer {
	var faults []string
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", r.agent, ns))
		outer, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", r.init, ns))
		host, err3 := os.Readlink("/proc/self/ns/" + ns)
		switch {
		case err != nil || err2 != nil || err3 != nil:
			faults = append(faults, ns+" is unreadable: "+errors.Join(err, err2, err3).Error())
		case own == host || outer == host:
			faults = append(faults, ns+" is shared with the supervisor")
		case ns == "user" && own == outer:
			faults = append(faults, "the agent shares its user namespace with init")
		case ns != "user" && own != outer:
			faults = append(faults, ns+" is not init's")
		}
	}
	if err := ownedByOuter(r); err != nil {
		faults = append(faults, err.Error())
	}
	return judged("namespaces", faults, "own user, mnt, pid, net, ipc, uts, cgroup; the network belongs to the outer user namespace", "all seven of its own")
}

func ownedByOuter(r reading) error {
	net, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", r.agent))
	if err != nil {
		return err
	}
	defer net.Close()
	fd, err := unix.IoctlRetInt(int(net.Fd()), nsGetUserNS)
	if err != nil {
		return fmt.Errorf("owner of the network: %w", err)
	}
	defer unix.Close(fd)
	var owner, outer unix.Stat_t
	if err := unix.Fstat(fd, &owner); err != nil {
		return fmt.Errorf("owner of the network: %w", err)
	}
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/user", r.init), &outer); err != nil {
		return fmt.Errorf("owner of the network: %w", err)
	}
	if owner.Ino != outer.Ino || owner.Dev != outer.Dev {
		return errors.New("the network does not belong to the outer user namespace")
	}
	return nil
}

// initLayer: process 1 has nothing that would be worth taking over. That the
// sandbox dies with its supervisor (parent-death signal, end of file) no file of
// /proc shows; life tests and `creel selftest` do.
func initLayer(r reading) api.Layer {
	const want = "no capabilities, in the sandbox's own namespaces"
	status, err := readStatus(r.init)
	if err != nil {
		return layer("init", false, err.Error(), want)
	}
	faults := heldCapabilities(status, "CapInh", "CapPrm", "CapEff", "CapAmb")
	if status["PPid"] != strconv.Itoa(os.Getpid()) {
		faults = append(faults, "its parent is "+status["PPid"]+", not this supervisor")
	}
	return judged("init", faults, "a child of the supervisor, without capabilities", want)
}

func (s *supervisor) landlockLayer() api.Layer {
	abi := s.box.Plan.Landlock.ABI
	if abi == 0 {
		return api.Layer{Name: "landlock", State: api.Absent, Detail: "accepted by the policy (best_effort)", Want: "ABI 6 or newer", Fix: "creel doctor"}
	}
	// The kernel shows no ruleset of a process. The start ends with an error when
	// it refuses one, and `creel selftest` runs against it.
	detail := fmt.Sprintf("ABI %d, files", abi)
	if abi >= 6 {
		return layer("landlock", true, detail+", signals and abstract sockets scoped; as entered at the start", "")
	}
	l := layer("landlock", false, detail+"; no scope for signals and abstract sockets", "ABI 6 (Linux 6.12)")
	l.Fix = "creel doctor"
	return l
}

// seccompLayer: one filter more than the supervisor has, and the listener that
// came with ours has not hung up, which it does when no process has it any more.
func (s *supervisor) seccompLayer(r reading) api.Layer {
	var faults []string
	if r.status["Seccomp"] != "2" {
		faults = append(faults, "mode "+r.status["Seccomp"])
	}
	own, err := readStatus(os.Getpid())
	inherited, err2 := strconv.Atoi(own["Seccomp_filters"])
	filters, err3 := strconv.Atoi(r.status["Seccomp_filters"])
	if err := errors.Join(err, err2, err3); err != nil {
		faults = append(faults, "filters cannot be counted: "+err.Error())
	} else if filters <= inherited {
		faults = append(faults, fmt.Sprintf("%d filters, as many as the supervisor's own", filters))
	}
	if tracker := s.callers.Load(); tracker == nil {
		faults = append(faults, "connects are not reported")
	} else if err := tracker.Listening(); err != nil {
		faults = append(faults, "connects are not reported: "+err.Error())
	}
	fix := ""
	if open := openSwitches(s.box.Syscalls); len(open) > 0 && len(faults) == 0 {
		fix = closeFix
		for _, w := range open {
			faults = append(faults, "syscalls."+string(w.Name)+" is open: "+w.Cost)
		}
	}
	l := judged("seccomp", faults, fmt.Sprintf("mode 2, %d filter of creel's; connects are reported", filters-inherited), "mode 2 (filter), with its listener, and no switch open")
	l.Fix = fix
	return l
}

// closeFix is how a switch is closed.
const closeFix = "take it out of syscalls: in the policy, then start the sandbox again (docs/syscalls.md)"

// openSwitches are those that the policy has opened.
func openSwitches(open []seccomp.Switch) (all []seccomp.SwitchLine) {
	for _, w := range seccomp.Switches() {
		if !w.Open && slices.Contains(open, w.Name) {
			all = append(all, w)
		}
	}
	return all
}

// terminalLayer: a session of its own, so that the operator's terminal is not the
// agent's to control.
func (s *supervisor) terminalLayer(r reading) api.Layer {
	const want = "a session of its own"
	own, err := readStat(os.Getpid())
	if err != nil {
		return layer("terminal", false, err.Error(), want)
	}
	agent, err := readStat(r.agent)
	if err != nil {
		return layer("terminal", false, err.Error(), want)
	}
	var faults []string
	if agent.session == own.session {
		faults = append(faults, "the supervisor's session")
	}
	detail := "a session of its own, without a terminal"
	if agent.tty != 0 {
		detail = "a session and a terminal of its own"
		if s.box.PTY == nil {
			faults = append(faults, fmt.Sprintf("terminal %d:%d, and none was asked for", unix.Major(agent.tty), unix.Minor(agent.tty)))
		}
	}
	return judged("terminal", faults, detail, want)
}

type procStat struct {
	session int
	tty     uint64
}

// readStat reads what proc(5) calls session and tty_nr.
func readStat(pid int) (st procStat, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return st, err
	}
	// The name is in parentheses and may hold anything.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 5 {
		return st, errors.New("read stat: unknown form")
	}
	if st.session, err = strconv.Atoi(f[3]); err != nil {
		return st, err
	}
	tty, err := strconv.ParseInt(f[4], 10, 32)
	st.tty = uint64(uint32(tty))
	return st, err
}

// coreLayer: 1 is never dumped; 0 stops files, but not a program that
// core_pattern names (core(5)).
func coreLayer(pid int) api.Layer {
	const want = "limit 1"
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return layer("core dumps", false, err.Error(), want)
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "Max core file size")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		f = f[:min(len(f), 2)]
		detail := "limit " + strings.Join(f, " ")
		if slices.Equal(f, []string{"0", "0"}) {
			pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
			ok = err == nil && !strings.HasPrefix(string(pattern), "|") && !strings.HasPrefix(string(pattern), "@")
			return layer("core dumps", ok, detail+", core_pattern "+strings.TrimSpace(string(pattern)), want)
		}
		return layer("core dumps", slices.Equal(f, []string{"1", "1"}), detail, want)
	}
	return layer("core dumps", false, "no limit found", want)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return "(" + err.Error() + ")"
}
