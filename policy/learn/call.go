package learn

import (
	"strings"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// Call is one kind of call that was denied or asked about.
type Call struct {
	Host   netname.Host
	Port   uint16
	Binary string // empty, or not Known: any program would have to be allowed
	Known  bool
	Method string // empty: a connection, of which no request was read
	Path   string // canonical, without query
	Count  uint64
	// Message is set of a call that was denied by what its message asked for: what
	// that was, and what would allow it. No rule is learned from it, because one of
	// a method and a path would let every such message through.
	Message string
}

func (c Call) connection() policy.Connection {
	return policy.Connection{Host: c.Host, Port: c.Port, Binary: c.Binary, KnownCaller: c.Known && c.Binary != ""}
}

// allowed reports whether an engine allows a call by its rules.
func (c Call) allowed(e *policy.Engine) bool {
	d := e.Connect(c.connection())
	if d.Verdict != policy.Allow || c.Method == "" || !d.Inspect {
		return d.Verdict == policy.Allow
	}
	r := policy.Request{Connection: c.connection(), Method: c.Method, Text: c.Method == policy.MethodText}
	r.Target.Path = c.Path
	got := e.Request(r)
	return got.Verdict == policy.Allow && !got.Audited
}

// Host is what a record tells about a host.
type Host struct {
	Calls uint64 // to it in all, allowed ones too
	// AfterRead is the host from which something could be read, in the same
	// sandbox, before this one was first asked for. Zero: there was none.
	AfterRead netname.Host
}

// writes: methods that change something, or carry more than an address.
func writes(method string) bool {
	switch strings.ToUpper(method) {
	case "GET", "HEAD", "OPTIONS":
		return false
	}
	return true
}
