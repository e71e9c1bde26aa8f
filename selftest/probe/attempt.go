package probe

import (
	"fmt"
	"strings"
)

// Layers that attempts are aimed at, as `creel selftest` shows them.
const (
	Namespaces  = "namespaces"
	Mounts      = "mounts"
	Seccomp     = "seccomp"
	Privileges  = "privileges"
	Processes   = "processes"
	Network     = "network"
	Descriptors = "descriptors"
	Landlock    = "landlock"
	DNS         = "names"
	Credentials = "credentials"
	UnixSockets = "unix sockets"
)

// Attempt is one thing that must not work inside.
type Attempt struct {
	Layer string
	Name  string
	// Try does it. Empty: refused; else what happened.
	Try func() string
}

// Result is what came of an attempt.
type Result struct {
	Layer string `json:"layer"`
	Name  string `json:"name"`
	Held  bool   `json:"held"`
	Seen  string `json:"seen,omitempty"` // what got through
}

// Run makes all attempts, one after the other.
func Run(attempts []Attempt) []Result {
	all := make([]Result, 0, len(attempts))
	for _, a := range attempts {
		seen := a.Try()
		all = append(all, Result{Layer: a.Layer, Name: a.Name, Held: seen == "", Seen: seen})
	}
	return all
}

// Failed gives the attempts that got through as one error; nil: none did.
func Failed(results []Result) error {
	var did []string
	for _, r := range results {
		if !r.Held {
			did = append(did, r.Name+": "+r.Seen)
		}
	}
	if len(did) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(did, "\n"))
}
