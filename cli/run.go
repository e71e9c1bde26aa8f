package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/agents"
	"github.com/creel-run/creel/fault"
)

func newRun(streams IO) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] [--] COMMAND [ARGS…]\n  creel run --agent NAME [flags] [-- ARGS…]",
		Short: "Run a command in a sandbox, in the foreground",
		Long: `Run a command in a sandbox of its own, in the foreground, without a daemon.

The command sees the workspace and what the policy names. Its network ends in
creel, which judges every connection and request. The policy is read from
--policy, else from creel.yaml in the workspace, else a restrictive built-in one
holds (creel policy default). Saving the file while the sandbox runs puts it
into force.

The command's home folder is empty at the start and thrown away at the end.

With --agent the command is a known agent: creel finds its program, points it at
the model route, and takes its own policy if you give none. With --name its home
is kept, and is there at the next start under that name.

Flags end at the first word that is none: what follows belongs to the command.`,
		Example: `  creel run -- bash
  creel run --agent claude -- -p "what is in this folder?"
  creel run --agent openclaw --name my-claw
  creel run --policy agent.yaml --workspace ~/src/project:rw -- claude
  creel run --workspace .:cow --name fix -- codex   # then: creel diff fix; creel apply fix
  creel run --inference https://models.example.test/v1 --inference-key env:KEY --model big -- codex
  creel run --memory 2G --cpu 1.5 --pids 512 -- npm test
  creel run --secret GH_TOKEN=env:GH_TOKEN@api.example.test:Authorization -- gh pr list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRun(cmd.Context(), f, args, streams)
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.SortFlags = false
	fl.StringVar(&f.agent, "agent", "", "`NAME` of a known agent (creel agent list), or the path of a manifest: start its program; the words are its arguments")
	fl.StringVar(&f.agentRoot, "agent-root", "", "`DIR` where the agent is installed (default: found along PATH)")
	fl.BoolVar(&f.agentShell, "agent-shell", false, "run the words as a command where the agent would be, with $CREEL_AGENT to start it")
	fl.StringVar(&f.policy, "policy", "", "policy `FILE` (default creel.yaml in the workspace, else the agent's, else built in)")
	fl.StringVar(&f.workspace, "workspace", "", "`DIR[:rw|ro|cow]` that the command works in (default the current folder, rw); cow keeps its changes apart: creel diff")
	fl.StringArrayVar(&f.env, "env", nil, "`KEY[=VALUE]` for the command's environment; without value: the one it has here (repeat)")
	fl.StringArrayVar(&f.secrets, "secret", nil, "`NAME=env:VAR|file:PATH@HOST[:HEADER]`: the command gets a placeholder, the host the value (repeat)")
	fl.StringArrayVar(&f.middlewares, "middleware", nil, "`NAME=ENDPOINT`: a program of yours that a policy may name to look at what is sent, as guard=unix:///run/guard.sock (repeat)")
	fl.StringVar(&f.inference, "inference", "", "base `URL` of the model backend that answers all model requests")
	fl.StringVar(&f.inferenceKey, "inference-key", "", "where the backend's key is: `env:VAR|file:PATH`")
	fl.StringVar(&f.model, "model", "", "send every model request to this model `NAME`")
	fl.StringArrayVar(&f.upstreams, "upstream", nil, "`HOST:PORT=ADDR:PORT`: dial your own service there for this host, whatever its name resolves to (repeat)")
	fl.StringArrayVar(&f.trustCA, "trust-ca", nil, "`FILE` with certificates to trust besides the system's when creel dials (repeat)")
	fl.StringArrayVar(&f.clientCerts, "client-cert", nil, "`HOST[:PORT]=CERT,KEY`: files that prove who you are to this host when creel dials; the command never sees them (repeat)")
	fl.StringVar(&f.parentProxy, "parent-proxy", "env", "the proxy that the internet lies behind: `env|none|URL|env:VAR|file:PATH|pac:FILE`; env reads HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY here; pac runs a proxy script, away from all secrets")
	fl.BoolVar(&f.parentProxyNames, "parent-proxy-names", false, "let that proxy resolve names: the addresses behind them are not checked then")
	fl.StringVar(&f.resolver, "resolver", "", "who is asked what the names of allowed hosts mean: `host|ADDR[:PORT]|tls://NAME|https://URL` (default the policy's dns.upstream, else host)")
	fl.StringVar(&f.memory, "memory", "", "most memory, `SIZE` like 512M or 2G, of all its processes together (default three quarters of the machine's)")
	fl.StringVar(&f.cpu, "cpu", "", "most processors, `N` like 0.5 or 2 (default no limit)")
	fl.StringVar(&f.pids, "pids", "", "most processes and threads, `N` (default 2048)")
	fl.StringVar(&f.disk, "disk", "", "most bytes, `SIZE`, in the sandbox's own folders together and in any single file")
	fl.StringVar(&f.limits, "limits", "", "`hard_requirement|best_effort`: whether a limit that this host cannot enforce stops the start (default it does)")
	fl.StringVar(&f.name, "name", "", "`NAME` of the sandbox (default made from the command); an agent of --agent keeps its home under it")
	fl.StringVar(&f.audit, "audit", "", "audit log `FILE` (default in the state folder)")
	fl.BoolVar(&f.json, "json", false, "print events and the summary as JSON lines on standard error")
	fl.BoolVar(&f.quiet, "quiet", false, "print no warnings and no summary")
	fl.BoolVar(&f.verbose, "verbose", false, "print every decision as it is made")
	// It fails only for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("agent", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return agents.Names(), cobra.ShellCompDirectiveDefault
	})
	return cmd
}

func runRun(ctx context.Context, f runFlags, args []string, streams IO) error {
	o, err := f.options(args, streams)
	if err != nil {
		return err
	}
	if streams.Run == nil {
		return fault.HostError("start sandbox", "sandboxes run on Linux only", "run creel on a Linux machine, or in a Linux virtual machine")
	}
	exit, err := streams.Run(ctx, o)
	if err != nil {
		return err
	}
	if exit != 0 {
		return Status(exit)
	}
	return nil
}
