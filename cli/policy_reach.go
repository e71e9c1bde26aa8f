package cli

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy/analyse"
)

func newPolicyReach(streams IO) *cobra.Command {
	var asJSON bool
	var page, at string
	cmd := &cobra.Command{
		Use:   "reach FILE",
		Short: "List everything that a policy opens: hosts, programs, files, ways out",
		Long: `List everything that a policy opens, and nothing else: by host and by program
with the requests that pass and the ways in which data can leave, then files,
model requests and switches. The list is exact; every line of the network has an
example in --json that the engine has confirmed.

It is what rules let through at one time: now, or with --at another, with all
uses of rules with max_uses left. Limits and middlewares can only take away from
it. Programs are listed as the policy names them; symbolic links are not followed.

Exit status 2 means that the policy is faulty, or that a part of it cannot be
told exactly and the list is not all.`,
		Example: `  creel policy reach creel.yaml
  creel policy reach creel.yaml --html reach.html`,
		Args: exactly(1),
		RunE: func(_ *cobra.Command, args []string) error { return runPolicyReach(args[0], asJSON, page, at, streams) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&page, "html", "", "write a page with a graph to this file")
	atFlag(cmd, &at, "the time to list for")
	return cmd
}

func runPolicyReach(file string, asJSON bool, page, at string, streams IO) error {
	now, err := timeOf(at)
	if err != nil {
		return err
	}
	doc, _, _, err := loadPolicy(file, streams)
	if err != nil {
		return err
	}
	r, err := analyse.ReachOf(doc, now)
	if err != nil {
		return analysisError(err)
	}
	if page != "" {
		if err := os.WriteFile(filepath.Clean(page), reachPage(r), 0o644); err != nil {
			return fault.Wrap(err, "", fault.General)
		}
	}
	switch {
	case asJSON:
		err = writeJSON(streams.Out, r)
	case page != "":
		line(streams.Out, "wrote %s", page)
	default:
		err = printReach(streams.Out, r)
	}
	if err != nil {
		return err
	}
	if len(r.Unknown) > 0 {
		return inexact(streams.Err, r.Unknown)
	}
	return nil
}

func printReach(w io.Writer, r *analyse.Reach) error {
	section := func(title string, rows [][]string, none string) error {
		line(w, "%s", title)
		if len(rows) == 0 {
			rows = [][]string{{none}}
		}
		for i := range rows {
			rows[i][0] = "  " + rows[i][0]
		}
		if err := table(w, rows); err != nil {
			return err
		}
		line(w, "")
		return nil
	}
	printByHost(w, r)
	printByProgram(w, r)
	var files, rest [][]string
	for _, f := range r.Files {
		text := f.Access
		if f.Optional {
			text += ", may be absent"
		}
		files = append(files, []string{f.Path, text})
	}
	for _, s := range r.Switches {
		rest = append(rest, []string{"system calls", s + " is open"})
	}
	rest = append(rest, modelRows(r.Inference)...)
	rest = append(rest, dnsRows(r.DNS)...)
	for _, l := range r.Limits {
		rest = append(rest, []string{l.Key, l.Is})
	}
	rest = append(rest, []string{"landlock", r.Landlock})
	if !r.Until.IsZero() {
		rest = append(rest, []string{"time", untilText(r)})
	}
	for _, s := range []struct {
		title string
		rows  [][]string
		none  string
	}{
		{"files", files, "none of the policy's own"},
		{"else", rest, ""},
	} {
		if err := section(s.title, s.rows, s.none); err != nil {
			return err
		}
	}
	out, uninspected, audit := 0, 0, 0
	for _, a := range r.Network {
		if a.Out >= analyse.OutBodies {
			out++
		}
		if a.Uninspected {
			uninspected++
		}
		if a.AuditOnly {
			audit++
		}
	}
	line(w, "%s: %d with bodies or anything out, %d that nobody looks into, %d let through by audit alone",
		count(len(r.Network), "way"), out, uninspected, audit)
	return nil
}

// printByHost gives every host its lines, because a host is what people look for.
func printByHost(w io.Writer, r *analyse.Reach) {
	line(w, "by host")
	byPlace := map[string][]analyse.Access{}
	var order []string
	for _, a := range r.Network {
		for _, h := range a.Hosts {
			at := atPort(h, a.Ports)
			if byPlace[at] == nil {
				order = append(order, at)
			}
			byPlace[at] = append(byPlace[at], a)
		}
	}
	slices.Sort(order)
	for _, at := range order {
		line(w, "  %s", at)
		for _, a := range byPlace[at] {
			line(w, "    %s", trafficText(a.Class))
			line(w, "      by %s; data out: %s", listedText(a.Callers, "any program"), a.Out)
			if len(a.Credentials) > 0 {
				line(w, "      carries credentials: %s", listedText(a.Credentials, ""))
			}
		}
	}
	if len(order) == 0 {
		line(w, "  nothing: the policy allows no connection")
	}
	line(w, "")
}

func printByProgram(w io.Writer, r *analyse.Reach) {
	line(w, "by program")
	for _, b := range r.ByBinary {
		line(w, "  %s (data out: %s)", b.Program, b.Out)
		for _, i := range b.Accesses {
			a := r.Network[i]
			line(w, "    %s  %s", placeText(a.Class), trafficText(a.Class))
		}
	}
	if len(r.ByBinary) == 0 {
		line(w, "  nothing")
	}
	line(w, "")
}

// untilText says for how long the list holds.
func untilText(r *analyse.Reach) string {
	return "as at " + r.At.UTC().Format(time.RFC3339) + ", until " + r.Until.UTC().Format(time.RFC3339) + ", when a rule ends"
}

// dnsRows say who is asked for addresses, which are asked of nobody, and where
// that stands.
func dnsRows(list []analyse.Setting) [][]string {
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.Key, s.Is + " (" + s.At.String() + ")"})
	}
	return rows
}

func modelRows(m *analyse.InferenceReach) [][]string {
	if m == nil {
		return nil
	}
	var rows [][]string
	add := func(key, value string) {
		if value != "" {
			rows = append(rows, []string{"inference", key + " " + value})
		}
	}
	add("backend", m.Backend)
	add("key from", m.Key)
	add("model", m.Model)
	if m.Hosts != nil {
		add("hosts", listedText(m.Hosts, "none"))
	}
	if len(m.AddHosts) > 0 {
		add("more hosts", listedText(m.AddHosts, ""))
	}
	if len(m.RemoveHosts) > 0 {
		add("without hosts", listedText(m.RemoveHosts, ""))
	}
	if len(m.ServerTools) > 0 {
		add("server tools", listedText(m.ServerTools, ""))
	}
	if m.RemoteInputs {
		add("remote inputs", "are open")
	}
	return rows
}
