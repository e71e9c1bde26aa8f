package selftest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/selftest/probe"
	"github.com/creel-run/creel/supervisor"
)

// wholeTime bounds a self-test; it takes about three seconds.
const wholeTime = 30 * time.Second

// Options say what is tested.
type Options struct {
	Policy      string // absolute path; empty: the built-in one
	PolicyFound bool   // as supervisor.Options
	Notice      func(string)
}

// secretHost is where the self-test's own secret is bound; it has no address.
const secretHost = "creel-selftest.invalid"

// layerOf gives the verdict that a row of the posture belongs to; others stand by themselves.
var layerOf = map[string]string{
	"user": probe.Privileges, "groups": probe.Privileges, "privileges": probe.Privileges,
	"masks": probe.Mounts, "files": probe.Mounts, "mounts": probe.Mounts,
	"init": probe.Processes, "terminal": probe.Processes, "core dumps": probe.Processes,
	"listeners": probe.Network, "protected": probe.Mounts,
	"memory": resources, "cpu": resources, "processes": resources, "limits": resources, "open files": resources, "disk": resources, "oom": resources,
}

const resources = "resources"

// Run attacks a sandbox from inside and looks at it from outside. An error means
// that there was no sandbox to judge.
func Run(ctx context.Context, o Options) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, wholeTime)
	defer cancel()
	begin := time.Now()
	t, err := prepare(o)
	if err != nil {
		return nil, fault.Wrap(err, "prepare self-test", fault.General)
	}
	defer t.Close()
	// First the one that is killed: what it leaves the next start collects.
	end := t.kill(ctx)
	results, posture, err := t.attack(ctx)
	if err != nil {
		return nil, err
	}
	all := &verdicts{}
	t.judgeInside(all, results)
	t.judgePosture(all, posture)
	t.judgeOutside(all)
	t.judgeLog(all)
	t.judgeDeath(all, end)

	r := &Report{OK: true, Policy: o.Policy, User: fmt.Sprintf("uid %d", os.Geteuid()), Millis: time.Since(begin).Milliseconds(), Version: 1}
	if r.Policy == "" {
		r.Policy = "built-in"
	}
	for _, v := range all.list {
		r.OK = r.OK && v.State == Enforced
		r.Layers = append(r.Layers, *v)
	}
	return r, nil
}

// test is one self-test under way.
type test struct {
	o         Options
	folder    string // everything of this test
	workspace string
	audit     string
	program   string // creel's own file
	mark      string
	secret    string
	out       *outside

	mu     sync.Mutex
	events []audit.Event
}

func prepare(o Options) (*test, error) {
	t := &test{o: o, mark: "creel-selftest-" + rand.Text(), secret: "selftest-secret-" + rand.Text()}
	exe, err := os.Executable()
	if err == nil {
		t.program, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return nil, fmt.Errorf("find creel's own file: %w", err)
	}
	if t.folder, err = os.MkdirTemp("", "creel-selftest-"); err != nil {
		return nil, err
	}
	if t.folder, err = filepath.EvalSymlinks(t.folder); err != nil {
		return nil, err
	}
	// Nothing but what the sandbox shows keeps its agent from the file in there.
	if err := os.Chmod(t.folder, 0o755); err != nil {
		t.Close()
		return nil, err
	}
	t.workspace, t.audit = filepath.Join(t.folder, "workspace"), filepath.Join(t.folder, "audit.jsonl")
	if err := os.Mkdir(t.workspace, 0o700); err != nil {
		t.Close()
		return nil, err
	}
	if t.out, err = newOutside(t.folder, t.workspace); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *test) Close() {
	if t.out != nil {
		t.out.Close()
	}
	_ = os.RemoveAll(t.folder)
}

// attack runs the sandbox and gives what the part inside tells, and the posture
// of the sandbox while it lived.
func (t *test) attack(ctx context.Context) ([]probe.Result, api.Posture, error) {
	var posture api.Posture
	turned := []byte(t.secret)
	slices.Reverse(turned)
	text, err := json.Marshal(orders{
		Addresses: t.out.addresses, Mark: t.mark, Sockets: t.out.sockets(), Files: []string{t.out.secret, "/etc/shadow", "/root/.ssh", t.audit},
		Turned: string(turned), Folders: []string{t.workspace, "/run", "/tmp", "/etc/ssl"},
	})
	if err != nil {
		return nil, posture, err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, posture, err
	}
	defer inR.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		_ = inW.Close()
		return nil, posture, err
	}
	defer outR.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, posture, err
	}
	defer null.Close()

	name := "selftest-" + strings.ToLower(rand.Text()[:8])
	type answer struct {
		results []probe.Result
		posture api.Posture
		err     error
	}
	told := make(chan answer, 1)
	// End of file lets the part inside end, also when it takes too long.
	defer context.AfterFunc(ctx, func() { _ = inW.Close() })()
	go func() { // ends with the pipe, which is closed after the run below
		var a answer
		line, err := bufio.NewReader(outR).ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &a.results)
		}
		if err == nil {
			var c *api.Client
			if c, err = api.Dial(name); err == nil {
				a.posture, err = c.Posture(ctx)
			}
		}
		a.err = err
		_ = inW.Close()
		told <- a
		_, _ = io.Copy(io.Discard, outR)
	}()
	result, err := supervisor.Run(ctx, supervisor.Options{
		Command: []string{t.program, role, "inside", string(text)}, Name: name, Policy: t.o.Policy, PolicyFound: t.o.PolicyFound,
		// Read-only: how much a folder of the host takes is that file system's to limit,
		// and would keep every host from a clean verdict.
		Workspace: t.workspace, ReadOnly: true, Audit: t.audit, Program: t.program,
		Secrets: []string{"SELFTEST=env:CREEL_SELFTEST@" + secretHost},
		Getenv: func(key string) (string, bool) {
			if key == "CREEL_SELFTEST" {
				return t.secret, true
			}
			return os.LookupEnv(key)
		},
		Stdin: inR, Stdout: outW, Stderr: null,
		Notice: t.o.Notice, OnEvent: t.event,
	})
	_ = outW.Close()
	a := <-told
	if err != nil {
		return nil, posture, err
	}
	if a.err != nil {
		return nil, posture, fault.Errorf("attack sandbox", "the part inside ended with %d: %v", result.Code, a.err)
	}
	return a.results, a.posture, nil
}

// event is called for each event, and at the start before the agent runs.
func (t *test) event(e audit.Event) {
	if e.Kind == audit.SandboxStart {
		_ = t.out.openLate() // without it the attempt finds nothing, and judgeOutside says so
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

func (t *test) judgeInside(all *verdicts, results []probe.Result) {
	refused := map[string]int{}
	for _, r := range results {
		v := all.of(r.Layer)
		v.Attempts++
		if r.Held {
			refused[r.Layer]++
			continue
		}
		v.add(Broken, r.Name+": "+r.Seen)
	}
	for _, v := range all.list {
		v.add(Enforced, fmt.Sprintf("%d of %d attempts from inside were refused", refused[v.Layer], v.Attempts))
	}
}

// judgePosture adds what the sandbox's own posture says.
func (t *test) judgePosture(all *verdicts, p api.Posture) {
	for _, l := range p.Layers {
		name := l.Name
		if into, ok := layerOf[name]; ok {
			name = into
		}
		state, text := Absent, l.Name+": "+l.Detail
		switch l.State {
		case api.Enforced:
			state = Enforced
		case api.Degraded:
			state = Degraded
		case api.Absent:
		}
		v := all.of(name)
		v.add(state, text)
		if state != Enforced && v.Fix == "" {
			v.Fix = l.Fix
		}
	}
	if len(p.Layers) == 0 {
		all.of("posture").add(Absent, "the sandbox tells no posture")
	}
}

// judgeOutside asks the servers that must not be reached.
func (t *test) judgeOutside(all *verdicts) {
	v := all.of(probe.Network)
	for _, s := range t.out.seen() {
		layer := v
		if strings.Contains(s, "unix") {
			layer = all.of(probe.UnixSockets)
		}
		layer.add(Broken, "outside arrived "+s)
	}
	if t.out.late == nil {
		all.of(probe.UnixSockets).add(Broken, "the socket that comes after the start could not be made")
	}
	v.add(Enforced, fmt.Sprintf("nothing arrived at %d addresses outside, of which %d answer from here", len(t.out.addresses), t.out.answering))
}

// judgeLog asks the audit log: the attempts stand in it as denials, with the
// program that made them, and its chain is whole.
func (t *test) judgeLog(all *verdicts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	denied, known := 0, 0
	for _, e := range t.events {
		if e.Kind != audit.Connect && e.Kind != audit.Request || e.Verdict != "deny" {
			continue
		}
		denied++
		if e.Binary == t.program {
			known++
		}
	}
	callers := all.of("callers")
	callers.Attempts = denied
	switch {
	case denied == 0:
		all.of("audit").add(Broken, "no denial was recorded, though connections were tried")
		callers.add(Broken, "no connection to tell the caller of")
	case known < denied:
		callers.add(Broken, fmt.Sprintf("the program is known of %d of %d connections", known, denied))
	default:
		callers.add(Enforced, fmt.Sprintf("%d denied connections, each with the program that made it", denied))
	}
	f, err := os.Open(t.audit)
	if err != nil {
		all.of("audit").add(Broken, err.Error())
		return
	}
	defer f.Close()
	r, err := audit.Verify(f)
	if err != nil || !r.OK() {
		all.of("audit").add(Broken, fmt.Sprintf("the log does not verify: %v %v", err, r))
		return
	}
	all.of("audit").add(Enforced, fmt.Sprintf("%d events, %d of them denials; the chain is whole", len(t.events), denied))
}

// ended is how the sandbox ended whose supervisor was killed.
type ended struct {
	name string
	took time.Duration
	err  error
}

// kill starts a sandbox and kills its supervisor.
func (t *test) kill(ctx context.Context) ended {
	e := ended{name: "selftest-" + strings.ToLower(rand.Text()[:8])}
	ws := filepath.Join(t.folder, "killed")
	if e.err = os.Mkdir(ws, 0o700); e.err == nil {
		e.took, e.err = death(ctx, held{Name: e.name, Policy: t.o.Policy, Found: t.o.PolicyFound, Workspace: ws, Audit: filepath.Join(t.folder, "killed.jsonl"), Program: t.program})
	}
	return e
}

// judgeDeath: nobody outlived the supervisor, and the start after it collected
// what it left.
func (t *test) judgeDeath(all *verdicts, e ended) {
	v := all.of("death")
	v.Attempts = 1
	if e.err != nil {
		v.add(Broken, e.err.Error())
		return
	}
	v.add(Enforced, fmt.Sprintf("killed a supervisor: the last process inside was gone after %s", e.took.Round(100*time.Microsecond)))
	dir, err := api.RuntimeDir()
	if err != nil {
		v.add(Broken, err.Error())
		return
	}
	if _, err := os.Lstat(filepath.Join(dir, e.name)); !errors.Is(err, os.ErrNotExist) {
		v.add(Degraded, fmt.Sprintf("the next start did not collect %s %v", filepath.Join(dir, e.name), err))
		return
	}
	v.add(Enforced, "the next start collected what it left")
}
