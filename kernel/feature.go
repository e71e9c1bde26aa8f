package kernel

import "fmt"

// Outcome of a probe. The zero value is "could not tell": nobody may take it
// for a yes.
type Outcome uint8

const (
	Unknown Outcome = iota
	No
	Yes
)

func (o Outcome) String() string {
	switch o {
	case Yes:
		return "yes"
	case No:
		return "no"
	case Unknown:
	}
	return "unknown"
}

// MarshalText makes an Outcome a word in JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is strict: an unknown word is an error.
func (o *Outcome) UnmarshalText(b []byte) error {
	switch string(b) {
	case "yes":
		*o = Yes
	case "no":
		*o = No
	case "unknown":
		*o = Unknown
	default:
		return fmt.Errorf("read outcome: %q", b)
	}
	return nil
}

// Feature is the answer of one probe.
type Feature struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	// Required: without it, run cannot work.
	Required bool   `json:"required"`
	Detail   string `json:"detail,omitempty"` // what was found
	Fix      string `json:"fix,omitempty"`    // a command or setting; "" when there is nothing to do
}

// Blocks reports that run cannot work because of it.
func (f Feature) Blocks() bool { return f.Required && f.Outcome == No }

// ProbeRole is the hidden first argument of a re-executed child: package main
// calls RunProbe before it looks at anything else.
const ProbeRole = "__creel-probe"

// IsProbe reports that this process is such a child.
func IsProbe(args []string) bool { return len(args) == 3 && args[1] == ProbeRole }

// Paths are the folders whose file systems matter.
type Paths struct {
	Workspace string // "" : the current folder
	State     string // where audit logs go; may not exist yet
}
