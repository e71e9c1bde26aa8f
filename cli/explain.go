package cli

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/inference"
	"github.com/creel-run/creel/netname"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/expect"
)

type explainFlags struct {
	expect.Asked
	binary, sha256, host, at, published string
	port                                uint16
	inference, json                     bool
}

const wantPort = "a port of 1..65535"

func newPolicyExplain(streams IO) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain FILE --host HOST [--port N] [--binary PATH] [--method M --path P] [--graphql TYPE:FIELD] [--rpc-method M] [--tool T [--argument N=T]] [--text]",
		Short: "Say what a policy does with one connection or request, and why",
		Long: `Say what a policy does with one connection or request, and why: the rule that
decides, or the nearest rule with what of it does not match, and the lines that
would allow it.

Without --method and --path it judges the connection. What the body of a request
holds is told with --graphql, --rpc-method and --tool, whose method is POST
unless --method is given; --text makes it a text message of a WebSocket that was
opened with --path. A gRPC call is told with --service and --grpc-method alone, and
what of MCP is no call with --response, --stream or --ends. How old the version of a
package is follows from --published. Exit status 0 means that an answer was given, whatever it is.`,
		Example: `  creel policy explain creel.yaml --binary /usr/bin/curl --host api.example.test --method GET --path /v1/items
  creel policy explain creel.yaml --host api.example.test --path /graphql --graphql mutation:createIssue
  creel policy explain creel.yaml --host mcp.example.test --path /mcp --tool read_file --argument path=/work/a
  creel policy explain creel.yaml --host ws.example.test --path /chat --text
  creel policy explain creel.yaml --host npm.example.test --method GET --path /left-pad/-/left-pad-1.3.0.tgz --published 2026-12-01T00:00:00Z
  creel policy explain creel.yaml --host git.example.test --method POST --path /team/app/git-receive-pack --ref refs/heads/agent/x`,
		Args: exactly(1),
		RunE: func(_ *cobra.Command, args []string) error { return runPolicyExplain(args[0], f, streams) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&f.host, "host", "", "host name or address")
	fl.Uint16Var(&f.port, "port", 443, "port")
	want(fl, "port", wantPort)
	fl.StringVar(&f.binary, "binary", "", "path of the calling program (default: unknown)")
	fl.StringVar(&f.sha256, "sha256", "", "digest of the calling program, for rules that name one")
	fl.StringVar(&f.Method, "method", "", "method of an HTTP request")
	fl.StringVar(&f.Path, "path", "", "path of an HTTP request, with its query")
	fl.StringVar(&f.at, "at", "", "the time to judge at, like 2026-12-31T18:00:00Z (default: now)")
	fl.StringArrayVar(&f.GraphQL, "graphql", nil, "a GraphQL operation: query:FIELD,FIELD (or mutation, subscription), or hash:KEY, id:KEY of a persisted one; repeated for a batch")
	fl.StringVar(&f.Operation, "operation", "", "name of the GraphQL operation")
	fl.StringArrayVar(&f.RPC, "rpc-method", nil, "method of a JSON-RPC or MCP call; repeated for a batch")
	fl.StringVar(&f.Tool, "tool", "", "tool that an MCP call of tools/call names")
	fl.StringArrayVar(&f.Arguments, "argument", nil, "an argument of the tool, NAME=TEXT; repeated for several")
	fl.BoolVar(&f.Response, "response", false, "an answer of the client to an MCP server")
	fl.BoolVar(&f.Stream, "stream", false, "the opening of the stream from an MCP server")
	fl.BoolVar(&f.Ends, "ends", false, "the end of a session of MCP")
	fl.StringVar(&f.Service, "service", "", "service of a gRPC call, like acme.v1.Greeter")
	fl.StringVar(&f.GRPC, "grpc-method", "", "method of the gRPC service")
	fl.StringVar(&f.published, "published", "", "when the version of a package appeared, like 2026-12-01T00:00:00Z, for min_age (default: not known)")
	fl.StringArrayVar(&f.Refs, "ref", nil, "a ref that a Git push changes, like refs/heads/agent/x; repeated for several")
	fl.BoolVar(&f.Force, "force", false, "the push may leave commits behind")
	fl.BoolVar(&f.Delete, "delete", false, "the push removes the refs")
	fl.BoolVar(&f.Text, "text", false, "a text message of a WebSocket client, and not the request that opens it")
	fl.BoolVar(&f.inference, "inference", false, "as under run --inference: model hosts are rerouted")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func runPolicyExplain(file string, f explainFlags, streams IO) error {
	const op = "read flags"
	if f.host == "" {
		return fault.UsageError(op, "--host is needed", "creel policy explain --help")
	}
	if err := f.Check(); err != nil {
		return fault.Wrap(err, op, fault.Usage, "creel policy explain --help")
	}
	f.Asked = f.Whole()
	switch {
	case f.Inspects() && f.Path == "":
		return fault.UsageError(op, "--path is missing: a request has one", "add --path /…")
	case f.Path != "" && !f.Inspects():
		return fault.UsageError(op, "--path belongs to a request: to --method, --graphql, --rpc-method, --tool or --text")
	case f.published != "" && !f.Inspects():
		return fault.UsageError(op, "--published belongs to a request: to --method and --path")
	}
	if f.port == 0 {
		return fault.UsageError(op, "found --port 0, want "+wantPort, "--port 443")
	}
	host, err := netname.ParseHost(f.host)
	if err != nil {
		return fault.Wrap(err, "read --host", fault.Usage, hostHint(f.host)...)
	}
	if f.binary != "" && !filepath.IsAbs(f.binary) {
		return fault.UsageError("read --binary", quote(f.binary)+" is no absolute path", binaryHint(f.binary, streams)...)
	}
	now := time.Now()
	for _, said := range []struct {
		flag, text string
		to         *time.Time
	}{{"--at", f.at, &now}, {"--published", f.published, &f.Published}} {
		if said.text == "" {
			continue
		}
		if *said.to, err = time.Parse(time.RFC3339, said.text); err != nil || said.to.IsZero() {
			return fault.UsageError(op, "found "+said.flag+" "+policy.Show(said.text)+", want a time like 2026-12-31T18:00:00Z", "date, T, time, and Z or a difference from UTC such as +02:00 (RFC 3339)")
		}
	}
	doc, engine, warnings, err := loadPolicy(file, streams)
	if err != nil {
		return err
	}
	printWarnings(streams.Err, warnings)
	conn := policy.Connection{Host: host, Port: f.port, Binary: f.binary, KnownCaller: f.binary != "", SHA256: strings.ToLower(f.sha256),
		Now: now, Uses: new(policy.Uses)}
	var x policy.Explanation
	route, err := claimedHosts(f.inference, doc)
	if err != nil {
		return err
	}
	defer route.Close()
	if route.Claims(host, f.port) {
		x.Verdict = policy.Reroute
		x.Reason = "the inference route answers this host; rules about it do not count"
	} else {
		var governing *policy.Endpoint
		x, governing, err = expect.Explain(engine, conn, f.Asked)
		if err != nil {
			var hints []string
			if !strings.HasPrefix(f.Path, "/") {
				hints = append(hints, "--path "+quote("/"+f.Path))
			}
			return fault.Wrap(err, "read --path", fault.Usage, hints...)
		}
		x = expect.Routed(x, route)
		if unread := f.Unread(governing); len(unread) > 0 {
			flag := "--" + strings.ReplaceAll(unread[0].Word, "_", "-")
			return fault.UsageError("read flags", fmt.Sprintf("%s is read by nothing at the endpoint at %s, which is protocol: %s", flag, governing.At, governing.Protocol),
				unread[0].Hint)
		}
		remark(streams.Err, f.Asked, governing)
		models, err := inference.Guarded(doc)
		if err != nil {
			return fault.Wrap(err, "read inference hosts", fault.Usage)
		}
		if x.Verdict == policy.Allow && !x.Connection.Inspect && models.Has(host) {
			x.Verdict, x.Reason = policy.Deny, inference.Uninspected
		}
	}
	if len(policy.Unenforced(doc)) > 0 {
		line(streams.Err, "note: creel run refuses this policy, because it does not enforce all of it yet: creel policy check %s", file)
	}
	if f.json {
		return writeJSON(streams.Out, x)
	}
	return printExplanation(streams.Out, file, f, x)
}

// remark says which flag is missing where the endpoint judges more than
// method and path.
func remark(w io.Writer, a expect.Asked, governing *policy.Endpoint) {
	switch {
	case governing == nil:
	case (governing.Protocol == policy.GraphQL || a.Text && governing.GraphQLMessages()) && len(a.GraphQL) == 0:
		line(w, "note: what is asked there are GraphQL operations: add --graphql TYPE:FIELD")
	case governing.Protocol == policy.Git && len(a.Refs) == 0 && strings.HasSuffix(a.Path, "/git-receive-pack"):
		line(w, "note: a push is judged by the refs that it changes: add --ref refs/heads/NAME")
	case governing.Protocol == policy.Package && a.Published.IsZero() && slices.ContainsFunc(governing.Allow, func(r policy.RequestRule) bool { return r.MinAge > 0 }):
		line(w, "note: the age of a version counts there: add --published TIME")
	case (governing.Protocol == policy.MCP || governing.Protocol == policy.JSONRPC) && len(a.RPC) == 0 && a.Tool == "" && !a.Response && !a.Stream && !a.Ends:
		line(w, "note: what is asked there are calls: add --rpc-method METHOD or --tool NAME")
	}
}

// hostHint takes a URL, or a host with its port, apart for whoever has copied one.
func hostHint(text string) []string {
	if !strings.Contains(text, "//") {
		text = "//" + text // HOST:PORT, or an address without its scheme
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	if _, err := netname.ParseHost(u.Hostname()); err != nil {
		return nil
	}
	hint := "--host " + quote(u.Hostname())
	switch {
	case u.Port() != "":
		hint += " --port " + quote(u.Port())
	case u.Scheme == "http":
		hint += " --port 80"
	}
	if path := u.EscapedPath(); path != "" {
		hint += " --method GET --path " + quote(path)
	}
	return []string{hint}
}

// binaryHint finds a program by its name.
func binaryHint(name string, streams IO) []string {
	path, _ := streams.Getenv("PATH")
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && filepath.IsAbs(file) {
			return []string{"--binary " + quote(realOf(file))}
		}
	}
	return []string{"--binary /usr/bin/" + quote(filepath.Base(name))}
}

// claimedHosts is the inference route of a policy with a backend, or of one that
// runs with --inference; without either it claims what every sandbox has.
func claimedHosts(on bool, doc *policy.Document) (*inference.Route, error) {
	if !on && (doc.Inference == nil || doc.Inference.Backend == "") {
		return nil, nil
	}
	// The backend is not asked; it only has to be a URL.
	route, err := inference.New(inference.Config{URL: "https://backend.invalid", Hosts: inference.ModelHosts(doc.Inference)})
	if err != nil {
		return nil, fault.Wrap(err, "read inference hosts", fault.Usage)
	}
	return route, nil
}

func printExplanation(w io.Writer, file string, f explainFlags, x policy.Explanation) error {
	rows := [][]string{{"verdict", x.Verdict.String()}, {"rule", ruleText(x.Rule)}, {"reason", x.Reason}}
	switch {
	case x.Model != nil && x.Verdict != policy.Reroute:
		rows = append(rows, []string{"note", "give the sandbox a model route (inference: {backend: URL}), or accept models there: models: allow on the endpoint, in version: 2"})
	case x.Audited:
		rows = append(rows, []string{"note", "allowed only because enforcement is audit"})
	case f.Inspects() && x.Verdict == policy.Allow && x.Request == nil:
		rows = append(rows, []string{"note", "requests on this connection are not inspected"})
	case x.Verdict == policy.Ask:
		rows = append(rows, []string{"note", "an operator would have to be asked; approvals are not built yet, so a run denies it"})
	case !f.Inspects() && x.Connection.Inspect:
		rows = append(rows, []string{"note", "requests on it are judged one by one: add --method and --path"})
	}
	for _, a := range x.Addresses {
		if x.Verdict == policy.Allow || x.Refused != "" {
			rows = append(rows, []string{"address", a.String() + ", of dns.hosts"})
		}
	}
	for _, l := range x.Limits {
		rows = append(rows, []string{"limit", l})
	}
	if until := x.Connection.Until; x.Verdict == policy.Allow && !until.IsZero() {
		rows = append(rows, []string{"until", until.Format(time.RFC3339)})
	}
	if x.Nearest != nil {
		rows = append(rows, []string{"nearest", ruleText(*x.Nearest)})
	}
	for _, m := range x.Misses {
		rows = append(rows, []string{"", m.Sentence()})
		if m.What == "binary" && f.binary == "" {
			rows = append(rows, []string{"note", "which program asks was not said: add --binary PATH"})
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if x.Suggestion == "" {
		return nil
	}
	lines := !strings.HasPrefix(x.Suggestion, "#")
	if lines {
		line(w, "these lines would allow it:")
	}
	for l := range strings.SplitSeq(strings.TrimRight(x.Suggestion, "\n"), "\n") {
		fmt.Fprintln(w, audit.Printable(l)) // at the left margin, as it is pasted
	}
	if !lines {
		return nil
	}
	if f.binary == "" {
		line(w, "they are for every program: --binary PATH narrows them")
	}
	if f.Method == "" {
		line(w, "they allow the connection and all that is said on it: --method GET --path /… narrows them")
	}
	if file != "-" {
		line(w, "next: put them into %s, then: creel policy check %s", file, quote(file))
	}
	return nil
}

func ruleText(r policy.Rule) string {
	if r.Policy == "" {
		return "none"
	}
	if at := r.At.String(); at != "" {
		return fmt.Sprintf("%s (%s)", r.Policy, at)
	}
	return r.Policy
}
