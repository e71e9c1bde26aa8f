package main

import (
	"context"

	"github.com/creel-run/creel/cli"
	"github.com/creel-run/creel/fault"
)

// run is where the supervisor is wired in.
func run(context.Context, cli.RunOptions) (int, error) {
	return 0, &fault.Error{Op: "start sandbox", Msg: "not wired yet"}
}
