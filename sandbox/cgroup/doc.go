// Package cgroup gives a sandbox a control group of its own: version 2 where
// memory or processes are counted there, else version 1, hierarchy by
// hierarchy. It knows three limits (memory, processes, processor time) and
// nothing else of control groups.
//
// What may not be here: whether a missing limit is accepted (package sandbox).
//
// A sandbox's first process enters its group by itself, before there is an agent,
// so that no agent is ever without limits: in version 1, entering by oneself takes
// no global lock, while moving another process waits for an RCU grace period
// (measured: 5 to 17 ms). The supervisor itself stays outside: its memory and
// its threads are never counted there.
//
// Groups are found below the supervisor's own, so that a limit around creel is a
// limit around its sandboxes; in version 2, where a group with processes cannot
// have children with controllers, below the nearest one above that this user may
// write.
//
// Nothing here fails a start: Make says what it could not get, by controller.
// A Group is used by one goroutine at a time. Sources: cgroups(7), the kernel's
// admin-guide/cgroup-v1 and cgroup-v2.
package cgroup
