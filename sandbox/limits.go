package sandbox

// Limits are what a sandbox may use at most. 0 leaves Creel's default.
type Limits struct {
	Memory    int64 // bytes, of all its processes together, files in memory and swap included
	CPU       int64 // thousandths of a processor
	PIDs      int64 // processes and threads
	Disk      int64 // bytes: its own folders together, and any single file
	OpenFiles int64 // descriptors of one process

	// BestEffort is the operator's written acceptance of a host that cannot
	// enforce what was asked; what is missing is reported.
	BestEffort bool
}

// Limit is one limit of a live sandbox, as read back from the kernel.
type Limit struct {
	Name   string
	Held   bool   // as asked, or as by default
	Absent bool   // nothing of it is in force
	Detail string // what is in force, and by what
	Want   string // unless held: what it should be
	Fix    string // unless held, and the host is why: what to type
}

// Defaults, where the operator writes none. They are above what the known agents
// use and below what hurts others.
const (
	// defaultMemory is a share of the machine's memory, percent: the rest is for
	// the operator's own programs and for creel.
	defaultMemory = 75
	// defaultPIDs: an agent with a browser and a parallel build needs some hundreds.
	defaultPIDs = 2048
	// defaultOpenFiles: beyond it programs leak.
	defaultOpenFiles = 16384
)

// oomScore is added to what the kernel thinks of the agent when memory runs out
// on the whole machine (0 to 1000): it goes before anything of the operator's.
const oomScore = 800
