// Package stage is the program that runs inside a sandbox before and beside
// the agent. It is a small static program of its own (cmd/creel-stage), embedded
// in creel and run from a sealed memfd, so that the agent never sees Creel's
// own file and the second exec stays cheap.
//
// It is process 1 of the sandbox's pid namespace, with all capabilities of the
// outer user namespace and none outside. In this order it
//
//  1. configures the network: lo, addresses, routes, nftables, listeners;
//  2. assembles the root file system from the mounts of the Spec and pivots;
//  3. hands the listeners and the streams' outer ends to the supervisor ("ready");
//  4. forks the agent, which enters its own user namespace, Landlock and seccomp
//     and hands its notification descriptor to the supervisor ("notify");
//  5. waits for "go", lets the agent exec, drops every capability, reaps and
//     forwards signals, and reports the agent's exit.
//
// End of file on the control socket means that the supervisor is gone: the
// stage exits at once, and the kernel ends everything in the pid namespace.
//
// Protocol (one SOCK_SEQPACKET message each, JSON, descriptors by SCM_RIGHTS):
//
//	stage → supervisor   ready   descriptors as listed in Message.Names
//	agent → supervisor   notify  the seccomp listener
//	supervisor → stage   go
//	stage → supervisor   started | failed
//	supervisor → stage   signal, cont
//	stage → supervisor   stopped, exit
//
// Thread-bound state: the agent is forked from a locked thread that is never
// unlocked, because the parent-death signal fires when that thread ends.
// It may import only the standard library, x/sys/unix and netlink libraries.
package stage
