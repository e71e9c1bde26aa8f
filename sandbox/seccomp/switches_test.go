package seccomp

import (
	"slices"
	"testing"
)

// TestSwitches: an open switch changes the calls that it names, and no other
// number of either architecture.
func TestSwitches(t *testing.T) {
	want := map[Switch][]string{
		NestedNamespaces: {"clone", "unshare", "setns", "chroot"},
		IOURing:          {"io_uring_setup", "io_uring_enter", "io_uring_register"},
		PtraceChildren:   {"ptrace", "process_vm_readv", "process_vm_writev", "kcmp"},
		Perf:             {"perf_event_open"},
		Userfaultfd:      {"userfaultfd"},
		Keyrings:         {"add_key", "request_key", "keyctl"},
		UnixDatagrams:    {"socket", "socketpair"},
		MemfdExec:        {"memfd_create"},
	}
	if len(want) != len(switches) {
		t.Fatalf("%d switches, want %d", len(switches), len(want))
	}
	for arch := range arches {
		for name, calls := range want {
			closed, open := Spec{Arch: arch, Notify: true}, Spec{Arch: arch, Notify: true, Open: []Switch{name}}
			var changed []string
			for nr := range uint32(1024) {
				a, b := Explain(closed, nr), Explain(open, nr)
				if a.Action == b.Action && a.check == b.check {
					continue
				}
				changed = append(changed, b.Name)
				if b.check == nil && b.Action != Allow {
					t.Errorf("%s: %s: %s: %v", arch, name, b.Name, b.Action)
				}
			}
			slices.Sort(changed)
			slices.Sort(calls)
			if !slices.Equal(changed, calls) {
				t.Errorf("%s: %s changes %v, want %v", arch, name, changed, calls)
			}
		}
	}
}

// TestEveryNumberHasAVerdict: a number that no table names is absent, whatever
// is open; every one that a table names says why.
func TestEveryNumberHasAVerdict(t *testing.T) {
	var all []Switch
	for _, w := range Switches() {
		all = append(all, w.Name)
		if w.Cost == "" {
			t.Errorf("%s: no cost", w.Name)
		}
	}
	for arch, audit := range arches {
		for _, open := range [][]Switch{nil, all} {
			s := Spec{Arch: arch, Notify: true, Open: open}
			m := newMachine(t, s)
			for nr := range uint32(2048) {
				l := Explain(s, nr)
				if l.Why == "" {
					t.Errorf("%s: call %d has no reason", arch, nr)
				}
				if l.Name == "" {
					if got := m.call(audit, nr); got != absent {
						t.Errorf("%s: call %d of no table: %v", arch, nr, got)
					}
				}
			}
		}
	}
}

func TestDatagramSwitch(t *testing.T) {
	for arch, audit := range arches {
		m := newMachine(t, Spec{Arch: arch, Open: []Switch{UnixDatagrams}})
		for _, name := range []string{"socket", "socketpair"} {
			nr := uint32(find(t, arch, name).number(arch))
			for kind, want := range map[uint64]Action{1: Allow, 2: Allow, 2 | 0x80000: Allow, 5: Allow, 3: refuseFamily} {
				if got := m.call(audit, nr, 1, kind, 0); got != want {
					t.Errorf("%s: %s unix %d: %v, want %v", arch, name, kind, got, want)
				}
			}
			if got := m.call(audit, nr, 40, 2, 0); got != refuseFamily {
				t.Errorf("%s: %s vsock: %v", arch, name, got)
			}
		}
	}
}
