package main

import (
	"context"
	"os"

	"github.com/creel-run/creel/cli"
	"github.com/creel-run/creel/kernel"
)

func main() {
	if kernel.IsProbe(os.Args) {
		os.Exit(kernel.RunProbe(os.Args))
	}
	if isScript(os.Args) {
		os.Exit(runScript())
	}
	if isPart(os.Args) {
		os.Exit(runPart(os.Args))
	}
	streams := cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.LookupEnv, Run: run, Selftest: selfTest}
	os.Exit(cli.Main(context.Background(), os.Args[1:], streams))
}
