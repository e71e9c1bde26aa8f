// Package agents knows how well-known agents are run in a sandbox: where their
// program is, how they are pointed at the routed model, what they keep, and the
// policy that holds when the operator gives none. It holds one folder per agent
// with a manifest (agent.yaml) and a policy (policy.yaml), embedded in creel;
// an operator's own manifest is read from a file.
//
// A manifest grants nothing: the hosts, paths and backends that an agent gets
// are the policy's. Besides it, and by the operator's own --agent, there are
// only the program's files (read-only), a home of the sandbox's own, and
// variables and settings files whose text is in the manifest.
//
// A leaf above policy: no sockets, no processes. The program is found by
// looking at the file system and is never executed here, because what lies in a
// folder that an agent once wrote is the agent's.
package agents
