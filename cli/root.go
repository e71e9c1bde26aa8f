package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// Main runs one command line (without the program's name) and returns the exit
// status.
func Main(ctx context.Context, args []string, streams IO) int {
	root := newRoot(streams)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		report(streams.Err, err)
	}
	return ExitCode(err)
}

const rootHelp = `creel runs AI agents inside a boundary that you chose and the kernel enforces.

The agent sees the folders, hosts and models that the policy names, and nothing
else; every decision is written down.`

func newRoot(streams IO) *cobra.Command {
	root := &cobra.Command{
		Use:   "creel",
		Short: "Run AI agents inside a boundary that holds",
		Long:  rootHelp,
		Example: `  creel run -- claude
  creel run --policy agent.yaml --workspace ~/src/project -- codex
  creel doctor
  creel policy default > ~/creel.yaml`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			if version, err := cmd.Flags().GetBool("version"); err == nil && version {
				return runVersion(streams.Out, false)
			}
			return cmd.Help()
		},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return emptyFlag(cmd) }
	root.AddCommand(
		newRun(streams), newLs(streams), newPosture(streams), newReload(streams), newStop(streams),
		newDiff(streams), newApply(streams), newDiscard(streams),
		newAgent(streams), newPolicy(streams), newAudit(streams), newDoctor(streams), newSelftest(streams), newVersion(streams), newCompletion(streams),
	)
	root.SetHelpCommand(newHelp())
	root.Flags().Bool("version", false, "print the version")
	root.SetHelpTemplate(root.HelpTemplate() + "{{if not .HasParent}}\n" + exitHelp + "{{end}}")
	return root
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return fault.UsageError("read command", cmd.CommandPath()+" wants one of: "+strings.Join(childNames(cmd), ", "),
				cmd.CommandPath()+" --help")
		},
	}
	g.AddCommand(children...)
	return g
}

// newHelp is cobra's help command, but for a word that is no command.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return childNames(of), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			switch {
			case err != nil:
				return err
			case len(rest) > 0:
				return unknownCommand(of, rest[0])
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

func childNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

func unknownCommand(cmd *cobra.Command, word string) error {
	hint := cmd.CommandPath() + " --help"
	if near, ok := nearest(word, childNames(cmd)); ok {
		hint = "did you mean: " + cmd.CommandPath() + " " + near
	}
	return fault.UsageError("read command", "unknown command "+word, hint)
}

// flagError turns what pflag says into an Error with the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help"
	var (
		unknown *pflag.NotExistError
		value   *pflag.InvalidValueError
		absent  *pflag.ValueRequiredError
	)
	switch {
	case errors.As(err, &value):
		return fault.UsageError("read flags", fmt.Sprintf("found --%s %s, want %s", value.GetFlag().Name, policy.Show(value.GetValue()), wanted(value.GetFlag())), hint)
	case errors.As(err, &absent):
		return fault.UsageError("read flags", fmt.Sprintf("--%s wants %s", absent.GetFlag().Name, wanted(absent.GetFlag())), hint)
	case !errors.As(err, &unknown):
		return fault.UsageError("read flags", err.Error(), hint)
	}
	word := unknown.GetSpecifiedName()
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		if i := slices.IndexFunc(names, func(name string) bool { return name == short || strings.HasPrefix(short, name+"=") }); i >= 0 {
			return fault.UsageError("read flags", "unknown flag -"+short, "did you mean: --"+names[i])
		}
		begins := slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, word) })
		if len(begins) == 1 {
			hint = "did you mean: --" + begins[0]
		}
		return fault.UsageError("read flags", "unknown flag -"+word, hint)
	}
	if near, ok := nearest(word, names); ok {
		hint = "did you mean: --" + near
	}
	return fault.UsageError("read flags", "unknown flag --"+word, hint)
}

// emptyFlag refuses a flag with nothing behind it: it would mean the default, and is
// most likely a variable that is not set.
func emptyFlag(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" {
			err = fault.UsageError("read flags", "--"+f.Name+" is empty", "leave it out, or write a value; a variable that is not set gives none")
		}
	})
	return err
}

// wantKey is the annotation of a flag that says what its value has to be.
const wantKey = "creel_want"

// want says what the value of a flag has to be, for whoever gave another one.
func want(fl *pflag.FlagSet, name, text string) {
	if f := fl.Lookup(name); f != nil {
		f.Annotations = map[string][]string{wantKey: {text}}
	}
}

// wanted is what want said, or what the type of the flag says.
func wanted(f *pflag.Flag) string {
	if text := f.Annotations[wantKey]; len(text) > 0 {
		return text[0]
	}
	switch kind := f.Value.Type(); {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case kind == "bool":
		return "true or false"
	case kind == "duration":
		return "a time like 30s or 5m"
	}
	return "a value"
}

// exactly wants n arguments, named in usage.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return fault.UsageError("read arguments", fmt.Sprintf("%s wants %s, got %d", cmd.CommandPath(), count(n, "argument"), len(args)),
			"usage: "+cmd.UseLine())
	}
}

func atLeast(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return fault.UsageError("read arguments", fmt.Sprintf("%s wants at least %s, got %d", cmd.CommandPath(), count(n, "argument"), len(args)),
			"usage: "+cmd.UseLine())
	}
}
