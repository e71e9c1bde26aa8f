package selftest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"

	"github.com/creel-run/creel/selftest/probe"
)

// role is the hidden first argument of the parts that run as processes of their own.
const role = "selftest-part"

// orders tell the part inside what there is outside.
type orders struct {
	Addresses []string `json:"addresses"` // of servers that must not be reached
	Mark      string   `json:"mark"`      // what would be seen there
	Sockets   []string `json:"sockets"`
	Files     []string `json:"files"`
	Turned    string   `json:"turned"` // the secret's value, from back to front
	Folders   []string `json:"folders"`
}

// proxyAddress is where clients that insist on a proxy find one inside.
const proxyAddress = "127.0.0.1:3128"

// IsPart reports whether a command line is that of a part of the self-test.
func IsPart(args []string) bool { return len(args) > 2 && args[1] == role }

// RunPart plays the part and gives the exit status.
func RunPart(args []string) int {
	var err error
	switch args[2] {
	case "inside":
		err = inside(args[3:])
	case "abi":
		err = probe.ForeignABI(args[3])
	case "hold":
		err = hold(args[3:])
	case "wait":
		fmt.Println("there")
		_, err = io.Copy(io.Discard, os.Stdin)
	default:
		err = errors.New("no such part")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// inside makes all attempts, says what came of them, and stays until its input
// ends, so that the posture can be read of a sandbox that lives.
func inside(args []string) error {
	results := probe.Run(probe.OpenDescriptors())
	var o orders
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return err
	}
	results = append(results, probe.Run(slices.Concat(
		probe.Calls(), probe.Files(), probe.Status(), probe.Signals(), probe.Denied(o.Files), probe.Unix(o.Sockets),
		probe.Hunt(o.Turned, o.Folders), foreign(), probe.Sockets(),
		probe.Names("creel-selftest.invalid"), probe.Reach(o.Addresses, proxyAddress, o.Mark)))...)
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		return err
	}
	_, err := bufio.NewReader(os.Stdin).ReadByte()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// foreign enters the kernel by other doors, in children that it ends.
func foreign() []probe.Attempt {
	if runtime.GOARCH != "amd64" {
		return nil
	}
	var all []probe.Attempt
	for _, door := range []string{"int80", "x32"} {
		all = append(all, probe.Attempt{Layer: probe.Seccomp, Name: "enter the kernel by " + door, Try: func() string {
			exe, err := os.Executable()
			if err != nil {
				return err.Error()
			}
			cmd := exec.Command(exe, role, "abi", door)
			err = cmd.Run()
			if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGSYS {
				return ""
			}
			return fmt.Sprintf("not ended by SIGSYS: %v", err)
		}})
	}
	return all
}
