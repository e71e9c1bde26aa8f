package registry

import (
	"errors"
	"time"
)

// Kind is the protocol of a registry. The zero value is none.
type Kind string

const (
	NPM    Kind = "npm"
	PyPI   Kind = "pypi"
	Go     Kind = "go"
	Cargo  Kind = "cargo"
	Debian Kind = "debian"
)

// Kinds are those that are known, sorted.
func Kinds() []Kind { return []Kind{Cargo, Debian, Go, NPM, PyPI} }

// Action is what a request does. The zero value is nothing that is allowed.
type Action uint8

const (
	Unknown  Action = iota
	Index           // reads what is about no single package: a list, the registry's settings
	Metadata        // reads about a package, or one of its versions
	Download        // takes a version
	Publish         // adds, changes or removes something
)

var actions = [...]string{"unknown", "index", "metadata", "download", "publish"}

func (a Action) String() string {
	if int(a) < len(actions) {
		return actions[a]
	}
	return actions[Unknown]
}

// Request is one request to a registry.
type Request struct {
	Kind    Kind
	Action  Action
	Name    string // as the registry compares names (normalised); empty for Index
	Version string // empty where the request is about all of them

	// Published is when the version appeared; zero: not known, and then no rule with
	// a least age matches.
	Published time.Time
}

// ErrNotRegistry means that a request is none of the protocol's.
var ErrNotRegistry = errors.New("read registry request: the protocol has no such request")

// Parse reads what a method and a canonical path ask a registry of a kind for.
// prefix is where the registry begins below its host ("" or "/repository/npm").
func Parse(kind Kind, prefix, method, path string) (*Request, error) {
	rest, ok := cutPrefix(path, prefix)
	if !ok {
		return nil, ErrNotRegistry
	}
	read := method == "GET" || method == "HEAD"
	var r Request
	switch kind {
	case NPM:
		r, ok = npm(method, read, rest)
	case PyPI:
		r, ok = pypi(method, read, rest)
	case Go:
		r, ok = goProxy(read, rest)
	case Cargo:
		r, ok = cargo(method, read, rest)
	case Debian:
		r, ok = debian(read, rest)
	default:
		return nil, ErrNotRegistry
	}
	if !ok || r.Action == Unknown {
		return nil, ErrNotRegistry
	}
	r.Kind = kind
	return &r, nil
}
