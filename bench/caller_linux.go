package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// roleCall is this program's part of B12: among many processes with many
// descriptors, it connects again and again.
const roleCall = "caller"

const (
	callProcesses   = 200
	callDescriptors = 50
	callConnects    = 3000
)

// callConnect prints the median and the 99th percentile of connect(2), in µs, to a
// server of its own, so that nothing but the identification and the kernel's
// handshake lies in the call.
func callConnect() int {
	var files []*os.File
	for range callDescriptors - 3 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		files = append(files, f)
	}
	for range callProcesses {
		cmd := exec.Command("sleep", "60")
		cmd.ExtraFiles = files
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	}
	to, err := serve()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	runtime.LockOSThread()
	var took sample
	for i := range callConnects {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		begin := time.Now()
		err = unix.Connect(fd, to)
		if d := time.Since(begin); i >= callConnects/10 {
			took = append(took, float64(d.Nanoseconds())/1e3)
		}
		_ = unix.Close(fd)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	fmt.Println(took.quantile(0.5), took.quantile(0.99))
	return 0
}

// serve accepts and closes, on a thread of its own that does nothing else: a
// server that costs more competes with the caller for the two processors, with or
// without a sandbox.
func serve() (*unix.SockaddrInet4, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, 128); err != nil {
		return nil, err
	}
	go func() {
		runtime.LockOSThread()
		for {
			c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			_ = unix.Close(c)
		}
	}()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	return sa.(*unix.SockaddrInet4), nil
}

// caller is B12: what it costs a connect that its caller is identified.
func (b *bench) caller() *comparison {
	c := &comparison{
		id: "B12", title: fmt.Sprintf("connect(2) of an identified caller, with %d processes of %d descriptors beside it", callProcesses, callDescriptors), unit: "µs", reference: "plain, median",
		target:     "p99 at most 200 µs; aim 120",
		conditions: fmt.Sprintf("Each round is %d connects to the program's own server on loopback; the whole call is measured, handshake included.", callConnects),
	}
	users := b.users()
	w := users[len(users)-1]
	policy := b.policy("caller.yaml", `version: 2
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /etc, {path: /bin, optional: true}, {path: /lib, optional: true}, {path: /lib64, optional: true}, `+b.self+`]
network_policies: {}
`)
	for _, x := range []struct {
		name string
		args []string
	}{
		{"plain", []string{b.self, roleCall}},
		{"creel", []string{b.creel, "run", "--quiet", "--policy", policy, "--workspace", w.work(), "--", b.self, roleCall}},
	} {
		b.quantiles(c, w, x.name, x.args...)
	}
	return c
}

// quantiles adds two contenders, median and p99, of a command that prints both.
func (b *bench) quantiles(c *comparison, w who, name string, args ...string) {
	for i, q := range []string{"median", "p99"} {
		c.list = append(c.list, &contender{name: name + ", " + q, measure: func() (float64, error) {
			out, err := w.output(args...)
			if err != nil {
				return 0, err
			}
			f := strings.Fields(string(out))
			if len(f) != 2 {
				return 0, fmt.Errorf("no figures in %q", lastLine(out))
			}
			return strconv.ParseFloat(f[i], 64)
		}})
	}
}
