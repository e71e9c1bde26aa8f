package cow

import (
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"
)

// Kind is what became of a path. The zero value is no change.
type Kind string

const (
	Added    Kind = "added"
	Modified Kind = "modified" // content, target or type
	Mode     Kind = "mode"     // permissions alone
	Deleted  Kind = "deleted"
)

// Type is what stands at a path.
type Type string

const (
	File    Type = "file"
	Folder  Type = "folder"
	Link    Type = "link"
	Special Type = "special" // a pipe, socket or device
)

// Side is a path before or after.
type Side struct {
	Type   Type        `json:"type"`
	Mode   fs.FileMode `json:"mode"` // permission bits
	Size   int64       `json:"size,omitempty"`
	Target string      `json:"target,omitempty"` // of a link
}

// Change is one path that the agent changed. Every text in it is hostile.
type Change struct {
	Path   string `json:"path"`            // relative to the workspace
	Bytes  []byte `json:"bytes,omitempty"` // of a path that is not UTF-8
	Kind   Kind   `json:"kind"`
	Before *Side  `json:"before,omitempty"`
	After  *Side  `json:"after,omitempty"`
	From   string `json:"from,omitempty"` // of an added file: a deleted one with the same content

	Protected string `json:"protected,omitempty"` // why it needs to be named to be applied
	Conflict  string `json:"conflict,omitempty"`  // why it needs force
	Refused   string `json:"refused,omitempty"`   // why it is never applied
}

// Below reports whether the change is at or below one of the paths; all if there are none.
func (c Change) Below(paths []string) bool {
	for _, p := range paths {
		if p == "." || c.Path == p || strings.HasPrefix(c.Path, p+"/") {
			return true
		}
	}
	return len(paths) == 0
}

// Clean brings a path that an operator typed into the form of Change.Path; ok is
// false for one outside of the workspace.
func Clean(workspace, p string) (rel string, ok bool) {
	if path.IsAbs(p) {
		if p = path.Clean(p); p == workspace {
			return ".", true
		}
		if p, ok = strings.CutPrefix(p, workspace+"/"); !ok {
			return "", false
		}
	}
	p = path.Clean(p)
	return p, p != ".." && !strings.HasPrefix(p, "../")
}

func (c *Change) keepBytes() {
	if !utf8.ValidString(c.Path) {
		c.Bytes = []byte(c.Path)
	}
}

// Summary counts changes for a line to the operator.
func Summary(all []Change) (n int, protected int) {
	for _, c := range all {
		if c.After != nil && c.After.Type == Folder && c.Kind == Added {
			continue // counted by what is in it
		}
		n++
		if c.Protected != "" {
			protected++
		}
	}
	return n, protected
}
