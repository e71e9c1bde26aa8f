package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/cli"
	"github.com/creel-run/creel/supervisor"
)

var (
	isScript  = supervisor.IsScript
	runScript = supervisor.RunScript
)

// run starts a sandbox for `creel run` and tells on standard error what happened.
func run(ctx context.Context, o cli.RunOptions) (int, error) {
	summary := audit.NewSummary()
	out := &console{w: o.IO.Err, json: o.JSON, quiet: o.Quiet}
	for _, w := range o.Warnings {
		out.notice(w)
	}
	result, err := supervisor.Run(ctx, supervisor.Options{
		Command: o.Command, Name: o.Name, Agent: o.Agent, KeepHome: o.KeepHome, Policy: o.Policy, PolicyFound: o.PolicyFound,
		Workspace: o.Workspace, ReadOnly: o.ReadOnly, CopyOnWrite: o.CopyOnWrite, Env: o.Env, Getenv: o.IO.Getenv, Audit: o.Audit,
		Inference: o.Inference, InferenceKey: o.InferenceKey, Model: o.Model, Secrets: o.Secrets,
		Upstreams: o.Upstreams, TrustCA: o.TrustCA, Middlewares: o.Middlewares, ClientCerts: o.ClientCerts, ParentProxy: o.ParentProxy, ParentProxyNames: o.ParentProxyNames, Resolver: o.Resolver,
		Resources: o.Resources,
		Stdin:     file(o.IO.In), Stdout: file(o.IO.Out), Stderr: file(o.IO.Err),
		Notice: out.notice,
		OnEvent: func(e audit.Event) {
			summary.Add(e)
			if o.JSON || o.Verbose {
				out.event(e)
			}
		},
	})
	if result == nil {
		return 0, err
	}
	switch {
	case o.JSON:
		out.encode(map[string]any{"summary": summary.Data(result.Suggest), "sandbox": result.Name, "audit": result.AuditPath, "exit": result.Code, "changed": result.Changed})
	case !o.Quiet:
		where, next := whereToAdd(o, os.Getenv("HOME"))
		_ = summary.Render(out, audit.SummaryOptions{Suggest: result.Suggest, Audit: result.AuditPath, Where: where, Next: next})
		if text := changed(result); text != "" {
			fmt.Fprintln(out, text)
		}
	}
	return result.Code, err
}

// whereToAdd names the policy file that suggested lines belong into, and what to
// type when they are there. A policy that is no file has to become one first, and
// none that is there already is written over.
func whereToAdd(o cli.RunOptions, home string) (where, next string) {
	if o.Policy != "" {
		return o.Policy, "then: creel policy check " + o.Policy
	}
	name, show, again := "creel.yaml", "creel policy default", "creel run"
	if o.Agent != nil {
		name, show, again = o.Agent.Name+".yaml", "creel agent policy "+o.Agent.Name, "creel run --agent "+o.Agent.Name
	}
	file := "~/" + name
	where = "a policy of your own (" + show + " > " + file + ")"
	if _, err := os.Lstat(filepath.Join(home, name)); home != "" && err == nil {
		where = "a policy of your own (" + file + " is there already)"
	}
	return where, "then: creel policy check " + file + " && " + again + " --policy " + file + " …"
}

// changed says what of a copy-on-write workspace waits for the operator.
func changed(r *supervisor.Result) string {
	if r.Changed == 0 {
		return ""
	}
	text := fmt.Sprintf("%d files changed", r.Changed)
	if r.Changed == 1 {
		text = "1 file changed"
	}
	if r.Protected > 0 {
		text += fmt.Sprintf(" (%d protected)", r.Protected)
	}
	return text + ": creel diff " + r.Name + ", then creel apply " + r.Name + " or creel discard " + r.Name
}

// file gives the descriptor behind a stream; nil if it is none.
func file(stream any) *os.File {
	f, _ := stream.(*os.File)
	return f
}

// console writes Creel's own lines beside the agent's. While the terminal is
// raw a line feed does not return the carriage, so every line ends with both.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	json  bool
	quiet bool
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.ReplaceAll(string(p), "\n", "\r\n")
	if f := file(c.w); f == nil || !isTerminal(f) {
		text = string(p)
	}
	_, err := io.WriteString(c.w, text)
	return len(p), err
}

func (c *console) notice(text string) {
	if c.quiet {
		return
	}
	if c.json {
		c.encode(map[string]string{"notice": text})
		return
	}
	fmt.Fprintln(c, "creel: "+audit.Printable(text))
}

func (c *console) event(e audit.Event) {
	if c.json {
		c.encode(e)
		return
	}
	fmt.Fprintln(c, "creel: "+cli.EventLine(e))
}

func (c *console) encode(v any) {
	b, err := json.Marshal(v)
	if err == nil {
		fmt.Fprintln(c, string(audit.PrintableJSON(b)))
	}
}
