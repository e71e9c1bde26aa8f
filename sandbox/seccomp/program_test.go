package seccomp

import (
	"encoding/binary"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

var arches = map[string]uint32{"amd64": auditX86_64, "arm64": auditAARCH64}

// machine runs a filter as the kernel would.
type machine struct {
	t    testing.TB
	spec Spec
	vm   *bpf.VM
}

func newMachine(t testing.TB, s Spec) machine {
	t.Helper()
	prog, err := Program(s)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]bpf.RawInstruction, len(prog))
	for i, p := range prog {
		raw[i] = bpf.RawInstruction{Op: p.Code, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	ins, decoded := bpf.Disassemble(raw)
	if !decoded {
		t.Fatalf("%v: an instruction that classic BPF does not have", s)
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return machine{t, s, vm}
}

// call is struct seccomp_data with every word turned round: the VM reads
// network order, the kernel its own.
func (m machine) call(audit, nr uint32, args ...uint64) Action {
	m.t.Helper()
	var data [64]byte
	binary.BigEndian.PutUint32(data[offNumber:], nr)
	binary.BigEndian.PutUint32(data[offArch:], audit)
	for i, v := range args {
		binary.BigEndian.PutUint32(data[offArgs+8*i:], uint32(v))
		binary.BigEndian.PutUint32(data[offArgs+8*i+4:], uint32(v>>32))
	}
	out, err := m.vm.Run(data[:])
	if err != nil {
		m.t.Fatal(err)
	}
	return Action(uint32(out))
}

func find(t testing.TB, arch, name string) *call {
	t.Helper()
	for _, table := range tables() {
		for _, g := range table {
			for i := range g.calls {
				if c := &g.calls[i]; c.name == name && c.number(arch) != none {
					return c
				}
			}
		}
	}
	return nil
}

func verdictOf(c *check, args []uint64) Action {
	for _, r := range c.rules {
		holds := true
		for _, w := range r.when {
			v := uint32(args[w.arg])
			if w.high {
				v = uint32(args[w.arg] >> 32)
			}
			if w.mask != 0 {
				v &= w.mask
			}
			if w.bits != 0 {
				holds = holds && v&w.bits != 0
			} else {
				holds = holds && slices.Contains(w.in, v)
			}
		}
		if holds {
			return r.then
		}
	}
	return c.otherwise
}

// TestProgramIsTheTable runs every number through the program and compares it
// with the tables read directly, with arguments around all values that occur.
func TestProgramIsTheTable(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for arch, audit := range arches {
		for i := range 2 + len(switches) {
			notify := i != 0
			s := Spec{Arch: arch, Notify: notify}
			if i >= 2 {
				s.Open = []Switch{switches[i-2].Name}
			}
			m := newMachine(t, s)
			numbers := []uint32{1 << 20, 0x3fffffff, 1<<31 - 1}
			for nr := uint32(0); nr <= 600; nr++ {
				numbers = append(numbers, nr)
			}
			for _, nr := range numbers {
				l := Explain(s, nr)
				for range 200 {
					args := make([]uint64, 6)
					for i := range args {
						args[i] = interesting[rnd.Intn(len(interesting))]
						if rnd.Intn(2) == 0 {
							args[i] |= uint64(rnd.Uint32()) << 32
						}
						if rnd.Intn(4) == 0 {
							args[i] |= interesting[rnd.Intn(len(interesting))]
						}
					}
					want := l.Action
					if l.Checked {
						want = verdictOf(l.check, args)
					}
					if got := m.call(audit, nr, args...); got != want {
						t.Fatalf("%s notify=%v open=%v: call %d %s%x: %v, want %v", arch, notify, s.Open, nr, l.Name, args, got, want)
					}
				}
			}
		}
	}
}

var interesting = func() []uint64 {
	v := []uint64{0, 1, 2, 0xf, 0xffffffff, 0x80000, 0x800}
	for _, table := range tables() {
		for _, g := range table {
			for _, c := range g.calls {
				if c.check == nil {
					continue
				}
				for _, r := range c.check.rules {
					for _, w := range r.when {
						v = append(v, uint64(w.bits), uint64(w.mask))
						for _, x := range w.in {
							v = append(v, uint64(x), uint64(x)+1)
						}
					}
				}
			}
		}
	}
	for b := range 32 {
		v = append(v, 1<<b)
	}
	return v
}()

func TestForeignABI(t *testing.T) {
	const auditI386, auditARM = 0x40000003, 0x40000028
	for arch, audit := range arches {
		m := newMachine(t, Spec{Arch: arch})
		for _, other := range []uint32{0, auditI386, auditARM, auditX86_64, auditAARCH64, ^audit} {
			if other == audit {
				continue
			}
			for _, nr := range []uint32{0, 1, 20, 39, 172, 500} {
				if got := m.call(other, nr); got != Kill {
					t.Errorf("%s: call %d of architecture %#x: %v, want %v", arch, nr, other, got, Kill)
				}
			}
		}
	}
	m := newMachine(t, Spec{Arch: "amd64"})
	for _, nr := range []uint32{0x40000000, 0x40000001, 0x40000000 + 520, 0xffffffff} {
		if got := m.call(auditX86_64, nr); got != Kill {
			t.Errorf("call %#x: %v, want %v", nr, got, Kill)
		}
	}
	m = newMachine(t, Spec{Arch: "arm64"})
	if got := m.call(auditAARCH64, 0x40000001); got != absent {
		t.Errorf("arm64 has no x32: call 0x40000001: %v, want %v", got, absent)
	}
}

func TestNoTable(t *testing.T) {
	for _, arch := range []string{"", "386", "riscv64", "AMD64"} {
		if p, err := Program(Spec{Arch: arch}); err == nil || p != nil {
			t.Errorf("arch %q: %d instructions, error %v", arch, len(p), err)
		}
		if l := Explain(Spec{Arch: arch}, 0); l.Action != Kill {
			t.Errorf("arch %q: %v", arch, l.Action)
		}
	}
	if Action(0) == Allow || Action(0).String() == "allow" {
		t.Error("the zero Action allows")
	}
}

// TestNeverAllowed names calls again, by hand, so that a slip in the tables
// does not pass by agreeing with itself.
func TestNeverAllowed(t *testing.T) {
	want := map[Action]string{
		refuse: `ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp mount umount2 pivot_root chroot open_tree
			open_tree_attr move_mount fsopen fsconfig fsmount fspick mount_setattr setns unshare open_by_handle_at
			name_to_handle_at fanotify_init fanotify_mark lookup_dcookie add_key request_key keyctl bpf perf_event_open
			userfaultfd syslog init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff
			acct quotactl settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm`,
		absent: `clone3 openat2 io_uring_setup io_uring_enter io_uring_register memfd_secret vmsplice modify_ldt`,
	}
	onlyAMD64 := []string{"iopl", "ioperm", "modify_ldt"}
	for arch, audit := range arches {
		m := newMachine(t, Spec{Arch: arch})
		for action, names := range want {
			for _, name := range strings.Fields(names) {
				c := find(t, arch, name)
				if c == nil {
					if arch != "arm64" || !slices.Contains(onlyAMD64, name) {
						t.Errorf("%s: no entry for %s", arch, name)
					}
					continue
				}
				if got := m.call(audit, uint32(c.number(arch))); got != action {
					t.Errorf("%s: %s: %v, want %v", arch, name, got, action)
				}
			}
		}
	}
}

// TestEveryKnownCall compares names and numbers with golang.org/x/sys, so that
// a call that a new kernel brings needs a decision here.
func TestEveryKnownCall(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^\s+SYS_(\w+)\s+= (\d+)`)
	for arch := range arches {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "unix", "zsysnum_linux_"+arch+".go"))
		if err != nil {
			t.Fatal(err)
		}
		known := map[string]int{}
		for _, m := range line.FindAllStringSubmatch(string(text), -1) {
			known[strings.ToLower(m[1])], _ = strconv.Atoi(m[2])
		}
		if len(known) < 300 {
			t.Fatalf("%s: read only %d numbers", arch, len(known))
		}
		for name, nr := range known {
			if c := find(t, arch, name); c == nil || int(c.number(arch)) != nr {
				t.Errorf("%s: %s is call %d and has no such entry", arch, name, nr)
			}
		}
		seen := map[string]bool{}
		for _, table := range tables() {
			for _, g := range table {
				for _, c := range g.calls {
					if seen[c.name] {
						t.Errorf("two entries for %s", c.name)
					}
					seen[c.name] = true
					if nr := c.number(arch); nr != none && known[c.name] != int(nr) {
						t.Errorf("%s: %s is %d in the table, %d in x/sys", arch, c.name, nr, known[c.name])
					}
				}
			}
		}
	}
}

func TestOneEntryPerNumber(t *testing.T) {
	save := refused
	defer func() { refused = save }()
	refused = append(slices.Clone(refused), group{"a second read", Allow, []call{{"read2", 0, 63, nil}}})
	if _, err := Program(Spec{Arch: "amd64"}); err == nil {
		t.Error("two entries for one number were taken")
	}
}

// TestPlainCallsLoadNoArguments keeps the property for which the kernel's
// action cache needs nothing but number and architecture.
func TestPlainCallsLoadNoArguments(t *testing.T) {
	prog, err := Program(Spec{Arch: "amd64", Notify: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, nr := range []uint32{0, 1, 202, 281, 228, 9} { // read, write, futex, epoll_pwait, clock_gettime, mmap
		var a uint32
		steps := 0
		for pc := 0; ; pc++ {
			in := prog[pc]
			steps++
			if in.Code == opLoad && in.K >= offArgs {
				t.Fatalf("call %d loads an argument", nr)
			}
			switch {
			case in.Code == opLoad && in.K == offArch:
				a = auditX86_64
			case in.Code == opLoad:
				a = nr
			case in.Code == opJump:
				pc += int(in.K)
			case in.Code == opEqual && a == in.K, in.Code == opAtLeast && a >= in.K, in.Code == opBits && a&in.K != 0:
				pc += int(in.Jt)
			case in.Code != opReturn:
				pc += int(in.Jf)
			}
			if in.Code == opReturn {
				break
			}
		}
		if steps > 20 {
			t.Errorf("call %d takes %d instructions", nr, steps)
		}
	}
}

func BenchmarkProgram(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		p, err := Program(Spec{Arch: "amd64", Notify: true})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(p)), "instructions")
	}
}
