package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/egress/resolver"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/inference"
	"github.com/creel-run/creel/middleware"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
)

// builtIn is the name that the built-in policy goes by.
const builtIn = "built-in"

// source is where the policy comes from.
type source struct {
	path string // absolute and without symbolic links; empty: the built-in one, or the agent's
	name string // that messages show instead of a path
	data []byte
	info os.FileInfo // of path, when it was read

	// exposed: the agent can write where the file lies. It is mounted read-only
	// over itself, and a file that replaces it is not taken.
	exposed bool

	// named: somebody has named this policy with --policy, now or before. One that
	// only lay in the workspace may have come with the repository.
	named bool

	layers []layerFile // that it extends

	known func(*policy.Document) (map[string]middleware.Factory, error) // middlewares; nil: none

	workspace string
}

// revision is one compiled policy.
type revision struct {
	number uint64
	doc    *policy.Document
	engine *policy.Engine
	chain  *middleware.Chain  // nil: no middlewares
	models *inference.Hosts   // that are not reached over a connection that is not inspected
	names  *resolver.Resolver // nil: the host's; set before the revision is in force
}

// findPolicy reads the policy that a run starts with.
func findPolicy(o Options, t trust) (*source, error) {
	s := &source{workspace: o.Workspace}
	if o.Policy == "" {
		s.name, s.data, s.named = builtIn, []byte(policy.Default()), true
		if o.Agent != nil {
			s.name, s.data = o.Agent.PolicyFile, o.Agent.Policy
		}
		return s, nil
	}
	if err := s.read(o.Policy); err != nil {
		return nil, err
	}
	if !o.PolicyFound {
		s.named = true
		return s, nil
	}
	if s.path != filepath.Clean(o.Policy) {
		// The folder that it was found in has no links in its path, so the file is one. It would be trusted as the other folder's, and whoever can write here has chosen it.
		return nil, fault.UsageError("load policy",
			o.Policy+" is a symbolic link to "+s.path+"; whoever can write in the folder could have made it",
			"read it, then: creel run --policy "+s.path+" -- …")
	}
	ok, named, err := t.takes(filepath.Dir(s.path), s.text())
	s.named = named
	if err != nil {
		return nil, fault.Wrap(err, "load policy", fault.General)
	}
	if !ok {
		return nil, fault.UsageError("load policy",
			s.path+" appeared or changed since an agent could last write in this folder; it could be the agent's own",
			"read it, then: creel run --policy "+s.path+" -- …")
	}
	return s, nil
}

// expose marks a policy that the agent can write next to. The read-only mount
// protects one name of the file; a second name would not be protected.
func (s *source) expose(a areas) error {
	s.exposed = s.path != "" && a.holding(s.path) != ""
	if st, ok := s.statT(); s.exposed && ok && st.Nlink > 1 {
		return fault.UsageError("load policy", s.path+" has other names (hard links), and the agent could write through one of them",
			"copy it: cp "+s.path+" "+s.path+".new && mv "+s.path+".new "+s.path)
	}
	return s.exposeLayers(a)
}

// modest checks what a policy that nobody has named may ask for: public hosts and
// rules, but no internal address, no secret of the operator, no backend and no user
// of its own, and no path that the built-in policy does not show.
func (s *source) modest(doc *policy.Document) error {
	if s.named {
		return nil
	}
	refuse := func(what string) error {
		return fault.UsageError("load policy", s.path+" "+what+", and nobody has named it yet: it may have come with the folder",
			"read it, then once: creel run --policy "+s.path+" …  (with your other flags, --agent too)")
	}
	if d := doc.Inference; d != nil && (d.Backend != "" || d.Key != "") {
		return refuse("names a model backend or a key")
	}
	if way := doc.DNS.Upstream.Way; way != netname.NoServer && way != netname.HostServer {
		return refuse("chooses who is asked for names (" + doc.DNS.At.String() + ")")
	}
	if h := doc.DNS.Hosts; len(h) > 0 {
		return refuse("gives names addresses of its own choice (" + h[0].At.String() + ")")
	}
	if runsAs := doc.Process; runsAs.RunAsUser != "" && runsAs.RunAsUser != "sandbox" || runsAs.RunAsGroup != "" && runsAs.RunAsGroup != "sandbox" {
		return refuse("chooses the user that the agent is")
	}
	for _, n := range doc.Networks {
		for _, e := range n.Endpoints {
			switch {
			case e.Withdrawn:
			case e.InternalAddresses, len(e.AllowedIPs) > 0, e.Pattern.Literal() && e.Pattern.Host().IsAddr() && netname.Classify(e.Pattern.Host().Addr()) != netname.Public:
				return refuse("opens addresses of its own choice (" + e.At.String() + ")")
			case doc.Version == 1 && e.Pattern.Literal():
				return refuse("may lead to internal addresses, as version 1 does for a host that is written out (" + e.At.String() + ")")
			}
		}
	}
	if len(doc.Syscalls.Open) > 0 {
		return refuse("opens system calls (" + strings.Join(doc.Syscalls.Open, ", ") + ")")
	}
	if len(doc.Filesystem.Workspace.WritableProtected) > 0 {
		return refuse("lets the agent write files that host tools run")
	}
	known, _, err := policy.Parse(builtIn, []byte(policy.Default()))
	if err != nil {
		return fault.Wrap(err, "read built-in policy", fault.Internal)
	}
	for _, p := range append(append([]policy.Path{}, doc.Filesystem.ReadOnly...), doc.Filesystem.ReadWrite...) {
		ok := ownByNature(p.Path) || within(s.workspace, realPath(p.Path))
		for _, k := range known.Filesystem.ReadOnly {
			ok = ok || within(k.Path, p.Path) && within(realPath(k.Path), realPath(p.Path))
		}
		if !ok {
			return refuse("shows the agent " + p.Path)
		}
	}
	for _, p := range doc.Filesystem.ReadWrite {
		if !ownByNature(p.Path) && !within(s.workspace, realPath(p.Path)) {
			return refuse("lets the agent write " + p.Path)
		}
	}
	return nil
}

func (s *source) statT() (*syscall.Stat_t, bool) {
	if s.info == nil {
		return nil, false
	}
	st, ok := s.info.Sys().(*syscall.Stat_t)
	return st, ok
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
	data, fi, err := readRegular(abs)
	if err != nil {
		return fault.Wrap(err, op, fault.Usage)
	}
	s.path, s.data, s.info = abs, data, fi
	s.collect()
	return nil
}

// readRegular reads a file that an agent may have put there: not a link, and
// without waiting for the other end of a pipe or for a lease to be given back.
func readRegular(path string) ([]byte, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, policy.MaxBytes+1))
	return data, fi, err
}

// compile turns bytes into a revision; faults are a *api.FaultyPolicy.
func (s *source) compile(number uint64) (*revision, policy.Warnings, error) {
	name := s.path
	if name == "" {
		name = s.name
	}
	var read policy.Resolver
	if s.path != "" {
		read = policy.Beside(s.layer)
	}
	doc, warnings, err := policy.ParseLayers(name, s.data, read)
	if err != nil {
		return nil, warnings, faulty(err, number, s.path)
	}
	if faults := policy.Unenforced(doc); len(faults) > 0 {
		return nil, warnings, faulty(faults, number, s.path)
	}
	engine, err := policy.Compile(doc, policy.ResolveBinaries(followLinks(s.workspace, doc)))
	if err != nil {
		return nil, warnings, faulty(err, number, s.path)
	}
	models, err := inference.Guarded(doc)
	if err != nil {
		return nil, warnings, fault.Wrap(err, "read policy", fault.Usage)
	}
	chain, err := s.chain(number, doc)
	if err != nil {
		return nil, warnings, err
	}
	return &revision{number: number, doc: doc, engine: engine, models: models, chain: chain}, append(warnings, doc.Ended(time.Now())...), nil
}

// followLinks follows the links of a binary's path, because the kernel names the
// caller by its real one, and the sandbox shows the host's files at their own
// places. A link that lies where an agent may write is not followed, on whatever
// way it is come to: it could lead a rule to any program.
func followLinks(workspace string, doc *policy.Document) func(string) string {
	writable := areas{realPath(workspace), "/tmp", "/var/tmp", "/dev/shm"}
	for _, p := range doc.Filesystem.ReadWrite {
		writable = append(writable, realPath(p.Path))
	}
	return func(path string) string {
		real, ok := writable.follow(path)
		if !ok {
			return ""
		}
		return real
	}
}

// faulty gives the faults of a revision, of which the first one is that of the start.
func faulty(err error, number uint64, path string) error {
	var faults policy.Faults
	if !errors.As(err, &faults) {
		return fault.Wrap(err, "load policy", fault.Usage)
	}
	var list []api.Fault
	for _, f := range faults {
		message := strings.TrimPrefix(f.Error(), f.At.String()+": ")
		list = append(list, api.Fault{File: f.At.File, Line: f.At.Line, Column: f.At.Column, Message: message, Hint: f.Hint})
	}
	outcome := "nothing was changed"
	if number == 1 {
		outcome = "nothing was started"
	}
	return api.NewFaultyPolicy(outcome, list, "creel policy check "+path)
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
		!slices.Equal(paths(old.Filesystem.Hidden), paths(new.Filesystem.Hidden)) ||
		!slices.Equal(paths(old.Filesystem.NoExec), paths(new.Filesystem.NoExec)) ||
		old.Filesystem.Workspace.Mode != new.Filesystem.Workspace.Mode ||
		!slices.Equal(old.Filesystem.Workspace.WritableProtected, new.Filesystem.Workspace.WritableProtected) ||
		!slices.Equal(paths(old.Filesystem.ReadWrite), paths(new.Filesystem.ReadWrite)) {
		parts = append(parts, "filesystem_policy")
	}
	if old.Landlock.Compatibility != new.Landlock.Compatibility {
		parts = append(parts, "landlock")
	}
	if old.Process.RunAsUser != new.Process.RunAsUser || old.Process.RunAsGroup != new.Process.RunAsGroup {
		parts = append(parts, "process")
	}
	if !slices.Equal(old.Syscalls.Open, new.Syscalls.Open) || !slices.Equal(old.Syscalls.Closed, new.Syscalls.Closed) {
		parts = append(parts, "syscalls")
	}
	now, next := old.Resources, new.Resources
	now.At, next.At = policy.Position{}, policy.Position{}
	if now != next {
		parts = append(parts, "resources")
	}
	return parts
}
