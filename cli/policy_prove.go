package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

func newPolicyProve(streams IO) *cobra.Command {
	var asJSON bool
	var at string
	cmd := &cobra.Command{
		Use:   "prove FILE ASSERTIONS",
		Short: "Prove that assertions hold for every request, or show one that breaks them",
		Long: `Prove that assertions hold for every request that can come, or show one request
that breaks them and what the policy does with it.

ASSERTIONS is a YAML list. Each entry is one of

  - never: {…}    nothing of this is let through
  - only: {…}     at this host and port nothing else is let through; without
                  binary, method and path: nothing is, but to this host and port
  - always: {…}   all of this is let through; without method and path: every
                  such connection is

with any of host (* inside a label, ** for labels), port, binary (a path or a
glob; with version: 1 its children count, too), method and path (a glob), and with
what a request holds: graphql (TYPE:FIELD,FIELD), operation, rpc_method, tool,
argument (NAME=GLOB), response, stream, ends, service, grpc_method, repository,
fetch, ref, force, delete, registry, package, version, publish, younger, text.
What is not written stands for all there are. name: is for people. What enforcement: audit
forwards counts as let through. Rules that end are looked at from now on, or from
--at on.

Exit status 0 means that all of them hold, 1 that one does not, 2 that a file is
faulty or that a part of the policy cannot be looked at exactly.`,
		Example: `  creel policy prove creel.yaml assertions.yaml

  # assertions.yaml
  - never: {host: "**.internal"}
  - only: {binary: /usr/bin/git, host: github.example}
  - never: {host: git.example, ref: main}
  - never: {tool: "delete_*"}`,
		Args: exactly(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return runPolicyProve(args[0], args[1], asJSON, at, streams)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	atFlag(cmd, &at, "the time to look from")
	return cmd
}

func runPolicyProve(file, assertions string, asJSON bool, at string, streams IO) error {
	from, err := timeOf(at)
	if err != nil {
		return err
	}
	if file == "-" && assertions == "-" {
		return fault.UsageError("read arguments", "standard input can be one of the two files alone")
	}
	doc, _, _, err := loadPolicy(file, streams)
	if err != nil {
		return err
	}
	data, name, err := readBounded(assertions, streams)
	if err != nil {
		return err
	}
	list, err := analyse.ParseAssertions(name, data)
	if err != nil {
		return err
	}
	proofs, err := analyse.Prove(doc, list, from)
	if faults, ok := asFaults(err); ok {
		return fmt.Errorf("read assertions: %w", faults) // those that only the policy shows
	}
	if err != nil {
		return analysisError(err)
	}
	broken := 0
	var unknown []analyse.Unknown
	for _, p := range proofs {
		if p.Counterexample != nil {
			broken++
		}
		unknown = append(unknown, p.Unknown...)
	}
	if asJSON {
		out := struct {
			OK     bool            `json:"ok"`
			Proofs []analyse.Proof `json:"assertions"`
		}{broken == 0 && len(unknown) == 0, proofs}
		if err := writeJSON(streams.Out, out); err != nil {
			return err
		}
	} else {
		printProofs(streams.Out, file, proofs)
		line(streams.Out, "%s: %d of %s hold", file, held(proofs), count(len(proofs), "assertion"))
	}
	switch {
	case len(unknown) > 0:
		return inexact(streams.Err, unknown)
	case broken > 0:
		return quiet{fault.General}
	}
	return nil
}

func held(proofs []analyse.Proof) int {
	n := 0
	for _, p := range proofs {
		if p.Holds {
			n++
		}
	}
	return n
}

func printProofs(w io.Writer, file string, proofs []analyse.Proof) {
	for _, p := range proofs {
		text := p.Assertion.String()
		if p.Assertion.Name != "" {
			text = p.Assertion.Name + " (" + text + ")"
		}
		switch {
		case p.Holds:
			line(w, "holds   %s", text)
		case p.Counterexample != nil:
			line(w, "BROKEN  %s", text)
			line(w, "    %s: %s", p.Assertion.At, brokenText(p))
			if command := explainText(file, *p.Counterexample); command != "" {
				line(w, "    why: %s", command)
			}
		default:
			line(w, "unknown %s", text)
		}
	}
}

// explainText is the command that explains a witness; "" where explain has no
// word for a part of it.
func explainText(file string, w analyse.Witness) string {
	if file == "-" || len(w.Ancestors) > 0 || w.Address != "" || w.Traffic == analyse.Bound || w.Response || w.Stream || w.Ends || !w.Published.IsZero() {
		return ""
	}
	text := "creel policy explain " + quote(file)
	add := func(flag, value string) {
		if value != "" {
			text += " --" + flag + " " + quote(value)
		}
	}
	on := func(flag string, on bool) {
		if on {
			text += " --" + flag
		}
	}
	add("host", w.Host)
	text += fmt.Sprintf(" --port %d", w.Port)
	add("binary", w.Binary)
	add("sha256", w.SHA256)
	add("method", w.Method)
	add("path", w.Path)
	for _, o := range w.GraphQL {
		add("graphql", o)
	}
	add("operation", w.Operation)
	for _, m := range w.RPC {
		add("rpc-method", m)
	}
	add("tool", w.Tool)
	for _, name := range slices.Sorted(maps.Keys(w.Arguments)) {
		add("argument", name+"="+w.Arguments[name])
	}
	for _, r := range w.Refs {
		add("ref", r)
	}
	on("force", w.Force)
	on("delete", w.Delete)
	on("text", w.Text)
	if !w.At.IsZero() {
		add("at", w.At.UTC().Format(time.RFC3339))
	}
	return text
}

func brokenText(p analyse.Proof) string {
	how := "the policy denies"
	switch p.Grant {
	case analyse.Allowed:
		how = "the policy allows"
	case analyse.Audited:
		how = "the policy lets through, because enforcement is audit,"
	case analyse.Denied:
	}
	return how + " " + p.Counterexample.String()
}

// readBounded reads a file that people wrote; - is standard input.
func readBounded(file string, streams IO) (data []byte, name string, err error) {
	from := streams.In
	name = "stdin"
	if file != "-" {
		f, err := os.Open(filepath.Clean(file))
		if err != nil {
			return nil, "", fault.Wrap(err, "read assertions", fault.Usage)
		}
		defer f.Close()
		from, name = f, file
	}
	if data, err = io.ReadAll(io.LimitReader(from, policy.MaxBytes+1)); err != nil {
		return nil, "", fault.Wrap(err, "read "+name, fault.Usage)
	}
	return data, name, nil
}
