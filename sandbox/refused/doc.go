// Package refused tells which packets a sandbox's rules refused: those that are
// neither TCP nor DNS. The rules copy their headers to a netfilter log group
// (NFLOG); Run reads the group through a netlink socket that was made inside the
// sandbox's network namespace and is used outside.
//
// Rights: the kernel wants CAP_NET_ADMIN in the user namespace of the network
// namespace, both of whoever made the socket and of whoever configures the group
// through it (netlink_net_capable). The stage has it when it makes the socket;
// the supervisor has it as the owner of that user namespace, without being root.
// Checked on Linux 6.18, as root and as an ordinary user: binding, copy mode and
// reading work from outside; protocol families need not be bound, nftables picks
// the logger by the group; netfilter's nf_log_all_netns (which is about the
// kernel's own log) does not matter. The id of the sender is there only for rules
// in the output hook (a packet in the input hook has lost its socket), and is
// numbered as in the user namespace in which the socket was made.
//
// It may import only leaves. Run starts no goroutine and calls back from its own.
//
// How it fails: reporting is not enforcement. A packet whose header cannot be
// read, or that the kernel dropped from a full buffer, is refused all the same
// and missing here. What a hostile agent can grow is bounded: destinations held,
// reports per second. What is held back is counted.
//
// Sources: linux/netfilter/nfnetlink_log.h, linux/netfilter/nfnetlink.h, RFC
// 8200 §4 (IPv6 extension headers).
package refused
