package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// quickRace keeps a program with the race detector from sleeping a second
// before it exits: these tests start hundreds.
const quickRace = "GORACE=atexit_sleep_ms=0"

// order asks the agent inside to run a command; answer is what came of it.
type order struct {
	ID    int      `json:"id"`
	Argv  []string `json:"argv"`
	Env   []string `json:"env"` // added
	Stdin []byte   `json:"stdin"`
	Clear bool     `json:"clear"` // with no environment but Env
}

type answer struct {
	ID     int    `json:"id"`
	Code   int    `json:"code"` // -1: it could not be started
	Stdout []byte `json:"stdout"`
	Stderr []byte `json:"stderr"`
}

// probes are what the test binary does inside a sandbox.
var probes = map[string]func(args []string) error{}

func runProbe(args []string) int {
	run := probes[args[0]]
	if run == nil {
		fmt.Fprintln(os.Stderr, "no such probe:", args[0])
		return 2
	}
	if err := run(args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		var code exitCode
		if errors.As(err, &code) {
			return int(code)
		}
		return 1
	}
	return 0
}

// exitCode is an error that is the status of the probe.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprint("status ", int(e)) }

func init() { probes["agent"] = agent }

// agent executes orders until its input ends.
func agent([]string) error {
	var out sync.Mutex
	say := json.NewEncoder(os.Stdout)
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	d := json.NewDecoder(in)
	out.Lock()
	_ = say.Encode(answer{ID: 0})
	out.Unlock()
	for {
		var o order
		if err := d.Decode(&o); err != nil {
			return nil
		}
		go func() { // what still runs at the end of the input ends with the sandbox
			a := o.execute()
			out.Lock()
			defer out.Unlock()
			_ = say.Encode(a)
		}()
	}
}

func (o order) execute() answer {
	cmd := exec.Command(o.Argv[0], o.Argv[1:]...)
	if !o.Clear {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(append(cmd.Env, quickRace), o.Env...)
	cmd.Stdin = bytes.NewReader(o.Stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	a := answer{ID: o.ID, Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		a.Code = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			a.Code = 128 + int(ws.Signal())
		}
	case err != nil:
		a.Code, a.Stderr = -1, []byte(err.Error())
	}
	return a
}
