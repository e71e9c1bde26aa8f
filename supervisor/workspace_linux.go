package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// policyName is the policy that a workspace may carry.
const policyName = "creel.yaml"

// within reports whether path lies in dir or is dir; both are clean.
func within(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// realPath is where a path really lies: links of the part that exists are
// followed, the rest is kept.
func realPath(path string) string {
	rest := ""
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return filepath.Clean(path)
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// areas are the host folders and files that the agent can write, by their real paths.
type areas []string

// writableAreas lists them for a run.
func writableAreas(o Options, doc *policy.Document) areas {
	var a areas
	workspace := realPath(o.Workspace)
	writes := workspaceMode(o, doc) == policy.ReadWrite
	if writes && doc.Filesystem.IncludeWorkdir {
		a = append(a, workspace)
	}
	for _, p := range doc.Filesystem.ReadWrite {
		if !ownByNature(p.Path) && (writes || realPath(p.Path) != workspace) {
			a = append(a, realPath(p.Path))
		}
	}
	return a
}

// workspaceMode is the stricter of what the command line and the policy say.
func workspaceMode(o Options, doc *policy.Document) policy.WorkspaceMode {
	mode := policy.ReadWrite
	switch {
	case o.ReadOnly:
		mode = policy.ReadOnly
	case o.CopyOnWrite:
		mode = policy.CopyOnWrite
	}
	return max(mode, doc.Filesystem.Workspace.Mode)
}

// contradiction refuses a policy that lists the workspace as read-only and lets the
// agent write there; of version 1, which means the second, it tells.
func (s *supervisor) contradiction(doc *policy.Document) error {
	workspace := realPath(s.o.Workspace)
	p, ok := doc.Filesystem.Contradicted(s.mode, func(path string) bool { return realPath(path) == workspace })
	if !ok {
		return nil
	}
	text, hint := doc.Contradiction()
	if doc.Version >= 2 {
		return fault.UsageError("load policy", p.At.String()+": filesystem_policy.read_only: "+text, hint)
	}
	s.o.Notice(p.At.String() + ": filesystem_policy.read_only: " + text + "; " + hint)
	return nil
}

// holding returns the area that a path really lies in, or "".
func (a areas) holding(path string) string {
	real := realPath(path)
	for _, dir := range a {
		if within(dir, real) {
			return dir
		}
	}
	return ""
}

// follow gives the real path of what exists, unless one of the links on the way
// lies in an area.
func (a areas) follow(path string) (real string, ok bool) {
	dir, todo := "/", strings.Split(path, "/")
	for links := 0; len(todo) > 0; {
		next := filepath.Join(dir, todo[0]) // of ".." as well: dir has no links
		todo = todo[1:]
		target, err := os.Readlink(next)
		if err != nil { // no link, or nothing
			dir = next
			continue
		}
		if links++; links > maxLinks {
			return "", false
		}
		for _, area := range a {
			if within(area, dir) {
				return "", false
			}
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	_, err := os.Lstat(dir)
	return dir, err == nil
}

// maxLinks is the kernel's own bound (MAXSYMLINKS).
const maxLinks = 40

// touching returns the area that a folder lies in, or that lies in it, or "".
func (a areas) touching(folder string) string {
	if dir := a.holding(folder); dir != "" {
		return dir
	}
	real := realPath(folder)
	for _, dir := range a {
		if within(real, dir) {
			return dir
		}
	}
	return ""
}

// ownByNature are declared paths of which the sandbox has its own, so that the
// host's lie out of the agent's reach.
func ownByNature(path string) bool {
	switch path {
	case "/tmp", "/var/tmp", "/dev/shm", "/run", "/proc", "/dev":
		return true
	}
	return strings.HasPrefix(path, "/proc/") || strings.HasPrefix(path, "/dev/")
}

// trust remembers, for each folder that an agent could write, the last policy
// there that an operator put into force. An agent could leave a policy for the
// next start; one that appeared or changed since then is therefore not taken by
// itself, but only when it is named with --policy.
type trust struct{ folder string }

type trustRecord struct {
	Folder string `json:"folder"`
	Policy string `json:"policy_sha256"` // empty: there was none
	Named  bool   `json:"named"`         // somebody named it with --policy

	// Alone: the file was named, and no agent could write in the folder then or
	// before. The record speaks of that file, not of the folder and what lies below.
	Alone bool `json:"alone,omitempty"`
}

func openTrust() (trust, error) {
	state, err := api.StateDir()
	if err != nil {
		return trust{}, err
	}
	return trust{filepath.Join(state, "workspaces")}, nil
}

func (t trust) file(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(t.folder, hex.EncodeToString(sum[:16])+".json")
}

// read gives the record of a folder; nil if there is none.
func (t trust) read(dir string) (*trustRecord, error) {
	b, err := os.ReadFile(t.file(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var r trustRecord
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("read workspace record: %w", err)
	}
	return &r, nil
}

// takes reports whether a policy found in a folder may be taken unasked: it is
// the one that was trusted there, or no agent could ever write there or above.
// named says that somebody has named this very policy before.
func (t trust) takes(dir string, data []byte) (ok, named bool, err error) {
	r, err := t.read(dir)
	if err != nil {
		return false, false, err
	}
	if r != nil {
		ok := r.Policy == digest(data)
		return ok, ok && r.Named, nil
	}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		if r, err := t.read(dir); err != nil || r != nil && !r.Alone {
			return false, false, err
		}
	}
	return true, false, nil
}

// remember records a policy of a folder that an agent can write; nil stands for none.
func (t trust) remember(dir string, data []byte, named bool) error {
	return t.write(trustRecord{Folder: dir, Policy: digest(data), Named: named})
}

// rememberAlone records a policy that was named, in a folder that no agent can
// write now. If one could before, the folder stays what it was.
func (t trust) rememberAlone(dir string, data []byte) error {
	before, err := t.read(dir)
	if err != nil {
		return err
	}
	return t.write(trustRecord{Folder: dir, Policy: digest(data), Named: true, Alone: before == nil || before.Alone})
}

func (t trust) write(r trustRecord) error {
	dir := r.Folder
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write workspace record: %w", err)
	}
	if err := os.MkdirAll(t.folder, 0o700); err != nil {
		return fmt.Errorf("write workspace record: %w", err)
	}
	tmp := fmt.Sprintf("%s.%d", t.file(dir), os.Getpid())
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write workspace record: %w", err)
	}
	return os.Rename(tmp, t.file(dir))
}

func digest(policy []byte) string {
	if policy == nil {
		return ""
	}
	sum := sha256.Sum256(policy)
	return hex.EncodeToString(sum[:])
}
