package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/fault"
)

// IO is the outside of a command: its streams, environment and what the
// process is. Tests give their own.
type IO struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) (string, bool)
	// Run starts a sandbox and returns the exit status of its command. Package
	// main sets it; nil where sandboxes cannot run.
	Run RunFunc
	// Selftest attacks a sandbox of this installation; nil as Run.
	Selftest SelftestFunc
}

// writeJSON prints v as one indented document.
func writeJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fault.Wrap(err, "encode output", fault.General)
	}
	if _, err := w.Write(append(audit.PrintableJSON(b), '\n')); err != nil {
		return fault.Wrap(err, "write output", fault.General)
	}
	return nil
}

// table prints rows in columns; every cell is escaped.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, audit.Printable(cell))
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return fault.Wrap(err, "write output", fault.General)
	}
	return nil
}

// line prints one escaped line.
func line(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, audit.Printable(fmt.Sprintf(format, args...)))
}

// EventLine is an event on one line for people, escaped.
func EventLine(e audit.Event) string { return e.Text() }

// whole is an output that has to be written in full: it keeps the first error.
type whole struct {
	w   io.Writer
	err error
}

func (o *whole) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.err = cmp.Or(o.err, err)
	return n, err
}

// wanted makes a command, and those below it, fail where what it prints was lost, also
// if it had another answer to give with its exit status.
func (o *whole) wanted(cmd *cobra.Command) *cobra.Command {
	for _, one := range cmd.Commands() {
		o.wanted(one)
	}
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if said := new(quiet); o.err != nil && (err == nil || errors.As(err, said)) {
				return fault.Wrap(o.err, "write output", fault.General)
			}
			return err
		}
	}
	return cmd
}
