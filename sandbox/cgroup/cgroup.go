package cgroup

// Limits are upper bounds; 0 asks for none.
type Limits struct {
	Memory int64 // bytes, swap included
	PIDs   int64 // processes and threads
	CPU    int64 // thousandths of a processor
}

// Controllers that a limit needs.
const (
	Memory = "memory"
	PIDs   = "pids"
	CPU    = "cpu"
)

// Controllers lists them all.
func Controllers() []string { return []string{Memory, PIDs, CPU} }

// State is what the kernel says of a live group. A limit of 0 is none.
type State struct {
	Memory      int64 // limit, bytes
	MemoryNow   int64
	SwapCounted bool  // the memory limit holds for swap, too, or there is none
	PIDs        int64 // limit
	PIDsNow     int64
	CPU         int64 // limit, thousandths of a processor
	Counts
}

// Counts is how often the limits of a group were met.
type Counts struct {
	OOMKills    int64 // processes killed by the memory limit
	PIDsRefused int64 // forks refused
}

// prefix marks the groups that are creel's.
const prefix = "creel-"

// period is the time over which processor time is counted, microseconds: the
// kernel's own default.
const period = 100_000
