package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/creel-run/creel/audit"
	"github.com/creel-run/creel/kernel"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"creel": creel})
}

// creel is the program of the scripts. Its run starts nothing: it prints what
// the flags mean, and ends as the variable EXIT says.
func creel() {
	if kernel.IsProbe(os.Args) {
		os.Exit(kernel.RunProbe(os.Args))
	}
	streams := IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv}
	streams.Run = func(_ context.Context, o RunOptions) (int, error) {
		b, err := json.Marshal(o)
		if err != nil {
			return 0, err
		}
		fmt.Printf("%s\n", b)
		return strconv.Atoi(os.Getenv("EXIT"))
	}
	os.Exit(Main(context.Background(), os.Args[1:], streams))
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("TMPDIR", env.WorkDir)
			env.Setenv("EXIT", "0")
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status":  status,
			"mklog":   mklog,
			"mkaudit": mkaudit,
			"mkelf":   mkelf,
		},
		RequireExplicitExec: false,
	})
}

// status N COMMAND…: the command ends with exactly this status.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command args…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}

// mklog FILE: a log with four events.
func mklog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mklog file")
	}
	l, err := audit.Open(ts.MkAbs(args[0]), "box")
	ts.Check(err)
	for _, e := range []audit.Event{
		{Kind: audit.SandboxStart},
		{Kind: audit.Connect, Verdict: "allow", Host: "api.test", Port: 443, Rule: "api"},
		{Kind: audit.Connect, Verdict: "deny", Host: "evil\x1b[31m.test", Port: 443, Reason: "no rule names the host"},
		{Kind: audit.SandboxExit},
	} {
		ts.Check(l.Record(e))
	}
	ts.Check(l.Close())
}

// mkelf FILE: something that looks like a native program.
func mkelf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: mkelf file")
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, []byte("\x7fELF...."), 0o755))
}

// mkaudit EVENTS FILE: a log of events that stand in a file as one JSON object
// each line, as a sandbox named box would have written them.
func mkaudit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mkaudit events file")
	}
	l, err := audit.Open(ts.MkAbs(args[1]), "box")
	ts.Check(err)
	for text := range strings.Lines(ts.ReadFile(args[0])) {
		var e audit.Event
		ts.Check(json.Unmarshal([]byte(text), &e))
		ts.Check(l.Record(e))
	}
	ts.Check(l.Close())
}
