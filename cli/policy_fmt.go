package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
	"github.com/creel-run/creel/policy/format"
)

type fmtFlags struct{ write, check bool }

func newPolicyFmt(streams IO) *cobra.Command {
	var f fmtFlags
	cmd := &cobra.Command{
		Use:   "fmt [--write|--check] FILE…",
		Short: "Print policies in their canonical form",
		Long: `Print a policy in its canonical form: two spaces of indentation, the keys in the
order of the language with version first, quotes where a text needs them. Names,
their order, comments and single empty lines stay. - is standard input.

A file that does not parse is refused with its faults. The result is read again:
if it meant something else or had lost a comment, nothing is written.`,
		Example: "  creel policy fmt creel.yaml\n  creel policy fmt --write creel.yaml other.yaml\n  creel policy fmt --check *.yaml   # exit status 1 if one would change",
		Args:    atLeast(1),
		RunE:    func(_ *cobra.Command, args []string) error { return runPolicyFmt(args, f, streams) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.BoolVar(&f.write, "write", false, "write the result into the file, and name the files that changed")
	fl.BoolVar(&f.check, "check", false, "name the files that would change, and exit with status 1 if there are any")
	return cmd
}

func runPolicyFmt(files []string, f fmtFlags, streams IO) error {
	const op = "read flags"
	switch {
	case f.write && f.check:
		return fault.UsageError(op, "--write and --check exclude each other")
	case len(files) > 1 && !f.write && !f.check:
		return fault.UsageError(op, "several files need --write or --check", "creel policy fmt "+quote(files[0]))
	}
	changed, faulty := 0, 0
	told := make(map[string]bool) // faults of a layer that several of the files extend
	for _, file := range files {
		if file == "-" && f.write {
			return fault.UsageError(op, "standard input cannot be written to", "creel policy fmt - < FILE")
		}
		data, err := policyText(file, streams)
		if err != nil {
			return err
		}
		name := file
		if file == "-" {
			name = "stdin"
		}
		out, err := format.File(name, data, parserOf(file))
		if faults, ok := asFaults(err); ok && (f.write || f.check) {
			// The other files are looked at all the same.
			printFaults(streams.Err, slices.DeleteFunc(slices.Clone(faults), func(f policy.Fault) bool { return told[f.Error()] }))
			for _, f := range faults {
				told[f.Error()] = true
			}
			line(streams.Err, "creel: %s: %s", file, count(len(faults), "fault"))
			faulty++
			continue
		}
		if err != nil {
			return formatError(err)
		}
		same := bytes.Equal(out, data)
		switch {
		case !f.write && !f.check:
			if _, err := streams.Out.Write(out); err != nil {
				return fault.Wrap(err, "write output", fault.General)
			}
			continue
		case same:
			continue
		case f.write:
			if err := replaceFile(file, data, out); err != nil {
				return err
			}
		}
		line(streams.Out, "%s", file)
		changed++
	}
	switch {
	case faulty > 0:
		return quiet{fault.Usage}
	case f.check && changed > 0:
		return quiet{fault.General}
	}
	return nil
}

// parserOf is how the text of a policy file is read, with the files that it
// extends. Of standard input nothing lies beside.
func parserOf(file string) format.Parser {
	if file == "-" {
		return policy.Parse
	}
	return func(name string, data []byte) (*policy.Document, policy.Warnings, error) {
		return policy.ParseLayers(name, data, policy.Beside(policy.ReadFile))
	}
}

func formatError(err error) error {
	if errors.Is(err, format.ErrComments) || errors.Is(err, format.ErrMeaning) {
		return fault.Wrap(err, "", fault.General, "nothing was written; move comments out of [ ] and { }, and replace aliases, if there are any")
	}
	return err
}

// policyText reads the text of a policy; - is standard input.
func policyText(file string, streams IO) ([]byte, error) {
	const op = "read policy"
	in := streams.In
	if file != "-" {
		f, err := os.Open(filepath.Clean(file))
		if err != nil {
			return nil, fault.Wrap(err, op, fault.Usage, policyHints(err, file, "creel policy default")...)
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, policy.MaxBytes+1))
	if err != nil {
		return nil, fault.Wrap(err, op, fault.Usage)
	}
	return data, nil
}

// replaceFile puts new content into a file that holds old. It writes in place:
// owner, mode and links stay, and a sandbox whose policy lies in its workspace
// takes no other file under that name. What a watching sandbox sees of a half is
// a faulty policy, which changes nothing.
func replaceFile(file string, old, data []byte) error {
	err := os.WriteFile(file, data, 0o644)
	if err == nil {
		return nil
	}
	if now, rerr := os.ReadFile(filepath.Clean(file)); rerr == nil && !bytes.Equal(now, old) {
		err = errors.Join(err, os.WriteFile(file, old, 0o644))
	}
	return fault.Wrap(err, "write policy", fault.General)
}
