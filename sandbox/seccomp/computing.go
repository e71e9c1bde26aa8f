package seccomp

// computing is what a process of the Go runtime needs that only computes and speaks
// over the descriptors that it has: memory, its own threads, time, signals of its
// own. It opens nothing, makes no socket, starts no program and maps no code.
var computing = map[string]*check{
	// the descriptors that are there
	"read": nil, "write": nil, "close": nil, "epoll_ctl": nil, "epoll_pwait": nil,
	// memory
	"mmap": noCode, "mprotect": noCode, "munmap": nil, "madvise": nil, "mincore": nil, "brk": nil, "mremap": nil,
	// threads
	"clone": ownThreads, "futex": nil, "sched_yield": nil, "gettid": nil, "getpid": nil, "set_robust_list": nil, "rseq": nil,
	"exit": nil, "exit_group": nil, "arch_prctl": nil, "sched_getaffinity": nil, "membarrier": nil,
	// signals: the runtime interrupts its own threads
	"rt_sigaction": nil, "rt_sigprocmask": nil, "rt_sigreturn": nil, "sigaltstack": nil, "tgkill": nil,
	// time and chance
	"clock_gettime": nil, "clock_nanosleep": nil, "nanosleep": nil, "gettimeofday": nil, "time": nil, "restart_syscall": nil, "getrandom": nil,
	"getrusage": nil,
}

const (
	protExec    = 4       // PROT_EXEC
	cloneThread = 0x10000 // CLONE_THREAD
)

var (
	noCode     = &check{[]rule{{[]cond{{arg: 2, bits: protExec}}, refuse}}, Allow}
	ownThreads = &check{[]rule{
		{[]cond{{arg: 0, bits: cloneNew}}, refuse},
		{[]cond{{arg: 0, bits: cloneThread}}, Allow},
	}, refuse}
)

// Computing is the filter of a process that only computes: every other call of the
// tables is refused with EPERM.
func Computing(arch string) ([]Instruction, error) {
	return program(arch, func(_ *group, c *call) (Action, *check) {
		if check, ok := computing[c.name]; ok {
			return Allow, check
		}
		return refuse, nil
	})
}
