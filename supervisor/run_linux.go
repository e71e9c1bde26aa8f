package supervisor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/cow"
	"github.com/creel-run/creel/credential"
	"github.com/creel-run/creel/egress"
	"github.com/creel-run/creel/egress/parent"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/middleware/external"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/protected"
	"github.com/creel-run/creel/sandbox"
	"github.com/creel-run/creel/sandbox/caller"
	"golang.org/x/sys/unix"
)

// supervisor is one running sandbox with all that serves it.
type supervisor struct {
	o       Options
	name    string
	started time.Time

	source   *source
	trust    trust
	areas    areas
	mode     policy.WorkspaceMode
	found    protected.Found // what of the workspace's protected paths there is
	watched  *pending
	layer    *cow.Layer // of a copy-on-write workspace
	left     changes
	applying sync.Mutex // one application of changes at a time
	rev      atomic.Pointer[revision]
	reload   sync.Mutex    // one reload at a time
	moved    chan struct{} // another file is the policy now
	refused  bool          // the last save was not taken; the watcher's own
	watches  watches
	hinted   sync.Once // what to do when nothing can be watched

	socket   *api.Socket
	log      *audit.Log
	counts   counter
	who      person
	homeFrom string // host folder of the agent's home; empty: it is thrown away
	box      *sandbox.Sandbox
	egress   *egress.Server
	route    *route
	names    *names

	bound    *credential.Set     // of --secret; nil: not read yet, or none
	services []*external.Service // of --middleware
	parents  *parent.Proxies     // nil: none

	callers atomic.Pointer[caller.Tracker] // for the posture

	terminal *terminal
	stop     context.CancelCauseFunc
	stopping atomic.Bool
	killed   atomic.Bool   // by the third signal
	hurry    chan struct{} // closed when the operator wants the end
	hasten   func()        // closes it

	ran       bool        // the agent was started
	unaudited atomic.Bool // the audit has failed, and the operator was told
}

var (
	errStopped = errors.New("stopped by the operator") // a run that `creel stop` asked to end
	errKilled  = errors.New("the sandbox was killed at the third signal")
)

// Run starts a sandbox and returns when it has ended. Nothing is started when
// the input is wrong (fault.Usage) or the host cannot (fault.Host). There is no
// Result of an agent that was never started.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	s := &supervisor{o: o, name: o.Name, started: time.Now(), who: whoAmI(), moved: make(chan struct{}, 1), hurry: make(chan struct{})}
	s.hasten = sync.OnceFunc(func() { close(s.hurry) })
	if o.Agent != nil {
		s.who.home = o.Agent.Home
	}
	if s.name == "" {
		s.name = makeName(nameFor(o))
	}
	// A core dump of this process would hold every secret. It stays dumpable: the
	// kernel lets only such a process write its child's id maps.
	if err := dumpNoCore(); err != nil {
		return nil, fault.Wrap(err, "switch core dumps off", fault.Host)
	}
	// net/http writes what an upstream sends unasked to the global log, and that may
	// hold a secret; Creel's own lines do not go that way.
	log.SetOutput(io.Discard)
	defer deferCollection()()
	if err := s.openMiddlewares(); err != nil {
		return nil, err
	}
	defer s.closeMiddlewares()
	early := startAhead()
	defer early.Close()
	if err := s.loadPolicy(); err != nil {
		return nil, err
	}
	parts, err := s.prepare(ctx)
	if err != nil {
		return nil, err
	}
	defer parts.closeScripts()
	parts.ahead = early
	defer func() {
		if r := s.rev.Load().names; r != nil {
			r.Close()
		}
	}()
	s.tellAgent()
	socket, err := api.Listen(s.name)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	s.socket = socket
	if err := collect(socket.Dir()); err != nil { // of a dead sandbox with this name
		s.o.Notice("left by a sandbox that was killed: " + err.Error())
	}
	// After the end: what is ours is empty by then, and only the record is left.
	defer func() { _ = collect(socket.Dir()) }()
	if err := s.openAudit(); err != nil {
		return nil, err
	}
	defer s.log.Close()
	s.catchUp() // before the files that an agent left are taken for the operator's

	ctx, s.stop = context.WithCancelCause(ctx)
	defer s.stop(nil)
	code, err := s.serve(ctx, parts, socket)
	if !s.ran {
		if derr := s.log.Discard(); derr != nil {
			s.o.Notice(derr.Error())
		}
		if err != nil {
			return nil, err
		}
	}
	result := &Result{
		Code: code, Name: s.name, AuditPath: s.log.Path(), Policy: s.policyName(),
		Started: s.started, Elapsed: time.Since(s.started), Suggest: s.suggest,
	}
	result.Changed, result.Protected = s.left.n, s.left.protected
	if s.box != nil {
		result.Degraded = s.box.Degraded
	}
	return result, err
}

func (s *supervisor) loadPolicy() error {
	var err error
	if s.trust, err = openTrust(); err != nil {
		return err
	}
	if s.source, err = findPolicy(s.o, s.trust); err != nil {
		return err
	}
	s.source.known = s.middlewares
	rev, warnings, err := s.source.compile(1)
	if err != nil {
		return err
	}
	if err := s.source.modest(rev.doc); err != nil {
		return err
	}
	s.areas, s.mode = writableAreas(s.o, rev.doc), workspaceMode(s.o, rev.doc)
	if s.mode == policy.CopyOnWrite && !rev.doc.Filesystem.IncludeWorkdir {
		return fault.UsageError("start sandbox", "a copy-on-write workspace needs include_workdir: true in the policy")
	}
	if err := s.contradiction(rev.doc); err != nil {
		return err
	}
	if err := s.source.expose(s.areas); err != nil {
		return err
	}
	if err := s.guardSockets(); err != nil {
		return err
	}
	if err := s.keepApart(); err != nil {
		return err
	}
	for _, w := range warnings {
		s.o.Notice(w.Line())
	}
	for _, path := range s.source.exposedFiles() {
		s.o.Notice("the policy " + path + " lies where the agent can write; it is read-only for the agent, and is taken again only when it is saved in place")
	}
	s.rev.Store(rev)
	return nil
}

// keepApart refuses to start where the agent could write Creel's own folders: it
// would trust policies for the operator there, or answer for its supervisor.
func (s *supervisor) keepApart() error {
	if dir := s.areas.touching(filepath.Dir(s.trust.folder)); dir != "" {
		return fault.UsageError("start sandbox", "Creel's own state ("+filepath.Dir(s.trust.folder)+") and "+dir+", where the agent can write, lie in each other",
			append([]string{"choose a narrower workspace or read_write path"}, api.MoveHints("or move the state: export XDG_STATE_HOME=DIR")...)...)
	}
	runtime, err := api.RuntimeDir()
	if err != nil {
		return err
	}
	if dir := s.areas.touching(runtime); dir != "" {
		return fault.UsageError("start sandbox", "Creel's control sockets ("+runtime+") and "+dir+", where the agent can write, lie in each other",
			append([]string{"choose a narrower workspace or read_write path"}, api.MoveHints("or move the sockets: export XDG_RUNTIME_DIR=DIR")...)...)
	}
	return nil
}

func (s *supervisor) policyName() string {
	if s.source.path == "" {
		return s.source.name
	}
	return s.source.path
}

// openAudit opens the log outside of what the agent can write.
func (s *supervisor) openAudit() error {
	path := s.o.Audit
	if path == "" {
		state, err := api.StateDir()
		if err != nil {
			return err
		}
		path = filepath.Join(state, "audit", fmt.Sprintf("%s-%s.jsonl", s.name, s.started.UTC().Format("20060102T150405.000")))
	}
	if dir := s.areas.holding(path); dir != "" {
		return fault.UsageError("open audit log", path+" lies below "+dir+", where the agent could rewrite it",
			"leave --audit out: the log goes to the state folder", "or name a file outside of "+dir)
	}
	log, err := audit.Open(path, s.name)
	if err != nil {
		return fault.Wrap(err, "open audit log", fault.Usage, "name another file with --audit")
	}
	log.Tee(s.counts.add)
	if s.o.OnEvent != nil {
		log.Tee(s.o.OnEvent)
	}
	s.log = log
	return nil
}

// nameFor is the word that a name is made from.
func nameFor(o Options) string {
	if o.Agent != nil {
		return o.Agent.Name
	}
	return o.Command[0]
}

// makeName gives a sandbox a name from its command.
func makeName(command string) string {
	base := strings.ToLower(filepath.Base(command))
	var b strings.Builder
	for _, r := range base {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		}
	}
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	prefix := b.String()
	if prefix == "" {
		prefix = "sandbox"
	}
	return prefix[:min(len(prefix), 32)] + "-" + hex.EncodeToString(id[:])
}

// serve runs the sandbox; its parts are started before the agent execs and end
// after it.
func (s *supervisor) serve(ctx context.Context, p *prepared, socket *api.Socket) (int, error) {
	terminal, err := openTerminal(s.o.Stdin, s.o.Stdout, s.o.Stderr)
	if err != nil {
		return fault.Internal, err
	}
	s.terminal = terminal
	if err := s.takeLayer(); err != nil {
		return fault.Usage, err
	}
	defer s.settleLayer()
	config, err := s.sandboxConfig(p)
	if err != nil {
		return fault.Usage, err
	}
	heard := hear() // while the sandbox is built
	defer heard.stop()
	if s.box, err = p.ahead.begun.Start(ctx, config); err != nil {
		if ofCommand(err) { // it is looked for before the agent is made
			return commandError(err, s.o.Command[0], s.o.Workspace)
		}
		return fault.Host, hostError(err)
	}
	defer s.box.Close()
	for _, d := range s.box.Degraded {
		s.o.Notice("degraded: " + d)
	}

	var wg sync.WaitGroup
	failed := make(chan error, 8)
	inner, cancel := context.WithCancel(ctx)
	defer wg.Wait()
	defer cancel()
	start := func(what string, run func(context.Context) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := run(inner); err != nil && inner.Err() == nil {
				failed <- fmt.Errorf("%s: %w", what, err)
				s.box.Kill()
			}
		}()
	}
	if err := s.startNetwork(p, start); err != nil {
		return fault.Internal, err
	}
	start("serve control socket", func(ctx context.Context) error { return api.Serve(ctx, socket, s) })
	if err := s.recordStart(); err != nil {
		return fault.Internal, err
	}
	fail := func(code int, err error) (int, error) { // the log of a start that is in it has an end
		s.box.End()
		s.sweep()
		_ = s.recordExit(code, err.Error())
		return code, err
	}
	if err := s.rememberPolicy(); err != nil {
		return fail(fault.Internal, err)
	}
	if err := s.promise(); err != nil {
		return fail(fault.Internal, err)
	}
	caught := heard.all() // from here on there is an agent to take them
	start("watch files", s.watchFiles)
	start("watch covered paths", s.watchCovers)
	if err := s.box.Release(ctx); err != nil {
		return fail(commandError(err, s.o.Command[0], s.o.Workspace))
	}
	s.ran = true
	start("collect leftovers", func(context.Context) error {
		if err := api.Left(collect); err != nil {
			s.o.Notice("left by a sandbox that was killed: " + err.Error())
		}
		s.box.SweepGroups()
		return nil
	})
	exit, seen, err := s.relay(inner, caught)
	code := exit.Code()
	select {
	case cause := <-failed:
		err = cause
	default:
	}
	if s.egress != nil {
		s.egress.Abort()
	}
	reason := strings.Join(s.box.Hits(exit), "; ")
	if reason != "" {
		s.o.Notice(reason)
	}
	s.box.End()
	s.sweep()
	s.settleLayer()
	if s.stopping.Load() {
		reason, err = errStopped.Error(), nil
		if !seen {
			code = fault.Signal + int(syscall.SIGKILL)
		}
	} else if s.killed.Load() && !seen {
		s.o.Notice(errKilled.Error())
		code, reason, err = fault.Signal+int(syscall.SIGKILL), errKilled.Error(), nil
	}
	if err != nil {
		code, reason = fault.Internal, err.Error()
		err = fault.Wrap(err, "", code)
	}
	if rerr := s.recordExit(code, reason); err == nil && rerr != nil {
		err = fault.Wrap(rerr, "end sandbox", fault.Internal)
	}
	start("write the audit log to disk", func(context.Context) error { // while the rest is taken down
		if err := s.log.Sync(); err != nil {
			s.o.Notice(err.Error())
		}
		return nil
	})
	return code, err
}

func (s *supervisor) recordStart() error {
	detail := map[string]string{
		"command": strings.Join(s.o.Command, " "), "workspace": s.o.Workspace, "policy": s.policyName(),
		"policy_sha256": digest(s.source.text()), "uid": strconv.Itoa(s.box.UID),
	}
	if s.mode != policy.ReadWrite {
		detail["workspace_mode"] = s.mode.String()
	}
	if n := len(s.protectedPaths()); n > 0 {
		detail["protected"] = strconv.Itoa(n)
	}
	if opened := s.rev.Load().doc.Filesystem.Workspace.WritableProtected; len(opened) > 0 {
		detail["writable_protected"] = strings.Join(opened, " ")
	}
	if s.o.Agent != nil {
		detail["agent"], detail["home"] = s.o.Agent.Name, s.homeFrom
	}
	if len(s.box.Degraded) > 0 {
		detail["degraded"] = strings.Join(s.box.Degraded, "; ")
	}
	if len(s.o.Middlewares) > 0 {
		detail["middlewares"] = strings.Join(s.o.Middlewares, " ")
	}
	if len(s.o.Upstreams) > 0 {
		detail["upstreams"] = strings.Join(s.o.Upstreams, " ")
	}
	if len(s.o.ClientCerts) > 0 {
		detail["client_certs"] = strings.Join(s.o.ClientCerts, " ")
	}
	s.names.note(detail, s.rev.Load().doc)
	if s.parents != nil {
		detail["parent_proxy"] = s.parents.String()
		if s.parents.ByName() {
			detail["addresses"] = "not checked: the parent proxy resolves names"
		}
	}
	if err := s.log.Record(audit.Event{Kind: audit.SandboxStart, PID: s.box.InitPID, Detail: detail}); err != nil {
		return fault.Wrap(err, "start sandbox", fault.Internal)
	}
	return s.log.Record(audit.Event{Kind: audit.PolicyLoad, Detail: map[string]string{
		"revision": "1", "policy": s.policyName(), "policy_sha256": digest(s.source.text()),
	}})
}

func (s *supervisor) recordExit(code int, reason string) error {
	return s.log.Record(audit.Event{Kind: audit.SandboxExit, Status: code, Reason: reason, Millis: time.Since(s.started).Milliseconds(), Detail: s.left.detail()})
}

// suggest gives the policy lines that would have allowed what was denied. What a
// known agent calls by itself gets a remark: it works without.
func (s *supervisor) suggest(e audit.Entry) audit.Proposal {
	if a := s.o.Agent; a != nil {
		for _, c := range a.Contacts {
			if c.Host == e.Host {
				return audit.Proposal{Note: fmt.Sprintf("# %s: %s calls it by itself for %s, and works without", c.Host, a.Title, c.Why)}
			}
		}
	}
	return audit.SuggestFor(s.rev.Load().engine)(e)
}

// hostError gives a start that failed its exit status and hints.
func hostError(err error) error {
	var planted *sandbox.LinkError
	if errors.As(err, &planted) {
		return fault.Wrap(err, "start sandbox", fault.Usage, planted.Hint())
	}
	var shown *sandbox.CoverError
	if errors.As(err, &shown) {
		return fault.Wrap(err, "start sandbox", fault.Usage, shown.Fix)
	}
	var missing *sandbox.NotSupported
	if errors.As(err, &missing) {
		hints := []string{"creel doctor"}
		if missing.Fix != "" {
			hints = append([]string{missing.Fix}, hints...)
		}
		return fault.Wrap(err, "start sandbox", fault.Host, hints...)
	}
	if errors.Is(err, syscall.EPERM) { // root without power, in a container mostly
		return fault.Wrap(err, "start sandbox", fault.Host, "creel doctor")
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return fault.Wrap(err, "start sandbox", fault.Usage, "correct the path in filesystem_policy, or mark it optional: {path: PATH, optional: true}")
	}
	return fault.Wrap(err, "start sandbox", fault.Internal, "creel doctor")
}

// ofCommand reports whether the command itself was at fault, not what the
// sandbox does to itself before it.
func ofCommand(err error) bool {
	var c *sandbox.CommandError
	return errors.As(err, &c) && (c.Step == "find command" || c.Step == "exec")
}

// commandError gives a command that could not be started the status of a shell.
func commandError(err error, command, workspace string) (int, error) {
	var c *sandbox.CommandError
	if !errors.As(err, &c) || !ofCommand(err) {
		return fault.Internal, fault.Wrap(err, "start command", fault.Internal)
	}
	switch syscall.Errno(c.Errno) {
	case syscall.ENOENT, syscall.ENOTDIR:
		return fault.NotFound, fault.Wrap(err, "start command", fault.NotFound, missingHints(command)...)
	case syscall.EACCES, syscall.ENOEXEC, syscall.EPERM:
		return fault.NotExecutable, fault.Wrap(err, "start command", fault.NotExecutable, noExecHints(command, workspace)...)
	}
	return fault.Internal, fault.Wrap(err, "start command", fault.Internal)
}

// noExecHints: a file that was named, and that nobody may execute.
func noExecHints(command, workspace string) []string {
	if !strings.Contains(command, "/") {
		return nil
	}
	path := command
	if !filepath.IsAbs(path) {
		path = filepath.Join(workspace, path)
	}
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 != 0 {
		return nil
	}
	if !within(realPath(workspace), realPath(path)) {
		return []string{"name a program, or the one that reads it: creel run -- sh " + command}
	}
	return []string{"chmod +x " + command}
}

// missingHints say where the host has a program that is not there inside.
func missingHints(command string) []string {
	found, err := exec.LookPath(command)
	if err == nil {
		found, err = filepath.Abs(found)
	}
	if err != nil {
		return []string{"only declared paths exist inside: add the program's folder to filesystem_policy.read_only", "creel run -- ls -l /usr/bin  (what exists inside)"}
	}
	hint := "the host has " + found
	folders := []string{filepath.Dir(found)}
	if real, err := filepath.EvalSymlinks(found); err == nil && real != found {
		hint += ", which is " + real
		folders = append(folders, filepath.Dir(real))
	}
	slices.Sort(folders)
	return []string{hint + "; only declared paths exist inside",
		"add to filesystem_policy.read_only: " + strings.Join(slices.Compact(folders), ", ") + "  (and what the program needs beside it)"}
}

// dumpNoCore sets the limit 1, which a core_pattern that is a pipe respects; 0
// is for files alone (core(5)). Where the hard limit is 0 already it stays.
func dumpNoCore() error {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &now); err != nil {
		return err
	}
	if now.Max == 0 {
		return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	}
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1})
}
