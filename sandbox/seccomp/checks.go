package seccomp

// The checks. Each is a list of rules; the first whose conditions all hold
// decides, else the check's own last word. Conditions see only the low 32 bits
// of an argument, on purpose: the kernel takes these arguments as int, unsigned
// int or umode_t and ignores the rest, so that a comparison of all 64 bits is
// dodged by setting a high one (CVE-2023-1523). A pointer is the exception: all
// of it counts, and its upper half is a condition of its own.

// cond holds if the argument, after the mask, shares a bit with bits, or, if
// bits is zero, equals one of the values. A mask of zero means no mask.
type cond struct {
	arg  uint8
	high bool // look at the upper 32 bits instead
	mask uint32
	bits uint32
	in   []uint32
}

type rule struct {
	when []cond
	then Action
}

type check struct {
	rules     []rule
	otherwise Action
}

// Set-user-id and set-group-id. An agent that was started by root writes
// through an id-mapped mount: what it creates belongs to root on disk, and a
// program with these bits would be root's for every user of the machine.
const setID = 0o6000

const (
	oCreat   = 0o100      // O_CREAT
	oTmpfile = 0o20000000 // __O_TMPFILE; O_TMPFILE has O_DIRECTORY besides
)

// Callers leave garbage in the mode of an open that creates nothing.
var (
	openMode = &check{[]rule{
		{[]cond{{arg: 1, bits: oCreat | oTmpfile}, {arg: 2, bits: setID}}, refuse},
	}, Allow}
	openatMode = &check{[]rule{
		{[]cond{{arg: 2, bits: oCreat | oTmpfile}, {arg: 3, bits: setID}}, refuse},
	}, Allow}
	mode1 = &check{[]rule{{[]cond{{arg: 1, bits: setID}}, refuse}}, Allow}
	mode2 = &check{[]rule{{[]cond{{arg: 2, bits: setID}}, refuse}}, Allow}
)

// mknod makes files, FIFOs and sockets; never a device, not even the whiteout
// (character 0:0) that needs no capability.
const (
	typeMask = 0o170000
	typeFIFO = 0o010000
	typeFile = 0o100000
	typeSock = 0o140000
)

var (
	nodeMode = &check{[]rule{
		{[]cond{{arg: 1, bits: setID}}, refuse},
		{[]cond{{arg: 1, mask: typeMask, in: []uint32{0, typeFIFO, typeFile, typeSock}}}, Allow},
	}, refuse}
	nodeatMode = &check{[]rule{
		{[]cond{{arg: 2, bits: setID}}, refuse},
		{[]cond{{arg: 2, mask: typeMask, in: []uint32{0, typeFIFO, typeFile, typeSock}}}, Allow},
	}, refuse}
)

// A new user namespace gives back every capability over the kernel code
// behind it. The bits are CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER,
// NEWPID and NEWNET; NEWTIME has no bit here (it lies in the exit signal's) and
// comes by clone3 and unshare alone.
const cloneNew = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000

var cloneFlags = &check{[]rule{{[]cond{{arg: 0, bits: cloneNew}}, refuse}}, Allow}

const (
	afUnix    = 1
	afInet    = 2
	afInet6   = 10
	afNetlink = 16

	sockMask      = 0xf // the kernel's SOCK_TYPE_MASK; above it are flags
	sockStream    = 1
	sockDgram     = 2
	sockRaw       = 3
	sockSeqpacket = 5
	sockPacket    = 10 // an old name of AF_PACKET, for any family

	protoTCP = 6
	protoUDP = 17
)

// What the redirect can carry, and no more. AF_VSOCK is not bound to a network
// namespace at all; the other families are old kernel code. Multipath TCP is
// answered as by a kernel without it, after which Go and others take TCP. Of
// netlink there is routes and addresses (protocol 0), which libc reads. Unix
// datagrams name their receiver in every message, and in memory (sendmsg): the
// supervisor, which connects unix sockets, could not keep them from the host's.
var socketKinds = &check{[]rule{
	{[]cond{{arg: 0, in: []uint32{afUnix}}, {arg: 1, mask: sockMask, in: []uint32{sockStream, sockSeqpacket}}}, Allow},
	{[]cond{{arg: 0, in: []uint32{afUnix}}, {arg: 1, mask: sockMask, in: []uint32{sockDgram}}}, refuseProtocol},
	{[]cond{{arg: 0, in: []uint32{afInet, afInet6}}, {arg: 1, mask: sockMask, in: []uint32{sockStream}}, {arg: 2, in: []uint32{0, protoTCP}}}, Allow},
	{[]cond{{arg: 0, in: []uint32{afInet, afInet6}}, {arg: 1, mask: sockMask, in: []uint32{sockDgram}}, {arg: 2, in: []uint32{0, protoUDP}}}, Allow},
	{[]cond{{arg: 0, in: []uint32{afNetlink}}, {arg: 1, mask: sockMask, in: []uint32{sockRaw, sockDgram}}, {arg: 2, in: []uint32{0}}}, Allow},
	{[]cond{{arg: 0, in: []uint32{afInet, afInet6}}, {arg: 1, mask: sockMask, in: []uint32{sockRaw, sockPacket}}}, refuse},
	{[]cond{{arg: 0, in: []uint32{afInet, afInet6}}}, refuseProtocol},
}, refuseFamily}

var socketpairKinds = &check{[]rule{
	{[]cond{{arg: 0, in: []uint32{afUnix}}, {arg: 1, mask: sockMask, in: []uint32{sockStream, sockSeqpacket}}}, Allow},
	{[]cond{{arg: 0, in: []uint32{afUnix}}, {arg: 1, mask: sockMask, in: []uint32{sockDgram}}}, refuseProtocol},
}, refuseFamily}

// With the switch unix_datagrams.
var (
	socketKindsDatagram = &check{append([]rule{
		{[]cond{{arg: 0, in: []uint32{afUnix}}, {arg: 1, mask: sockMask, in: []uint32{sockDgram}}}, Allow},
	}, socketKinds.rules...), socketKinds.otherwise}
	socketpairDatagram = &check{append([]rule{
		{[]cond{{arg: 0, in: []uint32{afUnix}}, {arg: 1, mask: sockMask, in: []uint32{sockDgram}}}, Allow},
	}, socketpairKinds.rules...), socketpairKinds.otherwise}
)

// Without the switch memfd_exec a file in memory has to be born without the
// right to be executed, and sealed so (Linux 6.3). The kernel's own setting for
// that, vm.memfd_noexec, is the host's root's alone to make for a pid namespace.
const mfdNoExecSeal = 8 // MFD_NOEXEC_SEAL; the kernel takes no MFD_EXEC beside it

var memfdFlags = &check{[]rule{{[]cond{{arg: 1, bits: mfdNoExecSeal}}, Allow}}, refuseAccess}

// TCP fast open connects by sending, where connect, and with it the note of
// who called, is never reached. Every user of it falls back to connect.
const msgFastOpen = 0x20000000

var (
	sendFlags2 = &check{[]rule{{[]cond{{arg: 2, bits: msgFastOpen}}, refuseOperation}}, Allow}
	sendFlags3 = &check{[]rule{{[]cond{{arg: 3, bits: msgFastOpen}}, refuseOperation}}, Allow}
)

const (
	tcpFastOpenConnect = 30 // connect returns before anything was sent
	tcpULP             = 31 // kernel TLS: no need, and a history of faults
)

var socketOptions = &check{[]rule{
	{[]cond{{arg: 1, in: []uint32{protoTCP}}, {arg: 2, in: []uint32{tcpFastOpenConnect, tcpULP}}}, refuseOperation},
}, Allow}

// TIOCSTI and TIOCLINUX type into the operator's terminal; TIOCCONS takes the
// console's output; TIOCSETD loads line disciplines, old code that any pty
// reaches (CVE-2023-6546).
//
// A file system's own requests work on all of it, whatever a mount shows of it. Who
// owns a folder of btrfs makes a snapshot of its subvolume: what was hidden below
// lies open in it, and before Linux 6.7 so does all that lies beside a declared
// path, the home folder for one. bcachefs has the like. Copies by reference, which
// got their numbers from btrfs, are every file system's. The keys of encrypted
// folders are those of the user, not of the sandbox: taking one away locks the
// user out.
var ioctlRequests = &check{[]rule{
	{[]cond{{arg: 1, in: []uint32{0x5412, 0x541c, 0x541d, 0x5423}}}, refuse},
	{[]cond{{arg: 1, in: []uint32{0x40049409, 0x4020940d, 0xc0189436}}}, Allow}, // FICLONE, FICLONERANGE, FIDEDUPERANGE
	{[]cond{{arg: 1, mask: ioctlType, in: []uint32{0x9400, 0xbc00}}}, refuse},   // BTRFS_IOCTL_MAGIC, bcachefs
	// FS_IOC_SET_ENCRYPTION_POLICY, ADD_ENCRYPTION_KEY, REMOVE_ENCRYPTION_KEY and its ALL_USERS.
	{[]cond{{arg: 1, mask: ioctlType | ioctlNumber, in: []uint32{0x6613, 0x6617, 0x6618, 0x6619}}}, refuse},
}, Allow}

// The parts of a request's number (asm-generic/ioctl.h); above them are size and direction.
const (
	ioctlNumber = 0x00ff
	ioctlType   = 0xff00
)

// A lease (F_SETLEASE) blocks whoever opens the file until its holder lets go or
// lease-break-time is over; it can be taken through a read-only mount, so that
// the agent could hold up the operator's read of the policy. F_SETDELEG is the
// same for folders, and F_NOTIFY watches them without a bound.
const (
	fSetLease = 1024
	fNotify   = 1026
	fSetDeleg = 1040 // Linux 6.19
)

var fcntlCommands = &check{[]rule{
	{[]cond{{arg: 1, in: []uint32{fSetLease, fNotify, fSetDeleg}}}, refuse},
}, Allow}

// The limits of another process with the same id are not the agent's to set:
// as an ordinary user's agent it shares that id with the user's own programs.
var ownLimits = &check{[]rule{
	{[]cond{{arg: 0, in: []uint32{0}}}, Allow},
	{[]cond{{arg: 2, in: []uint32{0}}, {arg: 2, high: true, in: []uint32{0}}}, Allow}, // only asks
}, refuse}

const capAmbientRaise = 2

// prctl is an allow-list of its own, or the next kernel's new option would be
// open. Not in it: SET_MM, which forges what /proc says of a program;
// SET_SECUREBITS; MCE_KILL, TASK_PERF_EVENTS, SET_IO_FLUSHER and SCHED_CORE,
// which are the machine's. An option that is not in it is answered as by a
// kernel that does not know it.
var prctlOptions = &check{[]rule{
	{[]cond{{arg: 0, in: []uint32{47}}, {arg: 1, in: []uint32{capAmbientRaise}}}, refuse},
	{[]cond{{arg: 0, in: []uint32{
		15, 16, // SET_NAME, GET_NAME
		0x53564d41, // SET_VMA: names of memory ranges
		1, 2,       // SET_PDEATHSIG, GET_PDEATHSIG
		3, 4, // GET_DUMPABLE, SET_DUMPABLE
		5, 6, // GET_UNALIGN, SET_UNALIGN
		7, 8, // GET_KEEPCAPS, SET_KEEPCAPS: there are none to keep
		13, 14, // GET_TIMING, SET_TIMING
		21, 22, // GET_SECCOMP, SET_SECCOMP: no listener by this way
		23, 24, // CAPBSET_READ, CAPBSET_DROP
		25, 26, // GET_TSC, SET_TSC
		27,     // GET_SECUREBITS
		29, 30, // SET_TIMERSLACK, GET_TIMERSLACK
		34,     // MCE_KILL_GET
		36, 37, // SET_CHILD_SUBREAPER, GET_CHILD_SUBREAPER
		38, 39, // SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS
		40,     // GET_TID_ADDRESS
		41, 42, // SET_THP_DISABLE, GET_THP_DISABLE
		47,     // CAP_AMBIENT, but for raise
		50, 51, // SVE_SET_VL, SVE_GET_VL
		52, 53, // GET_SPECULATION_CTRL, SET_SPECULATION_CTRL
		54, 55, 56, // PAC_RESET_KEYS, SET_TAGGED_ADDR_CTRL, GET_TAGGED_ADDR_CTRL
		59,     // SET_SYSCALL_USER_DISPATCH
		60, 61, // PAC_SET_ENABLED_KEYS, PAC_GET_ENABLED_KEYS
		63, 64, // SME_SET_VL, SME_GET_VL
		65, 66, // SET_MDWE, GET_MDWE
		67, 68, // SET_MEMORY_MERGE, GET_MEMORY_MERGE
		74, 75, 76, // GET, SET and LOCK_SHADOW_STACK_STATUS
		77, 78, // TIMER_CREATE_RESTORE_IDS, FUTEX_HASH
		0x59616d61, // SET_PTRACER: ptrace itself is refused
	}}}, Allow},
	{[]cond{{arg: 0, in: []uint32{28, 35}}}, refuse}, // SET_SECUREBITS, SET_MM
}, refuseValue}

// PER_LINUX and PER_LINUX32, each with and without UNAME26, and the question.
// Not READ_IMPLIES_EXEC, MMAP_PAGE_ZERO or another system's personality.
var personalities = &check{[]rule{
	{[]cond{{arg: 0, in: []uint32{0, 8, 0x20000, 0x20008, 0xffffffff}}}, Allow},
}, refuse}

const (
	setModeFilter     = 1 // SECCOMP_SET_MODE_FILTER
	filterNewListener = 8 // SECCOMP_FILTER_FLAG_NEW_LISTENER
)

var seccompFlags = &check{[]rule{
	{[]cond{{arg: 0, in: []uint32{setModeFilter}}, {arg: 1, bits: filterNewListener}}, refuse},
}, Allow}
