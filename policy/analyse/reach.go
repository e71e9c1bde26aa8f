package analyse

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/creel-run/creel/policy"
)

// Reach is everything that a policy opens.
type Reach struct {
	File    string   `json:"file,omitempty"`
	Version int      `json:"version"`
	Network []Access `json:"network"` // by host
	// ByBinary has for each program the places of its accesses in Network.
	ByBinary  []Binary        `json:"by_binary"`
	Files     []File          `json:"files"`
	Switches  []string        `json:"syscalls"` // system calls that are open beside the usual ones
	Limits    []Setting       `json:"limits"`
	DNS       []Setting       `json:"dns"` // who is asked for addresses, and which are asked of nobody
	Inference *InferenceReach `json:"inference,omitempty"`
	Landlock  string          `json:"landlock"`
	// At is the time that the network is told for, and Until when the first of its
	// rules ends. Zero: no rule does.
	At    time.Time `json:"at,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Unknown is what could not be told exactly; if there is any, Network is not all.
	Unknown []Unknown `json:"unknown"`
}

// Access is one product of hosts, callers and traffic that is let through.
type Access struct {
	Class
	Out Out `json:"out"` // how data can leave
	// Uninspected: nobody looks inside of the connection.
	Uninspected bool `json:"uninspected"`
	// AuditOnly: no rule allows it; it passes because enforcement is audit.
	AuditOnly bool `json:"audit_only"`
	// Credentials say what is put into what passes, or done with it.
	Credentials []string `json:"credentials,omitempty"`
}

// Out is the widest way in which data can leave, from the least to the most.
type Out uint8

const (
	OutNothing Out = iota // the connection is opened, and no request passes
	OutTargets            // paths, queries and headers of requests without a body
	OutBodies             // bodies of requests
	OutUnknown            // the connection is opened, and which requests pass cannot be told
	OutBytes              // anything
)

func (o Out) String() string {
	switch o {
	case OutTargets:
		return "paths and queries"
	case OutBodies:
		return "bodies"
	case OutUnknown:
		return "not told"
	case OutBytes:
		return "anything"
	case OutNothing:
	}
	return "nothing"
}

func (o Out) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Binary is one program with what it reaches.
type Binary struct {
	Program  string `json:"program"`
	Accesses []int  `json:"accesses"` // indices of Reach.Network
	Out      Out    `json:"out"`
}

// File is one path of the host inside a sandbox.
type File struct {
	Path     string `json:"path"`
	Access   string `json:"access"` // read-only, read-write, hidden, noexec
	Optional bool   `json:"optional,omitempty"`
}

// InferenceReach is where model requests go, and with what.
type InferenceReach struct {
	Backend      string   `json:"backend,omitempty"`
	Key          string   `json:"key,omitempty"` // where it is kept, never the key
	Model        string   `json:"model,omitempty"`
	Hosts        []string `json:"hosts,omitempty"`
	AddHosts     []string `json:"add_hosts,omitempty"`
	RemoveHosts  []string `json:"remove_hosts,omitempty"`
	ServerTools  []string `json:"server_tools,omitempty"`
	RemoteInputs bool     `json:"remote_inputs"`
}

// ReachOf lists what a document opens at a time: all of it, and nothing else. It
// is the difference to a policy that opens nothing. Limits and middlewares can only
// take away from it.
func ReachOf(doc *policy.Document, at time.Time) (*Reach, error) {
	starts := startsFrom(at, doc)
	nothing := &policy.Document{Version: doc.Version, Filesystem: doc.Filesystem}
	runs := newRuns(nothing, doc)
	defer runs()
	d, err := diffAt(nothing, doc, starts[0])
	if err != nil {
		return nil, err
	}
	if err := d.confirm(runs); err != nil {
		return nil, err
	}
	r := &Reach{
		File: doc.File, Version: doc.Version, Network: []Access{}, ByBinary: []Binary{}, Files: []File{}, Switches: append([]string{}, doc.Syscalls.Open...),
		Limits: []Setting{}, DNS: []Setting{}, Landlock: doc.Landlock.Compatibility.String(), Unknown: append([]Unknown{}, dedupe(d.Unknown)...),
	}
	if len(starts) > 1 {
		r.At, r.Until = starts[0], starts[1]
	}
	for _, c := range d.Allowed {
		if c.Address {
			continue
		}
		r.Network = append(r.Network, accessOf(c))
	}
	slices.SortStableFunc(r.Network, func(x, y Access) int {
		return cmp.Or(cmp.Compare(strings.Join(x.Hosts, " "), strings.Join(y.Hosts, " ")), slices.Compare(x.Ports, y.Ports),
			cmp.Compare(strings.Join(x.Callers, " "), strings.Join(y.Callers, " ")))
	})
	r.byBinary()
	r.files(doc)
	for _, s := range settings(nothing, doc) {
		switch {
		case onlyTakesAway(s.Key):
			r.Limits = append(r.Limits, s)
		case strings.HasPrefix(s.Key, "dns."):
			r.DNS = append(r.DNS, s)
		}
	}
	if i := doc.Inference; i != nil {
		r.Inference = &InferenceReach{
			Backend: i.Backend, Key: i.Key, Model: i.Model, Hosts: i.Hosts, AddHosts: i.AddHosts, RemoveHosts: i.RemoveHosts,
			ServerTools: i.ServerTools, RemoteInputs: i.RemoteInputs,
		}
	}
	return r, nil
}

func accessOf(c Class) Access {
	a := Access{Class: c, AuditOnly: c.Is == Audited, Credentials: c.credentials}
	switch c.Traffic {
	case Bytes, Opaque:
		a.Out, a.Uninspected = OutBytes, true
	case HTTP:
		a.Out = OutTargets
		for _, m := range c.Methods {
			switch m {
			case "GET", "HEAD", "OPTIONS", "TRACE":
			default:
				a.Out = OutBodies
			}
		}
		if len(c.Methods) == 0 {
			a.Out = OutBodies
		}
	case Bound:
		a.Out = OutBodies
	case Connection:
		if c.RequestsUnknown {
			a.Out = OutUnknown
		}
	}
	return a
}

func (r *Reach) byBinary() {
	index := map[string]int{}
	for i, a := range r.Network {
		for _, p := range a.Callers {
			k, ok := index[p]
			if !ok {
				k = len(r.ByBinary)
				index[p] = k
				r.ByBinary = append(r.ByBinary, Binary{Program: p})
			}
			b := &r.ByBinary[k]
			b.Accesses = append(b.Accesses, i)
			b.Out = max(b.Out, a.Out)
		}
	}
	slices.SortFunc(r.ByBinary, func(x, y Binary) int { return cmp.Compare(x.Program, y.Program) })
}

func (r *Reach) files(doc *policy.Document) {
	f := &doc.Filesystem
	if f.IncludeWorkdir {
		access := "read-write"
		if m := f.Workspace.Mode.String(); m != "" {
			access = m
		}
		r.Files = append(r.Files, File{Path: "the workspace", Access: access})
	}
	for _, list := range []struct {
		paths  []policy.Path
		access string
	}{{f.ReadWrite, "read-write"}, {f.ReadOnly, "read-only"}, {f.Hidden, "hidden"}, {f.NoExec, "noexec"}} {
		for _, p := range list.paths {
			r.Files = append(r.Files, File{Path: p.Path, Access: list.access, Optional: p.Optional})
		}
	}
	for _, w := range f.Workspace.WritableProtected {
		r.Files = append(r.Files, File{Path: w, Access: "read-write although protected"})
	}
}
