package cli

import (
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

func newPolicyMigrate(streams IO) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate FILE",
		Short: "Write a version 1 policy as version 2 with the same meaning",
		Long: `Write a version 1 policy as version 2 with the same meaning. What version 1
means without a word is written out: enforcement: audit, landlock best_effort,
ancestors, internal_addresses. Each of these is named on standard error, because
it is wide and hardly what is wanted.

What comes out is decoded and compared with what went in: if all that a run is
made of is not equal, nothing is written. - is standard input.`,
		Example: "  creel policy migrate old.yaml > new.yaml",
		Args:    exactly(1),
		RunE:    func(_ *cobra.Command, args []string) error { return runPolicyMigrate(args[0], streams) },
	}
}

func runPolicyMigrate(file string, streams IO) error {
	name, data, err := readPolicy(file, streams)
	if err != nil {
		return fault.Wrap(err, "", fault.Usage)
	}
	text, notes, err := policy.Migrate(name, data)
	printNotes(streams.Err, notes)
	if faults, ok := asFaults(err); ok {
		line(streams.Err, "%s", firstLineOf(err, faults))
		printFaults(streams.Err, faults)
		return quiet{fault.Usage}
	}
	if err != nil {
		return fault.Wrap(err, "", fault.Usage)
	}
	_, err = streams.Out.Write(text)
	return err
}

// firstLineOf says whether the faults are of the file or of what it became.
func firstLineOf(err error, faults policy.Faults) string {
	if err.Error() == faults.Error() {
		return "the policy has faults, so there is nothing to migrate:"
	}
	return "version 2 has no words for a part of the policy; places are those of the new text:"
}

func printNotes(w io.Writer, notes policy.Warnings) {
	for _, n := range notes {
		hint := n.Hint
		n.Hint = ""
		line(w, "note: %s", n.String())
		if hint != "" {
			line(w, "  hint: %s", hint)
		}
	}
}

// readPolicy reads a policy file; - is standard input.
func readPolicy(file string, streams IO) (name string, data []byte, err error) {
	in, name := streams.In, "stdin"
	if file != "-" {
		name = filepath.Clean(file)
		f, err := os.Open(name)
		if err != nil {
			return name, nil, err
		}
		defer f.Close()
		in = f
	}
	data, err = io.ReadAll(io.LimitReader(in, policy.MaxBytes+1))
	return name, data, err
}
