package cli

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/creel-run/creel/api"
	"github.com/creel-run/creel/fault"
	"github.com/creel-run/creel/policy"
)

// exitHelp lists what ExitCode gives; it is part of creel --help.
const exitHelp = `Exit status:
  0      success
  1      an error
  2      bad usage, bad input or a faulty policy; nothing was started
  3      this host cannot: a kernel feature or a permission is missing (creel doctor)
  125    creel itself failed after the sandbox had started
  126    the command exists inside, but cannot be executed
  127    the command does not exist inside
  128+N  signal N ended the command
  else   the command's own exit status
`

// Status ends creel with the exit status of the command in the sandbox. It is
// no failure of creel, so nothing is printed for it.
type Status int

func (s Status) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// quiet ends a command that has printed what is wrong already.
type quiet struct{ code int }

func (q quiet) Error() string { return "exit status " + strconv.Itoa(q.code) }

// ExitCode is the one switch from errors to exit statuses.
func ExitCode(err error) int {
	var (
		status Status
		said   quiet
		failed *fault.Error
		faults policy.Faults
	)
	switch {
	case err == nil:
		return fault.OK
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &said):
		return said.code
	case errors.As(err, &failed):
		return failed.Exit()
	case errors.As(err, &faults):
		return fault.Usage
	case errors.Is(err, errors.ErrUnsupported):
		return fault.Host
	case errors.Is(err, context.Canceled):
		return fault.Signal + 2 // SIGINT
	}
	return fault.General
}

// report prints an error as people read it: one line, the faults of a policy a
// line each, then the hints.
func report(w io.Writer, err error) {
	var (
		status Status
		said   quiet
		failed *fault.Error
		faults policy.Faults
		faulty *api.FaultyPolicy
	)
	if errors.As(err, &status) || errors.As(err, &said) {
		return
	}
	switch {
	case errors.As(err, &faults):
		printFaults(w, faults)
		text, _, _ := strings.Cut(err.Error(), faults.Error())
		text = strings.TrimRight(text, ": \n")
		if text == "" {
			text = "read policy"
		}
		line(w, "creel: %s: %s", text, count(len(faults), "fault"))
	case errors.As(err, &faulty):
		for _, f := range faulty.Faults {
			line(w, "%s", f.String())
			if f.Hint != "" {
				line(w, "  hint: %s", f.Hint)
			}
		}
		line(w, "creel: %s", err.Error())
	default:
		line(w, "creel: %s", err.Error())
	}
	if errors.As(err, &failed) {
		for _, h := range failed.Hints {
			line(w, "hint: %s", h)
		}
	}
}

func printFaults(w io.Writer, faults policy.Faults) {
	for _, f := range faults {
		line(w, "%s", f.Error())
		if f.Hint != "" {
			line(w, "  hint: %s", f.Hint)
		}
	}
}

func asFaults(err error) (policy.Faults, bool) {
	var f policy.Faults
	ok := errors.As(err, &f)
	return f, ok
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
