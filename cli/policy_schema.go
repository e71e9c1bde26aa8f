package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy/schema"
)

func newPolicySchema(streams IO) *cobra.Command {
	version := schema.Versions
	cmd := &cobra.Command{
		Use:   "schema [--version N]",
		Short: "Print a JSON Schema of the policy language, for editors",
		Long: `Print a JSON Schema (draft 2020-12) of the policy language. An editor that has it
completes words, explains them, and marks unknown ones.

It knows the words, their types and their values. What a path or a pattern has to
be, and which words go together, creel policy check knows.`,
		Example: `  creel policy schema > policy.schema.json
  # then, as the first line of a policy, for editors with a YAML language server:
  #   # yaml-language-server: $schema=policy.schema.json`,
		Args: exactly(0),
		RunE: func(*cobra.Command, []string) error {
			text, err := schema.JSON(version)
			if err != nil {
				return fault.Wrap(err, "", fault.Usage, "creel policy schema --version 2")
			}
			if _, err := streams.Out.Write(text); err != nil {
				return fault.Wrap(err, "write output", fault.General)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&version, "version", schema.Versions, "`N`, the version of the language that the file is written in")
	want(cmd.Flags(), "version", fmt.Sprintf("a number of 1..%d", schema.Versions))
	return cmd
}
