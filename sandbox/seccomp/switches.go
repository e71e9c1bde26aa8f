package seccomp

import "slices"

// Switch is a word of the policy's syscalls section. A closed one costs the
// programs that need it; an open one is a wall less. docs/syscalls.md says both
// for each.
type Switch string

const (
	NestedNamespaces Switch = "nested_namespaces"
	IOURing          Switch = "io_uring"
	PtraceChildren   Switch = "ptrace_children"
	Perf             Switch = "perf"
	Userfaultfd      Switch = "userfaultfd"
	Keyrings         Switch = "keyrings"
	UnixDatagrams    Switch = "unix_datagrams"
	MemfdExec        Switch = "memfd_exec"
)

// SwitchLine is what opening a switch means.
type SwitchLine struct {
	Name Switch
	Open bool   // unless the policy closes it
	Cost string // in one line, for the posture

	// What no longer holds: rules that name programs; the wall around unix sockets.
	Callers, Sockets bool

	calls  []string          // allowed, whatever the tables say
	checks map[string]*check // or allowed as the check says
}

// Switches lists all of them, in the order in which they are shown.
func Switches() []SwitchLine { return slices.Clone(switches) }

var switches = []SwitchLine{
	{Name: NestedNamespaces, Cost: "a program inside may have all capabilities over namespaces of its own, and reach the kernel code behind them",
		calls: []string{"clone", "unshare", "setns", "chroot"}},
	{Name: IOURing, Cost: "calls made through a ring pass no filter: every socket family opens, and connects are neither attributed nor kept from the host's unix sockets", Callers: true, Sockets: true,
		calls: []string{"io_uring_setup", "io_uring_enter", "io_uring_register"}},
	{Name: PtraceChildren, Cost: "a program inside may act as any other of the sandbox: binaries in rules tell nothing", Callers: true,
		calls: []string{"ptrace", "process_vm_readv", "process_vm_writev", "kcmp"}},
	{Name: Perf, Cost: "performance counters: kernel code with many past faults, and a help for side channels",
		calls: []string{"perf_event_open"}},
	{Name: Userfaultfd, Cost: "a program can hold the kernel in the middle of a copy, which most exploits of kernel races use",
		calls: []string{"userfaultfd"}},
	{Name: Keyrings, Cost: "kernel keys of the same user outside may be visible: keyrings belong to users, not to namespaces",
		calls: []string{"add_key", "request_key", "keyctl"}},
	{Name: UnixDatagrams, Cost: "a unix datagram names its receiver in memory: datagram sockets of the host below shown folders can be sent to", Sockets: true,
		checks: map[string]*check{"socket": socketKindsDatagram, "socketpair": socketpairDatagram}},
	{Name: MemfdExec, Open: true, Cost: "code can be executed that never was a file",
		calls: []string{"memfd_create"}},
}

// opened gives the verdict of a call that an open switch changes.
func (s Spec) opened(name string) (Action, *check, bool) {
	for i := range switches {
		w := &switches[i]
		if !slices.Contains(s.Open, w.Name) {
			continue
		}
		if slices.Contains(w.calls, name) {
			return Allow, nil, true
		}
		if c := w.checks[name]; c != nil {
			return 0, c, true
		}
	}
	return 0, nil, false
}

// decide is the verdict about a call, or the check of its arguments.
func (s Spec) decide(g *group, c *call) (Action, *check) {
	if a, check, ok := s.opened(c.name); ok {
		return a, check
	}
	if g.verdict == Notify && !s.Notify {
		return Allow, c.check
	}
	return g.verdict, c.check
}
