package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/creel-run/creel/selftest/probe"
)

func init() {
	probes["kernel"] = func([]string) error {
		if err := probe.Failed(probe.Run(slices.Concat(probe.Calls(), probe.Files(), probe.Status()))); err != nil {
			return err
		}
		fmt.Println("all refused")
		return nil
	}
	probes["sockets"] = func([]string) error { return probe.Failed(probe.Run(probe.Sockets())) }
	for _, door := range []string{"int80", "x32"} {
		probes[door] = func([]string) error {
			if runtime.GOARCH != "amd64" {
				return exitCode(159)
			}
			return probe.ForeignABI(door)
		}
	}
	// memfd executes a copy of a program that has no file.
	probes["memfd"] = func(args []string) error {
		fd, err := unix.MemfdCreate(filepath.Base(args[0]), 0)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		if _, err := os.NewFile(uintptr(fd), args[0]).Write(b); err != nil {
			return err
		}
		return unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), args, os.Environ())
	}
	probes["connect-abstract"] = func(args []string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + args[0]})
	}
}
