package egress

import (
	"sync"

	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// reasonTool is why a call is denied that the rules allow.
const reasonTool = "the tool's definition is another one than the operator takes: the one that was first seen, or the one in mcp.pins; " +
	"the operator can accept it there (creel audit tail shows its SHA-256)"

// tools remembers the definitions of the tools that servers of MCP list, as long
// as the sandbox lives: a tool that was looked at once must not become another
// one behind the same name. It is safe for concurrent use.
type tools struct {
	mu   sync.Mutex
	seen map[toolKey]*definitions
	of   map[serverKey]int // how many of them a server has
}

type serverKey struct {
	host netname.Host
	port uint16
}

// toolKey is a tool by the endpoint where it is listed.
type toolKey struct {
	host netname.Host
	port uint16
	path string // canonical
	name string
}

// definitions are hashes.
type definitions struct{ first, last string }

// note takes down the definition of a tool, and reports whether it is the one that
// counts and whether it differs from the one before. What cannot be remembered
// does not count.
func (t *tools) note(k toolKey, hash string, pin policy.ToolPin, pinned bool) (holds, news bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.seen[k]
	if d == nil {
		from := serverKey{k.host, k.port}
		if len(t.seen) >= maxTools || t.of[from] >= maxServerTools {
			return false, false
		}
		d = &definitions{first: hash}
		t.seen[k] = d
		t.of[from]++
	}
	news, d.last = d.last != hash, hash
	return d.hold(pin, pinned), news
}

// holds reports whether the definition that was seen last is the one that counts.
// A tool that was never seen holds unless it is pinned to a definition.
func (t *tools) holds(k toolKey, pin policy.ToolPin, pinned bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen[k].hold(pin, pinned)
}

func (d *definitions) hold(pin policy.ToolPin, pinned bool) bool {
	switch {
	case pinned && pin.SHA256 == "":
		return true
	case pinned:
		return d != nil && d.last == pin.SHA256
	}
	return d == nil || d.last == d.first
}

func (x *exchange) toolKey(name string) toolKey {
	return toolKey{x.c.facts.Host, x.c.facts.Port, x.request.Target.Path, name}
}

// toolsHold: enforcement: audit lets pass what changed, as all else.
func (x *exchange) toolsHold() bool {
	if x.governs == nil || x.governs.Protocol != policy.MCP || x.governs.Enforcement == policy.Audit || x.request.RPC == nil {
		return true
	}
	for _, call := range x.request.RPC.Calls {
		if call.Tool == "" {
			continue
		}
		pin, pinned := x.governs.PinOf(call.Tool)
		if !x.c.s.tools.holds(x.toolKey(call.Tool), pin, pinned) {
			return false
		}
	}
	return true
}
