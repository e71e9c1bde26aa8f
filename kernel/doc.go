// Package kernel asks this machine what it can do for a sandbox: each probe
// tries the thing itself where that is possible, and has three outcomes: yes,
// no, and could not tell.
//
// It is a leaf and imports nothing of creel. Probes that would change the
// process run in a re-executed child (ProbeRole as first argument), in
// namespaces of its own; nothing outlives Probe. On other systems than Linux
// there is one answer: no.
//
// Sources: user_namespaces(7), landlock(7), seccomp(2), seccomp_unotify(2),
// cgroups(7), mount_setattr(2), pidfd_getfd(2), proc(5).
package kernel
