package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/analyse"
)

func newPolicyDiff(streams IO) *cobra.Command {
	var asJSON bool
	var at string
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Say exactly what policy B allows and denies that A did not",
		Long: `Say exactly what policy B allows and denies that A did not, whatever way the two
are written in. Every class comes with an example that the engines of both
policies have confirmed. No difference is a proof that there is none.

Rules that end are compared at all times from now on, or from --at on; limits,
credentials, numbers of uses and middlewares that differ are named with their
place. Programs are compared as the policies name them; symbolic links are not
followed.

Exit status 0 means equal, 1 different, 2 that a policy is faulty or that a part
of it cannot be compared exactly.`,
		Example: `  creel policy diff creel.yaml new.yaml
  git show HEAD:creel.yaml | creel policy diff - creel.yaml`,
		Args: exactly(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return runPolicyDiff(args[0], args[1], asJSON, at, streams)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	atFlag(cmd, &at, "the time to compare from")
	return cmd
}

// atFlag adds the flag of a time that an analysis is about.
func atFlag(cmd *cobra.Command, at *string, what string) {
	cmd.Flags().StringVar(at, "at", "", what+", like 2026-12-31T18:00:00Z (default: now)")
}

// timeOf reads the flag.
func timeOf(text string) (time.Time, error) {
	if text == "" {
		return time.Now(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.IsZero() {
		return t, fault.UsageError("read flags", "--at is no time", "write it like --at 2026-12-31T18:00:00Z")
	}
	return t, nil
}

func runPolicyDiff(a, b string, asJSON bool, at string, streams IO) error {
	from, err := timeOf(at)
	if err != nil {
		return err
	}
	if a == "-" && b == "-" {
		return fault.UsageError("read arguments", "standard input can be one of the two policies alone")
	}
	var docs [2]*policy.Document
	for i, file := range []string{a, b} {
		doc, _, _, err := loadPolicy(file, streams)
		if err != nil {
			return err
		}
		docs[i] = doc
	}
	d, err := analyse.Diff(docs[0], docs[1], from)
	if err != nil {
		return analysisError(err)
	}
	if asJSON {
		out := struct {
			Equal bool `json:"equal"`
			*analyse.Difference
		}{d.Equal(), d}
		if err := writeJSON(streams.Out, out); err != nil {
			return err
		}
	} else {
		printDifference(streams.Out, a, b, d)
	}
	switch {
	case len(d.Unknown) > 0:
		return inexact(streams.Err, d.Unknown)
	case !d.Equal():
		return quiet{fault.General}
	}
	return nil
}

// analysisError tells bounds, defects and faults from each other.
func analysisError(err error) error {
	var unconfirmed *analyse.UnconfirmedError
	if errors.As(err, &unconfirmed) {
		return fault.Wrap(err, "", fault.General, "this is a defect of creel: please report it with the policies")
	}
	if analyse.AtBound(err) {
		return fault.Wrap(err, "", fault.Usage, "this is a bound of the analysis, and no fault of the policy: fewer or simpler rules for that host can be told apart")
	}
	return fault.Wrap(err, "", fault.Usage)
}

// inexact says what could not be told, and ends the command with that status.
func inexact(w io.Writer, unknown []analyse.Unknown) error {
	for _, u := range unknown {
		line(w, "%s", u.Error())
	}
	line(w, "creel: analyse policy: %s cannot be told exactly, so the answer is not all", count(len(unknown), "thing"))
	return quiet{fault.Usage}
}

func printDifference(w io.Writer, a, b string, d *analyse.Difference) {
	for _, part := range []struct {
		title, sign string
		list        []analyse.Class
	}{
		{"newly allowed by " + b, "+", d.Allowed},
		{"newly denied by " + b, "-", d.Denied},
		{"let through by both, in another way", "~", d.Recorded},
	} {
		if len(part.list) == 0 {
			continue
		}
		line(w, "%s:", part.title)
		for _, c := range part.list {
			line(w, "%s %s", part.sign, classText(c))
			line(w, "    for example: %s", c.Witness)
		}
	}
	if len(d.Sections) > 0 {
		line(w, "in what lets no request through by itself:")
	}
	for _, s := range d.Sections {
		switch {
		case s.Was == "":
			line(w, "+ %s: %s", s.Key, s.Is)
		case s.Is == "":
			line(w, "- %s: %s", s.Key, s.Was)
		default:
			line(w, "~ %s: %s, was %s", s.Key, s.Is, s.Was)
		}
		if s.At.Line > 0 {
			line(w, "    at %s", s.At)
		}
	}
	if d.Equal() {
		line(w, "%s and %s mean the same", a, b)
	}
}

// What a line of text repeats of a list is bounded; JSON has all of it.
const (
	maxListed     = 8
	maxListedText = 200 // bytes of one of them
)

func listedText(list []string, every string) string {
	if len(list) == 0 {
		return every
	}
	var parts []string
	for _, s := range list[:min(len(list), maxListed)] {
		if len(s) > maxListedText {
			s = strings.ToValidUTF8(s[:maxListedText], "") + "…"
		}
		parts = append(parts, s)
	}
	text := strings.Join(parts, ", ")
	if len(list) > maxListed {
		text += fmt.Sprintf(" and %d more", len(list)-maxListed)
	}
	return text
}

func portsText(ports []uint16) string {
	text := make([]string, len(ports))
	for i, p := range ports {
		text[i] = strconv.Itoa(int(p))
	}
	return strings.Join(text, ",")
}

// placeText is hosts and ports.
func placeText(c analyse.Class) string {
	return atPort(listedText(c.Hosts, "every host"), c.Ports)
}

// atPort writes a port so that it does not belong to the last word alone.
func atPort(hosts string, ports []uint16) string {
	if strings.ContainsAny(hosts, " :") {
		return hosts + " port " + portsText(ports)
	}
	return hosts + ":" + portsText(ports)
}

// trafficText is what goes to a place.
func trafficText(c analyse.Class) string {
	text := ""
	switch c.Traffic {
	case analyse.HTTP:
		text = listedText(c.Methods, "any method") + " " + listedText(c.Paths, "**")
		if len(c.Query) > 0 {
			text += " where " + strings.Join(c.Query, "; or ")
		}
		if len(c.Messages) > 0 {
			text += " holding " + listedText(c.Messages, "")
		}
	case analyse.Bound:
		text = "any request with a credential that is bound to the host, if one is"
	case analyse.Bytes:
		text = "anything, nobody looks inside"
	case analyse.Opaque:
		text = "anything, and TLS to any server name"
	case analyse.Connection:
		text = "the connection alone, no request"
		if c.RequestsUnknown {
			text = "a connection, whose requests cannot all be told"
		}
		if c.Address {
			text = "connections to some of its addresses"
		}
	}
	if c.Is == analyse.Audited {
		text += " (audit: no rule allows it, and it is let through)"
	}
	if !c.From.IsZero() {
		text += " from " + c.From.UTC().Format(time.RFC3339) + " on"
	}
	if !c.Until.IsZero() {
		text += " until " + c.Until.UTC().Format(time.RFC3339)
	}
	return text
}

func classText(c analyse.Class) string {
	return fmt.Sprintf("%s → %s  %s", listedText(c.Callers, "any program"), placeText(c), trafficText(c))
}
