package supervisor

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/spec"
)

// Posture reads back from the kernel what is in force for the live sandbox, and
// compares it with what was asked for. What cannot be read is not enforced.
func (s *supervisor) Posture(context.Context) (api.Posture, error) {
	pid, err := s.box.AgentPID()
	if err != nil {
		return api.Posture{}, fault.Wrap(err, "read posture", fault.General)
	}
	status, err := readStatus(pid)
	if err != nil {
		return api.Posture{}, fault.Wrap(err, "read posture", fault.General)
	}
	p := api.Posture{Layers: []api.Layer{
		userLayer(status), capabilityLayer(status), namespaceLayer(pid), s.mountLayer(pid), s.landlockLayer(),
		seccompLayer(status), s.networkLayer(pid), coreLayer(pid),
		// What this build does not have yet is said, not left out.
		{Name: "resources", State: api.Absent, Detail: "no limits of the sandbox's own: the user's limits hold", Want: "cgroup limits"},
		{Name: "unix sockets", State: api.Enforced, Detail: "the supervisor makes the agent's connects: only to sockets that were bound inside; no unix datagrams"},
	}}
	if s.groupsKept(status) {
		p.Layers = append(p.Layers, api.Layer{Name: "groups", State: api.Degraded,
			Detail: "the agent keeps its user's supplementary groups " + status["Groups"] + " (setgroups is denied to ordinary users)", Want: "none"})
	}
	return p, nil
}

// readStatus reads /proc/PID/status as the host sees it.
func readStatus(pid int) (map[string]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for _, line := range strings.Split(string(b), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok {
			m[k] = strings.Join(strings.Fields(v), " ")
		}
	}
	return m, nil
}

// layer compares one fact.
func layer(name string, ok bool, detail, want string) api.Layer {
	l := api.Layer{Name: name, State: api.Enforced, Detail: detail}
	if !ok {
		l.State, l.Want = api.Degraded, want
	}
	return l
}

func userLayer(st map[string]string) api.Layer {
	ids := strings.Fields(st["Uid"])
	gids := strings.Fields(st["Gid"])
	ok := len(ids) == 4 && len(gids) == 4 && !slices.Contains(ids, "0") && !slices.Contains(gids, "0")
	return layer("user", ok, "host uid "+st["Uid"]+", gid "+st["Gid"], "an id that is not 0 in any set")
}

func capabilityLayer(st map[string]string) api.Layer {
	ok := st["NoNewPrivs"] == "1"
	detail := "no_new_privs " + st["NoNewPrivs"]
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if strings.Trim(st[set], "0") != "" || st[set] == "" {
			ok = false
			detail += ", " + set + " " + st[set]
		}
	}
	if ok {
		detail += ", all five capability sets empty"
	}
	return layer("privileges", ok, detail, "no capabilities, no_new_privs 1")
}

func namespaceLayer(pid int) api.Layer {
	ok := true
	var own, shared []string
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		outside, err2 := os.Readlink("/proc/self/ns/" + ns)
		if err != nil || err2 != nil || inside == outside {
			ok = false
			shared = append(shared, ns)
			continue
		}
		own = append(own, ns)
	}
	detail := "own " + strings.Join(own, ", ")
	if len(shared) > 0 {
		detail += "; shared or unreadable: " + strings.Join(shared, ", ")
	}
	return layer("namespaces", ok, detail, "all seven of its own")
}

// mountLayer compares the live mounts with the plan, both ways.
func (s *supervisor) mountLayer(pid int) api.Layer {
	live, err := sandbox.ReadMounts(pid)
	if err != nil {
		return layer("mounts", false, err.Error(), "a readable mount table")
	}
	plan := s.box.Plan
	want := map[string]spec.Mount{}
	for _, m := range plan.Mounts {
		want[m.Target] = m
	}
	supplied := map[string]bool{}
	for _, f := range plan.Files {
		supplied[f.Path] = true
	}
	var faults []string
	seen := map[string]bool{}
	for _, m := range live {
		seen[m.Path] = true
		if !m.Options["nosuid"] {
			faults = append(faults, m.Path+" honours setuid")
		}
		w, planned := want[m.Path]
		switch {
		case m.Path == "/":
			if m.Type != "tmpfs" || !m.Options["ro"] {
				faults = append(faults, "the root is not a read-only tmpfs")
			}
		case planned && !w.Write && !m.Options["ro"]:
			faults = append(faults, m.Path+" is writable")
		case !planned && m.Options["rw"] && !belowWritable(m.Path, plan.Mounts):
			faults = append(faults, m.Path+" is writable and was not asked for")
		}
	}
	for target := range want {
		if !seen[target] && !want[target].Optional {
			faults = append(faults, target+" is not mounted")
		}
	}
	for _, p := range plan.ReadOnly {
		if strings.HasPrefix(p, "/proc/") {
			continue
		}
		if !seen[p] {
			faults = append(faults, p+" has lost its read-only mount")
		}
	}
	for _, p := range plan.Pins {
		if !seen[p] {
			faults = append(faults, p+" can be renamed, with what is mounted below it")
		}
	}
	detail := fmt.Sprintf("%d mounts, root read-only", len(live))
	if len(faults) > 0 {
		slices.Sort(faults)
		detail = strings.Join(faults, "; ")
	}
	return layer("mounts", len(faults) == 0, detail, "the declared paths and nothing else")
}

// belowWritable: submounts of a writable declared folder come with it.
func belowWritable(path string, mounts []spec.Mount) bool {
	for _, m := range mounts {
		if m.Write && within(m.Target, path) {
			return true
		}
	}
	return false
}

func (s *supervisor) landlockLayer() api.Layer {
	abi := s.box.Plan.Landlock.ABI
	if abi == 0 {
		return api.Layer{Name: "landlock", State: api.Absent, Detail: "accepted by the policy (best_effort)", Want: "ABI 6 or newer"}
	}
	// The kernel shows no ruleset of a process; the start fails when it is refused.
	detail := fmt.Sprintf("ABI %d, files", abi)
	if abi >= 6 {
		return layer("landlock", true, detail+", signals and abstract sockets scoped", "")
	}
	return layer("landlock", false, detail+"; no scope for signals and abstract sockets", "ABI 6 (Linux 6.12)")
}

func seccompLayer(st map[string]string) api.Layer {
	ok := st["Seccomp"] == "2" && st["Seccomp_filters"] != "0" && st["Seccomp_filters"] != ""
	return layer("seccomp", ok, "mode "+st["Seccomp"]+", filters "+st["Seccomp_filters"], "mode 2 (filter)")
}

func (s *supervisor) networkLayer(pid int) api.Layer {
	var faults []string
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		faults = append(faults, err.Error())
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if i >= 2 && name != "lo" {
			faults = append(faults, "device "+name)
		}
	}
	got, err := s.box.Rules()
	if err != nil {
		faults = append(faults, err.Error())
	}
	for chain, n := range spec.RuleCounts() {
		if got[chain] != n {
			faults = append(faults, fmt.Sprintf("chain %s has %d rules, not %d", chain, got[chain], n))
		}
	}
	detail := "lo alone; TCP and DNS redirected to the supervisor, the rest refused"
	if len(faults) > 0 {
		detail = strings.Join(faults, "; ")
	}
	if len(s.o.Upstreams) > 0 {
		detail += "; operator's upstreams: " + strings.Join(s.o.Upstreams, " ")
	}
	return layer("network", len(faults) == 0, detail, "the sandbox's rules, all of them")
}

// coreLayer: 1 is never dumped; 0 stops files, but not a program that
// core_pattern names (core(5)).
func coreLayer(pid int) api.Layer {
	const want = "limit 1"
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return layer("core dumps", false, err.Error(), want)
	}
	for _, line := range strings.Split(string(b), "\n") {
		rest, ok := strings.CutPrefix(line, "Max core file size")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		ok = len(f) >= 2 && f[0] == "1" && f[1] == "1"
		detail := "limit " + strings.Join(f, " ")
		if len(f) >= 2 && f[0] == "0" && f[1] == "0" {
			pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern")
			ok = err == nil && !strings.HasPrefix(string(pattern), "|") && !strings.HasPrefix(string(pattern), "@")
			detail += ", core_pattern " + strings.TrimSpace(string(pattern))
		}
		return layer("core dumps", ok, detail, want)
	}
	return layer("core dumps", false, "no limit found", want)
}

// groupsKept: an ordinary user's agent keeps groups beyond its own.
func (s *supervisor) groupsKept(st map[string]string) bool {
	for _, g := range strings.Fields(st["Groups"]) {
		if g != fmt.Sprint(s.box.GID) {
			return true
		}
	}
	return false
}
