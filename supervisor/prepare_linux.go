package supervisor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/creel-run/creel/credential"
	"github.com/creel-run/creel/egress/ca"
	"github.com/creel-run/creel/egress/pac"
	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/inference"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/seccomp"
	"github.com/creel-run/creel/sandbox/spec"
	"github.com/creel-run/creel/secret"
)

// prepared is what a run needs before anything is started.
type prepared struct {
	secrets   *credential.Set
	ahead     *ahead
	roots     *x509.CertPool
	upstreams map[endpoint]netip.AddrPort
	parents   *parent.Proxies
	toNames   *parent.Proxies  // those on the way to the name server
	scripts   []*pac.Evaluator // what parents ask
	certs     map[endpoint]*tls.Certificate
}

// endpoint is a name and a port.
type endpoint struct {
	host netname.Host
	port uint16
}

func (s *supervisor) prepare(ctx context.Context) (*prepared, error) {
	p := &prepared{}
	var err error
	if p.secrets, err = s.credentials(); err != nil {
		return nil, err
	}
	if p.upstreams, err = parseUpstreams(s.o.Upstreams); err != nil {
		return nil, err
	}
	if p.roots, err = trustedRoots(s.o.TrustCA); err != nil {
		return nil, err
	}
	if p.certs, err = parseClientCerts(s.o.ClientCerts); err != nil {
		return nil, err
	}
	if err = s.parentProxies(p); err != nil {
		return nil, err
	}
	if s.names, err = s.chooser(p); err != nil {
		return nil, err
	}
	rev := s.rev.Load() // in force for nobody yet
	if rev.names, err = s.names.resolver(rev.doc, nil); err != nil {
		return nil, err
	}
	if why := s.names.overruled(rev.doc); why != "" {
		s.o.Notice(why)
	}
	if s.route, err = s.makeRoute(p); err != nil {
		return nil, err
	}
	if err = p.checkScript(ctx); err != nil {
		p.closeScripts()
		return nil, err
	}
	return p, nil
}

// secretHints are what to type when a secret cannot be read: the references are as
// they were written, alone or in a --secret flag.
func secretHints(err error, refs []string) (hints []string) {
	var where *fs.PathError
	switch {
	case errors.Is(err, secret.ErrNotSet):
		for _, ref := range refs {
			_, name, ok := strings.Cut(ref, "env:")
			name, _, _ = strings.Cut(name, "@")
			if ok && strings.Contains(err.Error(), "env:"+name+": ") {
				return []string{"export " + name + "=…"}
			}
		}
	case errors.Is(err, fs.ErrPermission) && errors.As(err, &where):
		return []string{"chmod u+r " + where.Path}
	}
	return nil
}

// ahead is what does not depend on the policy and is made while that is read, and
// while the kernel builds the sandbox: start-up time is the sum that everyone feels.
type ahead struct {
	begun     *sandbox.Begun
	places    systemTrust
	found     chan struct{} // closed when places is there
	authority *ca.Authority
	anchors   anchors
	err       error
	done      chan struct{} // closed when the others are
}

// network is the same in every sandbox.
var network = spec.Network{V4: netname.SandboxV4.String(), V6: netname.SandboxV6.String(), NameServer: netname.NameServerV4.String()}

func startAhead() *ahead {
	a := &ahead{begun: sandbox.Begin(network), found: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.places = findSystemTrust()
		close(a.found)
		if a.authority, a.err = ca.New(); a.err == nil {
			a.anchors, a.err = a.places.read(a.authority.PEM())
		}
	}()
	return a
}

// files are those by which programs know whom to trust.
func (a *ahead) files() []sandbox.File {
	<-a.found
	return a.places.files(func() (anchors, error) {
		<-a.done
		return a.anchors, a.err
	})
}

// signer is the authority of this run, once it is made.
func (a *ahead) signer() (*ca.Authority, error) {
	<-a.done
	return a.authority, a.err
}

func (a *ahead) Close() {
	<-a.done
	a.begun.Close()
}

// makeRoute builds the inference route from the flags, or from the policy where
// a flag is silent.
func (s *supervisor) makeRoute(p *prepared) (*route, error) {
	r := &route{roots: p.roots, parents: p.parents, flags: s.o}
	next, err := r.build(s.rev.Load().doc)
	if err != nil {
		return nil, err
	}
	r.store(next)
	return r, nil
}

// trustedRoots are the system's and the operator's own; nil means the system's.
func trustedRoots(files []string) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fault.Wrap(err, "read --trust-ca", fault.Usage)
		}
		if !pool.AppendCertsFromPEM(b) {
			return nil, fault.UsageError("read --trust-ca", f+" holds no certificate in PEM form", "creel run --trust-ca ca.pem -- …  (it begins with -----BEGIN CERTIFICATE-----)")
		}
	}
	return pool, nil
}

func parseUpstreams(flags []string) (map[endpoint]netip.AddrPort, error) {
	all := map[endpoint]netip.AddrPort{}
	for _, f := range flags {
		bad := func(msg string) error {
			return fault.UsageError("read --upstream", f+": "+msg, "creel run --upstream api.test:443=127.0.0.1:8443 -- …")
		}
		from, to, ok := strings.Cut(f, "=")
		if !ok {
			return nil, bad("want HOST:PORT=ADDR:PORT")
		}
		name, port, ok := strings.Cut(from, ":")
		if !ok {
			return nil, bad("want a port after the host")
		}
		h, err := netname.ParseHost(name)
		if err != nil {
			return nil, bad(err.Error())
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return nil, bad("want a port of 1..65535")
		}
		addr, err := netip.ParseAddrPort(to)
		if err != nil || addr.Port() == 0 {
			return nil, bad("want an address and port behind the =")
		}
		all[endpoint{h, uint16(n)}] = addr
	}
	return all, nil
}

// switches are those of the system call filter that are open.
func switches(y policy.Syscalls) (open []seccomp.Switch) {
	for _, w := range seccomp.Switches() {
		if w.Open && !slices.Contains(y.Closed, string(w.Name)) || slices.Contains(y.Open, string(w.Name)) {
			open = append(open, w.Name)
		}
	}
	return open
}

// sandboxConfig is the sandbox that policy and flags ask for.
func (s *supervisor) sandboxConfig(p *prepared) (sandbox.Config, error) {
	doc := s.rev.Load().doc
	c := sandbox.Config{
		Name: s.name, Command: s.o.Command, Home: s.who.home, Notify: true,
		Workspace:       sandbox.Workspace{Path: s.o.Workspace, Write: s.mode != policy.ReadOnly, Layer: s.layerData(), Apart: !doc.Filesystem.IncludeWorkdir},
		WithoutLandlock: doc.Landlock.Compatibility == policy.BestEffort && s.source.named,
		Network:         network,
		Syscalls:        switches(doc.Syscalls),
		Streams:         s.terminal.kinds(),
	}
	c.Rows, c.Cols = s.terminal.size()
	c.Limits, c.OnGroup = mergeLimits(s.o.Resources, doc.Resources), s.claimGroup
	p.ahead.begun.Limit(c)
	for _, d := range doc.Filesystem.ReadOnly {
		c.ReadOnly = append(c.ReadOnly, sandbox.Declared{Path: d.Path, Optional: d.Optional})
	}
	for _, d := range doc.Filesystem.ReadWrite {
		c.ReadWrite = append(c.ReadWrite, sandbox.Declared{Path: d.Path, Optional: d.Optional})
	}
	for _, p := range doc.Filesystem.Hidden {
		c.Hidden = append(c.Hidden, sandbox.Declared{Path: s.inWorkspace(p.Path), Optional: p.Optional})
	}
	for _, p := range doc.Filesystem.NoExec {
		c.NoExec = append(c.NoExec, s.inWorkspace(p.Path))
	}
	if s.o.Program != "" {
		c.ReadOnly = append(c.ReadOnly, sandbox.Declared{Path: s.o.Program})
	}
	var err error
	if c.RunAsUser, err = runAs(doc.Process.RunAsUser); err != nil {
		return c, err
	}
	if c.RunAsGroup, err = runAs(doc.Process.RunAsGroup); err != nil {
		return c, err
	}
	if err := s.findProtected(doc); err != nil {
		return c, err
	}
	c.Protect = s.protectedPaths()
	for _, path := range s.source.exposedFiles() {
		if !slices.Contains(c.Protect, path) {
			c.Protect = append(c.Protect, path)
		}
	}
	uid, gid := sandbox.InsideIDs(c)
	c.Files = append(suppliedFiles(s.who, uid, gid, s.name), p.ahead.files()...)
	extra := append(p.secrets.Env(), s.route.env()...)
	if err := s.addAgent(&c, doc); err != nil {
		return c, err
	}
	visible := s.visible(doc)
	for _, ref := range s.secretFiles() {
		if visible(ref) || visible(realPath(ref)) {
			return c, fault.UsageError("read secret", "the agent could read "+ref+" itself", "keep it outside of the workspace and of the policy's paths, or use env:VAR")
		}
	}
	if path := s.scriptPath(); path != "" && s.writes(doc, path) {
		return c, fault.UsageError("read --parent-proxy", "the agent could write "+path+", and choose its way out from the next run on", "keep it outside of the workspace and of the policy's read_write paths")
	}
	var front []string
	if a := s.o.Agent; a != nil {
		extra, front = append(extra, a.Env...), a.Path
	}
	c.Env = environment(s.who, s.name, front, visible, append(extra, s.o.Env...))
	return c, nil
}

// visible gives a test whether a host path can be seen inside.
func (s *supervisor) visible(doc *policy.Document) func(string) bool {
	var dirs []string
	if doc.Filesystem.IncludeWorkdir {
		dirs = append(dirs, s.o.Workspace)
	}
	if s.o.Agent != nil {
		dirs = append(dirs, s.o.Agent.Show...)
	}
	for _, list := range [][]policy.Path{doc.Filesystem.ReadOnly, doc.Filesystem.ReadWrite} {
		for _, p := range list {
			if !ownByNature(p.Path) {
				dirs = append(dirs, p.Path, realPath(p.Path))
			}
		}
	}
	return func(path string) bool {
		for _, h := range doc.Filesystem.Hidden {
			if h := s.inWorkspace(h.Path); within(h, path) || within(realPath(h), path) {
				return false
			}
		}
		for _, d := range dirs {
			if within(d, path) {
				return true
			}
		}
		return false
	}
}

// secretFiles are the files that secrets were read from.
func (s *supervisor) secretFiles() []string {
	refs := []string{s.o.InferenceKey, s.o.ParentProxy}
	if d := s.rev.Load().doc.Inference; d != nil {
		refs = append(refs, d.Key)
	}
	for _, flag := range s.o.Secrets {
		if _, ref, ok := strings.Cut(flag, "="); ok {
			if at := strings.LastIndexByte(ref, '@'); at >= 0 {
				ref = ref[:at]
			}
			refs = append(refs, ref)
		}
	}
	var files []string
	for _, flag := range s.o.ClientCerts {
		if _, key, ok := strings.Cut(flag, ","); ok {
			refs = append(refs, "file:"+key)
		}
	}
	for _, ref := range refs {
		if path, ok := strings.CutPrefix(ref, "file:"); ok {
			if abs, err := filepath.Abs(path); err == nil {
				files = append(files, abs)
			}
		}
	}
	return files
}

// runAs reads process.run_as_*; "sandbox" and "" leave the choice to Creel.
func runAs(text string) (int, error) {
	if text == "" || text == "sandbox" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n > 4294967294 {
		return 0, fault.UsageError("read process section", fmt.Sprintf("%q is not an id", text))
	}
	return int(n), nil
}

// route holds the inference route in force; a reload may change it.
type route struct {
	roots   *x509.CertPool
	parents *parent.Proxies
	flags   Options
	routeHolder
}

// build makes the route that flags and document ask for together; nil is none.
func (r *route) build(doc *policy.Document) (*inference.Route, error) {
	conf := inference.Config{URL: r.flags.Inference, Model: r.flags.Model, RootCAs: r.roots}
	key := r.flags.InferenceKey
	if d := doc.Inference; d != nil {
		if conf.URL == "" {
			conf.URL, key = d.Backend, d.Key
		}
		if conf.Model == "" {
			conf.Model = d.Model
		}
		conf.Models = d.Models
		conf.Hosts = inference.ModelHosts(d)
		conf.ServerTools, conf.RemoteInputs = d.ServerTools, d.RemoteInputs
	}
	if r.parents != nil {
		conf.Dial = r.parents.DialContext
	}
	if conf.URL == "" {
		if r.flags.Model != "" {
			return nil, fault.UsageError("read --model", "there is no inference backend", "creel run --inference URL --model "+r.flags.Model+" -- …")
		}
		return nil, nil
	}
	if key != "" {
		v, err := secret.Resolve(key, r.flags.Getenv)
		if err != nil {
			var gone *secret.Unreadable
			if errors.As(err, &gone) {
				err = fmt.Errorf("%s: %w", gone.Ref, gone.Err)
			}
			hints := append(secretHints(err, []string{key}), "creel run --inference URL --inference-key env:VAR -- …")
			if errors.Is(err, secret.ErrNotSet) {
				hints = append(hints, "without a key: docs/agents.md")
			}
			return nil, fault.Wrap(err, "read inference key", fault.Usage, hints...)
		}
		conf.Key = v
	}
	next, err := inference.New(conf)
	if err != nil {
		return nil, fault.Wrap(err, "make inference route", fault.Usage)
	}
	return next, nil
}

// env gives agents a key to start with; they refuse to without one.
func (r *route) env() []string {
	if r.load() == nil {
		return nil
	}
	return inference.PlaceholderEnv()
}
