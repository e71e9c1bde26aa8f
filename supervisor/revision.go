package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// builtIn is the name that the built-in policy goes by.
const builtIn = "built-in"

// source is where the policy comes from.
type source struct {
	path string // absolute and without symbolic links; empty: the built-in one
	data []byte
	info os.FileInfo // of path, when it was read

	// exposed: the agent can write where the file lies. It is mounted read-only
	// over itself, and a file that replaces it is not taken.
	exposed bool
	trust   *trust // of the workspace, if it is writable

	workspace string
}

// revision is one compiled policy.
type revision struct {
	number uint64
	doc    *policy.Document
	engine *policy.Engine
}

// findPolicy reads the policy that a run starts with.
func findPolicy(o Options) (*source, error) {
	s := &source{workspace: o.Workspace}
	if !o.ReadOnly {
		t, err := trustOf(o.Workspace)
		if err != nil {
			return nil, err
		}
		s.trust = &t
	}
	if o.Policy == "" {
		s.data = []byte(policy.Default())
		return s, nil
	}
	if err := s.read(o.Policy); err != nil {
		return nil, err
	}
	s.exposed = !o.ReadOnly && within(o.Workspace, s.path)
	if o.PolicyFound && s.trust != nil {
		changed, err := s.trust.changed(s.data)
		if err != nil {
			return nil, fault.Wrap(err, "load policy", fault.General)
		}
		if changed {
			return nil, fault.UsageError("load policy",
				s.path+" appeared or changed since an agent last worked in this folder; it could be the agent's own",
				"read it, then: creel run --policy "+s.path+" -- …")
		}
	}
	return s, nil
}

// read takes the file's bytes and identity from one open descriptor.
func (s *source) read(path string) error {
	const op = "load policy"
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if errors.Is(err, os.ErrNotExist) {
		return fault.UsageError(op, path+" does not exist", "creel policy default > "+path)
	}
	if err != nil {
		return fault.Wrap(err, op, fault.Usage)
	}
	f, err := os.Open(abs)
	if err != nil {
		return fault.Wrap(err, op, fault.Usage)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return fault.Wrap(err, op, fault.Usage)
	}
	if !fi.Mode().IsRegular() {
		return fault.UsageError(op, abs+" is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, policy.MaxBytes+1))
	if err != nil {
		return fault.Wrap(err, op, fault.Usage)
	}
	s.path, s.data, s.info = abs, data, fi
	return nil
}

// compile turns bytes into a revision; faults are a *api.FaultyPolicy.
func (s *source) compile(number uint64) (*revision, policy.Warnings, error) {
	name := s.path
	if name == "" {
		name = builtIn
	}
	doc, warnings, err := policy.Parse(name, s.data)
	if err != nil {
		return nil, warnings, faulty(err, s.path)
	}
	engine, err := policy.Compile(doc, policy.ResolveBinaries(resolver(s.workspace)))
	if err != nil {
		return nil, warnings, faulty(err, s.path)
	}
	return &revision{number: number, doc: doc, engine: engine}, warnings, nil
}

// resolver follows the links of a binary's path, because the kernel names the
// caller by its real one, and the sandbox shows the host's files at their own
// places. What lies where an agent may write is not followed: a link there could
// lead a rule to any program.
func resolver(workspace string) func(string) string {
	return func(path string) string {
		for _, dir := range []string{workspace, "/tmp", "/var/tmp", "/dev/shm"} {
			if within(dir, path) {
				return ""
			}
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return ""
		}
		return real
	}
}

func faulty(err error, path string) error {
	var faults policy.Faults
	if !errors.As(err, &faults) {
		return fault.Wrap(err, "load policy", fault.Usage)
	}
	var list []api.Fault
	for _, f := range faults {
		message := strings.TrimPrefix(f.Error(), f.At.String()+": ")
		list = append(list, api.Fault{File: f.At.File, Line: f.At.Line, Column: f.At.Column, Message: message, Hint: f.Hint})
	}
	return api.NewFaultyPolicy(list, "creel policy check "+path)
}

// static lists what of a new document takes effect only at the next start.
func static(old, new *policy.Document) (parts []string) {
	paths := func(list []policy.Path) (out []string) {
		for _, p := range list {
			out = append(out, fmt.Sprint(p.Path, p.Optional))
		}
		return out
	}
	if old.Filesystem.IncludeWorkdir != new.Filesystem.IncludeWorkdir ||
		!slices.Equal(paths(old.Filesystem.ReadOnly), paths(new.Filesystem.ReadOnly)) ||
		!slices.Equal(paths(old.Filesystem.ReadWrite), paths(new.Filesystem.ReadWrite)) {
		parts = append(parts, "filesystem_policy")
	}
	if old.Landlock.Compatibility != new.Landlock.Compatibility {
		parts = append(parts, "landlock")
	}
	if old.Process.RunAsUser != new.Process.RunAsUser || old.Process.RunAsGroup != new.Process.RunAsGroup {
		parts = append(parts, "process")
	}
	return parts
}
