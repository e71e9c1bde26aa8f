package cli

import (
	"github.com/spf13/cobra"

	"github.com/creel-run/creel/fault"
)

func newCompletion(streams IO) *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print a completion script for a shell",
		Example:   "  source <(creel completion bash)",
		Args:      exactly(1),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(streams.Out, true)
			case "zsh":
				return root.GenZshCompletion(streams.Out)
			case "fish":
				return root.GenFishCompletion(streams.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(streams.Out)
			}
			hint := "bash, zsh, fish and powershell are known"
			if near, ok := nearest(args[0], cmd.ValidArgs); ok {
				hint = "did you mean: " + cmd.CommandPath() + " " + near
			}
			return fault.UsageError("write completion", "unknown shell "+args[0], hint)
		},
	}
}
