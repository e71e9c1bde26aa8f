package seccomp

import (
	"errors"
	"fmt"
	"sort"
)

// Spec says which filter to build. The zero Spec builds none: the architecture
// is always named.
type Spec struct {
	Arch string // as GOARCH has it: amd64 or arm64

	// Notify hands connect to the listener of whoever installs the program
	// (SECCOMP_FILTER_FLAG_NEW_LISTENER). Without it, connect is allowed.
	Notify bool

	// Open are the switches of the policy that are open. Those that are open by
	// default have to be named, too.
	Open []Switch
}

// Instruction is one instruction of the kernel's classic BPF, laid out as
// struct sock_filter (linux/filter.h).
type Instruction struct {
	Code   uint16
	Jt, Jf uint8
	K      uint32
}

// The few instructions in use: class, size and mode in one number.
const (
	opLoad    = 0x20 // BPF_LD|BPF_W|BPF_ABS: A = word at K
	opAnd     = 0x54 // BPF_ALU|BPF_AND|BPF_K
	opJump    = 0x05 // BPF_JMP|BPF_JA
	opEqual   = 0x15 // BPF_JMP|BPF_JEQ|BPF_K
	opAtLeast = 0x35 // BPF_JMP|BPF_JGE|BPF_K: jumps if A >= K
	opBits    = 0x45 // BPF_JMP|BPF_JSET|BPF_K
	opReturn  = 0x06 // BPF_RET|BPF_K
)

// Offsets in struct seccomp_data. Both architectures are little endian: the low
// half of an argument comes first.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
	argSize   = 8
)

const (
	auditX86_64  = 0xc000003e // AUDIT_ARCH_X86_64
	auditAARCH64 = 0xc00000b7 // AUDIT_ARCH_AARCH64

	x32Bit = 0x40000000 // __X32_SYSCALL_BIT: same architecture, other calls
)

// maxProgram is the kernel's BPF_MAXINSNS.
const maxProgram = 4096

// Program lowers the tables to a program for seccomp(SECCOMP_SET_MODE_FILTER).
// It fails for an architecture that has no table.
func Program(s Spec) ([]Instruction, error) { return program(s.Arch, s.decide) }

// decision is the verdict about a call, or the check of its arguments.
type decision func(*group, *call) (Action, *check)

func program(arch string, decide decision) ([]Instruction, error) {
	var audit uint32
	switch arch {
	case "amd64":
		audit = auditX86_64
	case "arm64":
		audit = auditAARCH64
	default:
		return nil, fmt.Errorf("build seccomp filter: no table of system calls for %q", arch)
	}
	ranges, err := lower(arch, decide)
	if err != nil {
		return nil, err
	}
	a := assembler{code: make([]Instruction, 0, 512)}
	a.emit(opLoad, offArch)
	a.jump(opEqual, audit, 1, 0)
	a.emit(opReturn, uint32(Kill))
	a.emit(opLoad, offNumber)
	if arch == "amd64" {
		a.jump(opBits, x32Bit, 0, 1)
		a.emit(opReturn, uint32(Kill))
	}
	a.tree(ranges)
	if a.err != nil {
		return nil, a.err
	}
	if len(a.code) > maxProgram {
		return nil, fmt.Errorf("build seccomp filter: %d instructions, the kernel takes %d", len(a.code), maxProgram)
	}
	return a.code, nil
}

// span is a run of numbers with the same outcome: it reaches to the next one.
type span struct {
	first  uint32
	action Action
	check  *check
}

// lower orders the calls of one architecture by number and joins neighbours;
// numbers between them are absent.
func lower(arch string, decide decision) ([]span, error) {
	entries := make([]span, 0, 512)
	for _, table := range tables() {
		for _, g := range table {
			for i := range g.calls {
				c := &g.calls[i]
				if nr := c.number(arch); nr != none {
					action, check := decide(&g, c)
					entries = append(entries, span{uint32(nr), action, check})
				}
			}
		}
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].first < entries[j].first })

	spans := make([]span, 0, len(entries))
	add := func(n span) {
		if n.check != nil {
			n.action = 0
		}
		if last := len(spans) - 1; last >= 0 && spans[last].action == n.action && spans[last].check == n.check {
			return
		}
		spans = append(spans, n)
	}
	next := uint32(0)
	for _, e := range entries {
		if e.first < next {
			return nil, fmt.Errorf("build seccomp filter: two entries for call %d", e.first)
		}
		if e.first > next {
			add(span{first: next, action: absent})
		}
		add(e)
		next = e.first + 1
	}
	add(span{first: next, action: absent})
	return spans, nil
}

func tables() [3][]group { return [3][]group{allowed, refused, missing} }

func (c *call) number(arch string) int16 {
	if arch == "arm64" {
		return c.arm64
	}
	return c.amd64
}

// assembler writes code that ends in returns and jumps forward only, so that
// every piece may be moved as a whole.
type assembler struct {
	code []Instruction
	err  error
}

func (a *assembler) emit(op uint16, k uint32) {
	a.code = append(a.code, Instruction{Code: op, K: k})
}

// jump skips yes or no instructions. A conditional jump reaches 255.
func (a *assembler) jump(op uint16, k uint32, yes, no int) {
	if yes > 255 || no > 255 {
		a.err = fmt.Errorf("build seccomp filter: jump over %d instructions", max(yes, no))
		return
	}
	a.code = append(a.code, Instruction{Code: op, Jt: uint8(yes), Jf: uint8(no), K: k})
}

// tree finds the span of the number in A by halving.
func (a *assembler) tree(spans []span) {
	if len(spans) == 1 {
		a.leaf(spans[0])
		return
	}
	mid := len(spans) / 2
	at := len(a.code)
	a.emit(opAtLeast, spans[mid].first)
	a.tree(spans[:mid])
	if left := len(a.code) - at - 1; left <= 255 {
		a.code[at].Jt = uint8(left)
	} else {
		a.code = append(a.code, Instruction{})
		copy(a.code[at+2:], a.code[at+1:])
		a.code[at].Jf = 1
		a.code[at+1] = Instruction{Code: opJump, K: uint32(left)}
	}
	a.tree(spans[mid:])
}

func (a *assembler) leaf(s span) {
	if s.check == nil {
		a.emit(opReturn, uint32(s.action))
		return
	}
	for _, r := range s.check.rules {
		rest := r.size()
		for _, c := range r.when {
			rest -= c.size()
			half := uint32(0)
			if c.high {
				half = argSize / 2
			}
			a.emit(opLoad, offArgs+argSize*uint32(c.arg)+half)
			if c.mask != 0 {
				a.emit(opAnd, c.mask)
			}
			if c.bits != 0 {
				a.jump(opBits, c.bits, 0, rest)
				continue
			}
			if len(c.in) == 0 {
				a.err = errors.New("build seccomp filter: a condition without values")
				return
			}
			for i, v := range c.in {
				left := len(c.in) - 1 - i
				if left == 0 {
					a.jump(opEqual, v, 0, rest)
				} else {
					a.jump(opEqual, v, left, 0)
				}
			}
		}
		a.emit(opReturn, uint32(r.then))
	}
	a.emit(opReturn, uint32(s.check.otherwise))
}

func (r rule) size() int {
	n := 1
	for _, c := range r.when {
		n += c.size()
	}
	return n
}

func (c cond) size() int {
	n := 1 + max(1, len(c.in))
	if c.mask != 0 {
		n++
	}
	return n
}
