// Package selftest attacks a sandbox of the user's own installation, under the
// user's own policy, and gives a verdict per layer (`creel selftest`).
//
// Creel's own file is the agent: supervisor.Run starts it inside with a hidden first
// argument, and it makes the attempts of package probe. Outside, this package has
// what must not be reached (servers, sockets, files, a secret), reads the posture
// of the same sandbox and its audit log, and kills a second one's supervisor. A verdict
// rests on what was seen on both sides; a row of the posture that is not enforced is
// never made better by attempts that failed.
//
// Nothing is left behind: workspace, log and sockets are in one temporary folder,
// and such runs record no trust. May be imported by cmd/creel.
package selftest
