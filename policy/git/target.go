package git

import (
	"errors"
	"strings"
)

// Request is one request of a Git client.
type Request struct {
	Repository string // the path before the service, without a final ".git": "team/app"
	Push       bool   // else a fetch
	Discovery  bool   // asks for the refs alone, which comes before either
	Updates    []Update
}

// Update is one ref that a push changes.
type Update struct {
	Ref    string // the whole name: refs/heads/main
	Create bool
	Delete bool
	Forced bool // may leave commits behind; see FastForward
	// Unproved: Forced only because nobody has looked at the pack. It is judged
	// like any that is Forced.
	Unproved bool

	old, new string // object ids, hexadecimal
}

// ErrNotGit means that a request is none of the smart protocol.
var ErrNotGit = errors.New("read git request: it is none of the smart HTTP protocol")

// Names of the services.
const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

// ParseTarget reads what a canonical path and its query ask for. The commands of
// a push are in its body: ReadCommands.
func ParseTarget(method, path string, query map[string][]string) (*Request, error) {
	var repository, service string
	discovery := false
	switch method {
	case "GET":
		services := query["service"]
		base, ok := strings.CutSuffix(path, "/info/refs")
		if !ok || len(services) != 1 || len(query) != 1 {
			return nil, ErrNotGit
		}
		repository, service, discovery = base, services[0], true
	case "POST":
		i := strings.LastIndexByte(path, '/')
		if i < 0 || len(query) != 0 {
			return nil, ErrNotGit
		}
		repository, service = path[:i], path[i+1:]
	default:
		return nil, ErrNotGit
	}
	if service != uploadPack && service != receivePack {
		return nil, ErrNotGit
	}
	name, ok := repositoryName(repository)
	if !ok {
		return nil, ErrNotGit
	}
	return &Request{Repository: name, Push: service == receivePack, Discovery: discovery}, nil
}

// repositoryName takes the slash before and the ".git" behind a repository, which
// servers take for the same with or without. What has two is named by nobody.
func repositoryName(path string) (string, bool) {
	name, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "", false
	}
	name = strings.TrimSuffix(name, ".git")
	if name == "" || strings.HasSuffix(name, ".git") || strings.HasSuffix(name, "/") || strings.Contains(name, "//") || strings.Contains(name, "%") {
		return "", false
	}
	return name, true
}
