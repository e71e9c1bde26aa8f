package api

import "time"

// Sandbox is what a running sandbox tells about itself.
type Sandbox struct {
	Name        string    `json:"name"`
	PID         int       `json:"pid"` // of the supervisor
	Version     string    `json:"version,omitempty"`
	Command     []string  `json:"command"`
	Started     time.Time `json:"started"`
	Workspace   string    `json:"workspace"`
	ReadOnly    bool      `json:"workspace_read_only,omitempty"`
	CopyOnWrite bool      `json:"workspace_copy_on_write,omitempty"`
	Policy      string    `json:"policy"`   // its file, or "built-in"
	Revision    uint64    `json:"revision"` // counts from 1
	Audit       string    `json:"audit"`
	Counts      Counts    `json:"counts"`
}

// Counts are decisions since the start, and connections that are open now.
type Counts struct {
	Allowed  uint64 `json:"allowed"`
	Denied   uint64 `json:"denied"`
	Rerouted uint64 `json:"rerouted"`
	Open     uint64 `json:"open"`
}

// State is how far a layer is in force. The zero value is not a state: who
// shows it treats it as absent.
type State string

const (
	Enforced State = "enforced"
	Degraded State = "degraded"
	Absent   State = "absent"
)

// Posture is what protection is in force, as read back from the kernel.
type Posture struct {
	Layers []Layer `json:"layers"`
}

// Layer is one wall. When it is not enforced, Want says what would be, and Fix is
// a command to type.
type Layer struct {
	Name   string `json:"name"`
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"`
	Want   string `json:"want,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// Enforced reports that every layer holds; false when there is none.
func (p Posture) Enforced() bool {
	for _, l := range p.Layers {
		if l.State != Enforced {
			return false
		}
	}
	return len(p.Layers) > 0
}

// ReloadArgs names the policy to load. Empty: the file that is in force, read again.
type ReloadArgs struct {
	Policy string `json:"policy,omitempty"`
}

// Reloaded is the revision that is in force now. Opened counts the rules that it
// newly has, Closed the connections that it cut.
type Reloaded struct {
	Revision uint64 `json:"revision"`
	Opened   int    `json:"opened"`
	Closed   int    `json:"closed"`
	Changed  bool   `json:"changed"` // false: the same document as before
}

// Problem is the body of every answer that is no success.
type Problem struct {
	Error  string   `json:"error"`
	Hints  []string `json:"hints,omitempty"`
	Faults []Fault  `json:"faults,omitempty"` // of a policy that was not taken
	Code   int      `json:"code,omitempty"`   // exit status for the command that asked
}

// Fault is one mistake in a policy document.
type Fault struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"` // from 1; 0: not at a place
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}
