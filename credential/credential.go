package credential

import (
	"errors"
	"net/http"

	"github.com/creel-run/creel/netname"
)

// Set is all bindings of a sandbox. A nil Set binds nothing.
type Set struct{}

// Parse reads --secret flags: NAME=env:VAR|file:PATH@HOST[:HEADER].
func Parse(flags []string, getenv func(string) (string, bool)) (*Set, error) {
	return nil, errors.New("not built")
}

// Env is the environment that the agent gets: NAME=placeholder.
func (s *Set) Env() []string { return nil }

// Bound reports whether a credential is bound to the host, so that TLS to it
// must be terminated.
func (s *Set) Bound(h netname.Host) bool { return false }

// Apply puts the bound credentials into a request that policy has allowed, in
// place, or returns an error: a placeholder stands where it may not (another
// host, place or header), or the request carries a credential of its own in a
// bound header. Nothing may be sent after an error. used names what was put in.
func (s *Set) Apply(h netname.Host, req *http.Request) (used []string, err error) {
	return nil, errors.New("not built")
}
