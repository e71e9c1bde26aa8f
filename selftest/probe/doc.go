// Package probe holds what a hostile program tries first, as small attempts that
// say whether they were refused. They run inside a sandbox: in that of a test of
// package e2e, and in that of `creel selftest`, where creel's own file is the agent.
//
// An attempt changes nothing that outlives its process if it succeeds, and needs
// nothing but the kernel. It knows nothing of Creel: what should hold is judged by
// whoever runs it. May be imported by selftest and by tests; imports no package of Creel.
package probe
