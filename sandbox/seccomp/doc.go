// Package seccomp holds the system call filter of the agent, as commented
// data, and lowers it to the program that the kernel runs.
//
// The filter is an allow-list. For each of the two architectures every system
// call that is known by name stands in one table (calls.go, refused.go) with a
// verdict and the reason for it, or with a check of its arguments (checks.go):
//
//   - allowed: the kernel goes on;
//   - refused: EPERM, as if the caller lacked the right, which it does;
//   - absent: ENOSYS, where programs probe for a newer call and fall back to an
//     older one, and for every number that is in no table;
//   - another machine's ABI (int 0x80, x32): the process is killed;
//   - connect: handed to the supervisor, if the filter is built with Notify.
//
// The program is a search tree over the number, so that a call costs at most
// eight comparisons, and loads arguments only for calls that have a check: the
// kernel (since 5.11) then skips the program for the plainly allowed ones.
//
// Beside the agent's there is one for a process of the supervisor's own that only
// computes (computing.go); it is made of the same tables.
//
// What a filter cannot do: it sees numbers and registers, never memory. Paths,
// addresses and structures are for the mounts, Landlock and the supervisor. A
// filter of the agent's own can only take away, so it may install one, but not
// one with a listener, which could answer in the place of ours.
//
// The package is pure data and arithmetic: it loads nothing, builds on every
// system, and does no work before Program is called. It may import nothing but
// the standard library; sandbox, sandbox/stage and sandbox/confine may import it. All functions
// are safe for concurrent use.
//
// Sources: seccomp(2), syscalls(2), bpf of Documentation/userspace-api/seccomp_filter.rst,
// include/uapi/linux of Linux 6.18; CVE-2023-1523, CVE-2017-5226 (terminal
// push-back), CVE-2022-0185 (mounts in a user namespace).
package seccomp
